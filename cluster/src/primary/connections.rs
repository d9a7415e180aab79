//! The ledger of a primary, as counts.

use cluster_core::{CloseReason, ConnectionState, Ledger};
use serde::{Deserialize, Serialize};

use super::Primary;

/// The connections accepted by a primary under round robin: each connection is queued, handed off, owned or
/// closed. Under the shared policy workers accept by themselves. Serialized by serde as an object with the
/// names of the fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConnectionCounts {
    /// Connections accepted since the start: `queued + handed_off + owned + closed`.
    pub accepted: u64,
    /// Connections in the primary's queue, now.
    pub queued: u64,
    /// Connections on the way to a worker, not acknowledged, now.
    pub handed_off: u64,
    /// Connections acknowledged by a worker, since the start. The primary does not observe the end of a
    /// connection.
    pub owned: u64,
    /// Connections closed by the primary because no worker listened, since the start.
    pub closed: u64,
    /// Connections that returned to the queue after a handoff, since the start: the worker declined the
    /// connection, or exited before the acknowledgement.
    pub requeued: u64,
}

impl Primary {
    /// Counts the accepted connections, in time proportional to `queued + handed_off`.
    pub fn connections(&self) -> ConnectionCounts {
        ConnectionCounts::of(self.machine.ledger())
    }
}

impl ConnectionCounts {
    pub(crate) fn of(ledger: &Ledger) -> Self {
        let mut counts = ConnectionCounts {
            accepted: ledger.accepted(),
            owned: ledger.owned(),
            closed: ledger.closed(CloseReason::NoListener),
            requeued: ledger.returned(),
            ..ConnectionCounts::default()
        };
        for (_, state) in ledger.open() {
            match state {
                ConnectionState::Queued(_) => counts.queued += 1,
                ConnectionState::Handed(..) => counts.handed_off += 1,
            }
        }
        counts
    }
}
