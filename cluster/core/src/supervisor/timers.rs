//! The timers of a supervisor. No timer can be cancelled: a timer that is obsolete finds the process or the
//! slot in another state, and has no effect.

use alloc::collections::{BTreeMap, VecDeque};
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::slot_info::SlotId;
use crate::os::{Call, TimerId, WorkerId, timer_ms};

/// What a timer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Deadline {
    /// The time in which a worker becomes ready.
    Ready(WorkerId),
    /// The time after which a ready worker is stable.
    Stable(WorkerId),
    /// The time of a lame duck.
    Lame(WorkerId),
    /// The last moment to ask a draining worker, or all workers, for the number of open connections.
    Report(Option<WorkerId>),
    /// The time of a drain.
    Drain(WorkerId),
    /// The time after SIGTERM.
    Term(WorkerId),
    /// The time after SIGKILL.
    Kill(WorkerId),
    /// The pause before a start. Identified by the slot, and by the failures when the timer was set.
    Backoff(SlotId, u32),
    /// The pause before a worker is recycled again.
    Recycle(WorkerId),
    /// The age at which a worker is replaced.
    Age(WorkerId),
    /// The time between two pings.
    Ping(WorkerId),
    /// The time for the answer to the ping with this number.
    Pong(WorkerId, u64),
    /// A timer of the program.
    Program(TimerId),
    /// The time for which a restart counts.
    Counted,
    Shutdown(ShutdownTimer),
}

/// The times of a shutdown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum ShutdownTimer {
    /// The time for acknowledgements, at the beginning.
    Emptying,
    /// The deadline of all workers.
    Shutdown,
    /// The time in which further requests are repetitions.
    Repetition,
    /// The time for the last channels to close.
    Finish,
}

/// How long before the end of a drain the worker is asked for the open connections.
const REPORT: Duration = Duration::from_secs(1);

/// When to ask for open connections, within a time that ends with a signal.
pub(super) fn report_after(time: Duration) -> Duration {
    time.saturating_sub(REPORT).max(time / 2)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct Timers {
    deadlines: BTreeMap<TimerId, Deadline>,
    calls: VecDeque<Call>,
}

impl Timers {
    pub(super) fn set(&mut self, timer: TimerId, deadline: Deadline, after: Duration) {
        self.deadlines.insert(timer, deadline);
        self.calls.push_back(Call::SetTimer { timer, after_ms: timer_ms(after) });
    }

    /// The last timer that has not fired.
    pub(super) fn last(&self) -> Option<TimerId> {
        self.deadlines.last_key_value().map(|(timer, _)| *timer)
    }

    pub(super) fn fire(&mut self, timer: TimerId) -> Option<Deadline> {
        self.deadlines.remove(&timer)
    }

    pub(super) fn poll_call(&mut self) -> Option<Call> {
        self.calls.pop_front()
    }
}
