//! Listening sockets and the distribution of accepted connections. The lives of workers are in `primary`.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::bind_address::{bind_address, is_udp};
use super::{Primary, Step};
use crate::backoff::{Backoff, RETRY_MS};
use crate::channel::{Channel, Outgoing};
use crate::event::Event;
use crate::handle::round_robin::{Handoff, RoundRobin};
use crate::handle::shared::Shared;
use crate::handle::{Handle, Sharing};
use crate::ledger::CloseReason;
use crate::message::{
    ChannelMessage, ClusterMessage, Data, HandleKey, HandleType, QueryServer, Reply, Request,
};
use crate::os::{Call, Errno, HandleId, LocalAddress, SocketId, TimerId, WorkerId};
use crate::passing::IncomingHandle;
use crate::settings::SchedulingPolicy;

/// The kernel's queue of connections if the worker gives none. Node: 511.
const BACKLOG: u32 = 511;

/// The outstanding answer of a worker: does it take the connection?
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PendingHandoff {
    pub(super) connection: SocketId,
}

/// The action of a timer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Retry {
    Worker(HandleId, WorkerId),
    Accept(SocketId),
    Write(WorkerId),
}

impl Primary {
    // ---- listening

    /// Handles a worker's query for a socket. A worker that was asked to exit gets no answer, as in Node; neither does
    /// a lame duck.
    pub(super) fn query(&mut self, worker: WorkerId, seq: u64, query: QueryServer) {
        if self.info(worker).exited_after_disconnect == Some(true) || self.workers[&worker].lame {
            return;
        }
        let key = query.key.clone();
        let Some(data) = query.data.clone() else {
            return self.refuse(worker, seq, key, Data::null(), Errno::ENOBUFS);
        };
        let Some(&id) = self.keys.get(&key) else { return self.create(worker, seq, query, data) };
        let handle = self.handle_mut(id);
        if handle.has(worker) {
            return self.refuse(worker, seq, key, data, Errno::EADDRINUSE);
        }
        if handle.data.is_falsy() {
            handle.data = data;
        }
        if handle.is_ready() {
            self.join(id, worker, seq);
        } else {
            handle.waiting.push((worker, seq));
        }
    }

    fn create(&mut self, worker: WorkerId, seq: u64, query: QueryServer, data: Data) {
        let address = match bind_address(&query) {
            Ok(_) if self.serves_too_much(worker) => {
                return self.refuse(worker, seq, query.key, data, Errno::EMFILE);
            }
            Ok(address) => address,
            Err(errno) => return self.refuse(worker, seq, query.key, data, errno),
        };
        let id = self.counters.next_handle();
        let (sharing, backlog) = self.sharing(&query);
        let waiting = alloc::vec![(worker, seq)];
        self.keys.insert(query.key.clone(), id);
        let handle = Handle {
            key: query.key,
            bound: None,
            throttled: false,
            backoff: Backoff::default(),
            waiting,
            data,
            sharing,
        };
        self.handles.insert(id, Box::new(handle));
        self.steps.call(Call::Bind { handle: id, address, backlog });
    }

    /// The worker has reached `sockets_per_worker`. Without a limit nothing is counted: the count visits every
    /// socket, so a worker with thousands of sockets would stall the others.
    fn serves_too_much(&self, worker: WorkerId) -> bool {
        let limit = self.settings.limits.sockets_per_worker;
        let served = self.handles.values().filter(|handle| handle.has(worker));
        limit < usize::MAX && served.take(limit).count() == limit
    }

    /// The policy for an address, and the primary's backlog if the primary listens. UDP is always shared.
    fn sharing(&self, query: &QueryServer) -> (Sharing, Option<u32>) {
        match self.settings.policy {
            _ if is_udp(query) => (Sharing::Shared(Shared::new(HandleType::DatagramNative)), None),
            SchedulingPolicy::Shared => (Sharing::Shared(Shared::new(HandleType::Native)), None),
            SchedulingPolicy::RoundRobin => {
                let backlog = query.backlog.filter(|backlog| *backlog > 0).unwrap_or(BACKLOG);
                (Sharing::RoundRobin(RoundRobin::default()), Some(backlog))
            }
        }
    }

