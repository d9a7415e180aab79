//! Queues: the queues of the primary stay within the limits, however many clients connect.

use std::collections::BTreeMap;

use cluster_core::{ConnectionState, HandleId, Primary};

/// Checks an idle primary. A returned connection is queued even if the queue is full, and each worker can
/// return one connection.
pub(crate) fn at_rest(primary: &Primary, processes: usize) -> Result<(), String> {
    let mut queued: BTreeMap<HandleId, usize> = BTreeMap::new();
    for (_, standing) in primary.ledger().open() {
        if let ConnectionState::Queued(handle) = standing {
            *queued.entry(handle).or_default() += 1;
        }
    }
    let limit = primary.settings().limits.queued_connections;
    match queued.values().max() {
        Some(&most) if most > limit + processes => {
            Err(format!("{most} connections are queued in the primary, the limit is {limit}"))
        }
        Some(_) | None => Ok(()),
    }
}
