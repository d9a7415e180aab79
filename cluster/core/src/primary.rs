//! The machine in the primary process: the commands, and the reaction to each event. It has no IO, and
//! requests [`Call`]s. `peers` has the workers and their channels, `distribution` the listening sockets and
//! connections, `setup` the settings of forks.

use alloc::string::ToString;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::backoff::RETRY_MS;
use crate::channel::{Channel, ChannelEvent, MachineStep, Queue};
use crate::event::{Event, Output, WorkerError};
use crate::ledger::Ledger;
use crate::message::{ChannelMessage, ClusterMessage, Envelope, Reply, Request};
use crate::os::{Call, ExitStatus, OsEvent, Signal, SocketId, WorkerId};
use crate::os_bytes::OsBytes;
use crate::passing::IncomingHandle;
use crate::pump::Machine;
use crate::settings::{SchedulingPolicy, Settings};
use crate::spawn_options::SpawnOptions;
use crate::steps::{self, Stepper};

mod bind_address;
mod choosing;
mod counters;
mod distribution;
mod due;
mod handles;
mod inspector;
mod messages;
mod own_step;
mod peers;
pub(crate) mod primary_claims;
mod retained_channels;
mod setup;
mod slow_start;
mod supervised;
mod timer_actions;
mod worker_info;

use distribution::Distribution;
pub(crate) use own_step::Step;
use peers::Peers;
use setup::Setup;
pub use setup::{ForkError, PolicyFrozen};
pub(crate) use supervised::shares_sockets;
use timer_actions::TimerAction;
pub use worker_info::{WorkerInfo, WorkerState};

/// The primary of a cluster. Node: the `cluster` module in the primary process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Primary {
    setup: Setup,
    peers: Peers,
    distribution: Distribution,
}

impl Primary {
    /// A primary without workers.
    pub fn new(settings: Settings) -> Self {
        Primary {
            distribution: Distribution::new(&settings),
            setup: Setup::new(settings),
            peers: Peers::new(),
        }
    }

    /// Sets every counter, except that of the workers, to continue after `last`, for tests of a primary that
    /// has run for long. A counter beyond `last` is unchanged. Numbers of messages stay below 2^53, which no
    /// process reaches.
    #[cfg(feature = "testing")]
    pub fn count_after(&mut self, last: u64) {
        self.setup.inspected.count_after(last);
        self.distribution.count_after(last);
        self.peers.count_after(last);
    }

    /// Sets the counter of the workers to continue after `last`; see [`count_after`](Primary::count_after).
    #[cfg(feature = "testing")]
    pub fn count_workers_after(&mut self, last: WorkerId) {
        self.setup.count_workers_after(last);
    }

