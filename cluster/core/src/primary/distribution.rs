//! Listening sockets, and the distribution of accepted connections. `handles` finds a handle; `peers` has the
//! workers and sends to them.

use alloc::collections::BTreeSet;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Step;
use super::bind_address::{bind_address, has_host, is_udp};
use super::handles::Handles;
use super::peers::Peers;
use super::timer_actions::{TimerAction, TimerActions};
use super::{choosing, slow_start};
use crate::backoff::{Backoff, RETRY_MS};
use crate::channel::Channel;
use crate::event::Event;
use crate::handle::policy::{Handoff, Policy, Seat};
use crate::handle::shared::Shared;
use crate::handle::{Assignment, Handle, Sharing};
use crate::ledger::{CloseReason, Ledger};
use crate::message::{ClusterMessage, Data, HandleKey, HandleType, QueryServer, Reply};
use crate::os::{BindAddress, Call, Errno, HandleId, LocalAddress, SocketId, WorkerId};
use crate::passing::IncomingHandle;
use crate::settings::{SchedulingPolicy, Settings};

/// The length of the kernel's queue of connections if the worker asks for none. Node: 511.
const BACKLOG: u32 = 511;

/// The number of connections that a worker may have without an answer. Node: one.
const PLACES: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Distribution {
    pub(super) handles: Handles,
    pub(super) ledger: Ledger,
    pub(super) timer_actions: TimerActions,
    /// See [`Settings::keep_listening`].
    keep_listening: bool,
    sockets_per_worker: usize,
    queued_connections: usize,
    /// See [`Settings::report_after`].
    report_ms: u32,
    /// Whether a supervisor is shutting down, so no connection is accepted.
    stopped: bool,
    /// See [`without_requeue`](super::without_requeue).
    #[cfg(feature = "testing")]
    #[serde(skip)]
    pub(super) closes_unacknowledged: bool,
}

impl Distribution {
    pub(super) fn new(settings: &Settings) -> Self {
        Distribution {
            handles: Handles::default(),
            ledger: Ledger::default(),
            timer_actions: TimerActions::default(),
            keep_listening: settings.keep_listening,
            sockets_per_worker: settings.limits.sockets_per_worker,
            queued_connections: settings.limits.queued_connections,
            report_ms: u32::try_from(settings.report_after.as_millis()).unwrap_or(u32::MAX).max(1),
            stopped: false,
            #[cfg(feature = "testing")]
            closes_unacknowledged: false,
        }
    }

    /// Continues the numbers of handles and timers after `last`.
    #[cfg(feature = "testing")]
    pub(super) fn count_after(&mut self, last: u64) {
        self.handles.count_after(last);
        self.timer_actions.count_after(last);
    }

    // ---- listening

    /// Handles a worker's query for a socket.
    pub(super) fn query(
        &mut self,
        worker: WorkerId,
        seq: u64,
        query: QueryServer,
        policy: SchedulingPolicy,
        peers: &mut Peers,
    ) {
        let key = query.key.clone();
        let Some(data) = query.data.clone() else {
            return peers.refuse(worker, seq, key, Data::Null, Errno::ENOBUFS);
        };
        let found = self.handles.find(&key).or_else(|| self.handles.with_other_index(&query, worker));
        let Some(id) = found else {
            return self.create(worker, seq, query, data, policy, peers);
        };
        let handle = self.handles.live(id);
        if handle.has(worker) {
            return peers.refuse(worker, seq, key, data, Errno::EADDRINUSE);
        }
        if handle.data.is_falsy() {
            handle.data = data;
        }
        if handle.is_ready() {
            self.join(id, worker, seq, peers);
        } else {
            handle.waiting.push((worker, seq));
        }
    }

    fn create(
        &mut self,
        worker: WorkerId,
        seq: u64,
        query: QueryServer,
        data: Data,
        policy: SchedulingPolicy,
        peers: &mut Peers,
    ) {
        let address = match bind_address(&query) {
            Ok(_) if self.handles.has_reached(worker, self.sockets_per_worker) => Err(Errno::EMFILE),
            address => address,
        };
        let address = match address {
            Ok(address) => address,
            Err(errno) => return peers.refuse(worker, seq, query.key, data, errno),
        };
        let (sharing, backlog) = sharing(&query, policy);
        let handle = self.handles.insert(Handle {
            key: query.key,
            bound: None,
            throttled: false,
            backoff: Backoff::default(),
            waiting: alloc::vec![(worker, seq)],
            data,
            sharing,
        });
        // A primary that listens looks the host up before, as in Node: even for an IP address, the lookup
        // takes one tick.
        if backlog.is_some() && has_host(&address) {
            peers.steps.own_tick(Step::Bind(handle, address, backlog));
        } else {
            peers.steps.call(Call::Bind { handle, address, backlog });
        }
    }