    pub(super) fn bound(&mut self, id: HandleId, socket: SocketId, address: LocalAddress) {
        let Some(handle) = self.handles.get_mut(&id) else {
            // Every worker that asked has disconnected since.
            return self.steps.call(Call::Close { socket });
        };
        handle.bound = Some((socket, address));
        self.after_bind(id, Ok(()));
    }

    pub(super) fn bind_failed(&mut self, id: HandleId, errno: Errno) {
        self.after_bind(id, Err(errno));
    }

    /// A socket on which the primary listens answers its workers one tick after the bind, as in Node, where they wait for
    /// `'listening'`: the messages behind the query are answered first. A shared socket answers at once.
    fn after_bind(&mut self, id: HandleId, result: Result<(), Errno>) {
        match self.handles.get(&id).map(|handle| &handle.sharing) {
            Some(Sharing::RoundRobin(_)) => self.steps.own_tick(Step::AnswerQueries(id, result)),
            Some(Sharing::Shared(_)) => self.answer_queries(id, result),
            None => {}
        }
    }

    /// Answers the workers that asked before the bind. Nothing is left to answer for a handle that was closed since.
    pub(super) fn answer_queries(&mut self, id: HandleId, result: Result<(), Errno>) {
        match result {
            Ok(()) => self.join_waiting(id),
            Err(errno) => self.refuse_waiting(id, errno),
        }
    }

    fn join_waiting(&mut self, id: HandleId) {
        let Some(handle) = self.handles.get_mut(&id) else { return };
        let waiting = core::mem::take(&mut handle.waiting);
        if let (Sharing::RoundRobin(_), Some((socket, _))) = (&handle.sharing, &handle.bound) {
            let socket = *socket;
            self.listeners.insert(socket, id);
            self.resume_accept(socket);
        }
        for (worker, seq) in waiting {
            self.join(id, worker, seq);
        }
    }

    fn refuse_waiting(&mut self, id: HandleId, errno: Errno) {
        let Some(handle) = self.handles.remove(&id) else { return };
        self.keys.remove(&handle.key);
        for (worker, seq) in handle.waiting {
            self.refuse(worker, seq, handle.key.clone(), handle.data.clone(), errno);
        }
    }

    /// Sends a worker its address, and adds the worker to the handle.
    fn join(&mut self, id: HandleId, worker: WorkerId, seq: u64) {
        let handle = self.handle_mut(id);
        let Some((socket, address)) = handle.bound.clone() else { unreachable!("{id:?} is not bound") };
        let reply =
            Reply { ack: seq, key: Some(handle.key.clone()), data: handle.data.clone(), ..Reply::default() };
        match &mut handle.sharing {
            Sharing::RoundRobin(round_robin) => {
                let handoff = round_robin.add(worker);
                let sockname = Some(address).filter(|address| address.ip().is_some());
                self.reply(worker, Reply { sockname, ..reply }, None);
                self.handoff(id, handoff);
            }
            Sharing::Shared(shared) => {
                shared.add(worker);
                let handle = IncomingHandle { socket, kind: shared.kind() };
                self.reply(worker, reply, Some(handle));
            }
        }
    }

    /// A refusal echoes the data as well: a Node TLS server reads its ticket keys from every answer.
    fn refuse(&mut self, worker: WorkerId, seq: u64, key: HandleKey, data: Data, errno: Errno) {
        let reply = Reply { ack: seq, errno: Some(errno), key: Some(key), data, ..Reply::default() };
        self.reply(worker, reply, None);
    }

    /// A worker no longer listens under a key. Node: `close`.
    pub(super) fn close(&mut self, worker: WorkerId, key: &HandleKey) {
        if let Some(&id) = self.keys.get(key) {
            self.leave(id, worker);
        }
    }

    /// A worker no longer listens anywhere.
    pub(super) fn leave_handles(&mut self, worker: WorkerId) {
        let ids: Vec<HandleId> =
            self.handles.iter().filter(|(_, handle)| handle.has(worker)).map(|(id, _)| *id).collect();
        for id in ids {
            self.leave(id, worker);
        }
    }

