//! The ledger of connections. Each connection accepted by the primary is in exactly one state: queued, handed
//! to a worker and not yet acknowledged, owned by a worker, or closed with a reason. The ledger only records;
//! it asserts that each move begins in the recorded state.

use alloc::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ascending_map::AscendingMap;
use crate::claims::first_false;
use crate::os::{HandleId, SocketId, WorkerId};

/// The state of a connection not owned by a worker yet, and not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ConnectionState {
    /// Queued at this handle.
    Queued(HandleId),
    /// Sent to this worker, and not yet acknowledged.
    Handed(HandleId, WorkerId),
}

impl ConnectionState {
    /// The handle that has accepted the connection.
    pub(crate) fn handle(self) -> HandleId {
        match self {
            ConnectionState::Queued(handle) | ConnectionState::Handed(handle, _) => handle,
        }
    }
}

/// The reason for closing a queued connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CloseReason {
    /// No worker listens at the handle.
    NoListener,
}

/// The record of every accepted connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Ledger {
    open: AscendingMap<SocketId, ConnectionState>,
    accepted: u64,
    owned: u64,
    returned: u64,
    closed: BTreeMap<CloseReason, u64>,
}

impl Ledger {
    /// The connections not owned by a worker yet, and not closed, in order of acceptance.
    pub fn open(&self) -> impl Iterator<Item = (SocketId, ConnectionState)> + Clone {
        self.open.iter().map(|(socket, state)| (socket, *state))
    }

    /// The number of accepted connections.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// The number of connections that workers have acknowledged.
    pub fn owned(&self) -> u64 {
        self.owned
    }

    /// The number of handoffs after which the connection was queued again.
    pub fn returned(&self) -> u64 {
        self.returned
    }

    /// The number of connections closed for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed.get(&reason).copied().unwrap_or(0)
    }

    pub(crate) fn accept(&mut self, socket: SocketId, handle: HandleId) {
        self.accepted += 1;
        let before = self.open.insert(socket, ConnectionState::Queued(handle));
        assert_eq!(before, None, "{socket:?} was accepted twice");
    }

    pub(crate) fn hand(&mut self, socket: SocketId, worker: WorkerId) {
        let state = self.state_mut(socket);
        let ConnectionState::Queued(handle) = *state else { unreachable!("{socket:?} was handed out twice") };
        *state = ConnectionState::Handed(handle, worker);
    }

    /// Queues a connection again, because the worker has not taken it. Returns the handle at which the
    /// connection is queued.
    pub(crate) fn requeue(&mut self, socket: SocketId) -> HandleId {
        let state = self.state_mut(socket);
        let ConnectionState::Handed(handle, _) = *state else {
            unreachable!("{socket:?} was not handed out")
        };
        *state = ConnectionState::Queued(handle);
        self.returned += 1;
        handle
    }

    /// Records that the worker has acknowledged the connection. Returns the handle that has accepted the
    /// connection.
    pub(crate) fn own(&mut self, socket: SocketId) -> HandleId {
        let Some(ConnectionState::Handed(handle, _)) = self.open.remove(socket) else {
            unreachable!("{socket:?} is owned, but was not handed out")
        };
        self.owned += 1;
        handle
    }

    pub(crate) fn close(&mut self, socket: SocketId, reason: CloseReason) {
        let state = self.open.remove(socket);
        assert!(
            matches!(state, Some(ConnectionState::Queued(_))),
            "{socket:?} is closed, but was not queued"
        );
        *self.closed.entry(reason).or_default() += 1;
        self.balance();
    }

    fn state_mut(&mut self, socket: SocketId) -> &mut ConnectionState {
        self.open.get_mut(socket).unwrap_or_else(|| unreachable!("{socket:?} is not in the ledger"))
    }

    fn balance(&self) {
        let ended = self.owned + self.closed.values().sum::<u64>();
        assert_eq!(self.accepted, self.open.len() as u64 + ended, "a connection is nowhere");
    }

    /// The first field on which a later move could panic.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        let open = self.open.len() as u64;
        let mut places = [self.owned, open].into_iter().chain(self.closed.values().copied());
        let accepted = places.try_fold(0_u64, u64::checked_add);
        first_false([("ledger.accepted", accepted == Some(self.accepted))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLE: HandleId = HandleId(1);

    /// Every outcome of a connection is counted.
    #[test]
    fn ledger_counts_every_outcome() {
        let mut ledger = Ledger::default();
        for n in 1..=4 {
            ledger.accept(SocketId(n), HANDLE);
        }
        for n in 1..=3 {
            ledger.hand(SocketId(n), WorkerId(1));
            assert_eq!((ledger.requeue(SocketId(n)), ledger.returned()), (HANDLE, n));
        }
        assert_eq!(ledger.closed(CloseReason::NoListener), 0);
        for n in 1..=2 {
            ledger.close(SocketId(n), CloseReason::NoListener);
            assert_eq!(ledger.closed(CloseReason::NoListener), n);
        }
        ledger.hand(SocketId(3), WorkerId(1));
        assert_eq!((ledger.own(SocketId(3)), ledger.owned(), ledger.accepted()), (HANDLE, 1, 4));
        assert!(ledger.open().eq([(SocketId(4), ConnectionState::Queued(HANDLE))]));
    }

    /// A ledger in which a connection is missing panics.
    #[test]
    #[should_panic(expected = "a connection is nowhere")]
    fn unbalanced_ledger_panics() {
        let mut ledger = Ledger { accepted: 1, ..Ledger::default() };
        ledger.accept(SocketId(1), HANDLE);
        ledger.close(SocketId(1), CloseReason::NoListener);
    }
}
