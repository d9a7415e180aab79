//! The machine in the primary process: forks, the state of each worker, and the events for the program. No IO: the
//! machine requests [`Call`]s. Listening sockets and connections are in `distribution`.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};

use crate::backoff::RETRY_MS;
use crate::channel::{Channel, ChannelEvent, MachineStep, Outgoing, Queue};
use crate::event::{Event, Output, WorkerError};
use crate::handle::Handle;
use crate::ledger::Ledger;
use crate::message::{ChannelMessage, ClusterMessage, HandleKey, Reply, Request};
use crate::os::{Call, ChannelId, Errno, ExitStatus, HandleId, OsEvent, Signal, SocketId, TimerId, WorkerId};
use crate::os_bytes::OsBytes;
use crate::passing::{CountedHandles, InFlightHandles, IncomingHandle};
use crate::pending::Pending;
use crate::pump::Machine;
use crate::settings::Settings;
use crate::spawn_options::SpawnOptions;
use crate::steps::{self, IsCall, Stepper};
use crate::violation::Violation;

mod bind_address;
mod counters;
mod distribution;
mod inspector;
mod messages;
mod setup;
mod supervised;
mod worker_info;

use counters::Counters;
use distribution::{PendingHandoff, Retry};
pub use setup::{ForkError, PolicyFrozen};
use worker_info::WorkerEntry;
pub use worker_info::{WorkerInfo, WorkerState};

/// Pending work of the primary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Emit(Event),
    /// Emit an event one tick later.
    Later(Event),
    /// Remove the worker from the list: its process has exited and its channel is closed.
    Remove(WorkerId),
    /// The bind of a socket has succeeded or failed: answer the waiting workers.
    AnswerQueries(HandleId, Result<(), Errno>),
    /// The process has exited: settle the exit intent and emit.
    Exited(WorkerId, ExitStatus),
    /// The channel is closed: settle the exit intent and emit.
    Disconnected(WorkerId),
    /// Every event was emitted: drop the entry.
    Forget(WorkerId),
}

impl IsCall for Step {
    fn is_call(&self) -> bool {
        match self {
            // Deferring an event has no output, and its tick precedes that of the call behind it.
            Step::Later(_) => true,
            Step::Emit(_)
            | Step::Remove(_)
            | Step::AnswerQueries(..)
            | Step::Exited(..)
            | Step::Disconnected(_)
            | Step::Forget(_) => false,
        }
    }
}

/// The primary of a cluster. Node: the `cluster` module in the primary process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Primary {
    settings: Settings,
    /// The scheduling policy is fixed.
    frozen: bool,
    counters: Counters,
    /// Boxed, because a map node has room for eleven values.
    workers: BTreeMap<WorkerId, Box<WorkerEntry>>,
    steps: Queue<Step>,
    pending: Pending<PendingHandoff>,
    in_flight: InFlightHandles,
    counted: CountedHandles,
    handles: BTreeMap<HandleId, Box<Handle>>,
    keys: BTreeMap<HandleKey, HandleId>,
    listeners: BTreeMap<SocketId, HandleId>,
    ledger: Ledger,
    retries: BTreeMap<TimerId, Retry>,
    /// The workers that `disconnect_all` waits for.
    leaving: Option<BTreeSet<WorkerId>>,
    /// A supervisor shuts down: no connection is accepted.
    stopped: bool,
}

impl Primary {
    /// A primary without workers.
    pub fn new(settings: Settings) -> Self {
        Primary {
            settings,
            frozen: false,
            counters: Counters::default(),
            workers: BTreeMap::new(),
            steps: Queue::new(),
            pending: Pending::new(),
            in_flight: InFlightHandles::default(),
            counted: CountedHandles::default(),
            handles: BTreeMap::new(),
            keys: BTreeMap::new(),
            listeners: BTreeMap::new(),
            ledger: Ledger::default(),
            retries: BTreeMap::new(),
            leaving: None,
            stopped: false,
        }
    }

    /// Asks a worker to finish its connections and exit. The worker leaves the list and gets no further connections
    /// at once. Node: `worker.disconnect()`.
    pub fn disconnect_worker(&mut self, worker: WorkerId) {
        let Some(entry) = self.workers.get_mut(&worker) else { return };
        let scope = self.steps.enter_command();
        entry.info.exited_after_disconnect = Some(true);
        entry.info.listed = false;
        self.send_request(worker, Request::Disconnect);
        self.leave_handles(worker);
        self.steps.leave(scope);
    }

