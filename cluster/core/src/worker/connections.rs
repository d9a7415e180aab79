//! The connections of a worker: offers, acknowledgements, ownership. A worker acknowledges a connection when the
//! application asks for one, and the application owns the connection once the acknowledgement is written, so that the
//! primary always has the true owner. Servers are in `servers`.

use alloc::vec::Vec;

use super::servers::{Server, ServerState};
use super::{Step, Worker};
use crate::event::{ListenerId, Output, WorkerEvent};
use crate::message::{HandleKey, Reply};
use crate::os::{Call, Errno, SocketId, TimerId};

impl Worker {
    /// Asks for one connection of a server. [`WorkerEvent::Connection`] follows when there is one. Another call
    /// before that has no effect.
    pub fn accept(&mut self, listener: ListenerId) {
        self.command(|worker| {
            if let Some(server) = worker.servers.get_mut(&listener) {
                server.wanted = true;
                worker.serve(listener);
            }
        });
    }

    /// Takes back the last [`Worker::accept`].
    pub fn withdraw(&mut self, listener: ListenerId) {
        self.command(|worker| {
            if let Some(server) = worker.servers.get_mut(&listener)
                && core::mem::take(&mut server.wanted)
                && let ServerState::Bound(socket) = server.state
                && !server.is_udp()
            {
                worker.steps.call(Call::PauseAccept { socket });
            }
        });
    }

    /// An acknowledgement is being written: unless the channel closes first, [`WorkerEvent::Connection`] follows,
    /// even if the worker is asked to exit in the meantime.
    pub fn is_acknowledging(&self) -> bool {
        !self.accepting.is_empty()
    }

    /// The primary offers a connection. Node: `newconn`.
    pub(super) fn offered(&mut self, seq: u64, key: &HandleKey, connection: SocketId) {
        let open = |server: &Server| {
            server.key.as_ref() == Some(key) && matches!(server.state, ServerState::RoundRobin(_))
        };
        let found = self.servers.iter().find(|(_, server)| open(server)).map(|(listener, _)| *listener);
        let Some(listener) = found.filter(|listener| !self.is_at_limit(*listener)) else {
            return self.decline(seq, connection);
        };
        let server = self.servers.get_mut(&listener).expect("it was just found");
        server.offered.push_back((seq, connection));
        self.serve(listener);
    }

    /// The application owns, or is about to own, as many connections as the server's limit. Node:
    /// `server.maxConnections`.
    fn is_at_limit(&self, listener: ListenerId) -> bool {
        let Some(server) = self.servers.get(&listener) else { return false };
        let Some(limit) = server.options.max_connections else { return false };
        let held = self.connections.values().chain(self.accepting.values()).filter(|of| **of == listener);
        held.count() + server.offered.len() >= usize::try_from(limit).unwrap_or(usize::MAX)
    }

    /// If the application asks for a connection: acknowledges an offer, or resumes accepting.
    pub(super) fn serve(&mut self, listener: ListenerId) {
        let Some(server) = self.servers.get_mut(&listener) else { return };
        if !server.wanted || server.is_udp() {
            return;
        }
        if let ServerState::Bound(socket) = server.state {
            if !server.resting {
                self.steps.call(Call::ResumeAccept { socket });
            }
            return;
        }
        if let Some((seq, connection)) = server.offered.pop_front() {
            server.wanted = false;
            self.accepting.insert(connection, listener);
            self.reply(Reply { ack: seq, accepted: Some(true), ..Reply::default() }, Some(connection));
        }
    }

    /// The acknowledgement is written: the application owns the connection.
    pub(super) fn written(&mut self, connection: SocketId) -> Option<Output<WorkerEvent>> {
        let listener = self.accepting.remove(&connection)?;
        self.connections.insert(connection, listener);
        Some(Output::Event(WorkerEvent::Connection { listener, connection }))
    }

    /// A socket of the worker has accepted a connection.
    pub(super) fn accepted(&mut self, socket: SocketId, connection: SocketId) {
        let Some(listener) = self.owner(socket) else { return self.close_socket(Some(connection)) };
        if let Some(server) = self.servers.get_mut(&listener) {
            server.backoff.reset();
        }
        if self.is_at_limit(listener) {
            // No other worker can get the connection. Node: `'drop'` on the server.
            return self.close_socket(Some(connection));
        }
        self.connections.insert(connection, listener);
        if let Some(server) = self.servers.get_mut(&listener) {
            server.wanted = false;
        }
        self.steps.call(Call::PauseAccept { socket });
        self.steps.own(Step::Emit(WorkerEvent::Connection { listener, connection }));
    }

    /// A socket of the worker has failed to accept, and is paused until the process frees a descriptor, or for a
    /// growing pause; clients wait in the socket's backlog. Node: ignored.
    pub(super) fn accept_failed(&mut self, socket: SocketId, errno: Errno) {
        let Some(listener) = self.owner(socket).filter(|_| errno != Errno::ECONNABORTED) else { return };
        let Some(server) = self.servers.get_mut(&listener) else { return };
        server.resting = true;
        let after_ms = server.backoff.next_ms();
        self.steps.call(Call::PauseAccept { socket });
        self.steps.call(Call::SetTimer { timer: TimerId(listener.0), after_ms });
    }

    /// A pause is over. A socket that was resumed earlier, and has failed again, tries once more than necessary.
    pub(super) fn rested(&mut self, TimerId(listener): TimerId) {
        let listener = ListenerId(listener);
        if let Some(server) = self.servers.get_mut(&listener).filter(|server| server.resting) {
            server.resting = false;
            self.serve(listener);
        }
    }

    /// A descriptor is free again: every paused socket tries once.
    pub(super) fn descriptor_freed(&mut self) {
        let resting = self.servers.iter().filter(|(_, server)| server.resting).map(|(id, _)| *id);
        for ListenerId(listener) in resting.collect::<Vec<_>>() {
            self.rested(TimerId(listener));
        }
    }

    pub(super) fn decline(&mut self, seq: u64, connection: SocketId) {
        self.reply(Reply { ack: seq, accepted: Some(false), ..Reply::default() }, None);
        self.steps.call(Call::Close { socket: connection });
    }

    /// The channel is closed: the primary hands the unacknowledged connections to other workers.
    pub(super) fn drop_unacknowledged(&mut self) {
        let accepting = core::mem::take(&mut self.accepting);
        let offered = self.servers.values_mut().flat_map(|server| core::mem::take(&mut server.offered));
        let dropped: Vec<SocketId> =
            accepting.into_keys().chain(offered.map(|(_, connection)| connection)).collect();
        for connection in dropped {
            self.close_socket(Some(connection));
        }
        let listeners: Vec<ListenerId> = self.servers.keys().copied().collect();
        for listener in listeners {
            self.close_if_drained(listener);
        }
    }
}
