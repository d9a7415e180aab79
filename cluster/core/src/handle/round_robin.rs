//! The round-robin policy: connections wait in a queue, workers wait in a queue, and the two heads meet.
//! A worker gets its next connection when it has answered for the last. It only decides; it sends nothing.

use alloc::collections::{BTreeSet, VecDeque};

use crate::os::{SocketId, WorkerId};

/// A decision: this connection goes to this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handoff {
    pub(crate) worker: WorkerId,
    pub(crate) connection: SocketId,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct RoundRobin {
    /// Who listens here.
    all: BTreeSet<WorkerId>,
    /// Who is ready for a connection, longest first. Node: `free`.
    free: VecDeque<WorkerId>,
    /// Who is ready for none: it holds one unanswered, or it has just refused one.
    busy: BTreeSet<WorkerId>,
    /// The connections nobody has yet. Node: `handles`.
    queue: VecDeque<SocketId>,
}

impl RoundRobin {
    pub(crate) fn has(&self, worker: WorkerId) -> bool {
        self.all.contains(&worker)
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// A worker listens here from now on. A worker that comes back while it still holds a connection stays busy.
    pub(crate) fn add(&mut self, worker: WorkerId) -> Option<Handoff> {
        let new = self.all.insert(worker);
        assert!(new, "worker {worker} is added twice");
        if self.busy.contains(&worker) { None } else { self.handoff(worker) }
    }

    /// A connection has arrived, or has come back: it goes to the worker that has waited longest.
    pub(crate) fn distribute(&mut self, connection: SocketId) -> Option<Handoff> {
        self.queue.push_back(connection);
        let worker = self.free.pop_front()?;
        self.handoff(worker)
    }

    /// A worker has answered for its connection: it gets the next, or waits.
    pub(crate) fn handoff(&mut self, worker: WorkerId) -> Option<Handoff> {
        self.busy.remove(&worker);
        if !self.all.contains(&worker) {
            return None;
        }
        let Some(connection) = self.queue.pop_front() else {
            self.free.push_back(worker);
            return None;
        };
        self.busy.insert(worker);
        Some(Handoff { worker, connection })
    }

    /// A worker is given nothing until it is asked for by [`RoundRobin::handoff`].
    pub(crate) fn pass_over(&mut self, worker: WorkerId) {
        if self.all.contains(&worker) {
            self.free.retain(|free| *free != worker);
            self.busy.insert(worker);
        }
    }

    /// Takes a worker out.
    pub(crate) fn remove(&mut self, worker: WorkerId) {
        self.all.remove(&worker);
        self.free.retain(|free| *free != worker);
    }

    /// Whether nobody listens here.
    pub(crate) fn is_unused(&self) -> bool {
        self.all.is_empty()
    }

    /// Empties the queue: nobody is left to serve it.
    pub(crate) fn drain(&mut self) -> VecDeque<SocketId> {
        core::mem::take(&mut self.queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: WorkerId = WorkerId(1);
    const TWO: WorkerId = WorkerId(2);

    fn given(handoff: Option<Handoff>) -> Option<(u64, u64)> {
        handoff.map(|handoff| (handoff.worker.0, handoff.connection.0))
    }

    #[test]
    fn sequential_connections_rotate_in_the_order_of_arrival() {
        let mut handle = RoundRobin::default();
        assert_eq!((handle.add(ONE), handle.add(TWO)), (None, None));
        for (connection, worker) in [(1, ONE), (2, TWO), (3, ONE), (4, TWO)] {
            assert_eq!(given(handle.distribute(SocketId(connection))), Some((worker.0, connection)));
            assert_eq!(handle.handoff(worker), None);
        }
    }

    #[test]
    fn a_worker_gets_its_next_connection_only_after_its_answer() {
        let mut handle = RoundRobin::default();
        handle.add(ONE);
        assert_eq!(given(handle.distribute(SocketId(1))), Some((1, 1)));
        assert_eq!(handle.distribute(SocketId(2)), None);
        assert_eq!(given(handle.handoff(ONE)), Some((1, 2)));
    }

    #[test]
    fn who_has_left_gets_nothing_and_who_comes_back_busy_waits_for_its_answer() {
        let mut handle = RoundRobin::default();
        handle.add(ONE);
        handle.distribute(SocketId(1));
        handle.remove(ONE);
        assert!(handle.is_unused());
        assert_eq!(handle.add(ONE), None);
        assert_eq!(handle.distribute(SocketId(2)), None);
        assert_eq!(given(handle.handoff(ONE)), Some((1, 2)));
    }

    /// A worker that is passed over gets nothing until its pause ends; the others get what arrives.
    #[test]
    fn passed_over_worker_waits() {
        let mut handle = RoundRobin::default();
        for worker in [ONE, TWO] {
            handle.add(worker);
        }
        handle.pass_over(ONE);
        assert_eq!(given(handle.distribute(SocketId(1))), Some((2, 1)));
        assert_eq!(handle.distribute(SocketId(2)), None, "one pauses, the other is busy");
        assert_eq!(given(handle.handoff(ONE)), Some((1, 2)));
        // A worker that listens nowhere stays out.
        handle.remove(TWO);
        handle.pass_over(TWO);
        assert_eq!((handle.handoff(TWO), handle.busy.contains(&TWO)), (None, false));
    }
}