    /// The call that binds the socket of a handle. `None`: the handle was closed in the meantime.
    pub(super) fn bind(&self, handle: HandleId, address: BindAddress, backlog: Option<u32>) -> Option<Call> {
        self.handles.get(handle).map(|_| Call::Bind { handle, address, backlog })
    }

    pub(super) fn bound(&mut self, id: HandleId, socket: SocketId, address: LocalAddress, peers: &mut Peers) {
        let Some(handle) = self.handles.get_mut(id) else {
            // Every worker that has asked was disconnected in the meantime.
            return peers.steps.call(Call::Close { socket });
        };
        handle.bind(socket, address);
        self.after_bind(id, Ok(()), peers);
    }

    /// Called after the bind. If the primary listens, the workers are answered one tick later, so the
    /// messages that have arrived after the queries are answered first: in Node, the workers wait for
    /// `'listening'`. For a shared socket the workers are answered at once.
    pub(super) fn after_bind(&mut self, id: HandleId, result: Result<(), Errno>, peers: &mut Peers) {
        match self.handles.get(id).map(|handle| &handle.sharing) {
            Some(Sharing::Assigned(_)) => peers.steps.own_tick(Step::AnswerQueries(id, result)),
            Some(Sharing::Shared(_)) => self.answer_queries(id, result, peers),
            None => {}
        }
    }

    /// Answers the workers that have asked before the bind. If the handle was closed in the meantime, no
    /// worker waits.
    pub(super) fn answer_queries(&mut self, id: HandleId, result: Result<(), Errno>, peers: &mut Peers) {
        match result {
            Ok(()) => self.join_waiting(id, peers),
            Err(errno) => self.refuse_waiting(id, errno, peers),
        }
    }

    fn join_waiting(&mut self, id: HandleId, peers: &mut Peers) {
        let Some(handle) = self.handles.get_mut(id) else { return };
        let waiting = core::mem::take(&mut handle.waiting);
        if let (Sharing::Assigned(_), Some((socket, _))) = (&handle.sharing, &handle.bound) {
            let socket = *socket;
            self.handles.listen(socket, id);
            peers.steps.own(Step::ResumeAccept(socket));
        }
        for (worker, seq) in waiting {
            self.join(id, worker, seq, peers);
        }
    }

    fn refuse_waiting(&mut self, id: HandleId, errno: Errno, peers: &mut Peers) {
        let Some(handle) = self.handles.remove(id) else { return };
        for (worker, seq) in handle.waiting {
            peers.refuse(worker, seq, handle.key.clone(), handle.data.clone(), errno);
        }
    }

    /// Sends a worker the address of the socket, and adds the worker to the handle.
    fn join(&mut self, id: HandleId, worker: WorkerId, seq: u64, peers: &mut Peers) {
        let handle = self.handles.live(id);
        let Some((socket, address)) = handle.bound.clone() else { unreachable!("{id:?} is not bound") };
        let reply =
            Reply { ack: seq, key: Some(handle.key.clone()), data: handle.data.clone(), ..Reply::default() };
        match &mut handle.sharing {
            Sharing::Assigned(assignment) => {
                let seat = peers.entry(worker).map_or(Seat::of_worker(worker), |entry| entry.seat);
                assignment.policy_mut().add(worker, seat, PLACES);
                let sockname = Some(address).filter(|address| address.ip().is_some());
                let report_ms = assignment.policy().reads_loads().then_some(self.report_ms);
                peers.reply(worker, Reply { sockname, report_ms, ..reply }, None);
                self.hand_off(id, peers);
                slow_start::continue_with(&self.handles, &mut self.timer_actions, id, worker, peers);
            }
            Sharing::Shared(shared) => {
                shared.add(worker);
                let handle = IncomingHandle { socket, kind: shared.kind() };
                peers.reply(worker, reply, Some(handle));
            }
        }
    }

    /// Called when a worker no longer listens under a key. Node: `close`.
    pub(super) fn close(&mut self, worker: WorkerId, key: &HandleKey, peers: &mut Peers) {
        if let Some(id) = self.handles.find(key) {
            self.remove_from_handle(id, worker, peers);
        }
    }

    /// Called when a worker no longer listens anywhere.
    pub(super) fn remove_from_handles(&mut self, worker: WorkerId, peers: &mut Peers) {
        for id in self.handles.all(|handle| handle.has(worker)) {
            self.remove_from_handle(id, worker, peers);
        }
    }

    /// Closes every socket at which no worker listens. (`keep_listening` keeps such sockets only while
    /// another worker may follow.)
    pub(super) fn close_unused_handles(&mut self, peers: &mut Peers) {
        for id in self.handles.all(Handle::is_unused) {
            self.close_handle(id, peers);
        }
    }

