//! The pauses before something is tried again. That of a socket after a failed accept grows with each failure in a row. No
//! timer is set here.

/// How long a worker that has refused a connection gets none, and a failed write waits, in milliseconds.
/// Node has no such pause: a full worker and its primary pass the connection to and fro at a third of a core.
pub(crate) const RETRY_MS: u64 = 20;

/// The first pause, in milliseconds.
const FIRST_MS: u64 = 1;

/// How often a pause doubles: 64 ms is the longest.
const DOUBLINGS: u32 = 6;

/// The failures in a row of one listening socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// An accept has failed: the pause until the next one, in milliseconds.
    pub(crate) fn next_ms(&mut self) -> u64 {
        let pause = FIRST_MS << self.failures;
        self.failures = (self.failures + 1).min(DOUBLINGS);
        pause
    }

    /// An accept has succeeded.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A starved socket neither spins nor sleeps long: 24 failures in the first second, 16 in each second after it.
    #[test]
    fn pause_doubles_to_its_bound() {
        let mut backoff = Backoff::default();
        let pauses: [u64; 9] = core::array::from_fn(|_| backoff.next_ms());
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        backoff.reset();
        assert_eq!(backoff.next_ms(), 1);
    }
}
