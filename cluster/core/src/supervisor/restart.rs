//! The pauses before restarts, and the number of restarts within a time. Timers are set elsewhere.

use core::time::Duration;

/// The failures in a row of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Pauses {
    failures: u32,
}

impl Pauses {
    pub(super) fn failures(self) -> u32 {
        self.failures
    }

    /// The pause before the next start: none after the first failure, then `first`, doubled up to `longest`.
    pub(super) fn next(&mut self, [first, longest]: [Duration; 2]) -> Duration {
        let doublings = self.failures.checked_sub(1);
        self.failures = self.failures.saturating_add(1);
        let Some(doublings) = doublings else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        first.saturating_mul(factor).min(longest)
    }

    /// As [`next`](Pauses::next), without an immediate first start.
    pub(super) fn next_after_first(&mut self, pauses: [Duration; 2]) -> Duration {
        self.failures = self.failures.max(1);
        self.next(pauses)
    }

    /// A worker of the slot was ready for long enough.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The restarts of the cluster that still count.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Intensity {
    counted: u32,
    gave_up: bool,
}

impl Intensity {
    /// Counts a permitted restart. False: the restart is one too many, now or earlier.
    pub(super) fn allows(&mut self, restarts: u32) -> bool {
        self.gave_up |= self.counted >= restarts;
        if !self.gave_up {
            self.counted += 1;
        }
        !self.gave_up
    }

    pub(super) fn gave_up(&self) -> bool {
        self.gave_up
    }

    pub(super) fn counted(&self) -> u32 {
        self.counted
    }

    /// A reload permits restarts again.
    pub(super) fn try_again(&mut self) {
        self.gave_up = false;
    }

    /// A restart is long enough ago.
    pub(super) fn forget_one(&mut self) {
        self.counted = self.counted.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(30)];

    /// The first restart is immediate; the pauses double up to the longest.
    #[test]
    fn pause_doubles_to_longest() {
        let mut backoff = Pauses::default();
        let pauses: [u128; 12] = core::array::from_fn(|_| backoff.next(PAUSES).as_millis());
        let doubled = [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000];
        assert_eq!(pauses, doubled);
        backoff.failures = u32::MAX;
        assert_eq!(backoff.next(PAUSES), PAUSES[1]);
        backoff.reset();
        assert_eq!(backoff.next(PAUSES), Duration::ZERO);
        backoff.reset();
        assert_eq!(
            [backoff.next_after_first(PAUSES), backoff.next_after_first(PAUSES)],
            [PAUSES[0], 2 * PAUSES[0]]
        );
    }

    /// Only restarts within the time count, and giving up is final.
    #[test]
    fn intensity_forgets_old_restarts() {
        let mut intensity = Intensity::default();
        assert!(intensity.allows(2) && intensity.allows(2));
        intensity.forget_one();
        assert!(intensity.allows(2) && !intensity.gave_up());
        assert!(!intensity.allows(2) && intensity.gave_up());
        assert_eq!(intensity.counted(), 2);
        intensity.forget_one();
        assert!(!intensity.allows(2));
        intensity.forget_one();
        assert_eq!(intensity.counted(), 0);
    }
}