    /// Closes every socket at which no worker listens and from which the ledger has no open connection.
    /// False: no socket was closed.
    pub(super) fn close_idle_handles(&mut self, peers: &mut Peers) -> bool {
        let open: BTreeSet<HandleId> = self.ledger.open().map(|(_, state)| state.handle()).collect();
        let unused = self.handles.all(Handle::is_unused);
        let mut is_closed = false;
        for id in unused.into_iter().filter(|id| !open.contains(id)) {
            self.close_handle(id, peers);
            is_closed = true;
        }
        is_closed
    }

    fn remove_from_handle(&mut self, id: HandleId, worker: WorkerId, peers: &mut Peers) {
        let keep = self.keep_listening && !peers.is_disconnecting();
        let handle = self.handles.live(id);
        handle.remove(worker);
        if handle.is_unused() && !keep {
            self.close_handle(id, peers);
        } else {
            self.hand_off(id, peers);
        }
    }

    /// Closes a handle at which no worker listens, with the socket and the queued connections.
    fn close_handle(&mut self, id: HandleId, peers: &mut Peers) {
        let Some(mut handle) = self.handles.remove(id) else { return };
        for connection in handle.policy_mut().map(Policy::drain).unwrap_or_default() {
            self.close_connection(connection, peers);
        }
        if let Some((socket, _)) = handle.bound {
            peers.cancel(socket);
            peers.steps.call(Call::Close { socket });
        }
    }

    // ---- connections

    pub(super) fn accepted(
        &mut self,
        listener: SocketId,
        connection: SocketId,
        client: Option<IpAddr>,
        peers: &mut Peers,
    ) {
        let Some(id) = self.handles.at(listener) else {
            return peers.steps.call(Call::Close { socket: connection });
        };
        self.ledger.accept(connection, id);
        let handle = self.handles.live(id);
        handle.backoff.reset();
        assigned(handle).push(connection, client);
        self.hand_off(id, peers);
    }

    /// Called when a listening socket has failed to accept. The socket is paused until the process frees a
    /// descriptor, or for a growing pause; clients wait in the socket's backlog.
    pub(super) fn accept_failed(&mut self, listener: SocketId, errno: Errno, peers: &mut Peers) {
        let Some(id) = self.handles.at(listener) else { return };
        if errno == Errno::ECONNABORTED {
            return;
        }
        let pause = self.handles.live(id).backoff.next_ms();
        peers.steps.own(Step::Emit(Event::AcceptFailed { errno }));
        peers.steps.call(Call::PauseAccept { socket: listener });
        self.set_timer(TimerAction::Accept(listener), pause, peers);
    }

    /// The call that lets a listening socket accept again. `None` if the primary has stopped accepting, or if
    /// the queue is full: a failed write may have returned a connection to the queue since the decision to
    /// resume.
    pub(super) fn resume_accept(&self, socket: SocketId) -> Option<Call> {
        let handle = self.handles.get(self.handles.at(socket)?)?;
        (!self.stopped && !handle.throttled).then_some(Call::ResumeAccept { socket })
    }

    /// Accepts no further connection. Queued connections are still handed off.
    pub(super) fn stop_accepting(&mut self, peers: &mut Peers) {
        self.stopped = true;
        for socket in self.handles.listeners() {
            peers.steps.call(Call::PauseAccept { socket });
        }
    }

    /// Called when a descriptor is free again: every paused socket tries once.
    pub(super) fn descriptor_freed(&mut self, peers: &mut Peers) {
        for action in self.timer_actions.take_accepts() {
            self.act(action, peers);
        }
    }

    /// Sends the connections that the policy has assigned.
    pub(super) fn hand_off(&mut self, id: HandleId, peers: &mut Peers) {
        let handle = self.handles.live(id);
        let Sharing::Assigned(assignment) = &mut handle.sharing else { return };
        while let Some(Handoff { worker, connection }) = next_handoff(assignment, peers) {
            self.ledger.hand(connection, worker);
            peers.offer(worker, handle.key.clone(), connection);
        }
        choosing::ask(&mut self.handles, id, peers);
        self.throttle(id, peers);
    }

    /// Pauses accepting while the queue is full. Further clients wait in the kernel's backlog.
    fn throttle(&mut self, id: HandleId, peers: &mut Peers) {
        let limit = self.queued_connections;
        let handle = self.handles.live(id);
        let (Sharing::Assigned(assignment), Some((socket, _))) = (&handle.sharing, &handle.bound) else {
            return;
        };
        let socket = *socket;
        let full = assignment.policy().queued() >= limit;
        if full != handle.throttled {
            handle.throttled = full;
            if full {
                peers.steps.call(Call::PauseAccept { socket });
            } else {
                peers.steps.own(Step::ResumeAccept(socket));
            }
        }
    }

