//! Capacity: the supervisor takes no worker out of service unless enough others truly serve. Deaths of
//! workers do not count, and a shutdown or a removed slot needs no capacity.

use cluster_core::{Supervisor, WorkerId};

use super::account::{Account, Life};

/// Checks a request to exit before the call.
pub(crate) fn request(account: &Account, worker: WorkerId, supervisor: &Supervisor) -> Result<(), String> {
    let Some(life) = account.lives.get(&worker).filter(|life| life.is_in_service()) else {
        return Ok(());
    };
    let all = supervisor.slots().count();
    let is_exempt = supervisor.is_shutting_down() || life.slot.0 as usize >= all || life.failed;
    if is_exempt || is_silenced(supervisor, worker) {
        return Ok(());
    }
    let others = || account.lives.iter().filter(|(other, _)| **other != worker);
    let serves = |(_, life): &(&WorkerId, &Life)| life.listens && !life.over && !life.is_asked();
    let ready = others().filter(serves).count();
    let is_replaced = others().filter(serves).any(|(_, other)| other.slot == life.slot);
    let needed = all.saturating_sub(supervisor.settings().max_unavailable as usize);
    if is_replaced || ready >= needed {
        return Ok(());
    }
    Err(format!("worker {worker} is taken out of service, and {ready} of {needed} needed workers serve"))
}

/// The worker hangs: the event follows the call.
fn is_silenced(supervisor: &Supervisor, worker: WorkerId) -> bool {
    supervisor
        .slots()
        .any(|slot| slot.worker == Some(worker) && slot.state == cluster_core::SlotState::Terminating)
}
