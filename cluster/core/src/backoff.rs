//! The pauses before a retry. For a listening socket, the pause grows with each failed accept in a row. The
//! machines set the timers.

use serde::{Deserialize, Serialize};

/// The pause in milliseconds for a worker that has declined a connection, and after a failed write. Node has
/// no pause: a full worker and the primary pass a connection back and forth, which uses a third of a core.
pub(crate) const RETRY_MS: u64 = 20;

/// The first pause, in milliseconds.
const FIRST_MS: u64 = 1;

/// The pause doubles six times, up to 64 ms.
const DOUBLINGS: u32 = 6;

/// The failed accepts in a row of a listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after a failed accept, in milliseconds.
    pub(crate) fn next_ms(&mut self) -> u64 {
        let pause = FIRST_MS << self.failures;
        self.failures = (self.failures + 1).min(DOUBLINGS);
        pause
    }

    /// Called when an accept has succeeded.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 24 retries in the first second of failures, 16 in each later second.
    #[test]
    fn pause_doubles_to_its_bound() {
        let mut backoff = Backoff::default();
        let pauses: [u64; 9] = core::array::from_fn(|_| backoff.next_ms());
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        backoff.reset();
        assert_eq!(backoff.next_ms(), 1);
    }
}
