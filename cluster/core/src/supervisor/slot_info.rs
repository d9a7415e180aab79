//! The state of a slot, for the program. Values only.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::os::WorkerId;

/// The number of a slot. Its worker has the number in the environment, as `CLUSTER_SLOT`. Serialized by serde
/// as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SlotId(pub u32);

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The state of a slot. Serialized by serde as a text, such as `"backing_off"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// The worker is starting.
    Starting,
    /// The worker serves.
    Ready,
    /// The worker receives no connection, and answers requests on open connections.
    Lame,
    /// The worker was asked to disconnect.
    Draining,
    /// The worker was sent a signal.
    Terminating,
    /// The slot waits for the next start.
    BackingOff,
    /// The slot gets no worker by itself.
    Suspended,
}

/// The reason for a recycle. Serialized by serde as a text, or as an object with the limit reached, such as
/// `{"connections":{"count":10}}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each variant documents its fields")]
#[non_exhaustive]
pub enum RecycleReason {
    /// [`Supervisor::restart_slot`](super::Supervisor::restart_slot).
    Command,
    /// The worker is older than [`SupervisorSettings::max_age`](super::SupervisorSettings::max_age).
    Age,
    /// [`Supervisor::report_memory`](super::Supervisor::report_memory) has reported more than
    /// [`SupervisorSettings::max_memory`](super::SupervisorSettings::max_memory).
    Memory {
        /// The number of bytes in the report.
        bytes: u64,
    },
    /// The worker has owned
    /// [`SupervisorSettings::max_connections`](super::SupervisorSettings::max_connections).
    Connections { count: u64 },
}

/// A slot, for the program. Serialized by serde as an object with the names of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SlotInfo {
    /// The number.
    pub slot: SlotId,
    /// The state.
    pub state: SlotState,
    /// The worker that holds the slot.
    pub worker: Option<WorkerId>,
    /// The process id of `worker`, once started.
    pub pid: Option<u32>,
    /// The starting worker that will replace the holder when ready.
    pub successor: Option<WorkerId>,
    /// The number of restarts since the slot was added: after an exit not requested, a failed start, or a
    /// hang. Reloads and recycles do not count.
    pub restarts: u64,
    /// The number of failures in a row, failed starts included. It determines the next pause.
    pub failures: u32,
    /// The number of connections that `worker` has acknowledged since its start, including connections that
    /// have ended. `None`: there is no worker, the worker has not listened, or the policy is shared and the
    /// connections do not pass through the primary.
    pub acknowledged_connections: Option<u64>,
    /// The number of open connections in the last report of `worker`. `None`: there is no worker, the worker
    /// has reported no number, in an answer to a ping
    /// ([`SupervisorSettings::heartbeat`](super::SupervisorSettings::heartbeat)) or for the policy, or it has
    /// reported 0 without a server.
    pub open_connections: Option<u64>,
    /// The reason of a requested recycle that has not begun: recycles and reloads run one at a time.
    #[serde(default)]
    pub recycle: Option<RecycleReason>,
}
