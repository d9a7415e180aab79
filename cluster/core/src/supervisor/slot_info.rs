//! A slot as the program sees it. Values only.

use core::fmt;

use crate::os::WorkerId;

/// The number of a slot. The worker of a slot has the number in its environment, as `CLUSTER_SLOT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u32);

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The state of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotState {
    /// The worker starts.
    Starting,
    /// The worker serves.
    Ready,
    /// The worker gets no connection and answers the requests on open ones.
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

/// A slot, for the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlotInfo {
    /// The number.
    pub slot: SlotId,
    /// The state.
    pub state: SlotState,
    /// The worker that holds the slot.
    pub worker: Option<WorkerId>,
    /// The starting worker that replaces the holder when ready.
    pub successor: Option<WorkerId>,
    /// The failures in a row that determine the next pause.
    pub failures: u32,
    /// The number of connections that `worker` has acknowledged since the start, also those that have ended. Zero without a
    /// worker, and under the shared policy.
    pub owned_connections: u64,
}
