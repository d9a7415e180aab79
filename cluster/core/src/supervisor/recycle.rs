//! The limits of a worker's life: age, memory, connections. A worker beyond a limit is replaced, one at a time.

use core::time::Duration;

use super::reload::RecycleReason;
use super::slots::SlotId;
use super::timers::Due;
use super::{Supervisor, SupervisorSettings};
use crate::os::WorkerId;
use crate::primary::WorkerInfo;

/// The age at which a worker is replaced: workers that started together spread over `spread` percent of the age.
fn age_of(worker: WorkerId, age: Duration, spread: u32) -> Duration {
    // Fibonacci hashing: neighbouring ids are far apart.
    let share = (worker.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) % 1000;
    let most = age.saturating_mul(spread) / 100;
    age.saturating_add(most.saturating_mul(u32::try_from(share).unwrap_or(0)) / 1000)
}

impl Supervisor {
    /// The worker is ready: its age begins.
    pub(super) fn limit_age(&mut self, worker: WorkerId) {
        let SupervisorSettings { max_age, age_spread, .. } = self.settings;
        if let Some(age) = max_age {
            self.set_timer(Due::Age(worker), age_of(worker, age, age_spread));
        }
    }

    /// The worker is old. Another attempt follows if this one is abandoned.
    pub(super) fn aged(&mut self, worker: WorkerId) {
        if self.serves(worker) {
            self.recycle(worker, RecycleReason::Age);
            self.set_timer(Due::Age(worker), self.settings.ready_timeout);
        }
    }

    /// The replacement of the worker was abandoned: the next request for the slot waits for a growing pause.
    pub(super) fn delay_recycle(&mut self, slot: SlotId) {
        let Some(worker) = self.slots.get(slot).and_then(|slot| slot.holder.ok()) else { return };
        if !self.is_running() || !self.serves(worker) {
            return;
        }
        let Some(member) = self.members.get_mut(worker) else { return };
        member.is_retrying = true;
        let after = member.retries.next_after_first(self.settings.backoff);
        self.set_timer(Due::Recycle(worker), after);
    }

    /// The pause after a failed replacement has ended.
    pub(super) fn may_recycle(&mut self, worker: WorkerId) {
        if let Some(member) = self.members.get_mut(worker) {
            member.is_retrying = false;
        }
    }

    /// Reports the resident memory of a worker. More than [`max_memory`](SupervisorSettings::max_memory) recycles the
    /// worker. After an abandoned recycle the worker is not recycled again before the pause of
    /// [`backoff`](SupervisorSettings::backoff).
    pub fn report_memory(&mut self, worker: WorkerId, bytes: u64) {
        if self.settings.max_memory.is_some_and(|limit| bytes > limit) {
            self.recycle(worker, RecycleReason::Memory { bytes });
        }
    }

    /// The connections that the worker has acknowledged.
    pub(super) fn owned_by(&self, worker: WorkerId) -> u64 {
        self.primary.worker(worker).map_or(0, WorkerInfo::owned_connections)
    }

    /// The worker may have acknowledged a connection.
    pub(super) fn limit_connections(&mut self, worker: WorkerId) {
        let count = self.owned_by(worker);
        if self.settings.max_connections.is_some_and(|limit| count >= limit) {
            self.recycle(worker, RecycleReason::Connections { count });
        }
    }
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
