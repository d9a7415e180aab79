//! The round-robin policy: a queue of connections, a queue of workers, and a handoff when both are nonempty. A worker
//! gets its next connection after its answer for the last. The policy decides; the primary sends.

use alloc::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::os::{SocketId, WorkerId};

/// The decision to hand a connection to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handoff {
    pub(crate) worker: WorkerId,
    pub(crate) connection: SocketId,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(crate) struct RoundRobin {
    /// The workers that listen here.
    all: BTreeSet<WorkerId>,
    /// The workers ready for a connection, in order of readiness. Node: `free`.
    free: VecDeque<WorkerId>,
    /// The workers not ready: an answer is outstanding, or the worker has just refused a connection.
    busy: BTreeSet<WorkerId>,
    /// The connections without a worker. Node: `handles`.
    queue: VecDeque<SocketId>,
}

impl RoundRobin {
    pub(crate) fn has(&self, worker: WorkerId) -> bool {
        self.all.contains(&worker)
    }

    /// The connections in the queue, oldest first.
    pub(crate) fn queue(&self) -> impl Iterator<Item = SocketId> {
        self.queue.iter().copied()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Adds a worker. A worker that listens again while an answer is outstanding stays busy.
    pub(crate) fn add(&mut self, worker: WorkerId) -> Option<Handoff> {
        let new = self.all.insert(worker);
        assert!(new, "worker {worker} is added twice");
        if self.busy.contains(&worker) { None } else { self.handoff(worker) }
    }

    /// Queues a new or returned connection, and hands the first queued connection to the worker that has been ready
    /// longest.
    pub(crate) fn distribute(&mut self, connection: SocketId) -> Option<Handoff> {
        self.queue.push_back(connection);
        let worker = self.free.pop_front()?;
        self.handoff(worker)
    }

    /// The worker has answered: hands over the next connection, or marks the worker ready.
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

    /// Hands nothing to a worker until [`RoundRobin::handoff`].
    pub(crate) fn pass_over(&mut self, worker: WorkerId) {
        if self.all.contains(&worker) {
            self.free.retain(|free| *free != worker);
            self.busy.insert(worker);
        }
    }

    pub(crate) fn remove(&mut self, worker: WorkerId) {
        self.all.remove(&worker);
        self.free.retain(|free| *free != worker);
    }

    /// No worker listens here.
    pub(crate) fn is_unused(&self) -> bool {
        self.all.is_empty()
    }

    /// Empties the queue: no worker is left to serve the connections.
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

    /// Sequential connections rotate through the workers in order of readiness.
    #[test]
    fn sequential_connections_rotate() {
        let mut handle = RoundRobin::default();
        assert_eq!((handle.add(ONE), handle.add(TWO)), (None, None));
        for (connection, worker) in [(1, ONE), (2, TWO), (3, ONE), (4, TWO)] {
            assert_eq!(given(handle.distribute(SocketId(connection))), Some((worker.0, connection)));
            assert_eq!(handle.handoff(worker), None);
        }
    }

    /// A worker gets its next connection only after its answer for the last.
    #[test]
    fn next_connection_waits_for_answer() {
        let mut handle = RoundRobin::default();
        handle.add(ONE);
        assert_eq!(given(handle.distribute(SocketId(1))), Some((1, 1)));
        assert_eq!(handle.distribute(SocketId(2)), None);
        assert_eq!(given(handle.handoff(ONE)), Some((1, 2)));
    }

    /// A removed worker gets nothing; a busy worker that is added again waits for its answer.
    #[test]
    fn removed_worker_gets_nothing() {
        let mut handle = RoundRobin::default();
        handle.add(ONE);
        handle.distribute(SocketId(1));
        handle.remove(ONE);
        assert!(handle.is_unused());
        assert_eq!(handle.add(ONE), None);
        assert_eq!(handle.distribute(SocketId(2)), None);
        assert_eq!(given(handle.handoff(ONE)), Some((1, 2)));
    }

    /// A paused worker gets nothing until its pause ends; the other workers get the connections.
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
        // A worker that listens nowhere is not added.
        handle.remove(TWO);
        handle.pass_over(TWO);
        assert_eq!((handle.handoff(TWO), handle.busy.contains(&TWO)), (None, false));
    }
}
