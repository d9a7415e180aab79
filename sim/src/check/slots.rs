//! Slots, as two rules. The worker that holds a slot has the number of the slot in its environment, so no two
//! holders share a number. No two workers of a slot receive connections. The primary decides which worker is
//! a lame duck: the message to the lame duck may still wait in the channel behind a connection.

use std::collections::BTreeMap;

use cluster_core::{SlotId, Supervisor, WorkerId};

use super::account::Account;
use super::fairness::may_receive;

/// Checks a worker that the supervisor has reported as ready.
pub(crate) fn ready(
    account: &Account,
    slot: SlotId,
    worker: WorkerId,
    supervisor: &Supervisor,
) -> Result<(), String> {
    let holders = supervisor.slots().filter_map(|info| Some((info.slot, info.worker?)));
    for (slot, worker) in holders.chain([(slot, worker)]) {
        let own = account.lives.get(&worker).map(|life| life.slot);
        if own != Some(slot) {
            return Err(format!("worker {worker} holds slot {slot}, and its environment has {own:?}"));
        }
    }
    Ok(())
}

/// Checks an idle primary.
pub(crate) fn at_rest(account: &Account, supervisor: &Supervisor) -> Result<(), String> {
    let mut holders = BTreeMap::new();
    let receives = |worker| supervisor.primary().worker(worker).is_some_and(may_receive);
    for (worker, life) in &account.lives {
        if !life.is_in_service() || !receives(*worker) {
            continue;
        }
        if let Some(other) = holders.insert(life.slot, worker) {
            return Err(format!("workers {other} and {worker} both serve in slot {}", life.slot));
        }
    }
    Ok(())
}
