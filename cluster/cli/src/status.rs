//! The state of a service, for `cluster status` and `cluster top`.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use cluster::{RecycleReason, SlotId, SlotInfo, SlotState};
use serde::{Deserialize, Serialize};

use crate::statistics::Statistics;
use crate::usage::{self, Usage};

/// The state of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) name: String,
    /// The process id of the primary.
    pub(crate) pid: u32,
    /// The command of a worker.
    pub(crate) program: String,
    pub(crate) uptime_ms: u64,
    /// The addresses of the service.
    pub(crate) addresses: Vec<String>,
    /// The reload in progress.
    #[serde(default)]
    pub(crate) reload: Option<ReloadStatus>,
    pub(crate) slots: Vec<SlotStatus>,
}

/// A slot of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SlotStatus {
    #[serde(flatten)]
    pub(crate) info: SlotInfo,
    /// `None`: the slot has no process, or the system has no `/proc`.
    pub(crate) usage: Option<Usage>,
    /// `None`: the worker has no preload, or has not answered yet.
    pub(crate) statistics: Option<Statistics>,
}

/// A reload in progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ReloadStatus {
    pub(crate) number: u64,
    /// `None`: every slot.
    pub(crate) slot: Option<u32>,
    pub(crate) age_ms: u64,
    /// The name in the events, for example `reload 2`.
    pub(crate) name: String,
    /// What the reload waits for.
    pub(crate) waits_for: String,
}

/// A line of `cluster status`.
impl fmt::Display for ReloadStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in progress for {} ({})", self.name, time(self.age_ms), self.waits_for)
    }
}

impl SlotStatus {
    pub(crate) fn of(info: SlotInfo, statistics: Option<Statistics>) -> Self {
        SlotStatus { info, usage: info.pid.and_then(usage::of), statistics }
    }

    /// The open connections, as reported by the worker.
    pub(crate) fn open_connections(&self) -> Option<u64> {
        self.statistics.map(|statistics| statistics.connections).or(self.info.open_connections)
    }
}

/// A state in a word or two.
pub(crate) fn name(state: SlotState) -> &'static str {
    match state {
        SlotState::Starting => "starting",
        SlotState::Ready => "ready",
        SlotState::Lame => "lame duck",
        SlotState::Draining => "draining",
        SlotState::Terminating => "terminating",
        SlotState::BackingOff => "backing off",
        SlotState::Suspended => "suspended",
    }
}

/// The name of a recycle, as in the events.
pub(crate) fn recycle_name(slot: SlotId, reason: RecycleReason) -> String {
    match reason {
        RecycleReason::Command => format!("restart of slot {slot}"),
        reason => format!("replacement of slot {slot} ({reason})"),
    }
}

/// A time in seconds as a text: `2h 5m 3s`.
pub(crate) fn time(ms: u64) -> String {
    humantime::format_duration(Duration::from_secs(ms / 1_000)).to_string()
}

fn or_dash(value: Option<impl fmt::Display>) -> String {
    value.map_or("-".to_owned(), |value| value.to_string())
}

impl SlotStatus {
    /// The values for the columns of [`HEAD`], for people.
    pub(crate) fn columns(&self) -> [String; 8] {
        let SlotInfo { slot, state, pid, worker, restarts, acknowledged_connections, .. } = self.info;
        [
            slot.to_string(),
            name(state).to_owned(),
            or_dash(worker),
            or_dash(pid),
            or_dash(self.usage.map(|usage| time(usage.age_ms))),
            restarts.to_string(),
            or_dash(acknowledged_connections),
            or_dash(self.usage.map(|usage| ByteSize(usage.memory_bytes))),
        ]
    }
}

/// The names of the columns.
pub(crate) const HEAD: [&str; 8] =
    ["slot", "state", "worker", "process", "age", "restarts", "connections", "memory"];

/// The status as a table for people.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}, process {}, up {}", self.name, self.program, self.pid, time(self.uptime_ms))?;
        if !self.addresses.is_empty() {
            writeln!(f, "listens on {}", self.addresses.join(", "))?;
        }
        if let Some(reload) = &self.reload {
            writeln!(f, "{reload}")?;
        }
        for info in self.slots.iter().map(|slot| slot.info) {
            if let Some(reason) = info.recycle {
                writeln!(f, "{} waits", recycle_name(info.slot, reason))?;
            }
        }
        let rows: Vec<_> = self.slots.iter().map(SlotStatus::columns).collect();
        let width =
            |at: usize| rows.iter().map(|row| row[at].len()).chain([HEAD[at].len()]).max().unwrap_or(0);
        let mut line = |cells: &[String; 8]| {
            let cells = cells.iter().enumerate().map(|(at, cell)| format!("{cell:<0$}", width(at)));
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        line(&HEAD.map(str::to_owned))?;
        rows.iter().try_for_each(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_has_a_line_per_slot() {
        let info: SlotInfo = serde_json::from_value(serde_json::json!({
            "slot": 0, "state": "ready", "worker": 3, "pid": 4_000, "successor": null, "restarts": 1,
            "failures": 0, "acknowledged_connections": 12, "open_connections": null,
            "recycle": "age"
        }))
        .expect("a slot");
        let usage = Some(Usage { memory_bytes: 48 << 20, cpu_ms: 10, age_ms: 63_500 });
        let status = Status {
            name: "app".to_owned(),
            pid: 3_999,
            program: "app.js".to_owned(),
            uptime_ms: 3_600_000,
            addresses: vec!["127.0.0.1:8000".to_owned()],
            reload: Some(ReloadStatus {
                number: 2,
                slot: None,
                age_ms: 40_000,
                name: "reload 2".to_owned(),
                waits_for: "slot 0: worker 4 is not ready after 35s".to_owned(),
            }),
            slots: vec![SlotStatus { info, usage, statistics: None }],
        };
        let lines = [
            "app: app.js, process 3999, up 1h",
            "listens on 127.0.0.1:8000",
            "reload 2 in progress for 40s (slot 0: worker 4 is not ready after 35s)",
            "replacement of slot 0 (age) waits",
            "slot  state  worker  process  age    restarts  connections  memory",
            "0     ready  3       4000     1m 3s  1         12           48.0 MiB",
            "",
        ];
        assert_eq!(status.to_string(), lines.join("\n"));
    }
}
