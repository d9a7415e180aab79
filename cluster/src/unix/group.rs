//! The process groups of workers: the entry of a new process, and signals to a group, also after the exit of its leader.

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

/// The receivers of a worker's signals.
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

    /// Sends a signal. An exited process is no failure. The caller has checked that the process with this number is
    /// the worker.
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

/// The group of a worker that has exited and was reaped. The kernel gives the number of a group to no new process while the group
/// has a member.
#[derive(Debug)]
pub(super) struct RemainingGroup(pub(super) Pid);

impl RemainingGroup {
    /// Sends a signal to the members that remain, if any.
    pub(super) fn signal(&self, signal: Signal) {
        // The kernel reuses the number only after the last member of the group has exited. A process with this number
        // therefore belongs to another group.
        if kill(self.0, None) == Err(Failure::ESRCH) {
            // A member of another user is out of reach, and no event of the worker is left that could report the failure.
            let _ = Receivers::Group.signal(self.0, signal);
        }
    }
}
