//! Slots: the worker that holds a slot has the number of the slot in its environment, so no two holders share a number.

use cluster_core::{SlotId, Supervisor, WorkerId};

use super::supervision::Supervision;

/// The supervisor reports that a worker is ready.
pub(crate) fn ready(
    supervision: &Supervision,
    slot: SlotId,
    worker: WorkerId,
    supervisor: &Supervisor,
) -> Result<(), String> {
    let holders = supervisor.slots().filter_map(|info| Some((info.slot, info.worker?)));
    for (slot, worker) in holders.chain([(slot, worker)]) {
        let own = supervision.lives.get(&worker).map(|life| life.slot);
        if own != Some(slot) {
            return Err(format!("worker {worker} holds slot {slot}, and its environment has {own:?}"));
        }
    }
    Ok(())
}
