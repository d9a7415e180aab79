//! The machine of a worker and the operating system behind a lock, and the task that drives both. The machine
//! decides; the driver delivers events to the callers that wait for them. Sending and the end of the process
//! are in submodules.

use std::future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use cluster_core::{ListenOptions, ListenerId, Machine, OsEvent, SocketId};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::warn;

use crate::event::WorkerEvent;
use crate::inbox::Inbox;
use crate::listeners::{AcceptedConnections, BindFailure, BindReply, Bound, Demand, Listeners, OpenWatch};
use crate::received::Releases;
use crate::requests::OpenRequests;
use crate::system::{Held, System};
use crate::unix::bind::number_zone;

mod exit;
mod last_writes;
mod sending;

use exit::Exit;
pub(crate) use exit::{ExitRule, LINGER};
use last_writes::{Driven, Taskless};

/// The number of undelivered events at which the driver stops reading. A program may never have asked for an
/// event: then the driver reads on, and drops messages above the number.
const INBOX_EVENTS: usize = 1024;

/// The period of the check for the death of the primary while the worker does not read.
const LIVENESS_PERIOD: Duration = Duration::from_secs(1);

/// The phases of the end of a worker, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// A supervisor will disconnect the worker soon.
    LameDuck,
    /// The worker accepts no new connection, and drains.
    Disconnecting,
    /// The channel is closed.
    Disconnected,
}

/// The state shared by all clones of a worker, the listeners and the connections.
#[derive(Debug)]
pub(crate) struct Inner {
    driver: Mutex<Driver>,
    runtime: Handle,
    inbox: Inbox<WorkerEvent>,
    /// Notified after each event of the operating system: the channel may have room, or may be closed.
    progress: Arc<Notify>,
    /// The number of tasks that wait for room in the channel. Meanwhile the worker reads everything: two
    /// programs that both send and do not receive would otherwise wait for each other.
    senders: AtomicUsize,
    /// The order of the calls that wait for room.
    turn: tokio::sync::Mutex<()>,
    exit: Exit,
}

#[derive(Debug)]
struct Driver {
    machine: Held<cluster_core::Worker>,
    system: System,
    /// The next event, found before the program has reacted to the last delivery.
    next: Option<OsEvent>,
    listeners: Listeners,
    /// Received sockets that the program has dropped.
    releases: Releases,
    requests: OpenRequests,
    phase: watch::Sender<Phase>,
    /// Whether a supervisor has announced the disconnect.
    announced: bool,
    /// Whether the program has killed the worker, and takes no more events.
    killed: bool,
    /// Whether the driver has reported [`Delivery::Over`].
    over: bool,
    /// The number of messages accepted for sending.
    posted: u64,
    /// The number of [`Hold`](crate::Hold)s.
    holds: usize,
    /// Set when the runtime has ended, and has dropped the driver task.
    taskless: Option<Taskless>,
    progress: Arc<Notify>,
    waker: Option<Waker>,
}

impl Inner {
    pub(crate) fn new(
        machine: impl Into<Held<cluster_core::Worker>>,
        system: impl Into<System>,
        runtime: Handle,
        rule: ExitRule,
    ) -> Self {
        let progress = Arc::new(Notify::new());
        Inner {
            driver: Mutex::new(Driver::new(machine.into(), system.into(), progress.clone())),
            runtime,
            inbox: Inbox::new(INBOX_EVENTS),
            progress,
            senders: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::new(()),
            exit: Exit::new(rule),
        }
    }