    fn command<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let scope = self.peers.steps.enter_command();
        let result = act(self);
        self.peers.steps.end_scope(scope);
        result
    }

    // ---- forks

    /// Changes the options of later forks; an option not set keeps the present value. [`Event::Setup`]
    /// follows one tick later. Node: `cluster.setupPrimary(settings)`.
    pub fn setup(&mut self, changes: SpawnOptions) {
        self.setup.settings.spawn.update(changes);
        self.command(|primary| {
            let options = primary.setup.freeze();
            primary.peers.steps.own(Step::Later(Event::Setup { options }));
        });
    }

    /// Changes the scheduling policy. Node: an assignment to `cluster.schedulingPolicy`.
    ///
    /// # Errors
    ///
    /// [`PolicyFrozen`] after the first [`setup`](Primary::setup) or [`fork`](Primary::fork).
    pub fn set_policy(&mut self, policy: SchedulingPolicy) -> Result<(), PolicyFrozen> {
        self.setup.set_policy(policy)
    }

    /// The current settings.
    pub fn settings(&self) -> &Settings {
        &self.setup.settings
    }

    /// Starts a worker. Node: `cluster.fork()`.
    ///
    /// [`Event::Setup`] and [`Event::Fork`] follow, each in its own tick. If the program cannot be started,
    /// the events are [`Event::Setup`], [`Event::Error`], [`Event::Fork`] and [`Event::Disconnect`]. As in
    /// Node, no [`Event::Exit`] follows, because there was no process.
    ///
    /// # Errors
    ///
    /// [`ForkError`] if `stdio` does not contain exactly one channel, or if the command cannot be a worker.
    /// No process starts, but a worker id is used up, as in Node.
    pub fn fork(&mut self) -> Result<WorkerId, ForkError> {
        self.fork_with_env::<OsBytes, OsBytes>([])
    }

    /// Starts a worker with variables that override the variables of the [options](crate::SpawnOptions::env).
    /// Node: `cluster.fork(env)`.
    ///
    /// If `NODE_OPTIONS` in `env` starts an inspector without a port, a port is assigned. Node assigns a port
    /// only if the inspector is in the inherited options.
    ///
    /// # Errors
    /// As [`fork`](Primary::fork).
    pub fn fork_with_env<N: Into<OsBytes>, V: Into<OsBytes>>(
        &mut self,
        env: impl IntoIterator<Item = (N, V)>,
    ) -> Result<WorkerId, ForkError> {
        let env = env.into_iter().map(|(name, value)| (name.into(), value.into()));
        let mut env: Vec<_> = self.setup.settings.spawn.env.iter().flatten().cloned().chain(env).collect();
        self.command(|Primary { setup, peers, .. }| {
            let worker = setup.next_worker();
            peers.steps.own(Step::Later(Event::Setup { options: setup.freeze() }));
            let mut options = setup.checked_options()?;
            setup.assign_inspector(&mut options, &mut env);
            env.retain(|(name, _)| *name != "NODE_UNIQUE_ID");
            env.push(("NODE_UNIQUE_ID".into(), worker.to_string().into()));
            peers.add(worker, options.clone(), &setup.settings.limits);
            peers.steps.call(Call::Spawn { worker, options, env });
            Ok(worker)
        })
    }

    // ---- the lives of workers

    /// Asks a worker to finish its connections and exit. From this call on, the worker is not listed, and
    /// receives no further connection. Node: `worker.disconnect()`.
    pub fn disconnect_worker(&mut self, worker: WorkerId) {
        if self.worker(worker).is_some() {
            self.command(|Primary { peers, distribution, .. }| {
                let info = peers.info(worker);
                info.exited_after_disconnect = Some(true);
                info.listed = false;
                peers.request(worker, Request::Disconnect, None);
                distribution.remove_from_handles(worker, peers);
            });
        }
    }

    /// Asks every worker to finish its connections and exit. [`Event::AllDisconnected`] follows the exit of
    /// the last worker, or one tick later if there is no worker.
    ///
    /// Every listening socket closes at once, even with [`Settings::keep_listening`], so later clients are
    /// refused. A worker forked afterwards is not asked to exit, and opens its sockets again. Node:
    /// `cluster.disconnect()`, which calls back when the *first* worker has exited, contrary to Node's
    /// documentation.
    pub fn disconnect_all(&mut self) {
        let all = self.peers.expect_exits();
        for worker in &all {
            // A worker is asked only once: its channel may be closing after the first request, and a write
            // would fail.
            let info = self.peers.info(*worker);
            if info.listed && info.connected {
                self.disconnect_worker(*worker);
            }
        }
        self.command(|Primary { peers, distribution, .. }| {
            distribution.close_unused_handles(peers);
            if all.is_empty() {
                peers.steps.own(Step::Later(Event::AllDisconnected));
            }
        });
    }

    /// Whether [`disconnect_all`](Primary::disconnect_all) has asked all present workers to exit, and at
    /// least one has not exited.
    pub fn is_disconnecting(&self) -> bool {
        self.peers.is_disconnecting()
    }

    /// Closes every channel when the queue is sent, and asks no worker to exit. Call before the end of the
    /// process.
    pub fn finish(&mut self) {
        self.command(|primary| primary.peers.disconnect());
    }

    /// Whether every channel is closed.
    pub fn is_finished(&self) -> bool {
        self.peers.is_over()
    }

    /// Sends a signal to a worker. Node: `worker.kill(signal)`.
    pub fn kill(&mut self, worker: WorkerId, signal: Signal) {
        if self.worker(worker).is_some_and(|info| !info.dead) {
            self.command(|primary| primary.peers.steps.call(Call::Kill { worker, signal }));
        }
    }

    /// The state of a worker. Available until the next [`Machine::poll`] after the worker's last event.
    pub fn worker(&self, id: WorkerId) -> Option<&WorkerInfo> {
        self.peers.get(id)
    }

    /// The listed workers, in order of fork. Node: the keys of `cluster.workers`. Workers asked to exit are
    /// not listed; see [`Primary::running_workers`].
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.peers.all(WorkerInfo::is_listed)
    }

    /// The workers with running processes, in order of fork, including workers asked to exit. Useful to kill
    /// the rest after a deadline.
    pub fn running_workers(&self) -> impl Iterator<Item = WorkerId> {
        self.peers.all(|info| !info.dead)
    }

    /// The ledger: the records of all accepted connections.
    pub fn ledger(&self) -> &Ledger {
        &self.distribution.ledger
    }

    // ---- events of the operating system

    fn exited(&mut self, worker: WorkerId, status: ExitStatus) {
        let Some(connected) = self.peers.exited(worker) else { return };
        self.distribution.remove_worker(worker, &mut self.peers);
        if !connected {
            self.peers.steps.own(Step::Remove(worker));
        }
        self.peers.steps.own(Step::Exited(worker, status));
        self.peers.steps.own(Step::Forget(worker));
        let timeout = self.setup.settings.retained_channel_timeout;
        if let Some(after_ms) = retained_channels::wait_ms(worker, timeout, &self.peers) {
            self.distribution.set_timer(TimerAction::RetainedChannel(worker), after_ms, &mut self.peers);
        }
    }

    // ---- steps

    fn on_channel_event(&mut self, worker: WorkerId, event: ChannelEvent) -> Option<Output<Event>> {
        let Primary { peers, distribution, .. } = self;
        match event {
            ChannelEvent::Call(call) => return Some(Output::Call(call)),
            ChannelEvent::Received(message) => return self.received(worker, message),
            ChannelEvent::Arrived(envelope, socket) => return self.arrived(worker, *envelope, socket),
            ChannelEvent::Refused(outgoing) => {
                if let Some(socket) = outgoing.passes() {
                    peers.error(worker, WorkerError::NotReceived);
                    peers.flight_ended(socket);
                } else if let ChannelMessage::Cluster(message) = outgoing.message {
                    distribution.undelivered(worker, *message, peers);
                }
            }
            ChannelEvent::FlightEnded(socket) => peers.flight_ended(socket),
            ChannelEvent::Written(_) => {}
            ChannelEvent::Lost(errno, lost) => peers.error(worker, WorkerError::Write { errno, lost }),
            ChannelEvent::Failing(errno) => peers.error(worker, WorkerError::Delayed(errno)),
            ChannelEvent::Retry => distribution.set_timer(TimerAction::Write(worker), RETRY_MS, peers),
            // The worker may have read connections without acknowledging them. These stay with the worker
            // until the channel is read to the end.
            ChannelEvent::Broken => distribution.offer_no_more(worker, peers),
            ChannelEvent::Violated(violation) => {
                peers.error(worker, WorkerError::Protocol(violation));
                peers.with_channel(worker.into(), Channel::abort);
            }
            // The tick in which the channel has closed. Node: the child's `'disconnect'`.
            ChannelEvent::Closed => {
                distribution.remove_worker(worker, peers);
                distribution.descriptor_freed(peers);
                if peers.info(worker).dead {
                    peers.steps.own(Step::Remove(worker));
                }
                peers.steps.own(Step::Disconnected(worker));
                peers.steps.own(Step::Forget(worker));
            }
        }
        None
    }

    fn received(&mut self, worker: WorkerId, message: ChannelMessage) -> Option<Output<Event>> {
        match message {
            ChannelMessage::User(message) => {
                return Some(Output::Event(Event::Message { worker, message, handle: None }));
            }
            ChannelMessage::Cluster(cluster) => return self.cluster(worker, *cluster),
            ChannelMessage::SocketCount(question) => self.peers.asked(worker, question),
            ChannelMessage::Supervision(answer) => self.peers.entry(worker)?.supervised(&answer),
            ChannelMessage::Foreign => {}
        }
        None
    }

    /// Called when a message has arrived with a socket.
    fn arrived(
        &mut self,
        worker: WorkerId,
        Envelope { message, kind, key }: Envelope,
        socket: SocketId,
    ) -> Option<Output<Event>> {
        let ChannelMessage::User(message) = message else {
            // No internal message to a primary has a socket.
            self.peers.steps.call(Call::Close { socket });
            return self.received(worker, message);
        };
        self.peers.counted.add(socket, worker.into(), key);
        let handle = Some(IncomingHandle { socket, kind });
        Some(Output::Event(Event::Message { worker, message, handle }))
    }

    fn cluster(&mut self, worker: WorkerId, cluster: ClusterMessage) -> Option<Output<Event>> {
        let peers = &mut self.peers;
        if let Some(reply) = cluster.reply
            && let Some(answered) = peers.answered(worker, reply.ack)
        {
            match answered {
                Ok(connection) => {
                    let accepted = reply.accepted == Some(true);
                    peers.info(worker).answered(accepted, reply.open);
                    self.distribution.answered(worker, connection, accepted, peers);
                }
                Err(violation) => return self.on_channel_event(worker, ChannelEvent::Violated(violation)),
            }
            return None;
        }
        match cluster.request? {
            Request::Online => {
                peers.info(worker).state = WorkerState::Online;
                return Some(Output::Event(Event::Online { worker }));
            }
            Request::Listening(address) => {
                peers.info(worker).state = WorkerState::Listening;
                return Some(Output::Event(Event::Listening { worker, address }));
            }
            Request::ExitedAfterDisconnect => {
                peers.info(worker).exited_after_disconnect = Some(true);
                peers.reply(worker, Reply { ack: cluster.seq, ..Reply::default() }, None);
            }
            // No answer for a worker asked to exit, as in Node, nor for a lame duck.
            Request::QueryServer(_) if peers.entry(worker)?.is_retired() => {}
            Request::QueryServer(query) => {
                let policy = self.setup.settings.policy;
                self.distribution.query(worker, cluster.seq, query, policy, peers);
            }
            Request::Close(key) => self.distribution.close(worker, &key, peers),
            // Only a primary sends these requests. The requests of a worker are ignored, as in Node.
            Request::NewConn(_) | Request::Disconnect => {}
        }
        None
    }

    /// Removes a worker after its last event.
    fn forget(&mut self, worker: WorkerId) {
        let Some(was_last) = self.peers.forget(worker) else { return };
        // A worker forked after `disconnect_all` may still use a handle. A handle without such a worker
        // closes.
        if self.peers.is_disconnecting() {
            self.distribution.close_unused_handles(&mut self.peers);
        }
        if was_last {
            self.peers.expect_no_exit();
            self.peers.steps.own(Step::Emit(Event::AllDisconnected));
        }
    }
}

