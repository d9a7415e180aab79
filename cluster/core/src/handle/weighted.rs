//! The weighted policy: workers take turns in proportion to their weights. The weight of a new worker rises
//! in steps, so that the caches and the compiled code of the program warm up before the full share.
//!
//! The rule is start-time fair queuing. A handoff advances the turn of a worker by a stride, the inverse of
//! the weight, and the ready worker with the earliest turn is next. A worker that was not ready has no
//! credit: its turn is at least the current turn. While two workers are ready all the time, their shares
//! differ from the proportion of their weights by less than one connection.

use alloc::collections::BTreeMap;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::places::Places;
use crate::os::WorkerId;

/// The weight of a warm worker, and the number of steps of a warming one.
const WARM: u32 = 10;

/// A multiple of every weight, so strides are whole numbers.
const UNIT: u64 = 2520;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Weighted {
    slow_start: Duration,
    /// The turns and the weights of the listening workers.
    workers: BTreeMap<WorkerId, (u64, u32)>,
    /// The turn of the last handoff.
    now: u64,
}

impl Weighted {
    pub(super) fn new(slow_start: Duration) -> Self {
        Weighted { slow_start, workers: BTreeMap::new(), now: 0 }
    }

    /// Called when a worker begins to listen.
    pub(super) fn add(&mut self, worker: WorkerId) {
        let weight = if self.step_ms() > 0 { 1 } else { WARM };
        self.workers.insert(worker, (self.now, weight));
    }

    pub(super) fn remove(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
    }

    /// Raises the weight of a worker by one step.
    pub(super) fn warm(&mut self, worker: WorkerId) {
        if let Some((_, weight)) = self.workers.get_mut(&worker) {
            *weight = (*weight + 1).min(WARM);
        }
    }

    /// The time until the next step of a worker, in milliseconds. `None`: the worker is warm.
    pub(super) fn warming_ms(&self, worker: WorkerId) -> Option<u64> {
        let is_warming = self.workers.get(&worker).is_some_and(|(_, weight)| *weight < WARM);
        is_warming.then(|| self.step_ms())
    }

    pub(super) fn choose(&mut self, places: &Places) -> Option<WorkerId> {
        let turn = |worker: &WorkerId| self.workers.get(worker).map_or(0, |(turn, _)| *turn).max(self.now);
        let worker = places.ready().min_by_key(turn)?;
        self.now = turn(&worker);
        if let Some((turn, weight)) = self.workers.get_mut(&worker) {
            *turn = self.now.saturating_add(UNIT / u64::from((*weight).max(1)));
        }
        Some(worker)
    }

    fn step_ms(&self) -> u64 {
        u64::try_from(self.slow_start.as_millis()).unwrap_or(u64::MAX) / u64::from(WARM)
    }
}