    /// Closes every socket without a listening worker: `keep_listening` keeps a socket only while a worker may
    /// follow.
    pub(super) fn close_unused_handles(&mut self) {
        let unused = self.handles.iter().filter(|(_, handle)| handle.is_unused());
        let ids: Vec<HandleId> = unused.map(|(id, _)| *id).collect();
        for id in ids {
            self.close_handle(id);
        }
    }

    fn leave(&mut self, id: HandleId, worker: WorkerId) {
        let keep = self.settings.keep_listening && !self.is_disconnecting();
        let handle = self.handle_mut(id);
        handle.remove(worker);
        if handle.is_unused() && !keep {
            self.close_handle(id);
        }
    }

    /// Closes a handle, its socket and its queued connections: no worker listens.
    fn close_handle(&mut self, id: HandleId) {
        let Some(mut handle) = self.handles.remove(&id) else { return };
        self.keys.remove(&handle.key);
        if let Sharing::RoundRobin(round_robin) = &mut handle.sharing {
            for connection in round_robin.drain() {
                self.close_connection(connection);
            }
        }
        if let Some((socket, _)) = handle.bound {
            self.listeners.remove(&socket);
            for entry in self.workers.values_mut() {
                entry.channel.cancel(socket, &mut self.steps);
            }
            self.steps.call(Call::Close { socket });
        }
    }

    // ---- connections

    pub(super) fn accepted(&mut self, listener: SocketId, connection: SocketId) {
        let Some(&id) = self.listeners.get(&listener) else {
            return self.steps.call(Call::Close { socket: connection });
        };
        self.handle_mut(id).backoff.reset();
        self.ledger.accept(connection, id);
        self.distribute(id, connection);
    }

    /// A listening socket that failed to accept is paused until the process frees a descriptor, or for a growing
    /// pause; clients wait in the socket's backlog.
    pub(super) fn accept_failed(&mut self, listener: SocketId, errno: Errno) {
        let Some(&id) = self.listeners.get(&listener) else { return };
        if errno == Errno::ECONNABORTED {
            return;
        }
        let pause = self.handle_mut(id).backoff.next_ms();
        self.steps.own(Step::Emit(Event::AcceptFailed { errno }));
        self.steps.call(Call::PauseAccept { socket: listener });
        self.retry(Retry::Accept(listener), pause);
    }

    /// A descriptor is free again: every paused socket tries once.
    pub(super) fn descriptor_freed(&mut self) {
        let rests = |_: &TimerId, retry: &mut Retry| matches!(retry, Retry::Accept(_));
        for (_, retry) in self.retries.extract_if(.., rests).collect::<Vec<_>>() {
            self.again(retry);
        }
    }

    fn distribute(&mut self, id: HandleId, connection: SocketId) {
        let Sharing::RoundRobin(round_robin) = &mut self.handle_mut(id).sharing else {
            unreachable!("a shared handle accepts nothing");
        };
        let handoff = round_robin.distribute(connection);
        self.handoff(id, handoff);
    }

    fn handoff(&mut self, id: HandleId, handoff: Option<Handoff>) {
        if let Some(Handoff { worker, connection }) = handoff {
            let key = self.handle_mut(id).key.clone();
            self.ledger.hand(connection, worker);
            let seq = self.pending.next_seq();
            self.pending.expect(seq, worker.into(), PendingHandoff { connection });
            let newconn = ClusterMessage { seq, reply: None, request: Some(Request::NewConn(key)) };
            self.transmit(
                worker,
                newconn,
                Some(IncomingHandle { socket: connection, kind: HandleType::Native }),
            );
        }
        self.throttle(id);
    }

    /// Pauses accepting while the queue is full; further clients wait in the kernel's backlog.
    fn throttle(&mut self, id: HandleId) {
        let limit = self.settings.limits.queued_connections;
        let handle = self.handle_mut(id);
        let (Sharing::RoundRobin(round_robin), Some((socket, _))) = (&handle.sharing, &handle.bound) else {
            return;
        };
        let socket = *socket;
        let full = round_robin.queued() >= limit;
        if full != handle.throttled {
            handle.throttled = full;
            if full {
                self.steps.call(Call::PauseAccept { socket });
            } else {
                self.resume_accept(socket);
            }
        }
    }