/// Turns the requeue off, to show that a test fails without the requeue: the primary then closes the
/// unacknowledged connections of a dead worker.
#[cfg(feature = "testing")]
pub fn without_requeue(primary: &mut Primary) {
    primary.distribution.closes_unacknowledged = true;
}

impl Stepper for Primary {
    type Step = MachineStep<Step>;
    type Event = Event;

    fn steps(&mut self) -> &mut Queue<Step> {
        &mut self.peers.steps
    }

    fn run(&mut self, step: MachineStep<Step>) -> Option<Output<Event>> {
        let peers = &mut self.peers;
        let step = match step {
            MachineStep::Call(call) => return Some(Output::Call(call)),
            MachineStep::Channel(channel, step) => {
                let event = peers.run(channel, step)?;
                return self.on_channel_event(WorkerId(channel.0), event);
            }
            MachineStep::Own(step) => step,
        };
        match step {
            Step::Emit(event) => return Some(Output::Event(event)),
            Step::Later(event) => peers.steps.own_tick(Step::Emit(event)),
            Step::Remove(worker) => peers.info(worker).listed = false,
            Step::ResumeAccept(socket) => return self.distribution.resume_accept(socket).map(Output::Call),
            Step::Bind(handle, address, backlog) => {
                return self.distribution.bind(handle, address, backlog).map(Output::Call);
            }
            Step::AnswerQueries(handle, result) => self.distribution.answer_queries(handle, result, peers),
            Step::Exited(worker, status) => {
                peers.end(worker, WorkerState::Dead);
                let exited_after_disconnect = peers.info(worker).exited_after_disconnect == Some(true);
                return Some(Output::Event(Event::Exit { worker, status, exited_after_disconnect }));
            }
            Step::Disconnected(worker) => {
                peers.end(worker, WorkerState::Disconnected);
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
        let scope = self.peers.steps.enter();
        let Primary { peers, distribution, .. } = self;
        match event {
            OsEvent::Spawned { worker, pid } => {
                peers.started(worker);
                peers.info(worker).pid = Some(pid);
                peers.steps.own_tick(Step::Emit(Event::Fork { worker }));
            }
            OsEvent::SpawnFailed { worker, program, directory, errno } => {
                peers.spawn_failed(worker, program, directory, errno);
            }
            OsEvent::KillFailed { worker, errno } => {
                peers.steps.own_tick(Step::Emit(Event::Error { worker, error: WorkerError::Kill(errno) }));
            }
            OsEvent::Exited { worker, status } => self.exited(worker, status),
            OsEvent::Lingers { worker } => {
                if peers.get(worker).is_some_and(|info| !info.dead) {
                    peers.error(worker, WorkerError::Lingers);
                }
            }
            OsEvent::Read { channel, bytes, socket } => {
                peers.with_channel(channel, |channel, steps| channel.read(&bytes, socket, steps));
            }
            OsEvent::Wrote { channel, rest } => {
                peers.with_channel(channel, |channel, steps| channel.wrote(&rest, steps));
            }
            OsEvent::Writable { channel } => peers.with_channel(channel, Channel::writable),
            OsEvent::WriteFailed { channel, errno } => {
                peers.with_channel(channel, |channel, steps| channel.write_failed(errno, steps));
            }
            OsEvent::ChannelClosed { channel } => peers.with_channel(channel, Channel::closed),
            OsEvent::Bound { handle, socket, address } => distribution.bound(handle, socket, address, peers),
            OsEvent::BindFailed { handle, errno } => distribution.after_bind(handle, Err(errno), peers),
            OsEvent::Accepted { listener, socket, client } => {
                distribution.accepted(listener, socket, client, peers);
            }
            OsEvent::Chosen { handle, connection, worker } => {
                if choosing::chosen(&mut distribution.handles, handle, connection, worker) {
                    distribution.hand_off(handle, peers);
                }
            }
            OsEvent::AcceptFailed { listener, errno } => distribution.accept_failed(listener, errno, peers),
            OsEvent::Timer { timer } => distribution.timer(timer, peers),
            OsEvent::Listening { .. } | OsEvent::ListenFailed { .. } => {
                unreachable!("a primary never listens on a received socket")
            }
        }
        self.peers.steps.end_scope(scope);
    }

    fn poll(&mut self) -> Option<Output<Event>> {
        steps::poll(self)
    }

    fn poll_call(&mut self) -> Option<Call> {
        steps::poll_call(self)
    }
}
