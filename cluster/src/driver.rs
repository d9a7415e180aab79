//! A worker's machine and operating system behind one lock, and the task that moves them. It decides nothing: events
//! are only brought to whoever waits for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use std::{future, process};

use cluster_core::{ListenOptions, ListenerId, Machine, SocketId, flush, pump};
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::warn;

use crate::inbox::Inbox;
use crate::listeners::{AcceptedConnections, BindFailure, BindReply, Bound, Demand, Listeners};
use crate::received::Releases;
use crate::unix::Unix;
use crate::worker::WorkerEvent;

/// How many events may wait for [`Worker::next`](crate::Worker::next).
const WAITING: usize = 1024;

/// How long the end of a process waits for a program that has asked for events to react to the last one.
const REACTION: Duration = Duration::from_secs(5);

/// How often a worker that does not read looks whether its primary lives.
const LOOK: Duration = Duration::from_secs(1);

/// How long the end of a process waits for a peer that does not read, unless the program sets another bound.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// How far a worker has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Serving,
    /// Asked to go: closed, and waiting for its connections.
    Disconnecting,
    /// The channel is closed.
    Disconnected,
}

/// What everyone in a worker process holds.
#[derive(Debug)]
pub(crate) struct Inner {
    driver: Mutex<Driver>,
    runtime: Handle,
    inbox: Inbox<WorkerEvent>,
    /// Something has been written, or never will be.
    progress: Arc<Notify>,
    /// How many wait for that: meanwhile everything is read, or two programs that send would wait for each other.
    senders: AtomicUsize,
    /// Those that wait for room are served in the order in which they came.
    turn: tokio::sync::Mutex<()>,
    /// Whether the program ends its process itself.
    staying: watch::Sender<bool>,
}

#[derive(Debug)]
struct Driver {
    machine: cluster_core::Worker,
    unix: Unix,
    listeners: Listeners,
    /// Sockets that the program has received and no longer holds.
    releases: Releases,
    phase: watch::Sender<Phase>,
    /// The program has killed itself: it takes no more events.
    killed: bool,
    /// The driver has reported that the worker's work is over.
    over: bool,
    /// How many messages were accepted.
    posted: u64,
    linger: Duration,
    progress: Arc<Notify>,
    driver: Option<Waker>,
}

impl Inner {
    pub(crate) fn new(machine: cluster_core::Worker, unix: Unix, runtime: Handle) -> Self {
        let progress = Arc::new(Notify::new());
        Inner {
            driver: Mutex::new(Driver::new(machine, unix, progress.clone())),
            runtime,
            inbox: Inbox::new(WAITING),
            progress,
            senders: AtomicUsize::new(0),
            turn: tokio::sync::Mutex::new(()),
            staying: watch::channel(false).0,
        }
    }