    /// Sends `online`, and starts the driver task.
    pub(crate) fn start(self: &Arc<Self>) {
        self.command(|_| ());
        let driver = self.runtime.spawn(drive(Driven(self.clone())));
        let inner = self.clone();
        self.runtime.spawn(async move {
            if driver.await.is_err_and(|error| error.is_panic()) {
                inner.fail();
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Driver> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the machine a command. The calls of the command are performed before the return; the driver task
    /// delivers the events.
    pub(crate) fn command<T>(&self, act: impl FnOnce(&mut cluster_core::Worker) -> T) -> T {
        // The caller may be a thread outside the runtime; new descriptors are registered with the runtime's
        // reactor.
        let _context = self.runtime.enter();
        self.lock().command(act)
    }

    /// Holds the channel open until [`Inner::release_hold`].
    pub(crate) fn hold(&self) {
        let mut driver = self.lock();
        driver.holds += 1;
        driver.command(cluster_core::Worker::hold);
    }

    pub(crate) fn release_hold(&self) {
        let mut driver = self.lock();
        driver.holds -= 1;
        driver.command(cluster_core::Worker::release_hold);
    }

    /// Reads from the machine.
    pub(crate) fn with_machine<T>(&self, read: impl FnOnce(&cluster_core::Worker) -> T) -> T {
        self.lock().machine.read(read)
    }

    /// Opens a listener. Returns the id, the pending reply, and the queue of connections.
    pub(crate) fn listen(
        &self,
        options: ListenOptions,
    ) -> (ListenerId, BindReply, AcceptedConnections, OpenWatch) {
        // An exclusive listener is bound during the command.
        let _context = self.runtime.enter();
        let mut driver = self.lock();
        let id = driver.command(|machine| machine.listen(options));
        let (reply, connections, open) = driver.listeners.add(id);
        (id, reply, connections, open)
    }

    /// Called when a caller begins to wait for a connection of the listener.
    pub(crate) fn demand(&self, listener: ListenerId) {
        let _context = self.runtime.enter();
        let mut driver = self.lock();
        driver.listeners.set_demand(listener, Demand::Pending);
        driver.command(|machine| machine.accept(listener));
    }

    /// Called when the caller of [`Inner::demand`] no longer waits.
    pub(crate) fn withdraw(&self, listener: ListenerId) {
        let _context = self.runtime.enter();
        let mut driver = self.lock();
        driver.listeners.set_demand(listener, Demand::None);
        driver.command(|machine| machine.withdraw(listener));
    }

    /// The next event, or `None` after the last. Under Node's rule the process exits instead of returning
    /// `None`.
    pub(crate) async fn next(&self) -> Option<WorkerEvent> {
        let event = self.inbox.next().await;
        self.exit_after_last(event.as_ref());
        event
    }

    /// As [`Inner::next`], for a stream. `ticket` identifies the caller among the waiting callers.
    pub(crate) fn poll_next(
        &self,
        ticket: &mut Option<u64>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<WorkerEvent>> {
        let event = ready!(self.inbox.poll_next(ticket, cx));
        self.exit_after_last(event.as_ref());
        Poll::Ready(event)
    }

    /// Called when a caller of [`Inner::poll_next`] no longer waits.
    pub(crate) fn stop_waiting(&self, ticket: Option<u64>) {
        self.inbox.stop_waiting(ticket);
    }

    /// Waits until the worker has reached the phase.
    pub(crate) fn wait_for_phase(&self, phase: Phase) -> impl Future<Output = ()> + Send + use<> {
        let mut phases = self.lock().phase.subscribe();
        async move {
            // An error means that the driver was dropped, so every phase is over.
            let _ = phases.wait_for(|now| *now >= phase).await;
        }
    }

    pub(crate) fn has_reached(&self, phase: Phase) -> bool {
        *self.lock().phase.borrow() >= phase
    }

    /// Whether a supervisor has announced the disconnect. The supervisor then also bounds the time of the
    /// drain.
    pub(crate) fn is_announced(&self) -> bool {
        self.lock().announced
    }

    /// The next delivery. While the worker does not read, the kernel reports the death of the primary like
    /// unread messages, and the reactor wakes no task. Therefore the method checks for the death
    /// periodically.
    async fn next_delivery(&self) -> Delivery {
        loop {
            let delivery = future::poll_fn(|cx| self.poll_delivery(cx));
            if !self.inbox.is_full() || !self.inbox.is_asked() {
                return delivery.await;
            }
            if let Ok(delivery) = timeout(LIVENESS_PERIOD, delivery).await {
                return delivery;
            }
        }
    }

    /// Reads nothing while the inbox is full; writing continues.
    fn poll_delivery(&self, cx: &mut Context<'_>) -> Poll<Delivery> {
        let is_full = self.inbox.poll_room(cx).is_pending();
        let mut driver = self.lock();
        // A killed worker reads on, because the program no longer empties the inbox. After the exit of the
        // primary the worker reads on as well: only few bytes are unread.
        let reads = !is_full || self.senders.load(Ordering::Relaxed) > 0 || driver.killed;
        let paused = !reads && !driver.system.is_peer_closed();
        driver.system.pause_by_program(paused);
        driver.poll_delivery(cx)
    }

    /// Queues an event for the program.
    fn keep(&self, event: WorkerEvent) {
        // Node: without a listener for `'message'` every message is dropped.
        if matches!(event, WorkerEvent::Message { .. }) && self.inbox.is_full() && !self.inbox.is_asked() {
            return warn!("a message was dropped: the program takes no events");
        }
        self.inbox.put(event);
    }
}

/// The receiver of an event.
#[derive(Debug)]
enum Delivery {
    /// A listener; the event is delivered.
    Listener,
    /// The caller of `next`; the event has still to be queued.
    Inbox(WorkerEvent),
    /// No receiver: the channel is closed, and the program has no connection left to serve.
    Over,
}

impl Driver {
    fn new(machine: Held<cluster_core::Worker>, system: System, progress: Arc<Notify>) -> Self {
        Driver {
            machine,
            system,
            next: None,
            listeners: Listeners::default(),
            releases: Releases::default(),
            requests: OpenRequests::default(),
            phase: watch::channel(Phase::Serving).0,
            announced: false,
            killed: false,
            over: false,
            posted: 0,
            holds: 0,
            taskless: None,
            progress,
            waker: None,
        }
    }

    fn act<T>(&mut self, act: impl FnOnce(&mut cluster_core::Worker) -> T) -> T {
        let result = self.machine.change(act);
        self.system.flush(&mut self.machine);
        self.wake();
        result
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn poll_delivery(&mut self, cx: &mut Context<'_>) -> Poll<Delivery> {
        self.waker = Some(cx.waker().clone());
        loop {
            release_dropped(&mut self.releases, &mut self.machine, cx);
            let delivery = self.system.pump(&mut self.machine).map(|event| self.deliver(event));
            // Only after the delivery: a caller that sees the new phase must be able to take the connection.
            self.update_phase();
            if let Some(delivery) = delivery {
                return Poll::Ready(delivery);
            }
            if !self.over && self.is_over() {
                self.over = true;
                return Poll::Ready(Delivery::Over);
            }
            let Driver { machine, system, releases, next, .. } = self;
            // Dropped sockets first: another thread may have caused the event after the drop of a socket.
            let mut before =
                |machine: &mut Held<_>, cx: &mut Context<'_>| release_dropped(releases, machine, cx);
            if let Some(event) = next.take() {
                before(machine, cx);
                machine.change(|machine| machine.handle(event));
            } else {
                ready!(system.poll_input(cx, before, machine));
            }
            self.progress.notify_waiters();
        }
    }

    /// Takes the next event from the system, unless steps of the machine precede it. Returns whether a step
    /// or an event follows the last delivery: otherwise the driver waits for the runtime.
    fn find_next(&mut self, cx: &mut Context<'_>) -> bool {
        let is_settled = self.machine.read(cluster_core::Worker::is_settled);
        if self.next.is_none()
            && is_settled
            && let Some(unix) = self.system.unix()
            && let Poll::Ready(event) = unix.poll_event(cx)
        {
            self.next = Some(event);
        }
        self.next.is_some() || !is_settled
    }

    /// Whether nothing is left to do. A disconnecting worker serves open connections to the end, even if the
    /// primary dies meanwhile.
    fn is_over(&self) -> bool {
        self.system.exit().is_some() || (self.is_disconnected() && self.listeners.is_empty())
    }

    fn is_disconnected(&self) -> bool {
        *self.phase.borrow() == Phase::Disconnected
    }

    fn is_asked_to_exit(&self) -> bool {
        self.machine.read(cluster_core::Worker::exited_after_disconnect)
    }

    /// Whether the channel has closed without a request to disconnect.
    fn is_lost(&self) -> bool {
        self.is_disconnected() && !self.is_asked_to_exit()
    }

    /// Enters [`Phase::Disconnecting`] only after the delivery of every acknowledged connection to the
    /// pending `accept`: a caller that sees the phase may drop the listener at once.
    fn update_phase(&self) {
        let is_acknowledging = self.machine.read(cluster_core::Worker::is_acknowledging);
        if self.is_asked_to_exit() && !is_acknowledging && !self.listeners.has_delivered() {
            self.advance(Phase::Disconnecting);
        }
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|now| {
            let further = *now < to;
            *now = to.max(*now);
            further
        });
    }

    fn deliver(&mut self, event: cluster_core::WorkerEvent) -> Delivery {
        use cluster_core::WorkerEvent as Event;
        match event {
            Event::Listening { listener, address, socket } => {
                let socket = socket.and_then(|socket| self.system.take(socket));
                self.listeners.open(listener, Ok(Bound { address: number_zone(address), socket }));
            }
            Event::ListenFailed { listener, error } => {
                self.listeners.open(listener, Err(BindFailure::Failed(error)));
                self.listeners.close(listener);
            }
            Event::Connection { listener, connection } => self.deliver_connection(listener, connection),
            Event::Closed { listener } => self.listeners.close(listener),
            Event::Message { message, handle } if self.requests.take(None, &message, handle.is_some()) => {}
            Event::Message { message, handle } => {
                let socket = handle.and_then(|handle| self.releases.take(&mut self.system, handle.socket));
                return Delivery::Inbox(WorkerEvent::Message { message, socket });
            }
            Event::Error { error } => return Delivery::Inbox(WorkerEvent::Error(error)),
            Event::LameDuck => {
                self.announced = true;
                self.advance(Phase::LameDuck);
                return Delivery::Inbox(WorkerEvent::LameDuck);
            }
            Event::Disconnect => {
                self.requests.disconnect(None);
                self.advance(Phase::Disconnected);
                if self.is_lost() {
                    self.listeners.clear();
                }
                return Delivery::Inbox(WorkerEvent::Disconnect);
            }
        }
        Delivery::Listener
    }

    fn deliver_connection(&mut self, listener: ListenerId, connection: SocketId) {
        let descriptor =
            self.system.take_connection(connection).expect("the descriptor of an announced connection");
        if !self.listeners.deliver(listener, (connection, descriptor)) {
            self.act(|machine| machine.release(connection));
        }
    }
}

/// Reports the received sockets that the program has dropped: their senders stop counting these
/// connections.
fn release_dropped(releases: &mut Releases, machine: &mut Held<cluster_core::Worker>, cx: &mut Context<'_>) {
    while let Poll::Ready(socket) = releases.poll(cx) {
        machine.change(|machine| machine.release(socket));
    }
}

/// Drives a worker. The task ends only with the runtime: a program may continue after the close of the
/// channel, and further requests still need an answer.
async fn drive(driven: Driven) {
    let inner = &driven.0;
    while drive_on(inner).await {}
    inner.inbox.end();
    inner.clone().work_is_over();
    while drive_on(inner).await {}
}

/// Delivers an event, and returns whether the worker's work continues.
///
/// After each event all other tasks run first: on a current-thread runtime a program's immediate reaction to
/// an event precedes the consequences of the next event, as in Node's listeners.
async fn drive_on(inner: &Arc<Inner>) -> bool {
    match inner.next_delivery().await {
        // A yield would cost a turn of the reactor for each connection.
        Delivery::Listener if !future::poll_fn(|cx| Poll::Ready(inner.lock().find_next(cx))).await => {
            return true;
        }
        Delivery::Listener => {}
        Delivery::Inbox(event) => {
            let is_last = matches!(event, WorkerEvent::Disconnect);
            inner.keep(event);
            if is_last {
                inner.channel_closed();
            }
        }
        Delivery::Over => return false,
    }
    tokio::task::yield_now().await;
    true
}

#[cfg(test)]
mod tests;
