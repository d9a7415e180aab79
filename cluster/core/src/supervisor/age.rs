//! The age at which a worker is replaced.

use core::time::Duration;

use crate::os::WorkerId;

/// The age at which a worker is replaced. The ages of workers that have started together differ by up to
/// `spread` percent.
pub(super) fn age_of(worker: WorkerId, age: Duration, spread: u32) -> Duration {
    // Fibonacci hashing, which puts neighbouring ids far apart.
    let share = (worker.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % 1000;
    let most = age.saturating_mul(spread) / 100;
    age.saturating_add(most.saturating_mul(u32::try_from(share).unwrap_or(0)) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ages of workers differ, and stay within the spread.
    #[test]
    fn ages_spread_within_bounds() {
        let hour = Duration::from_hours(1);
        let ages: [Duration; 8] = core::array::from_fn(|id| age_of(WorkerId(id as u64 + 1), hour, 10));
        for (at, age) in ages.iter().enumerate() {
            assert!((hour..=hour * 11 / 10).contains(age), "{age:?}");
            assert!(!ages[..at].contains(age), "{ages:?}");
        }
        assert_eq!(age_of(WorkerId(1), hour, 0), hour);
        assert_eq!(age_of(WorkerId(1), Duration::MAX, 100), Duration::MAX);
    }
}
