//! The workers of a handle, and the places of each worker: a limit of its unanswered connections. A worker
//! with a free place is ready for a connection.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::policy::{Loads, Seat};
use crate::ascending_map::AscendingMap;
use crate::os::WorkerId;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct Places {
    /// The listening workers, each with seat and number of places.
    all: BTreeMap<WorkerId, (Seat, u32)>,
    /// The number of outstanding answers of each worker, if any, also after a close.
    outstanding: AscendingMap<WorkerId, u32>,
    /// The paused workers: each receives no connection until its next answer.
    paused: BTreeSet<WorkerId>,
    /// The ready workers, in order of the last handoff or answer. Node: `free`.
    ready: VecDeque<WorkerId>,
}

impl Places {
    /// Called when a worker begins to listen. Outstanding answers for earlier connections occupy places.
    pub(super) fn add(&mut self, worker: WorkerId, seat: Seat, places: u32) {
        let before = self.all.insert(worker, (seat, places));
        assert_eq!(before, None, "worker {worker} is added twice");
        if self.is_ready(worker) {
            self.ready.push_back(worker);
        }
    }

    pub(super) fn remove(&mut self, worker: WorkerId) {
        self.all.remove(&worker);
        self.paused.remove(&worker);
        self.ready.retain(|ready| *ready != worker);
    }

    /// Whether the worker listens.
    pub(super) fn has(&self, worker: WorkerId) -> bool {
        self.all.contains_key(&worker)
    }

    /// Whether no worker listens.
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The listening workers with their seats, in order of fork.
    pub(super) fn seats(&self) -> impl Iterator<Item = (WorkerId, Seat)> {
        self.all.iter().map(|(worker, (seat, _))| (*worker, *seat))
    }

    /// The slot of a worker under a supervisor.
    pub(super) fn slot(&self, worker: WorkerId) -> Option<u32> {
        self.all.get(&worker)?.0.slot()
    }

    /// The number of unanswered connections of a worker.
    pub(super) fn outstanding(&self, worker: WorkerId) -> u32 {
        self.outstanding.get(worker).copied().unwrap_or(0)
    }

    /// The number of connections of a worker, open or not answered. A worker that has never reported a number
    /// counts as a worker without open connections. The acknowledgements are no substitute, because their
    /// count never falls: a new worker would receive every connection.
    pub(super) fn load(&self, worker: WorkerId, loads: &dyn Loads) -> u64 {
        loads.open(worker).unwrap_or(0).saturating_add(self.outstanding(worker).into())
    }

    /// Whether the worker can receive a connection.
    pub(super) fn is_ready(&self, worker: WorkerId) -> bool {
        let room = self.all.get(&worker).is_some_and(|(_, places)| self.outstanding(worker) < *places);
        room && !self.paused.contains(&worker)
    }

    /// The ready workers; the longest waiting is first.
    pub(super) fn ready(&self) -> impl ExactSizeIterator<Item = WorkerId> {
        self.ready.iter().copied()
    }

    /// Records a handoff to a ready worker.
    pub(super) fn hand(&mut self, worker: WorkerId) {
        self.outstanding.insert(worker, self.outstanding(worker) + 1);
        if let Some(at) = self.ready.iter().position(|ready| *ready == worker) {
            self.ready.remove(at);
        }
        if self.is_ready(worker) {
            self.ready.push_back(worker);
        }
    }

    /// Records an answer of a worker: one place is free again, and a pause is over.
    pub(super) fn answered(&mut self, worker: WorkerId) {
        let was_ready = self.is_ready(worker);
        match self.outstanding(worker) {
            0 | 1 => self.outstanding.remove(worker),
            more => self.outstanding.insert(worker, more - 1),
        };
        self.paused.remove(&worker);
        if !was_ready && self.is_ready(worker) {
            self.ready.push_back(worker);
        }
    }

    /// The worker receives nothing before [`Places::answered`].
    pub(super) fn pause(&mut self, worker: WorkerId) {
        if self.has(worker) {
            self.paused.insert(worker);
            self.ready.retain(|ready| *ready != worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const ONE: WorkerId = WorkerId(1);
    const TWO: WorkerId = WorkerId(2);

    fn with(workers: &[WorkerId], each: u32) -> Places {
        let mut places = Places::default();
        for worker in workers {
            places.add(*worker, Seat::of_worker(*worker), each);
        }
        places
    }

    fn ready(places: &Places) -> Vec<u64> {
        places.ready().map(|worker| worker.0).collect()
    }

    /// A worker is ready until every place is occupied, and last in order after each handoff.
    #[test]
    fn places_bound_outstanding_answers() {
        let mut places = with(&[ONE, TWO], 2);
        places.hand(ONE);
        assert_eq!((ready(&places), places.outstanding(ONE)), ([2, 1].into(), 1));
        places.hand(ONE);
        assert_eq!((ready(&places), places.outstanding(ONE)), ([2].into(), 2));
        places.answered(ONE);
        places.answered(ONE);
        assert_eq!((ready(&places), places.outstanding(ONE)), ([2, 1].into(), 0));
    }

    /// A paused worker with a free place receives nothing before its next answer.
    #[test]
    fn paused_worker_has_no_place() {
        let mut places = with(&[ONE], 2);
        places.hand(ONE);
        places.pause(ONE);
        assert_eq!((ready(&places), places.is_ready(ONE)), (Vec::new(), false));
        places.answered(ONE);
        assert_eq!(ready(&places), [1]);
    }

    /// Outstanding answers count also after the worker has closed its server and listens again.
    #[test]
    fn places_stay_occupied_after_close() {
        let mut places = with(&[ONE], 1);
        places.hand(ONE);
        places.remove(ONE);
        places.add(ONE, Seat::of_worker(ONE), 1);
        assert_eq!(places.ready().len(), 0);
        places.answered(ONE);
        assert_eq!(ready(&places), [1]);
        // A worker without a server is neither paused nor ready.
        places.pause(TWO);
        places.answered(TWO);
        assert_eq!((ready(&places), places.paused.len()), ([1].into(), 0));
    }
}
