//! Readiness: when faults stop, every slot has a running ready worker, unless the supervisor has given up;
//! after a shutdown no process runs and the supervisor has finished.

use cluster_core::{SlotState, Supervisor};

use super::account::Account;
use crate::kernel::Kernel;
use crate::step::Pid;

pub(crate) fn at_the_end(account: &Account, supervisor: &Supervisor, kernel: &Kernel) -> Result<(), String> {
    if supervisor.is_shutting_down() {
        return if account.finished { Ok(()) } else { Err("the shutdown has no end".to_owned()) };
    }
    for slot in supervisor.slots() {
        let is_running = slot.worker.is_some_and(|worker| kernel.processes.get(Pid::from(worker)).is_alive());
        let is_ready = slot.state == SlotState::Ready && is_running;
        let is_given_up = slot.state == SlotState::Suspended && account.gave_up;
        if !(is_ready || is_given_up) {
            return Err(format!(
                "slot {} is {:?} at the end, worker {:?}",
                slot.slot, slot.state, slot.worker
            ));
        }
    }
    Ok(())
}
