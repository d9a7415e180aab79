//! Intensity: within the time in the settings, a supervisor restarts no more often than the settings allow.
//! Until the first worker is ready, no slot has more failed starts in a row than the settings allow. After
//! the first worker was ready, no error of a start makes a supervisor give up at once.

use std::collections::{BTreeMap, VecDeque};

use cluster_core::{GiveUpReason, SlotId, SupervisorSettings};

/// The restarts that count towards the limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Restarts {
    /// The times of the restarts, in milliseconds.
    times: VecDeque<u64>,
    /// The restarts of each slot until the first worker is ready.
    unready: BTreeMap<SlotId, u32>,
    was_ready: bool,
}

impl Restarts {
    pub(crate) fn ready(&mut self) {
        self.was_ready = true;
    }

    pub(crate) fn gave_up(&self, reason: &GiveUpReason) -> Result<(), String> {
        if self.was_ready && *reason == GiveUpReason::CannotStart {
            return Err("the supervisor gives up at once, although a worker was ready before".to_owned());
        }
        Ok(())
    }

    pub(crate) fn restart(
        &mut self,
        slot: SlotId,
        now: u64,
        settings: &SupervisorSettings,
    ) -> Result<(), String> {
        let unready = self.unready.entry(slot).or_default();
        *unready += u32::from(!self.was_ready);
        let starts = settings.failed_starts;
        if !self.was_ready && *unready >= starts {
            return Err(format!(
                "slot {slot} restarts after {unready} failed starts, and {starts} are the limit"
            ));
        }
        let (restarts, within) = (settings.restarts, settings.within);
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.times.push_back(now);
        self.times.retain(|time| time.saturating_add(within) > now);
        let count = self.times.len();
        if count > restarts as usize {
            return Err(format!("{count} restarts within {within} ms, and {restarts} are allowed"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The limit on failed starts holds for each slot, until a worker is ready.
    #[test]
    fn failed_starts_are_limited() {
        let settings = SupervisorSettings::new(2).failed_starts(2);
        let mut restarts = Restarts::default();
        assert!(restarts.restart(SlotId(0), 0, &settings).is_ok());
        assert!(restarts.restart(SlotId(1), 0, &settings).is_ok());
        assert!(restarts.clone().restart(SlotId(1), 0, &settings).is_err());
        restarts.ready();
        assert!(restarts.restart(SlotId(1), 0, &settings).is_ok());
    }
}
