//! The machine in the primary process: who was forked, how far each worker has come, and what the user hears of it.
//! It does no IO: it asks for [`Call`]s. Serving (who listens where, who gets which connection) is in `serve`.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::sync::Arc;

use crate::backoff::RETRY_MS;
use crate::channel::{Channel, ChannelStep, Happened, Outgoing};
use crate::event::{Event, Output, WorkerError};
use crate::handle::Handle;
use crate::ledger::Ledger;
use crate::message::{Act, Cluster, HandleKey, Message, Reply};
use crate::os::{Call, ChannelId, Errno, ExitStatus, HandleId, OsEvent, Signal, SocketId, TimerId, WorkerId};
use crate::passing::{Counted, Passed, Travelling};
use crate::pending::Pending;
use crate::pump::Machine;
use crate::settings::{Command, Settings};
use crate::steps::{self, IsCall, Stepper, Steps};
use crate::violation::Violation;

mod address;
mod counters;
mod inspector;
mod life;
mod passing;
mod serve;
mod setup;

use counters::Counters;
pub use life::{Life, WorkerState};
use serve::{Awaited, Retry};
pub use setup::{ForkError, PolicyFrozen};

/// What the primary has still to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Emit(Event),
    /// Emit it one tick later.
    Later(Event),
    Call(Call),
    Channel(ChannelId, ChannelStep),
    /// Both its ends have come: it leaves the list.
    Remove(WorkerId),
    /// Its process has ended: decide, and tell.
    Exited(WorkerId, ExitStatus),
    /// Its channel is closed: decide, and tell.
    Disconnected(WorkerId),
    /// Everything was told: what is known of it can go.
    Forget(WorkerId),
}

impl From<(ChannelId, ChannelStep)> for Step {
    fn from((channel, step): (ChannelId, ChannelStep)) -> Self {
        Step::Channel(channel, step)
    }
}

