//! The process groups of workers: a new process enters a group, and signals reach a group even after the exit
//! of the leader.

use std::io;

use cluster_core::{Errno, ProcessGroup, Signal};
use nix::errno::Errno as Failure;
use nix::sys::signal::{self, kill, killpg};
use nix::unistd::{Pid, setpgid, setsid};
use serde::{Deserialize, Serialize};

use super::errno;

/// Enters the group of a new process. Safe between `fork` and `exec`.
pub(super) fn enter(group: ProcessGroup) -> io::Result<()> {
    match group {
        ProcessGroup::Inherited => {}
        ProcessGroup::Own => setpgid(Pid::from_raw(0), Pid::from_raw(0))?,
        ProcessGroup::Session => drop(setsid()?),
    }
    Ok(())
}

/// The receivers of a signal to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Receivers {
    Process,
    Group,
}

impl Receivers {
    pub(super) fn of(group: ProcessGroup) -> Self {
        match group {
            ProcessGroup::Inherited => Receivers::Process,
            ProcessGroup::Own | ProcessGroup::Session => Receivers::Group,
        }
    }

    /// Sends a signal. If the process has exited, the call succeeds. The caller has checked that the process
    /// with this number is the worker.
    pub(super) fn signal(self, worker: Pid, signal: Signal) -> Result<(), Errno> {
        let signal = signal::Signal::try_from(signal.0).map_err(|_| Errno::EINVAL)?;
        let sent = match self {
            Receivers::Process => kill(worker, signal),
            Receivers::Group => killpg(worker, signal),
        };
        match sent {
            Ok(()) | Err(Failure::ESRCH) => Ok(()),
            Err(error) => Err(errno(&io::Error::from(error))),
        }
    }
}

/// The process group of an exited and reaped worker. While the group has a member, no new process gets the
/// number of the group.
#[derive(Debug)]
pub(super) struct RemainingGroup(pub(super) Pid);

impl RemainingGroup {
    /// Sends a signal to the remaining members, if any.
    pub(super) fn signal(&self, signal: Signal) {
        // A process with this number can exist only after the last member of the group has exited, because
        // the kernel does not reuse the number before. Then the number belongs to an unrelated process.
        if kill(self.0, None) == Err(Failure::ESRCH) {
            // A failure is not reported, because no event of the worker follows: a member of another user is
            // out of reach.
            let _ = Receivers::Group.signal(self.0, signal);
        }
    }
}
