//! Requested: an exit that the supervisor asked for is no cause of a restart, and after the beginning of a shutdown, or in a
//! removed slot, no process starts.

use cluster_core::{SlotId, Supervisor};

use super::account::Account;

pub(crate) fn spawn(account: &Account, slot: SlotId, supervisor: &Supervisor) -> Result<(), String> {
    if account.shut_down.is_some() {
        return Err(format!("a process starts in slot {slot} after the beginning of the shutdown"));
    }
    let slots = supervisor.slots().count();
    if slot.0 as usize >= slots {
        return Err(format!("a process starts in slot {slot}, and there are {slots} slots"));
    }
    Ok(())
}

pub(crate) fn restart(account: &Account, slot: SlotId) -> Result<(), String> {
    // The process that the slot has lost: the last ready process, else the last process.
    let of_slot = || account.lives.iter().rev().filter(|(_, life)| life.slot == slot);
    let lost = of_slot().find(|(_, life)| life.ready).or_else(|| of_slot().next());
    match lost {
        Some((worker, life)) if life.is_asked() && !life.failed => Err(format!(
            "slot {slot} restarts after the exit of worker {worker}, which the supervisor asked for"
        )),
        Some(_) | None => Ok(()),
    }
}
