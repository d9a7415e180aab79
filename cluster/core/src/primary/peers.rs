//! The workers as peers of the primary: their states, their channels, the messages to them, and the queue of
//! steps. `distribution` chooses the worker of a connection; `primary` reacts to messages.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::worker_info::WorkerEntry;
use super::{Step, WorkerInfo, WorkerState};
use crate::channel::{Channel, ChannelEvent, ChannelStep, Outgoing, Queue};
use crate::event::{Event, WorkerError};
use crate::handle::policy::Seat;
use crate::message::{
    ChannelMessage, ClusterMessage, Data, HandleKey, HandleType, Reply, Request, SocketCount, Supervision,
};
use crate::os::{Call, ChannelId, Errno, Signal, SocketId, WorkerId};
use crate::os_bytes::OsBytes;
use crate::passing::{CountedHandles, InFlightHandles, IncomingHandle, OutgoingHandle};
use crate::pending::Pending;
use crate::send::{SendError, Sent};
use crate::settings::Limits;
use crate::spawn_options::SpawnOptions;
use crate::user_message::Message;
use crate::violation::Violation;

pub(super) mod peers_claims;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Peers {
    /// Boxed, because each node of the map reserves the memory of eleven values.
    workers: BTreeMap<WorkerId, Box<WorkerEntry>>,
    pub(super) steps: Queue<Step>,
    /// The connections for which a worker's answer is outstanding.
    offers: Pending<SocketId>,
    in_flight: InFlightHandles,
    pub(super) counted: CountedHandles,
    /// The workers that `disconnect_all` waits for.
    disconnecting: Option<BTreeSet<WorkerId>>,
}

impl Peers {
    pub(super) fn new() -> Self {
        Peers {
            workers: BTreeMap::new(),
            steps: Queue::new(),
            offers: Pending::new(),
            in_flight: InFlightHandles::default(),
            counted: CountedHandles::default(),
            disconnecting: None,
        }
    }

    /// Continues the numbers of messages after `last`.
    #[cfg(feature = "testing")]
    pub(super) fn count_after(&mut self, last: u64) {
        self.offers.count_after(last);
    }

    // ---- the lives of workers

    pub(super) fn add(&mut self, worker: WorkerId, options: SpawnOptions, limits: &Limits) {
        let channel = Channel::new(worker.into(), options.serialization.unwrap_or_default(), limits);
        self.workers.insert(worker, Box::new(WorkerEntry::new(channel, options, Seat::of_worker(worker))));
    }

    pub(super) fn get(&self, worker: WorkerId) -> Option<&WorkerInfo> {
        self.workers.get(&worker).map(|entry| &entry.info)
    }

    pub(super) fn info(&mut self, worker: WorkerId) -> &mut WorkerInfo {
        let entry = self.workers.get_mut(&worker);
        &mut entry.unwrap_or_else(|| unreachable!("worker {worker} has no entry")).info
    }

    /// The workers with this property, in order of fork.
    pub(super) fn all(&self, has: impl Fn(&WorkerInfo) -> bool) -> impl Iterator<Item = WorkerId> {
        self.workers.iter().filter(move |(_, entry)| has(&entry.info)).map(|(id, _)| *id)
    }

    /// Takes the options of a process that has started, or has failed to start.
    pub(super) fn started(&mut self, worker: WorkerId) -> Option<SpawnOptions> {
        self.workers.get_mut(&worker)?.starting.take()
    }

    pub(super) fn spawn_failed(
        &mut self,
        worker: WorkerId,
        program: Option<OsBytes>,
        directory: bool,
        errno: Errno,
    ) {
        self.info(worker).dead = true;
        let options = self.started(worker);
        let program = program.or_else(|| options.as_ref()?.exec.clone());
        let directory = options.as_ref().filter(|_| directory).and_then(|options| options.cwd.clone());
        let error = WorkerError::Spawn { program, directory, errno };
        self.steps.own_tick(Step::Emit(Event::Error { worker, error }));
        self.steps.own_tick(Step::Emit(Event::Fork { worker }));
        self.with_channel(worker.into(), Channel::closed);
    }