impl IsCall for Step {
    fn is_call(&self) -> bool {
        match self {
            // To put off an event gives nothing out, and its tick belongs before that of the call behind it.
            Step::Call(_) | Step::Later(_) => true,
            Step::Channel(_, step) => step.is_call(),
            Step::Emit(_) | Step::Remove(_) | Step::Exited(..) | Step::Disconnected(_) | Step::Forget(_) => {
                false
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Member {
    life: Life,
    channel: Channel,
    /// What is executed, until it is known whether it can be.
    starting: Option<Arc<Command>>,
}

/// The primary of a cluster. Node: the `cluster` module in the primary process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Primary {
    settings: Settings,
    /// The scheduling policy can no longer be changed.
    frozen: bool,
    counters: Counters,
    /// In boxes: a map makes room for eleven values at once.
    members: BTreeMap<WorkerId, Box<Member>>,
    steps: Steps<Step>,
    pending: Pending<Awaited>,
    travelling: Travelling,
    counted: Counted,
    handles: BTreeMap<HandleId, Box<Handle>>,
    keys: BTreeMap<HandleKey, HandleId>,
    listeners: BTreeMap<SocketId, HandleId>,
    ledger: Ledger,
    retries: BTreeMap<TimerId, Retry>,
    /// Whom `disconnect` still waits for.
    leaving: Option<BTreeSet<WorkerId>>,
}

impl Primary {
    /// A primary without workers.
    pub fn new(settings: Settings) -> Self {
        Primary {
            settings,
            frozen: false,
            counters: Counters::default(),
            members: BTreeMap::new(),
            steps: Steps::new(),
            pending: Pending::new(),
            travelling: Travelling::default(),
            counted: Counted::default(),
            handles: BTreeMap::new(),
            keys: BTreeMap::new(),
            listeners: BTreeMap::new(),
            ledger: Ledger::default(),
            retries: BTreeMap::new(),
            leaving: None,
        }
    }

    /// Asks a worker to finish its connections and go. It leaves the list and gets no more connections at once.
    /// Node: `worker.disconnect()`.
    pub fn disconnect_worker(&mut self, worker: WorkerId) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        let entry = self.steps.enter_command();
        member.life.exited_after_disconnect = Some(true);
        member.life.listed = false;
        self.tell(worker, Act::Disconnect);
        self.leave_handles(worker);
        self.steps.leave(entry);
    }

    /// Asks every worker to finish and exit; [`Event::AllDisconnected`] follows the end of the last of them.
    ///
    /// Every listening socket closes at once, also with [`Settings::keep_listening`]: a later client is refused. A worker that
    /// is forked after this call is not asked, and its sockets open again.
    /// Node: `cluster.disconnect()`, which calls back when the *first* worker has ended, against its documentation.
    pub fn disconnect(&mut self) {
        let all: BTreeSet<WorkerId> = self.members.keys().copied().collect();
        if !all.is_empty() {
            self.leaving.get_or_insert_default().extend(all.iter().copied());
        }
        for worker in &all {
            // A worker that was asked before is not asked again: its channel may be closing, and a write would fail.
            let life = &self.members[worker].life;
            if life.listed && life.connected {
                self.disconnect_worker(*worker);
            }
        }
        let entry = self.steps.enter_command();
        self.shut_unused();
        if all.is_empty() {
            self.steps.push(Step::Later(Event::AllDisconnected));
        }
        self.steps.leave(entry);
    }

    /// Whether every worker was asked by [`disconnect`](Primary::disconnect) to exit, and the last has not ended.
    pub fn is_disconnecting(&self) -> bool {
        self.leaving
            .as_ref()
            .is_some_and(|leaving| self.members.keys().all(|worker| leaving.contains(worker)))
    }

    /// Closes every channel once everything is sent on it, and asks no worker to exit: this process is about to end.
    pub fn finish(&mut self) {
        let entry = self.steps.enter_command();
        for member in self.members.values_mut() {
            member.channel.disconnect(&mut self.steps);
            member.life.connected = member.channel.is_connected();
        }
        self.steps.leave(entry);
    }

    /// Whether every channel is closed.
    pub fn is_finished(&self) -> bool {
        self.members.values().all(|member| member.channel.is_over())
    }

    /// Sends a signal to a worker, and nothing else. Node: `worker.kill(signal)`.
    pub fn kill(&mut self, worker: WorkerId, signal: Signal) {
        if self.members.get(&worker).is_some_and(|member| !member.life.dead) {
            let entry = self.steps.enter_command();
            self.steps.push(Step::Call(Call::Kill { worker, signal }));
            self.steps.leave(entry);
        }
    }

    /// What is known of a worker: until the next [`Machine::poll`] after its last event.
    pub fn worker(&self, id: WorkerId) -> Option<&Life> {
        self.members.get(&id).map(|member| &member.life)
    }

    /// The workers, in the order they were forked. Node: the keys of `cluster.workers`. One that was asked to go is not
    /// among them any more; see [`Primary::living`].
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.members.iter().filter(|(_, member)| member.life.listed).map(|(id, _)| *id)
    }

    /// The workers whose process has not ended, in the order they were forked, those that were asked to go among them:
    /// whom to kill when a deadline has passed.
    pub fn living(&self) -> impl Iterator<Item = WorkerId> {
        self.members.iter().filter(|(_, member)| !member.life.dead).map(|(id, _)| *id)
    }

    /// How the workers are started and served.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The book of connections.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    // ---- what the operating system tells

    fn with_channel(&mut self, channel: ChannelId, act: impl FnOnce(&mut Channel, &mut Steps<Step>)) {
        if let Some(member) = self.members.get_mut(&WorkerId(channel.0)) {
            act(&mut member.channel, &mut self.steps);
            member.life.connected = member.channel.is_connected();
        }
    }

    fn spawned(&mut self, worker: WorkerId, pid: u32) {
        self.started(worker);
        self.life(worker).pid = Some(pid);
        self.steps.tick(Step::Emit(Event::Fork { worker }));
    }

    /// What was being started.
    fn started(&mut self, worker: WorkerId) -> Option<Arc<Command>> {
        self.members.get_mut(&worker)?.starting.take()
    }

    fn spawn_failed(&mut self, worker: WorkerId, program: Option<String>, directory: bool, errno: Errno) {
        self.life(worker).dead = true;
        let command = self.started(worker);
        let program = program.or_else(|| command.as_ref().and_then(|command| command.exec.clone()));
        let directory = command.filter(|_| directory).and_then(|command| command.cwd.clone());
        let error = WorkerError::Spawn { program, directory, errno };
        self.steps.tick(Step::Emit(Event::Error { worker, error }));
        self.steps.tick(Step::Emit(Event::Fork { worker }));
        self.with_channel(worker.into(), Channel::closed);
    }

    /// One that was disconnected may finish what it does.
    fn lingers(&mut self, worker: WorkerId) {
        let life = self.members.get(&worker).map(|member| &member.life);
        if life.is_some_and(|life| !life.dead && life.exited_after_disconnect() != Some(true)) {
            self.error(worker, WorkerError::Lingers);
        }
    }

    fn exited(&mut self, worker: WorkerId, status: ExitStatus) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.life.dead = true;
        let connected = member.channel.is_connected();
        member.channel.cancel_all(&mut self.steps);
        self.abandon(worker);
        if !connected {
            self.steps.push(Step::Remove(worker));
        }
        self.steps.push(Step::Exited(worker, status));
        self.steps.push(Step::Forget(worker));
    }

