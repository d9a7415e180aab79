//! The connections of a worker, by socket: connections with an acknowledgement in writing, and connections of
//! the application.

use alloc::vec::Vec;

use crate::ascending_map::AscendingMap;
use crate::event::ListenerId;
use crate::os::SocketId;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct OpenConnections {
    /// The connections with an acknowledgement in writing.
    acknowledging: AscendingMap<SocketId, ListenerId>,
    /// Connections owned by the application.
    owned: AscendingMap<SocketId, ListenerId>,
}

impl OpenConnections {
    pub(super) fn is_acknowledging(&self) -> bool {
        !self.acknowledging.is_empty()
    }

    /// The number of connections owned by the application.
    pub(super) fn owned_count(&self) -> u64 {
        self.owned.len() as u64
    }

    /// The number of connections owned by the application, or about to be.
    pub(super) fn open_count(&self) -> u64 {
        (self.owned.len() + self.acknowledging.len()) as u64
    }

    /// The number of connections of a server.
    pub(super) fn count(&self, listener: ListenerId) -> usize {
        self.owned.values().chain(self.acknowledging.values()).filter(|of| **of == listener).count()
    }

    /// Records that the acknowledgement of a connection is being written.
    pub(super) fn acknowledge(&mut self, connection: SocketId, listener: ListenerId) {
        self.acknowledging.insert(connection, listener);
    }

    /// Called when the acknowledgement is written: the application now owns the connection. `None`: the
    /// socket is no connection.
    pub(super) fn acknowledged(&mut self, connection: SocketId) -> Option<ListenerId> {
        let listener = self.acknowledging.remove(connection)?;
        self.own(connection, listener);
        Some(listener)
    }

    pub(super) fn own(&mut self, connection: SocketId, listener: ListenerId) {
        self.owned.insert(connection, listener);
    }

    /// Called when the application has closed a connection. `None`: the socket is no connection.
    pub(super) fn release(&mut self, socket: SocketId) -> Option<ListenerId> {
        self.owned.remove(socket)
    }

    pub(super) fn take_unacknowledged(&mut self) -> Vec<SocketId> {
        core::mem::take(&mut self.acknowledging).iter().map(|(socket, _)| socket).collect()
    }
}
