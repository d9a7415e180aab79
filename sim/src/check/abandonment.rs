//! Abandonment: when a reload ends early, every slot with a ready process still has a process in service. A
//! slot is exempt if the reload has stopped the process before a successor was ready: `max_unavailable`
//! permits empty slots.

use cluster_core::Supervisor;

use super::account::Account;

pub(crate) fn abandoned(account: &Account, supervisor: &Supervisor) -> Result<(), String> {
    if supervisor.settings().max_unavailable > 0 {
        return Ok(());
    }
    for slot in supervisor.slots().map(|slot| slot.slot) {
        let mut ready = account.lives.values().filter(|life| life.slot == slot && life.ready && !life.over);
        let Some(first) = ready.next() else { continue };
        if !first.is_in_service() && !ready.any(super::account::Life::is_in_service) {
            return Err(format!("the reload is abandoned, and slot {slot} has lost its old worker"));
        }
    }
    Ok(())
}
