//! The time limit of tasks. A machine has no clock, and no timer can be cancelled. Therefore a single timer
//! ticks for all tasks, eight times per limit, and each task counts the ticks since its start. The first tick
//! may follow the start at once, so a task is late at the ninth tick: at most an eighth of the limit too
//! late.

use core::time::Duration;

/// The number of ticks in a time limit.
const TICKS: u8 = 8;

/// The time between two ticks.
pub(super) fn tick(limit: Duration) -> Duration {
    limit / u32::from(TICKS)
}

/// The number of ticks since the start of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Ticks(u8);

impl Ticks {
    pub(super) fn count(&mut self) {
        self.0 = self.0.saturating_add(1);
    }

    /// Whether the time limit is exceeded.
    pub(super) fn are_too_many(self) -> bool {
        self.0 > TICKS
    }
}