    /// Called when the process has exited. Returns whether its channel is still connected. `None`: the worker
    /// has no entry.
    pub(super) fn exited(&mut self, worker: WorkerId) -> Option<bool> {
        let entry = self.workers.get_mut(&worker)?;
        entry.info.dead = true;
        let connected = entry.channel.is_connected();
        entry.channel.cancel_all(&mut self.steps);
        Some(connected)
    }

    pub(super) fn end(&mut self, worker: WorkerId, state: WorkerState) {
        let info = self.info(worker);
        info.settle_exit_intent();
        info.state = state;
    }

    /// Drops a worker after the last event. Returns whether this worker was the last that `disconnect_all`
    /// waited for. `None`: nothing waits, or the worker has further events.
    pub(super) fn forget(&mut self, worker: WorkerId) -> Option<bool> {
        let entry = &self.workers[&worker];
        if !(entry.info.dead && entry.channel.is_over()) {
            return None;
        }
        if entry.has_group && entry.info.pid.is_some() {
            self.steps.call(Call::Kill { worker, signal: Signal::SIGKILL });
        }
        self.workers.remove(&worker);
        self.counted.forget(worker.into());
        let disconnecting = self.disconnecting.as_mut()?;
        disconnecting.remove(&worker);
        Some(disconnecting.is_empty())
    }

    /// Begins to wait for the exits of all workers, and returns these workers.
    pub(super) fn expect_exits(&mut self) -> BTreeSet<WorkerId> {
        let all: BTreeSet<WorkerId> = self.workers.keys().copied().collect();
        if !all.is_empty() {
            self.disconnecting.get_or_insert_default().extend(all.iter().copied());
        }
        all
    }

    pub(super) fn expect_no_exit(&mut self) {
        self.disconnecting = None;
    }

    /// Whether every worker was asked to exit, and at least one has not exited. Every awaited worker has an
    /// entry, so the numbers are equal only if every worker is awaited.
    pub(super) fn is_disconnecting(&self) -> bool {
        self.disconnecting.as_ref().is_some_and(|disconnecting| disconnecting.len() == self.workers.len())
    }

    // ---- channels

    pub(super) fn with_channel(
        &mut self,
        channel: ChannelId,
        act: impl FnOnce(&mut Channel, &mut Queue<Step>),
    ) {
        if let Some(entry) = self.workers.get_mut(&WorkerId(channel.0)) {
            act(&mut entry.channel, &mut self.steps);
            entry.info.connected = entry.channel.is_connected();
        }
    }

    pub(super) fn run(&mut self, channel: ChannelId, step: ChannelStep) -> Option<ChannelEvent> {
        self.workers.get_mut(&WorkerId(channel.0))?.channel.run(step, &mut self.steps)
    }

    /// Closes every channel once its queue is sent.
    pub(super) fn disconnect(&mut self) {
        for entry in self.workers.values_mut() {
            entry.channel.disconnect(&mut self.steps);
            entry.info.connected = entry.channel.is_connected();
        }
    }

    /// Whether every channel is closed.
    pub(super) fn is_over(&self) -> bool {
        self.workers.values().all(|entry| entry.channel.is_over())
    }

    pub(super) fn channel(&self, worker: WorkerId) -> Option<&Channel> {
        self.workers.get(&worker).map(|entry| &entry.channel)
    }

    /// Cancels the sending of a socket to all workers.
    pub(super) fn cancel(&mut self, socket: SocketId) {
        for entry in self.workers.values_mut() {
            entry.channel.cancel(socket, &mut self.steps);
        }
    }

    // ---- messages of the cluster

    pub(super) fn send(&mut self, worker: WorkerId, message: ChannelMessage, handle: Option<IncomingHandle>) {
        if let Some(entry) = self.workers.get_mut(&worker) {
            entry.channel.send(Outgoing::from(message).with(handle), &mut self.steps);
        }
    }

    pub(super) fn request(
        &mut self,
        worker: WorkerId,
        request: Request,
        handle: Option<IncomingHandle>,
    ) -> u64 {
        let seq = self.offers.next_seq();
        self.send(worker, ClusterMessage { seq, reply: None, request: Some(request) }.into(), handle);
        seq
    }

