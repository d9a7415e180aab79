//! The numbers that a primary counts up as long as it runs: none is given twice. The sockets are the operating system's.
//!
//! With 64 bits a primary that uses a million numbers a second counts for half a million years.

use super::Primary;
use crate::os::{HandleId, TimerId, WorkerId};

/// The last number of each kind; 0 before the first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Counters {
    worker: u64,
    handle: u64,
    timer: u64,
    /// How many workers got an inspector port of their own.
    inspected: u64,
}

impl Counters {
    pub(super) fn next_worker(&mut self) -> WorkerId {
        WorkerId(next(&mut self.worker))
    }

    pub(super) fn next_handle(&mut self) -> HandleId {
        HandleId(next(&mut self.handle))
    }

    pub(super) fn next_timer(&mut self) -> TimerId {
        TimerId(next(&mut self.timer))
    }

    pub(super) fn next_inspected(&mut self) -> u64 {
        next(&mut self.inspected)
    }
}

fn next(last: &mut u64) -> u64 {
    *last += 1;
    *last
}

impl Primary {
    /// Continues every counter but that of the workers after this number, as in a primary that has run for long: for tests
    /// of that. A counter that is further already keeps its number; those of messages continue before 2^53 at the latest,
    /// which no process reaches.
    pub fn count_after(&mut self, last: u64) {
        let Counters { worker: _, handle, timer, inspected } = &mut self.counters;
        for counter in [handle, timer, inspected] {
            *counter = last.max(*counter);
        }
        self.pending.count_after(last);
    }

    /// Continues the numbers of the workers after this one: see [`count_after`](Primary::count_after).
    pub fn count_workers_after(&mut self, last: WorkerId) {
        self.counters.worker = last.0.max(self.counters.worker);
    }
}
