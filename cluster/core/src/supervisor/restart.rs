//! The pauses before restarts, and the number of restarts within a time. Timers are set elsewhere.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::supervisor_settings::SupervisorSettings;

/// The reason why the supervisor has given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant documents its fields")]
#[non_exhaustive]
pub enum GiveUpReason {
    /// More restarts than [`SupervisorSettings::intensity`](super::SupervisorSettings::intensity) allows.
    Restarts {
        /// The number of restarts within the time.
        restarts: u32,
        within: Duration,
    },
    /// No worker was ever ready, and this number of starts in a row has failed in one slot:
    /// [`SupervisorSettings::failed_starts`](super::SupervisorSettings::failed_starts).
    FailedStarts { starts: u32 },
    /// No worker was ever ready, and another start would fail as well: the program is missing or not
    /// executable, a permission is missing, or the spawn options are impossible.
    CannotStart,
}

/// The failures in a row of a slot, and so the pause before the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct Pauses {
    failures: u32,
}

impl Pauses {
    pub(super) fn failures(self) -> u32 {
        self.failures
    }

    /// The pause before the next start: none after the first failure, then `first`, doubled each time up to
    /// `longest`.
    pub(super) fn next(&mut self, [first, longest]: [Duration; 2]) -> Duration {
        let doublings = self.failures.checked_sub(1);
        self.failures = self.failures.saturating_add(1);
        let Some(doublings) = doublings else { return Duration::ZERO };
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        first.saturating_mul(factor).min(longest)
    }

    /// As [`next`](Pauses::next), but the pause after the first failure is `first`.
    pub(super) fn next_after_first(&mut self, pauses: [Duration; 2]) -> Duration {
        self.failures = self.failures.max(1);
        self.next(pauses)
    }

    /// Called when a worker of the slot was ready for
    /// [`SupervisorSettings::min_uptime`](super::SupervisorSettings::min_uptime).
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// The restarts of the cluster that still count.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct Intensity {
    counted: u32,
    gave_up: bool,
    /// Whether a worker of the cluster was ever ready, so the program can start.
    was_ready: bool,
}

impl Intensity {
    /// Counts a restart of a slot with this number of failures in a row. On an error, the restart would
    /// exceed a limit; then it is not counted.
    pub(super) fn count(&mut self, failures: u32, settings: &SupervisorSettings) -> Result<(), GiveUpReason> {
        // Until a worker is ready, every failure counts as a failed start.
        let reason = if !self.was_ready && failures >= settings.failed_starts {
            GiveUpReason::FailedStarts { starts: failures }
        } else if self.counted >= settings.restarts {
            GiveUpReason::Restarts { restarts: self.counted, within: settings.within }
        } else {
            self.counted += 1;
            return Ok(());
        };
        self.gave_up = true;
        Err(reason)
    }

    /// Checks whether another start is of use after a failure that may last. If the program was ready before,
    /// its file may be missing only for a moment, as in a deployment.
    pub(super) fn permit_another(&mut self, is_lasting: bool) -> Result<(), GiveUpReason> {
        if self.was_ready || !is_lasting {
            return Ok(());
        }
        self.gave_up = true;
        Err(GiveUpReason::CannotStart)
    }

    pub(super) fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// Called when a worker is ready.
    pub(super) fn ready(&mut self) {
        self.was_ready = true;
    }

    /// Permits restarts again, because a reload begins.
    pub(super) fn try_again(&mut self) {
        self.gave_up = false;
    }

    /// Called when a restart is so long ago that it no longer counts.
    pub(super) fn forget_one(&mut self) {
        self.counted = self.counted.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(30)];

    /// The first restart is immediate, and then the pauses double up to the longest.
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

    /// Restarts count only within the time, and a refused restart does not count.
    #[test]
    fn intensity_forgets_old_restarts() {
        let within = Duration::from_mins(1);
        let settings = SupervisorSettings::new(1).intensity(2, within);
        let mut intensity = Intensity::default();
        let count = |intensity: &mut Intensity| intensity.count(1, &settings);
        assert_eq!([count(&mut intensity), count(&mut intensity)], [Ok(()); 2]);
        intensity.forget_one();
        assert!(count(&mut intensity).is_ok() && !intensity.gave_up());
        assert_eq!(count(&mut intensity), Err(GiveUpReason::Restarts { restarts: 2, within }));
        assert!(intensity.gave_up());
        intensity.forget_one();
        assert_eq!(intensity.counted, 1);
    }

    /// Failed starts in a row count until a worker of the cluster was ready.
    #[test]
    fn failed_starts_count_until_ready() {
        let settings = SupervisorSettings::new(1).failed_starts(3);
        let mut intensity = Intensity::default();
        assert!(intensity.count(2, &settings).is_ok());
        assert_eq!(intensity.count(3, &settings), Err(GiveUpReason::FailedStarts { starts: 3 }));
        intensity.ready();
        assert!(intensity.count(3, &settings).is_ok());
    }
}