    /// Asks every worker to finish its connections and exit; [`Event::AllDisconnected`] follows the exit of the last.
    ///
    /// Every listening socket closes at once, also with [`Settings::keep_listening`]: later clients are refused. A
    /// worker that is forked afterwards is not asked, and opens its sockets again. Node: `cluster.disconnect()`,
    /// which calls back when the *first* worker has exited, against its documentation.
    pub fn disconnect_all(&mut self) {
        let all: BTreeSet<WorkerId> = self.workers.keys().copied().collect();
        if !all.is_empty() {
            self.leaving.get_or_insert_default().extend(all.iter().copied());
        }
        for worker in &all {
            // A worker is asked once: the channel of a worker that was asked may be closing, and a write would fail.
            let info = &self.workers[worker].info;
            if info.listed && info.connected {
                self.disconnect_worker(*worker);
            }
        }
        let scope = self.steps.enter_command();
        self.close_unused_handles();
        if all.is_empty() {
            self.steps.own(Step::Later(Event::AllDisconnected));
        }
        self.steps.leave(scope);
    }

    /// [`disconnect_all`](Primary::disconnect_all) has asked every worker to exit, and at least one has not exited.
    pub fn is_disconnecting(&self) -> bool {
        self.leaving
            .as_ref()
            .is_some_and(|leaving| self.workers.keys().all(|worker| leaving.contains(worker)))
    }

    /// Closes every channel once its queue is sent, and asks no worker to exit. For a process that is about to exit.
    pub fn finish(&mut self) {
        let scope = self.steps.enter_command();
        for entry in self.workers.values_mut() {
            entry.channel.disconnect(&mut self.steps);
            entry.info.connected = entry.channel.is_connected();
        }
        self.steps.leave(scope);
    }

    /// Every channel is closed.
    pub fn is_finished(&self) -> bool {
        self.workers.values().all(|entry| entry.channel.is_over())
    }

    /// Sends a signal to a worker. Node: `worker.kill(signal)`.
    pub fn kill(&mut self, worker: WorkerId, signal: Signal) {
        if self.workers.get(&worker).is_some_and(|entry| !entry.info.dead) {
            let scope = self.steps.enter_command();
            self.steps.call(Call::Kill { worker, signal });
            self.steps.leave(scope);
        }
    }

    /// The state of a worker, available until the next [`Machine::poll`] after the worker's last event.
    pub fn worker(&self, id: WorkerId) -> Option<&WorkerInfo> {
        self.workers.get(&id).map(|entry| &entry.info)
    }

