//! The counters of a primary; each number is used once. The operating system numbers the sockets.
//!
//! 64 bits last half a million years at a million numbers per second.

#[cfg(feature = "testing")]
use super::Primary;
use crate::os::{HandleId, TimerId, WorkerId};

/// The last number of each kind; 0 initially.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Counters {
    worker: u64,
    handle: u64,
    timer: u64,
    /// The number of inspector ports assigned.
    inspected: u64,
}

impl Counters {
    pub(super) fn next_worker(&mut self) -> WorkerId {
        WorkerId(next(&mut self.worker))
    }

    /// Whether a worker with this id was forked; the worker may have exited.
    pub(super) fn has_forked(&self, worker: WorkerId) -> bool {
        (1..=self.worker).contains(&worker.0)
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

#[cfg(feature = "testing")]
impl Primary {
    /// Continues every counter except the workers' after `last`, for tests of a primary that has run for long. A
    /// counter beyond `last` is unchanged; message numbers stay below 2^53, which no process reaches.
    pub fn count_after(&mut self, last: u64) {
        let Counters { worker: _, handle, timer, inspected } = &mut self.counters;
        for counter in [handle, timer, inspected] {
            *counter = last.max(*counter);
        }
        self.pending.count_after(last);
    }

    /// Continues the workers' counter after `last`; see [`count_after`](Primary::count_after).
    pub fn count_workers_after(&mut self, last: WorkerId) {
        self.counters.worker = last.0.max(self.counters.worker);
    }
}