    /// Says the first word, that the worker is online, and begins to move.
    pub(crate) fn start(self: &Arc<Self>) {
        self.command(|_| ());
        let driver = self.runtime.spawn(drive(self.clone()));
        self.runtime.spawn(async {
            // A worker whose driver has panicked would live on and hear nothing: it ends as if its `main` had.
            if driver.await.is_err_and(|error| error.is_panic()) {
                process::exit(101);
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, Driver> {
        self.driver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a command: it takes effect at once, and what follows from it as soon as the driver runs.
    pub(crate) fn command<T>(&self, act: impl FnOnce(&mut cluster_core::Worker) -> T) -> T {
        // It may come from a thread outside the runtime, and what it opens must find the reactor.
        let _context = self.runtime.enter();
        self.lock().command(act)
    }

    /// Looks at the machine.
    pub(crate) fn with_machine<T>(&self, look: impl FnOnce(&cluster_core::Worker) -> T) -> T {
        look(&self.lock().machine)
    }

    /// Opens a listener: its number, what it is told first, and its connections.
    pub(crate) fn listen(&self, options: ListenOptions) -> (ListenerId, BindReply, AcceptedConnections) {
        // An exclusive one is bound at once.
        let _context = self.runtime.enter();
        let mut driver = self.lock();
        let id = driver.command(|machine| machine.listen(options));
        let (opened, connections) = driver.listeners.add(id);
        (id, opened, connections)
    }

    /// Somebody waits for a connection of this listener.
    pub(crate) fn demand(&self, listener: ListenerId) {
        let _context = self.runtime.enter();
        let mut driver = self.lock();
        driver.listeners.set_demand(listener, Demand::Pending);
        driver.command(|machine| machine.accept(listener));
    }

    /// Nobody does any more.
    pub(crate) fn withdraw(&self, listener: ListenerId) {
        let _context = self.runtime.enter();
        let mut driver = self.lock();
        driver.listeners.set_demand(listener, Demand::None);
        driver.command(|machine| machine.withdraw(listener));
    }

    /// The next event. If there will be none any more, and the program has not asked to stay, the process ends here.
    pub(crate) async fn next(&self) -> Option<WorkerEvent> {
        let event = self.inbox.next().await;
        if event.is_none() && !self.is_staying() {
            self.exit(0);
        }
        event
    }

    /// The program ends its process itself.
    pub(crate) fn keep_running(&self) {
        self.staying.send_replace(true);
    }

    pub(crate) fn is_staying(&self) -> bool {
        *self.staying.borrow()
    }

    /// For what comes to nothing because the worker is leaving: waits for the end, unless the program wants to see it.
    pub(crate) async fn wait_for_exit(&self) {
        // An error would say that nobody could decide any more; but we are somebody.
        let _ = self.staying.subscribe().wait_for(|staying| *staying).await;
    }

    /// The program wants its process to end, whatever it said before.
    pub(crate) fn kill(self: &Arc<Self>) {
        self.staying.send_replace(false);
        self.lock().killed = true;
        self.command(cluster_core::Worker::kill);
        if self.inbox.has_ended() {
            self.exit(0);
        }
        let (inner, linger) = (self.clone(), self.lock().linger);
        self.runtime.spawn(async move {
            tokio::time::sleep(linger).await;
            // A primary that does not read does not answer, either.
            inner.linger(Duration::ZERO);
            inner.exit(0)
        });
    }

    /// Waits until the worker has come so far.
    pub(crate) fn wait_for_phase(&self, phase: Phase) -> impl Future<Output = ()> + Send + use<> {
        let mut phases = self.lock().phase.subscribe();
        async move {
            // An error says that nobody is left who could come further: then it has ended.
            let _ = phases.wait_for(|now| *now >= phase).await;
        }
    }

    /// What happens next. The death of a primary that is not read from is not to be missed, and nothing wakes us then: the
    /// reactor cannot distinguish it from what is unread.
    async fn next_delivery(&self) -> Delivery {
        loop {
            let told = future::poll_fn(|cx| self.poll_delivery(cx));
            if !self.inbox.is_full() || !self.inbox.is_asked() {
                return told.await;
            }
            if let Ok(told) = timeout(LOOK, told).await {
                return told;
            }
        }
    }

    /// While there is no room for events nothing is read; what is to be written is written all the same.
    fn poll_delivery(&self, cx: &mut Context<'_>) -> Poll<Delivery> {
        let is_full = self.inbox.poll_room(cx).is_pending();
        let mut driver = self.lock();
        // A program that has killed itself makes no room, and of a primary that has exited little is unread.
        let reads = !is_full || self.senders.load(Ordering::Relaxed) > 0 || driver.killed;
        let held = !reads && !driver.unix.is_forsaken();
        driver.unix.hold(held);
        driver.poll_delivery(cx)
    }

    fn keep(&self, event: WorkerEvent) {
        // Without a listener Node forgets every message.
        if matches!(event, WorkerEvent::Message { .. }) && self.inbox.is_full() && !self.inbox.is_asked() {
            return warn!("a message was forgotten: the program does not ask for events");
        }
        self.inbox.put(event);
    }

    /// Whether the program hears the last event before its process ends; not if it has killed itself.
    fn may_react(&self) -> bool {
        self.inbox.is_asked() && !self.lock().killed
    }
}

/// To whom an event was brought.
#[derive(Debug)]
enum Delivery {
    /// To a listener.
    Listener,
    /// To nobody yet: it is for whoever asks for the next one.
    Inbox(WorkerEvent),
    /// To nobody: the channel is closed, and that was said.
    Over,
}

impl Driver {
    fn new(machine: cluster_core::Worker, unix: Unix, progress: Arc<Notify>) -> Self {
        Driver {
            machine,
            unix,
            listeners: Listeners::default(),
            releases: Releases::default(),
            phase: watch::channel(Phase::Serving).0,
            killed: false,
            over: false,
            posted: 0,
            linger: LINGER,
            progress,
            driver: None,
        }
    }

    fn command<T>(&mut self, act: impl FnOnce(&mut cluster_core::Worker) -> T) -> T {
        let result = act(&mut self.machine);
        flush(&mut self.machine, &mut self.unix);
        self.wake();
        result
    }

    fn wake(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    fn poll_delivery(&mut self, cx: &mut Context<'_>) -> Poll<Delivery> {
        self.driver = Some(cx.waker().clone());
        loop {
            self.release_dropped(cx);
            let told = pump(&mut self.machine, &mut self.unix).map(|event| self.deliver(event));
            // After it was brought: until then nobody can take it.
            self.update_phase();
            if let Some(told) = told {
                return Poll::Ready(told);
            }
            if !self.over && self.is_over() {
                self.over = true;
                return Poll::Ready(Delivery::Over);
            }
            let event = ready!(self.unix.poll_event(cx));
            // What another thread released before it caused the event.
            self.release_dropped(cx);
            self.machine.handle(event);
            self.progress.notify_waiters();
        }
    }

    /// The senders of the sockets that the program has released count them no longer.
    fn release_dropped(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(socket) = self.releases.poll(cx) {
            self.machine.release(socket);
        }
    }

    /// A worker that was told to go serves its connections to their end, though its primary may have died meanwhile.
    fn is_over(&self) -> bool {
        self.unix.exit().is_some() || (self.is_disconnected() && self.listeners.is_empty())
    }

    fn is_disconnected(&self) -> bool {
        *self.phase.borrow() == Phase::Disconnected
    }

    /// Who has killed itself, or was not asked to go, ends with its channel. In Node nothing comes between.
    fn ends_at_once(&self) -> bool {
        self.is_disconnected() && (self.killed || !self.machine.exited_after_disconnect())
    }

    /// It is said that the worker is to go when what is on its way to somebody who waits was taken: whoever hears it may leave
    /// the listener alone at once, and a connection that is ours would be lost.
    fn update_phase(&self) {
        let is_on_its_way = self.machine.is_acknowledging() || self.listeners.has_delivered();
        if self.machine.exited_after_disconnect() && !is_on_its_way {
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
                let socket = socket.and_then(|socket| self.unix.take(socket));
                self.listeners.open(listener, Ok(Bound { address, socket }));
            }
            Event::ListenFailed { listener, error } => {
                self.listeners.open(listener, Err(BindFailure::Failed(error)));
                self.listeners.close(listener);
            }
            Event::Connection { listener, connection } => self.deliver_connection(listener, connection),
            Event::Closed { listener } => self.listeners.close(listener),
            Event::Message { message, handle } => {
                let socket = handle.and_then(|handle| self.releases.take(&mut self.unix, handle.socket));
                return Delivery::Inbox(WorkerEvent::Message { message, socket });
            }
            Event::Error { error } => return Delivery::Inbox(WorkerEvent::Error(error)),
            Event::Disconnect => {
                self.advance(Phase::Disconnected);
                if !self.machine.exited_after_disconnect() {
                    self.listeners.clear();
                }
                return Delivery::Inbox(WorkerEvent::Disconnect);
            }
        }
        Delivery::Listener
    }

    fn deliver_connection(&mut self, listener: ListenerId, connection: SocketId) {
        let descriptor = self.unix.take(connection).expect("a connection that was announced is here");
        if !self.listeners.deliver(listener, (connection, descriptor)) {
            self.command(|machine| machine.release(connection));
        }
    }
}

/// Moves a worker until its channel is closed, then ends the process unless the program does. In a program that ends its
/// process itself the driver continues, because later requests need an answer.
///
/// After each event everyone else runs first: on a current-thread runtime, what the program does at once in reaction to
/// an event therefore happens before anything that was to follow it, as in Node's listeners.
async fn drive(inner: Arc<Inner>) {
    while drive_on(&inner).await {}
    inner.inbox.end();
    let ending = inner.clone();
    inner.runtime.spawn(async move { end(&ending).await });
    while drive_on(&inner).await {}
}

/// Delivers one event; whether the worker's work continues.
async fn drive_on(inner: &Inner) -> bool {
    match inner.next_delivery().await {
        Delivery::Listener => {}
        Delivery::Inbox(event) => {
            inner.keep(event);
            if inner.lock().ends_at_once() {
                // A caller that asks for another event after the last one ends the process.
                inner.inbox.end();
            }
        }
        Delivery::Over => return false,
    }
    tokio::task::yield_now().await;
    true
}

async fn end(inner: &Inner) {
    if inner.may_react() {
        // Asking for an event after the last one ends it earlier.
        tokio::time::sleep(REACTION).await;
    }
    if !inner.is_staying() {
        inner.exit(0);
    }
}

mod sending;

#[cfg(test)]
mod tests;