    /// Handles a worker's answer for a connection.
    pub(super) fn answered(
        &mut self,
        worker: WorkerId,
        connection: SocketId,
        accepted: bool,
        peers: &mut Peers,
    ) {
        if accepted {
            let id = self.ledger.own(connection);
            if let Some(policy) = self.handles.get_mut(id).and_then(Handle::policy_mut) {
                policy.taken(connection);
            }
            peers.steps.call(Call::Close { socket: connection });
            self.next_for(id, worker, peers);
            self.descriptor_freed(peers);
        } else {
            let id = self.requeue(worker, connection, peers);
            if self.handles.get(id).is_some_and(|handle| handle.has(worker)) {
                self.set_timer(TimerAction::Worker(id, worker), RETRY_MS, peers);
            } else {
                self.next_for(id, worker, peers);
            }
        }
    }

    /// Called when a worker has not received the descriptor of this message.
    pub(super) fn undelivered(&mut self, worker: WorkerId, message: ClusterMessage, peers: &mut Peers) {
        match message.reply {
            Some(Reply { ack, key: Some(key), data, .. }) => {
                self.close(worker, &key, peers);
                peers.refuse(worker, ack, key, data, Errno::EMFILE);
            }
            Some(_) | None => {
                if let Some(connection) = peers.take_offer(worker, message.seq) {
                    self.answered(worker, connection, false, peers);
                }
            }
        }
    }

    /// Called when a worker can neither listen nor answer any longer: its unacknowledged connections are
    /// handed to other workers.
    pub(super) fn remove_worker(&mut self, worker: WorkerId, peers: &mut Peers) {
        self.remove_from_handles(worker, peers);
        for connection in peers.take_offers(worker) {
            #[cfg(feature = "testing")]
            if self.closes_unacknowledged {
                self.ledger.requeue(connection);
                self.close_connection(connection, peers);
                continue;
            }
            let id = self.requeue(worker, connection, peers);
            self.next_for(id, worker, peers);
        }
    }

    /// Distributes a connection again, or closes it if no worker listens.
    fn requeue(&mut self, worker: WorkerId, connection: SocketId, peers: &mut Peers) -> HandleId {
        let id = self.ledger.requeue(connection);
        if let Some(handle) = self.handles.get_mut(id) {
            assigned(handle).requeue(worker, connection);
            self.hand_off(id, peers);
        } else {
            self.close_connection(connection, peers);
        }
        id
    }

    /// Called when no further write to a worker can succeed. The worker stays in the handles, without new
    /// connections, until the channel is read to the end.
    pub(super) fn offer_no_more(&mut self, worker: WorkerId, peers: &mut Peers) {
        for id in self.handles.all(|handle| handle.has(worker)) {
            if let Some(policy) = self.handles.live(id).policy_mut() {
                policy.pass_over(worker);
                self.hand_off(id, peers);
            }
        }
    }

    pub(super) fn next_for(&mut self, id: HandleId, worker: WorkerId, peers: &mut Peers) {
        if let Some(policy) = self.handles.get_mut(id).and_then(Handle::policy_mut) {
            policy.answered(worker);
            if peers.channel(worker).is_some_and(Channel::is_broken) {
                policy.pass_over(worker);
            }
            self.hand_off(id, peers);
        }
    }

    fn close_connection(&mut self, connection: SocketId, peers: &mut Peers) {
        self.ledger.close(connection, CloseReason::NoListener);
        peers.steps.call(Call::Close { socket: connection });
        self.descriptor_freed(peers);
    }
}

fn next_handoff(assignment: &mut Assignment, peers: &Peers) -> Option<Handoff> {
    assignment.policy_mut().next(&|worker: WorkerId| peers.get(worker)?.load())
}

/// The policy of a handle that has accepted connections.
fn assigned(handle: &mut Handle) -> &mut dyn Policy {
    handle.policy_mut().unwrap_or_else(|| unreachable!("a shared handle accepts nothing"))
}

/// Which side accepts at this address, and the backlog if the primary does. UDP is always shared.
fn sharing(query: &QueryServer, policy: SchedulingPolicy) -> (Sharing, Option<u32>) {
    if is_udp(query) {
        return (Sharing::Shared(Shared::new(HandleType::DatagramNative)), None);
    }
    let Some(assignment) = Assignment::of(policy) else {
        return (Sharing::Shared(Shared::new(HandleType::Native)), None);
    };
    let backlog = query.backlog.filter(|backlog| *backlog > 0).unwrap_or(BACKLOG);
    (Sharing::Assigned(assignment), Some(backlog))
}