    /// The tick in which a closed channel is told of. Node: the child's `'disconnect'`.
    fn gone(&mut self, worker: WorkerId) {
        self.abandon(worker);
        self.descriptor_freed();
        if self.members[&worker].life.dead {
            self.steps.push(Step::Remove(worker));
        }
        self.steps.push(Step::Disconnected(worker));
        self.steps.push(Step::Forget(worker));
    }

    // ---- what a step means

    fn happened(&mut self, worker: WorkerId, happened: Happened) -> Option<Output<Event>> {
        match happened {
            Happened::Call(call) => return Some(Output::Call(call)),
            Happened::Received(message) => return self.received(worker, message),
            Happened::Arrived(envelope, socket) => return self.arrived(worker, envelope, socket),
            Happened::Refused(outgoing) => self.undelivered(worker, outgoing),
            Happened::Settled(socket) => self.settled(socket),
            Happened::Written(_) => {}
            Happened::Lost(errno, lost) => self.error(worker, WorkerError::Write { errno, lost }),
            Happened::Failing(errno) => self.error(worker, WorkerError::Delayed(errno)),
            Happened::Retry => self.retry(Retry::Write(worker), RETRY_MS),
            // What it has read and not acknowledged stays its own until its channel is read to the end.
            Happened::Broken => self.offer_no_more(worker),
            Happened::Violated(violation) => {
                self.error(worker, WorkerError::Protocol(violation));
                self.with_channel(worker.into(), Channel::abort);
            }
            Happened::Gone => self.gone(worker),
        }
        None
    }

    fn received(&mut self, worker: WorkerId, message: Message) -> Option<Output<Event>> {
        match message {
            Message::User(message) => {
                return Some(Output::Event(Event::Message { worker, message, handle: None }));
            }
            Message::Cluster(cluster) => return self.cluster(worker, *cluster),
            Message::Counting(question) => self.asked(worker, question),
            Message::Foreign => {}
        }
        None
    }

    fn cluster(&mut self, worker: WorkerId, cluster: Cluster) -> Option<Output<Event>> {
        if let Some(reply) = cluster.reply
            && let Some(awaited) = self.pending.take(reply.ack, worker.into())
        {
            if self.members[&worker].channel.is_carrying(awaited.connection) {
                // It answers for a connection that it cannot have.
                self.pending.expect(reply.ack, worker.into(), awaited);
                return self.happened(worker, Happened::Violated(Violation::UnaskedAck));
            }
            self.answered(worker, awaited, reply.accepted == Some(true));
            return None;
        }
        match cluster.act? {
            Act::Online => {
                self.life(worker).state = WorkerState::Online;
                return Some(Output::Event(Event::Online { worker }));
            }
            Act::Listening(address) => {
                self.life(worker).state = WorkerState::Listening;
                return Some(Output::Event(Event::Listening { worker, address }));
            }
            Act::ExitedAfterDisconnect => {
                self.life(worker).exited_after_disconnect = Some(true);
                self.reply(worker, Reply { ack: cluster.seq, ..Reply::default() }, None);
            }
            Act::QueryServer(query) => self.query(worker, cluster.seq, query),
            Act::Close(key) => self.close(worker, &key),
            // These a primary sends; one that comes back is ignored, as in Node.
            Act::NewConn(_) | Act::Disconnect => {}
        }
        None
    }

