//! Capacity: the supervisor takes a worker out of service only if enough other workers truly serve. Workers
//! that die by themselves do not count as taken out of service. A shutdown or the removal of a slot needs no
//! capacity.

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

/// Whether the worker hangs. The supervisor reports the hang only after the call.
fn is_silenced(supervisor: &Supervisor, worker: WorkerId) -> bool {
    supervisor
        .slots()
        .any(|slot| slot.worker == Some(worker) && slot.state == cluster_core::SlotState::Terminating)
}