    /// The listed workers, in order of fork. Node: the keys of `cluster.workers`. A worker that was asked to exit is
    /// not listed; see [`Primary::running_workers`].
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.workers.iter().filter(|(_, entry)| entry.info.listed).map(|(id, _)| *id)
    }

    /// The workers with running processes, in order of fork, including those that were asked to exit. A
    /// program kills these after a deadline.
    pub fn running_workers(&self) -> impl Iterator<Item = WorkerId> {
        self.workers.iter().filter(|(_, entry)| !entry.info.dead).map(|(id, _)| *id)
    }

    /// The current settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The accounts of accepted connections.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    // ---- events of the operating system

    fn with_channel(&mut self, channel: ChannelId, act: impl FnOnce(&mut Channel, &mut Queue<Step>)) {
        if let Some(entry) = self.workers.get_mut(&WorkerId(channel.0)) {
            act(&mut entry.channel, &mut self.steps);
            entry.info.connected = entry.channel.is_connected();
        }
    }

    fn spawned(&mut self, worker: WorkerId, pid: u32) {
        self.started(worker);
        self.info(worker).pid = Some(pid);
        self.steps.own_tick(Step::Emit(Event::Fork { worker }));
    }

    /// Takes the options of a process that has started or failed to.
    fn started(&mut self, worker: WorkerId) -> Option<SpawnOptions> {
        self.workers.get_mut(&worker)?.starting.take()
    }

    fn spawn_failed(&mut self, worker: WorkerId, program: Option<OsBytes>, directory: bool, errno: Errno) {
        self.info(worker).dead = true;
        let options = self.started(worker);
        let set = |option: fn(&SpawnOptions) -> Option<&OsBytes>| options.as_ref().and_then(option).cloned();
        let program = program.or_else(|| set(SpawnOptions::get_exec));
        let directory = set(SpawnOptions::get_cwd).filter(|_| directory);
        let error = WorkerError::Spawn { program, directory, errno };
        self.steps.own_tick(Step::Emit(Event::Error { worker, error }));
        self.steps.own_tick(Step::Emit(Event::Fork { worker }));
        self.with_channel(worker.into(), Channel::closed);
    }

    fn lingers(&mut self, worker: WorkerId) {
        if self.workers.get(&worker).is_some_and(|entry| !entry.info.dead) {
            self.error(worker, WorkerError::Lingers);
        }
    }

    fn exited(&mut self, worker: WorkerId, status: ExitStatus) {
        let Some(entry) = self.workers.get_mut(&worker) else { return };
        entry.info.dead = true;
        let connected = entry.channel.is_connected();
        entry.channel.cancel_all(&mut self.steps);
        self.abandon(worker);
        if !connected {
            self.steps.own(Step::Remove(worker));
        }
        self.steps.own(Step::Exited(worker, status));
        self.steps.own(Step::Forget(worker));
    }

    /// The tick of a closed channel. Node: the child's `'disconnect'`.
    fn channel_closed(&mut self, worker: WorkerId) {
        self.abandon(worker);
        self.descriptor_freed();
        if self.workers[&worker].info.dead {
            self.steps.own(Step::Remove(worker));
        }
        self.steps.own(Step::Disconnected(worker));
        self.steps.own(Step::Forget(worker));
    }

    // ---- steps

    fn on_channel_event(&mut self, worker: WorkerId, event: ChannelEvent) -> Option<Output<Event>> {
        match event {
            ChannelEvent::Call(call) => return Some(Output::Call(call)),
            ChannelEvent::Received(message) => return self.received(worker, message),
            ChannelEvent::Arrived(envelope, socket) => return self.arrived(worker, *envelope, socket),
            ChannelEvent::Refused(outgoing) => self.undelivered(worker, *outgoing),
            ChannelEvent::Settled(socket) => self.settled(socket),
            ChannelEvent::Written(_) => {}
            ChannelEvent::Lost(errno, lost) => self.error(worker, WorkerError::Write { errno, lost }),
            ChannelEvent::Failing(errno) => self.error(worker, WorkerError::Delayed(errno)),
            ChannelEvent::Retry => self.retry(Retry::Write(worker), RETRY_MS),
            // Connections that the worker has read and not acknowledged stay with the worker until its channel is
            // read to the end.
            ChannelEvent::Broken => self.offer_no_more(worker),
            ChannelEvent::Violated(violation) => {
                self.error(worker, WorkerError::Protocol(violation));
                self.with_channel(worker.into(), Channel::abort);
            }
            ChannelEvent::Closed => self.channel_closed(worker),
        }
        None
    }

    fn received(&mut self, worker: WorkerId, message: ChannelMessage) -> Option<Output<Event>> {
        match message {
            ChannelMessage::User(message) => {
                return Some(Output::Event(Event::Message { worker, message, handle: None }));
            }
            ChannelMessage::Cluster(cluster) => return self.cluster(worker, *cluster),
            ChannelMessage::SocketCount(question) => self.asked(worker, question),
            ChannelMessage::Supervision(supervision) => self.answered_ping(worker, &supervision),
            ChannelMessage::Foreign => {}
        }
        None
    }

    fn cluster(&mut self, worker: WorkerId, cluster: ClusterMessage) -> Option<Output<Event>> {
        if let Some(reply) = cluster.reply
            && let Some(awaited) = self.pending.take(reply.ack, worker.into())
        {
            if self.workers[&worker].channel.is_carrying(awaited.connection) {
                // An answer for a connection that the worker cannot have received.
                self.pending.expect(reply.ack, worker.into(), awaited);
                return self.on_channel_event(worker, ChannelEvent::Violated(Violation::UnaskedAck));
            }
            self.answered(worker, awaited, reply.accepted == Some(true));
            return None;
        }
        match cluster.request? {
            Request::Online => {
                self.info(worker).state = WorkerState::Online;
                return Some(Output::Event(Event::Online { worker }));
            }
            Request::Listening(address) => {
                self.info(worker).state = WorkerState::Listening;
                return Some(Output::Event(Event::Listening { worker, address }));
            }
            Request::ExitedAfterDisconnect => {
                self.info(worker).exited_after_disconnect = Some(true);
                self.reply(worker, Reply { ack: cluster.seq, ..Reply::default() }, None);
            }
            Request::QueryServer(query) => self.query(worker, cluster.seq, query),
            Request::Close(key) => self.close(worker, &key),
            // Requests of a primary; ignored from a worker, as in Node.
            Request::NewConn(_) | Request::Disconnect => {}
        }
        None
    }

    fn info(&mut self, worker: WorkerId) -> &mut WorkerInfo {
        let entry = self.workers.get_mut(&worker);
        &mut entry.unwrap_or_else(|| unreachable!("worker {worker} was forgotten while it spoke")).info
    }

    fn end(&mut self, worker: WorkerId, state: WorkerState) {
        let info = self.info(worker);
        info.settle_exit_intent();
        info.state = state;
    }

    /// Drops the entry of a worker after its last event; the worker may have been the last that `disconnect_all`
    /// waited for.
    fn forget(&mut self, worker: WorkerId) {
        let entry = &self.workers[&worker];
        if !(entry.info.dead && entry.channel.is_over()) {
            return;
        }
        self.workers.remove(&worker);
        self.counted.forget(worker.into());
        let Some(leaving) = &mut self.leaving else { return };
        leaving.remove(&worker);
        let was_last = leaving.is_empty();
        // The worker may have been the last one forked after `disconnect_all`.
        if self.is_disconnecting() {
            self.close_unused_handles();
        }
        if was_last {
            self.leaving = None;
            self.steps.own(Step::Emit(Event::AllDisconnected));
        }
    }

    fn error(&mut self, worker: WorkerId, error: WorkerError) {
        self.steps.own(Step::Emit(Event::Error { worker, error }));
    }

    // ---- sending

    fn send_request(&mut self, worker: WorkerId, request: Request) {
        let seq = self.pending.next_seq();
        self.transmit(worker, ClusterMessage { seq, reply: None, request: Some(request) }, None);
    }

    fn reply(&mut self, worker: WorkerId, reply: Reply, handle: Option<IncomingHandle>) {
        let seq = self.pending.next_seq();
        self.transmit(worker, ClusterMessage { seq, reply: Some(reply), request: None }, handle);
    }

    fn transmit(&mut self, worker: WorkerId, cluster: ClusterMessage, handle: Option<IncomingHandle>) {
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.channel.send(Outgoing::from(ChannelMessage::from(cluster)).with(handle), &mut self.steps);
        }
    }
}

