//! Intensity: no more restarts within the time of the setting than the setting allows.

use std::collections::VecDeque;
use std::time::Duration;

/// The times of the restarts that count, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Restarts(VecDeque<u64>);

impl Restarts {
    pub(crate) fn restart(&mut self, now: u64, restarts: u32, within: Duration) -> Result<(), String> {
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        self.0.push_back(now);
        self.0.retain(|time| time.saturating_add(within) > now);
        let count = self.0.len();
        if count > restarts as usize {
            return Err(format!("{count} restarts within {within} ms, and {restarts} are allowed"));
        }
        Ok(())
    }
}