    /// Handles a worker's answer for a connection.
    pub(super) fn answered(&mut self, worker: WorkerId, awaited: PendingHandoff, accepted: bool) {
        let connection = awaited.connection;
        if accepted {
            let id = self.ledger.own(connection);
            if let Some(entry) = self.workers.get_mut(&worker) {
                entry.owned += 1;
            }
            self.steps.call(Call::Close { socket: connection });
            self.next_for(id, worker);
            self.descriptor_freed();
        } else {
            let id = self.requeue(connection);
            if self.handles.get(&id).is_some_and(|handle| handle.has(worker)) {
                self.retry(Retry::Worker(id, worker), RETRY_MS);
            } else {
                self.next_for(id, worker);
            }
        }
    }

    /// A worker has not received the descriptor of a message.
    pub(super) fn undelivered(&mut self, worker: WorkerId, outgoing: Outgoing) {
        if let Some(socket) = outgoing.passes() {
            return self.not_received(worker, socket);
        }
        let ChannelMessage::Cluster(cluster) = outgoing.message else { return };
        let ClusterMessage { seq, reply, request: _ } = *cluster;
        match reply {
            Some(Reply { ack, key: Some(key), data, .. }) => {
                self.close(worker, &key);
                self.refuse(worker, ack, key, data, Errno::EMFILE);
            }
            Some(_) | None => {
                if let Some(awaited) = self.pending.take(seq, worker.into()) {
                    self.answered(worker, awaited, false);
                }
            }
        }
    }

    /// A worker listens nowhere and answers nothing: the connections that it has not acknowledged are handed to
    /// others.
    pub(super) fn abandon(&mut self, worker: WorkerId) {
        self.leave_handles(worker);
        for awaited in self.pending.abandon(worker.into()) {
            let id = self.requeue(awaited.connection);
            self.next_for(id, worker);
        }
    }

    /// Distributes a connection again, or closes it if no worker listens.
    fn requeue(&mut self, connection: SocketId) -> HandleId {
        let id = self.ledger.requeue(connection);
        if self.handles.contains_key(&id) {
            self.distribute(id, connection);
        } else {
            self.close_connection(connection);
        }
        id
    }

    /// A worker cannot be written to. It stays in its handles until its channel is read to the end.
    pub(super) fn offer_no_more(&mut self, worker: WorkerId) {
        for handle in self.handles.values_mut() {
            if let Sharing::RoundRobin(round_robin) = &mut handle.sharing {
                round_robin.pass_over(worker);
            }
        }
    }

    fn next_for(&mut self, id: HandleId, worker: WorkerId) {
        if self.workers.get(&worker).is_some_and(|entry| entry.channel.is_broken()) {
            return;
        }
        let Some(handle) = self.handles.get_mut(&id) else { return };
        if let Sharing::RoundRobin(round_robin) = &mut handle.sharing {
            let handoff = round_robin.handoff(worker);
            self.handoff(id, handoff);
        }
    }

    fn close_connection(&mut self, connection: SocketId) {
        self.ledger.close(connection, CloseReason::NoListener);
        self.steps.call(Call::Close { socket: connection });
        self.descriptor_freed();
    }

    // ---- retries

    pub(super) fn retry(&mut self, retry: Retry, after_ms: u64) {
        let timer = self.counters.next_timer();
        self.retries.insert(timer, retry);
        self.steps.call(Call::SetTimer { timer, after_ms });
    }

    pub(super) fn timer(&mut self, timer: TimerId) {
        // The timer of a socket that was resumed earlier has no retry left.
        if let Some(retry) = self.retries.remove(&timer) {
            self.again(retry);
        }
    }

    fn again(&mut self, retry: Retry) {
        match retry {
            Retry::Worker(id, worker) => self.next_for(id, worker),
            Retry::Write(worker) => self.with_channel(worker.into(), Channel::writable),
            Retry::Accept(socket) => {
                let id = self.listeners.get(&socket);
                if id.is_some_and(|id| !self.handles[id].throttled) {
                    self.resume_accept(socket);
                }
            }
        }
    }

    fn handle_mut(&mut self, id: HandleId) -> &mut Handle {
        self.handles.get_mut(&id).unwrap_or_else(|| unreachable!("{id:?} was removed"))
    }
}