impl Stepper for Primary {
    type Step = MachineStep<Step>;
    type Event = Event;

    fn steps(&mut self) -> &mut Queue<Step> {
        &mut self.steps
    }

    fn run(&mut self, step: MachineStep<Step>) -> Option<Output<Event>> {
        match step {
            MachineStep::Call(call) => Some(Output::Call(call)),
            MachineStep::Channel(channel, step) => {
                let worker = WorkerId(channel.0);
                let entry = self.workers.get_mut(&worker)?;
                let event = entry.channel.run(step, &mut self.steps)?;
                self.on_channel_event(worker, event)
            }
            MachineStep::Own(step) => self.run_own(step),
        }
    }
}

impl Primary {
    fn run_own(&mut self, step: Step) -> Option<Output<Event>> {
        match step {
            Step::Emit(event) => return Some(Output::Event(event)),
            Step::Later(event) => self.steps.own_tick(Step::Emit(event)),
            Step::Remove(worker) => self.info(worker).listed = false,
            Step::AnswerQueries(handle, result) => self.answer_queries(handle, result),
            Step::Exited(worker, status) => {
                self.end(worker, WorkerState::Dead);
                let exited_after_disconnect = self.info(worker).exited_after_disconnect == Some(true);
                return Some(Output::Event(Event::Exit { worker, status, exited_after_disconnect }));
            }
            Step::Disconnected(worker) => {
                self.end(worker, WorkerState::Disconnected);
                return Some(Output::Event(Event::Disconnect { worker }));
            }
            Step::Forget(worker) => self.forget(worker),
        }
        None
    }
}

impl Machine for Primary {
    type Event = Event;

    fn handle(&mut self, event: OsEvent) {
        let scope = self.steps.enter();
        match event {
            OsEvent::Spawned { worker, pid } => self.spawned(worker, pid),
            OsEvent::SpawnFailed { worker, program, directory, errno } => {
                self.spawn_failed(worker, program, directory, errno);
            }
            OsEvent::KillFailed { worker, errno } => {
                self.steps.own_tick(Step::Emit(Event::Error { worker, error: WorkerError::Kill(errno) }));
            }
            OsEvent::Exited { worker, status } => self.exited(worker, status),
            OsEvent::Lingers { worker } => self.lingers(worker),
            OsEvent::Read { channel, bytes, socket } => {
                self.with_channel(channel, |channel, steps| channel.read(&bytes, socket, steps));
            }
            OsEvent::Wrote { channel, rest } => {
                self.with_channel(channel, |channel, steps| channel.wrote(&rest, steps));
            }
            OsEvent::Writable { channel } => self.with_channel(channel, Channel::writable),
            OsEvent::WriteFailed { channel, errno } => {
                self.with_channel(channel, |channel, steps| channel.write_failed(errno, steps));
            }
            OsEvent::ChannelClosed { channel } => self.with_channel(channel, Channel::closed),
            OsEvent::Bound { handle, socket, address } => self.bound(handle, socket, address),
            OsEvent::BindFailed { handle, errno } => self.bind_failed(handle, errno),
            OsEvent::Accepted { listener, socket } => self.accepted(listener, socket),
            OsEvent::AcceptFailed { listener, errno } => self.accept_failed(listener, errno),
            OsEvent::Timer { timer } => self.timer(timer),
            OsEvent::Listening { .. } | OsEvent::ListenFailed { .. } => {
                unreachable!("a primary never listens on a received socket")
            }
        }
        self.steps.leave(scope);
    }

    fn poll(&mut self) -> Option<Output<Event>> {
        steps::poll(self)
    }

    fn poll_call(&mut self) -> Option<Call> {
        steps::poll_call(self)
    }
}
