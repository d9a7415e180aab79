//! The state of a service, for `cluster status`.

use std::fmt;
use std::time::Duration;

use cluster::{SlotInfo, SlotState};
use serde::{Deserialize, Serialize};

/// The state of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) name: String,
    /// The process id of the primary.
    pub(crate) pid: u32,
    /// The command of a worker.
    pub(crate) program: String,
    pub(crate) uptime_ms: u64,
    /// Where the workers listen.
    pub(crate) addresses: Vec<String>,
    pub(crate) slots: Vec<SlotStatus>,
}

/// A slot of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlotStatus {
    pub(crate) slot: u32,
    pub(crate) state: String,
    pub(crate) worker: Option<u64>,
    pub(crate) successor: Option<u64>,
    /// The failed starts in a row.
    pub(crate) failures: u32,
}

impl From<SlotInfo> for SlotStatus {
    fn from(info: SlotInfo) -> Self {
        SlotStatus {
            slot: info.slot.0,
            state: state(info.state).to_owned(),
            worker: info.worker.map(|worker| worker.0),
            successor: info.successor.map(|worker| worker.0),
            failures: info.failures,
        }
    }
}

fn state(state: SlotState) -> &'static str {
    match state {
        SlotState::Starting => "starting",
        SlotState::Ready => "ready",
        SlotState::Lame => "lame",
        SlotState::Draining => "draining",
        SlotState::Terminating => "terminating",
        SlotState::BackingOff => "backing off",
        SlotState::Suspended => "suspended",
    }
}

/// A table for people.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let uptime = humantime::format_duration(Duration::from_secs(self.uptime_ms / 1_000));
        writeln!(f, "{} (process {}, up {uptime}): {}", self.name, self.pid, self.program)?;
        if !self.addresses.is_empty() {
            writeln!(f, "listens on {}", self.addresses.join(", "))?;
        }
        writeln!(f, "slot  state        worker")?;
        for slot in &self.slots {
            let worker = slot.worker.map_or("-".to_owned(), |worker| worker.to_string());
            writeln!(f, "{:<5} {:<12} {worker}", slot.slot, slot.state)?;
        }
        Ok(())
    }
}
