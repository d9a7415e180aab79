//! The counters of a primary. Each number is used once. Sockets are numbered by the operating system.
//!
//! 64 bits are enough for half a million years at a million numbers per second.

use serde::{Deserialize, Serialize};

/// The last number; 0 initially.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct Counter(u64);

impl Counter {
    pub(super) fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }

    pub(super) fn last(self) -> u64 {
        self.0
    }

    /// Continues after `last`, unless the number is higher already.
    #[cfg(feature = "testing")]
    pub(super) fn count_after(&mut self, last: u64) {
        self.0 = last.max(self.0);
    }
}
