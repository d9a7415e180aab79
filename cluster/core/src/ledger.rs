//! Every connection the primary has accepted, and who has it now: exactly one of queued, handed to a worker that has
//! not acknowledged it yet, owned by a worker, or closed with a reason. It moves nothing itself; it asserts that
//! whoever moves a connection moves it from where it is.

use alloc::collections::BTreeMap;

use crate::os::{HandleId, SocketId, WorkerId};

/// Where a connection is that the primary still answers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionState {
    /// It waits at this handle for a worker.
    Queued(HandleId),
    /// It was sent to this worker, which has not acknowledged it yet.
    Handed(HandleId, WorkerId),
}

/// Why the primary closed a connection that no worker took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The last worker that listened there is gone.
    NoListener,
}

/// The book of connections.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Ledger {
    open: BTreeMap<SocketId, ConnectionState>,
    accepted: u64,
    owned: u64,
    returned: u64,
    closed: BTreeMap<CloseReason, u64>,
}

impl Ledger {
    /// The connections the primary still answers for, in the order they were accepted.
    pub fn open(&self) -> impl Iterator<Item = (SocketId, ConnectionState)> {
        self.open.iter().map(|(socket, standing)| (*socket, *standing))
    }

    /// How many were accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// How many a worker has acknowledged so far.
    pub fn owned(&self) -> u64 {
        self.owned
    }

    /// How often a worker did not take one that it was handed, so far.
    pub fn returned(&self) -> u64 {
        self.returned
    }

    /// How many were closed for this reason so far.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed.get(&reason).copied().unwrap_or(0)
    }

    pub(crate) fn accept(&mut self, socket: SocketId, handle: HandleId) {
        self.accepted += 1;
        let before = self.open.insert(socket, ConnectionState::Queued(handle));
        assert_eq!(before, None, "{socket:?} was accepted twice");
    }

    pub(crate) fn hand(&mut self, socket: SocketId, worker: WorkerId) {
        let standing = self.standing(socket);
        let ConnectionState::Queued(handle) = *standing else {
            unreachable!("{socket:?} was handed out twice")
        };
        *standing = ConnectionState::Handed(handle, worker);
    }

    /// The worker does not take it: it is queued again. Returns where.
    pub(crate) fn requeue(&mut self, socket: SocketId) -> HandleId {
        let standing = self.standing(socket);
        let ConnectionState::Handed(handle, _) = *standing else {
            unreachable!("{socket:?} was not handed out")
        };
        *standing = ConnectionState::Queued(handle);
        self.returned += 1;
        handle
    }

    /// The worker has acknowledged it. Returns where it was accepted.
    pub(crate) fn own(&mut self, socket: SocketId) -> HandleId {
        let Some(ConnectionState::Handed(handle, _)) = self.open.remove(&socket) else {
            unreachable!("{socket:?} is owned, but was not handed out")
        };
        self.owned += 1;
        handle
    }

    pub(crate) fn close(&mut self, socket: SocketId, reason: CloseReason) {
        let standing = self.open.remove(&socket);
        assert!(
            matches!(standing, Some(ConnectionState::Queued(_))),
            "{socket:?} is closed, but was not queued"
        );
        *self.closed.entry(reason).or_default() += 1;
        self.balance();
    }

    fn standing(&mut self, socket: SocketId) -> &mut ConnectionState {
        self.open.get_mut(&socket).unwrap_or_else(|| unreachable!("{socket:?} is not in the ledger"))
    }

    fn balance(&self) {
        let settled = self.owned + self.closed.values().sum::<u64>();
        assert_eq!(self.accepted, self.open.len() as u64 + settled, "a connection is nowhere");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HANDLE: HandleId = HandleId(1);

    #[test]
    fn what_becomes_of_connections_is_counted() {
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

    #[test]
    #[should_panic(expected = "a connection is nowhere")]
    fn a_book_that_does_not_balance_is_not_kept() {
        let mut ledger = Ledger { accepted: 1, ..Ledger::default() };
        ledger.accept(SocketId(1), HANDLE);
        ledger.close(SocketId(1), CloseReason::NoListener);
    }
}
