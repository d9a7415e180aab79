//! The round-robin policy: a queue of connections, a queue of workers, and a handoff when neither queue is
//! empty. A worker receives its next connection after the answer for the last.

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::policy::{Handoff, Policy, Seat};
use crate::os::{SocketId, WorkerId};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(crate) struct RoundRobin {
    /// The workers that listen here.
    all: BTreeSet<WorkerId>,
    /// The workers that are ready for a connection, in the order in which they became ready. Node: `free`.
    free: VecDeque<WorkerId>,
    /// The workers that are not ready: an answer is outstanding, or the worker has just declined a
    /// connection.
    busy: BTreeSet<WorkerId>,
    /// The connections that wait for a worker. Node: `handles`.
    queue: VecDeque<SocketId>,
}

impl Policy for RoundRobin {
    fn add(&mut self, worker: WorkerId, _: Seat) {
        let new = self.all.insert(worker);
        assert!(new, "worker {worker} is added twice");
        if !self.busy.contains(&worker) {
            self.free.push_back(worker);
        }
    }

    fn remove(&mut self, worker: WorkerId) {
        self.all.remove(&worker);
        self.free.retain(|free| *free != worker);
    }

    fn has(&self, worker: WorkerId) -> bool {
        self.all.contains(&worker)
    }

    fn is_unused(&self) -> bool {
        self.all.is_empty()
    }

    fn push(&mut self, connection: SocketId, _: Option<IpAddr>) {
        self.queue.push_back(connection);
    }

    fn requeue(&mut self, _: WorkerId, connection: SocketId) {
        self.queue.push_back(connection);
    }

    fn connections(&self) -> Vec<SocketId> {
        self.queue.iter().copied().collect()
    }

    fn queued(&self) -> usize {
        self.queue.len()
    }

    fn answered(&mut self, worker: WorkerId) {
        self.busy.remove(&worker);
        if self.all.contains(&worker) {
            self.free.push_back(worker);
        }
    }

    fn pass_over(&mut self, worker: WorkerId) {
        if self.all.contains(&worker) {
            self.free.retain(|free| *free != worker);
            self.busy.insert(worker);
        }
    }

    /// Hands the first queued connection to the worker that has been ready longest.
    fn next(&mut self) -> Option<Handoff> {
        if self.queue.is_empty() {
            return None;
        }
        let worker = self.free.pop_front()?;
        let connection = self.queue.pop_front()?;
        self.busy.insert(worker);
        Some(Handoff { worker, connection })
    }

    fn drain(&mut self) -> Vec<SocketId> {
        core::mem::take(&mut self.queue).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: WorkerId = WorkerId(1);
    const TWO: WorkerId = WorkerId(2);

    fn with(workers: &[WorkerId]) -> RoundRobin {
        let mut handle = RoundRobin::default();
        for worker in workers {
            handle.add(*worker, Seat::of_worker(*worker));
        }
        handle
    }

    fn distribute(handle: &mut RoundRobin, connection: u64) -> Option<(u64, u64)> {
        handle.push(SocketId(connection), None);
        given(handle)
    }

    fn answer(handle: &mut RoundRobin, worker: WorkerId) -> Option<(u64, u64)> {
        handle.answered(worker);
        given(handle)
    }

    fn given(handle: &mut RoundRobin) -> Option<(u64, u64)> {
        let given = handle.next().map(|handoff| (handoff.worker.0, handoff.connection.0));
        assert_eq!(handle.next(), None, "one change causes one handoff at most");
        given
    }

    /// Connections that arrive one after another rotate through the workers, in the order in which the
    /// workers became ready.
    #[test]
    fn sequential_connections_rotate() {
        let mut handle = with(&[ONE, TWO]);
        for (connection, worker) in [(1, ONE), (2, TWO), (3, ONE), (4, TWO)] {
            assert_eq!(distribute(&mut handle, connection), Some((worker.0, connection)));
            assert_eq!(answer(&mut handle, worker), None);
        }
    }

    /// A worker gets its next connection only after its answer for the last.
    #[test]
    fn next_connection_waits_for_answer() {
        let mut handle = with(&[ONE]);
        assert_eq!(distribute(&mut handle, 1), Some((1, 1)));
        assert_eq!(distribute(&mut handle, 2), None);
        assert_eq!(answer(&mut handle, ONE), Some((1, 2)));
    }

    /// A removed worker receives nothing. A busy worker added again receives nothing before the answer.
    #[test]
    fn removed_worker_gets_nothing() {
        let mut handle = with(&[ONE]);
        assert_eq!(distribute(&mut handle, 1), Some((1, 1)));
        handle.remove(ONE);
        assert!(handle.is_unused());
        handle.add(ONE, Seat::of_worker(ONE));
        assert_eq!(given(&mut handle), None);
        assert_eq!(distribute(&mut handle, 2), None);
        assert_eq!(answer(&mut handle, ONE), Some((1, 2)));
    }

    /// A paused worker receives nothing until the pause ends; the other workers receive the connections.
    #[test]
    fn passed_over_worker_waits() {
        let mut handle = with(&[ONE, TWO]);
        handle.pass_over(ONE);
        assert_eq!(distribute(&mut handle, 1), Some((2, 1)));
        assert_eq!(distribute(&mut handle, 2), None, "one pauses, the other is busy");
        assert_eq!(answer(&mut handle, ONE), Some((1, 2)));
        // A worker that no longer listens is not added.
        handle.remove(TWO);
        handle.pass_over(TWO);
        assert_eq!((answer(&mut handle, TWO), handle.busy.contains(&TWO)), (None, false));
    }
}
