//! The state of a slot, for the program. Values only.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::os::WorkerId;

/// The number of a slot. The worker of a slot has the number in its environment, as `CLUSTER_SLOT`. Serialized by
/// serde as a number.
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
    /// The worker starts.
    Starting,
    /// The worker serves.
    Ready,
    /// The worker gets no connection and answers the requests on open connections.
    Lame,
    /// The worker was asked to disconnect.
    Draining,
    /// The worker was signalled.
    Terminating,
    /// The slot waits for the next start.
    BackingOff,
    /// The slot gets no worker by itself.
    Suspended,
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
    /// The starting worker that replaces the holder when ready.
    pub successor: Option<WorkerId>,
    /// The restarts since the slot exists: after an exit that was not requested, a failed start, or a hang. Reloads and recycles do not count.
    pub restarts: u64,
    /// The failures in a row, failed starts included, that determine the next pause.
    pub failures: u32,
    /// The number of connections that `worker` has acknowledged since the start, also those that have ended. `None`: there is no
    /// worker, the worker has not listened, or the policy is shared, so that the connections do not pass through the primary.
    pub acknowledged_connections: Option<u64>,
    /// The open connections, as `worker` has reported them last. `None`: the worker has not answered a ping, see
    /// [`SupervisorSettings::heartbeat`](super::SupervisorSettings::heartbeat), has reported none without a server, or there is no
    /// worker.
    pub open_connections: Option<u64>,
}