    fn life(&mut self, worker: WorkerId) -> &mut Life {
        let member = self.members.get_mut(&worker);
        &mut member.unwrap_or_else(|| unreachable!("worker {worker} was forgotten while it spoke")).life
    }

    fn end(&mut self, worker: WorkerId, state: WorkerState) {
        let life = self.life(worker);
        life.decide();
        life.state = state;
    }

    /// Once everything was told of a worker nothing is kept of it, and perhaps it was the last to wait for.
    fn forget(&mut self, worker: WorkerId) {
        let member = &self.members[&worker];
        if !(member.life.dead && member.channel.is_over()) {
            return;
        }
        self.members.remove(&worker);
        self.counted.forget(worker.into());
        let Some(leaving) = &mut self.leaving else { return };
        leaving.remove(&worker);
        let was_last = leaving.is_empty();
        // Of the workers that were forked after `disconnect` this may have been the last.
        if self.is_disconnecting() {
            self.shut_unused();
        }
        if was_last {
            self.leaving = None;
            self.steps.push(Step::Emit(Event::AllDisconnected));
        }
    }

    fn error(&mut self, worker: WorkerId, error: WorkerError) {
        self.steps.push(Step::Emit(Event::Error { worker, error }));
    }

    // ---- sending

    fn tell(&mut self, worker: WorkerId, act: Act) {
        let seq = self.pending.next_seq();
        self.transmit(worker, Cluster { seq, reply: None, act: Some(act) }, None);
    }

    fn reply(&mut self, worker: WorkerId, reply: Reply, handle: Option<Passed>) {
        let seq = self.pending.next_seq();
        self.transmit(worker, Cluster { seq, reply: Some(reply), act: None }, handle);
    }

    fn transmit(&mut self, worker: WorkerId, cluster: Cluster, handle: Option<Passed>) {
        if let Some(member) = self.members.get_mut(&worker)
            && member.channel.is_connected()
        {
            member.channel.send(Outgoing::from(Message::from(cluster)).with(handle), &mut self.steps);
        }
    }
}

impl Stepper for Primary {
    type Step = Step;
    type Event = Event;

    fn steps(&mut self) -> &mut Steps<Step> {
        &mut self.steps
    }

    fn run(&mut self, step: Step) -> Option<Output<Event>> {
        match step {
            Step::Emit(event) => return Some(Output::Event(event)),
            Step::Later(event) => self.steps.tick(Step::Emit(event)),
            Step::Call(call) => return Some(Output::Call(call)),
            Step::Channel(channel, step) => {
                let worker = WorkerId(channel.0);
                let member = self.members.get_mut(&worker)?;
                let happened = member.channel.run(step, &mut self.steps)?;
                return self.happened(worker, happened);
            }
            Step::Remove(worker) => self.life(worker).listed = false,
            Step::Exited(worker, status) => {
                self.end(worker, WorkerState::Dead);
                return Some(Output::Event(Event::Exit { worker, status }));
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
        let entry = self.steps.enter();
        match event {
            OsEvent::Spawned { worker, pid } => self.spawned(worker, pid),
            OsEvent::SpawnFailed { worker, program, directory, errno } => {
                self.spawn_failed(worker, program, directory, errno);
            }
            OsEvent::KillFailed { worker, errno } => {
                self.steps.tick(Step::Emit(Event::Error { worker, error: WorkerError::Kill(errno) }));
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
                unreachable!("a primary asks nobody to listen on a received socket")
            }
        }
        self.steps.leave(entry);
    }

    fn poll(&mut self) -> Option<Output<Event>> {
        steps::poll(self)
    }

    fn poll_call(&mut self) -> Option<Call> {
        steps::poll_call(self)
    }
}
