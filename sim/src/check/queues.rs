//! Queues: what waits in the primary stays within its limits, however many come.

use std::collections::BTreeMap;

use cluster_core::{ConnectionState, HandleId, Primary};

/// The primary has nothing left to do. What a worker gives back is queued again, full or not: each can give back one.
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
            Err(format!("{most} connections wait in the primary, the limit is {limit}"))
        }
        Some(_) | None => Ok(()),
    }
}
