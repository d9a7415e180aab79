//! Unowned: the primary closes no accepted connection without an owner while a ready worker without a signal
//! runs, also during a shutdown.

use cluster_core::{CloseReason, Supervisor};

use super::account::Account;
use crate::kernel::Kernel;
use crate::step::Pid;

/// The number of connections closed without an owner, at the last check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct ClosedUnowned(u64);

impl ClosedUnowned {
    /// No connection was closed since the last check.
    pub(crate) fn is_current(self, supervisor: &Supervisor) -> bool {
        supervisor.primary().ledger().closed(CloseReason::NoListener) == self.0
    }
}

pub(crate) fn at_rest(
    account: &Account,
    last: &mut ClosedUnowned,
    supervisor: &Supervisor,
    kernel: &Kernel,
) -> Result<(), String> {
    let closed = supervisor.primary().ledger().closed(CloseReason::NoListener);
    *last = ClosedUnowned(closed);
    let able = account.lives.iter().find(|(worker, life)| {
        life.ready
            && !life.over
            && !life.is_signalled()
            && kernel.processes.get(Pid::from(**worker)).is_alive()
            && !kernel.processes.is_stopped(Pid::from(**worker))
    });
    match able {
        Some((worker, _)) => Err(format!("a connection is closed although worker {worker} can serve it")),
        None => Ok(()),
    }
}
