//! The timers of a supervisor. No timer can be cancelled: an obsolete timer finds the process or the slot in another
//! state.

use alloc::collections::BTreeMap;

use super::slots::SlotId;
use crate::os::{TimerId, WorkerId};

/// The time that a timer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Due {
    /// The time in which a worker becomes ready.
    Ready(WorkerId),
    /// The time after which a ready worker is stable.
    Stable(WorkerId),
    /// The time of a lame duck.
    Lame(WorkerId),
    /// The last moment to ask a draining worker, or all, for open connections.
    Report(Option<WorkerId>),
    /// The time of a drain.
    Drain(WorkerId),
    /// The time after SIGTERM.
    Term(WorkerId),
    /// The time after SIGKILL.
    Kill(WorkerId),
    /// The pause before a start, by the failures of the slot at the time.
    Backoff(SlotId, u32),
    /// The pause before a worker is recycled again.
    Recycle(WorkerId),
    /// The age at which a worker is replaced.
    Age(WorkerId),
    /// The time between two pings.
    Ping(WorkerId),
    /// The time for the answer to a ping, by its number.
    Pong(WorkerId, u64),
    /// The time in which a restart counts.
    Counted,
    /// The time for acknowledgements at the beginning of a shutdown.
    Emptying,
    /// The time of a shutdown.
    Shutdown,
    /// The time for the last channels after a shutdown.
    Finish,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Timers(BTreeMap<TimerId, Due>);

impl Timers {
    pub(super) fn add(&mut self, timer: TimerId, due: Due) {
        self.0.insert(timer, due);
    }

    pub(super) fn fire(&mut self, timer: TimerId) -> Option<Due> {
        self.0.remove(&timer)
    }
}
