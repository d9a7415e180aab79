//! The connections of a worker: offers, acknowledgements, ownership. A worker acknowledges a connection when
//! the application asks for one, and the application owns the connection when the acknowledgement is written.
//! So the primary always has the true owner. Servers are in `servers`.

use alloc::vec::Vec;

use super::Step;
use super::peer::Peer;
use super::servers::{Server, ServerState, Servers};
use crate::event::{ListenerId, Output, WorkerEvent};
use crate::message::{HandleKey, Reply};
use crate::os::{Call, Errno, SocketId, TimerId};

impl Servers {
    /// Called when the application asks for one connection.
    pub(super) fn accept(&mut self, listener: ListenerId, peer: &mut Peer) {
        if let Some(server) = self.rows.get_mut(&listener) {
            server.wanted = true;
            self.serve(listener, peer);
        }
    }

    /// Called when the application no longer asks for a connection.
    pub(super) fn withdraw(&mut self, listener: ListenerId, peer: &mut Peer) {
        if let Some(server) = self.rows.get_mut(&listener)
            && core::mem::take(&mut server.wanted)
            && let ServerState::Bound(socket) = server.state
            && !server.is_udp()
        {
            peer.steps.call(Call::PauseAccept { socket });
        }
    }

    /// Called when the application no longer owns a connection, or a socket received with a message.
    pub(super) fn released(&mut self, socket: SocketId, peer: &mut Peer) {
        if let Some(listener) = self.connections.release(socket) {
            self.close_if_drained(listener, peer);
        }
        peer.uncount(socket);
        self.descriptor_freed(peer);
    }

    /// Called when the primary offers a connection. Node: `newconn`.
    pub(super) fn offered(&mut self, seq: u64, key: &HandleKey, connection: SocketId, peer: &mut Peer) {
        let open = |server: &Server| {
            server.key.as_ref() == Some(key) && matches!(server.state, ServerState::RoundRobin(_))
        };
        let found = self.rows.iter().find(|(_, server)| open(server)).map(|(listener, _)| *listener);
        let Some(listener) = found.filter(|listener| !self.is_at_limit(*listener)) else {
            return peer.decline(seq, connection);
        };
        let server = self.rows.get_mut(&listener).expect("the found entry");
        server.offered.push_back((seq, connection));
        self.serve(listener, peer);
    }

    /// Whether the connections of the application, including offered ones, reach the limit of the server.
    /// Node: `server.maxConnections`.
    fn is_at_limit(&self, listener: ListenerId) -> bool {
        let Some(server) = self.rows.get(&listener) else { return false };
        let Some(limit) = server.options.max_connections else { return false };
        self.connections.count(listener) + server.offered.len()
            >= usize::try_from(limit).unwrap_or(usize::MAX)
    }

    /// If the application asks for a connection, acknowledges an offer or resumes accepting.
    pub(super) fn serve(&mut self, listener: ListenerId, peer: &mut Peer) {
        let Some(server) = self.rows.get_mut(&listener) else { return };
        if !server.wanted || server.is_udp() {
            return;
        }
        if let ServerState::Bound(socket) = server.state {
            if !server.resting {
                peer.steps.call(Call::ResumeAccept { socket });
            }
            return;
        }
        if let Some((seq, connection)) = server.offered.pop_front() {
            server.wanted = false;
            self.connections.acknowledge(connection, listener);
            let open = peer.load_reports.report(self.connections.open_count());
            peer.reply(Reply { ack: seq, accepted: Some(true), open, ..Reply::default() }, Some(connection));
        }
    }

    /// Called when the acknowledgement is written: the application owns the connection.
    pub(super) fn written(&mut self, connection: SocketId) -> Option<Output<WorkerEvent>> {
        let listener = self.connections.acknowledged(connection)?;
        Some(Output::Event(WorkerEvent::Connection { listener, connection }))
    }

    /// Called when a socket of the worker has accepted a connection.
    pub(super) fn accepted(&mut self, socket: SocketId, connection: SocketId, peer: &mut Peer) {
        let Some(listener) = self.owner(socket) else { return peer.close_socket(Some(connection)) };
        if let Some(server) = self.rows.get_mut(&listener) {
            server.backoff.reset();
        }
        if self.is_at_limit(listener) {
            // No other worker can receive the connection. Node: `'drop'` on the server.
            return peer.close_socket(Some(connection));
        }
        self.connections.own(connection, listener);
        if let Some(server) = self.rows.get_mut(&listener) {
            server.wanted = false;
        }
        peer.steps.call(Call::PauseAccept { socket });
        peer.steps.own(Step::Emit(WorkerEvent::Connection { listener, connection }));
    }

    /// Called when a socket of the worker has failed to accept. The socket is paused until the process frees
    /// a descriptor, or for a growing pause; clients wait in the socket's backlog. Node ignores the failure.
    pub(super) fn accept_failed(&mut self, socket: SocketId, errno: Errno, peer: &mut Peer) {
        let Some(listener) = self.owner(socket).filter(|_| errno != Errno::ECONNABORTED) else { return };
        let Some(server) = self.rows.get_mut(&listener) else { return };
        server.resting = true;
        let after_ms = server.backoff.next_ms();
        peer.steps.call(Call::PauseAccept { socket });
        peer.steps.call(Call::SetTimer { timer: TimerId(listener.0), after_ms });
    }

    /// Called when a pause is over. The timer may belong to an earlier pause of the socket; then the socket
    /// tries to accept once too often.
    pub(super) fn rested(&mut self, TimerId(listener): TimerId, peer: &mut Peer) {
        let listener = ListenerId(listener);
        if let Some(server) = self.rows.get_mut(&listener).filter(|server| server.resting) {
            server.resting = false;
            self.serve(listener, peer);
        }
    }

    /// Called when a descriptor is free again: every paused socket tries once.
    fn descriptor_freed(&mut self, peer: &mut Peer) {
        let resting = self.rows.iter().filter(|(_, server)| server.resting).map(|(id, _)| *id);
        for ListenerId(listener) in resting.collect::<Vec<_>>() {
            self.rested(TimerId(listener), peer);
        }
    }

    /// Drops the unacknowledged connections, because the channel is closed: the primary hands them to other
    /// workers.
    pub(super) fn drop_unacknowledged(&mut self, peer: &mut Peer) {
        let accepting = self.connections.take_unacknowledged();
        let offered = self.rows.values_mut().flat_map(|server| core::mem::take(&mut server.offered));
        let dropped: Vec<SocketId> =
            accepting.into_iter().chain(offered.map(|(_, connection)| connection)).collect();
        for connection in dropped {
            peer.close_socket(Some(connection));
        }
        let listeners: Vec<ListenerId> = self.rows.keys().copied().collect();
        for listener in listeners {
            self.close_if_drained(listener, peer);
        }
    }
}
