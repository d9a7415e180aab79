//! Requested: an exit that the supervisor asked for causes no restart. No process starts after the beginning
//! of a shutdown, nor in a removed slot.

use cluster_core::{SlotId, Supervisor, WorkerId};

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

/// Checks a restart. `lost` is the process that the supervisor replaces; `None`: no process was forked.
pub(crate) fn restart(account: &Account, slot: SlotId, lost: Option<WorkerId>) -> Result<(), String> {
    let Some(worker) = lost else { return Ok(()) };
    match account.lives.get(&worker) {
        Some(life) if life.slot != slot => {
            Err(format!("slot {slot} restarts after the exit of worker {worker} of slot {}", life.slot))
        }
        Some(life) if life.is_asked() && !life.failed => Err(format!(
            "slot {slot} restarts after the exit of worker {worker}, which the supervisor asked for"
        )),
        Some(_) | None => Ok(()),
    }
}