    pub(super) fn reply(&mut self, worker: WorkerId, reply: Reply, handle: Option<IncomingHandle>) {
        let seq = self.offers.next_seq();
        self.send(worker, ClusterMessage { seq, reply: Some(reply), request: None }.into(), handle);
    }

    /// Refuses a query. The answer contains the data as well, because a Node TLS server reads its ticket keys
    /// from every answer.
    pub(super) fn refuse(&mut self, worker: WorkerId, seq: u64, key: HandleKey, data: Data, errno: Errno) {
        let reply = Reply { ack: seq, errno: Some(errno), key: Some(key), data, ..Reply::default() };
        self.reply(worker, reply, None);
    }

    /// Offers a connection to a worker. From now on the answer is outstanding.
    pub(super) fn offer(&mut self, worker: WorkerId, key: HandleKey, socket: SocketId) {
        let handle = IncomingHandle { socket, kind: HandleType::Native };
        let seq = self.request(worker, Request::NewConn(key), Some(handle));
        self.offers.expect(seq, worker.into(), socket);
    }

    /// The connection of the offer that the worker answers.
    ///
    /// # Errors
    ///
    /// The worker cannot have received the connection.
    pub(super) fn answered(&mut self, worker: WorkerId, seq: u64) -> Option<Result<SocketId, Violation>> {
        let connection = self.take_offer(worker, seq)?;
        if self.workers[&worker].channel.is_carrying(connection) {
            self.offers.expect(seq, worker.into(), connection);
            return Some(Err(Violation::UnaskedAck));
        }
        Some(Ok(connection))
    }

    pub(super) fn take_offer(&mut self, worker: WorkerId, seq: u64) -> Option<SocketId> {
        self.offers.take(seq, worker.into())
    }

    /// Takes the connections for which the worker's answer is outstanding, because the worker can no longer
    /// answer. Oldest first.
    pub(super) fn take_offers(&mut self, worker: WorkerId) -> Vec<SocketId> {
        self.offers.take_all(worker.into())
    }

    pub(super) fn error(&mut self, worker: WorkerId, error: WorkerError) {
        self.steps.own(Step::Emit(Event::Error { worker, error }));
    }

    // ---- a supervisor

    pub(super) fn entry(&mut self, worker: WorkerId) -> Option<&mut WorkerEntry> {
        self.workers.get_mut(&worker).map(|entry| &mut **entry)
    }

    pub(super) fn ping(&mut self, worker: WorkerId) -> u64 {
        let seq = self.offers.next_seq();
        self.send(worker, ChannelMessage::Supervision(Supervision::Ping { seq }), None);
        seq
    }

    // ---- messages of the program

    pub(super) fn post(
        &mut self,
        worker: WorkerId,
        message: Message,
        passing: Option<OutgoingHandle>,
    ) -> Option<Result<Sent, SendError>> {
        let entry = self.workers.get_mut(&worker)?;
        if entry.info.dead && passing.is_some() {
            // Another process may hold the worker's channel open, and must not receive the worker's sockets.
            return Some(Err(SendError::Closed));
        }
        Some(entry.channel.post(message, passing, &mut self.in_flight, &mut self.steps))
    }

    pub(super) fn asked(&mut self, worker: WorkerId, question: SocketCount) {
        if let Some(answer) = self.counted.answer(worker.into(), question) {
            self.send(worker, ChannelMessage::SocketCount(answer), None);
        }
    }

    /// Ends the sender's count of a socket.
    pub(super) fn release(&mut self, socket: SocketId) {
        if let Some((peer, key)) = self.counted.release(socket) {
            self.send(WorkerId(peer.0), ChannelMessage::SocketCount(SocketCount::AllClosed(key)), None);
        }
    }

    /// Called when a copy of a socket sent by the program is no longer in flight.
    pub(super) fn flight_ended(&mut self, socket: SocketId) {
        if self.in_flight.end(socket) {
            self.steps.call(Call::Close { socket });
            self.release(socket);
        }
    }
}
