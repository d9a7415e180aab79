//! Strays: processes of a foreign program outside the process group of the worker, for example daemons. A
//! stray would hold the listening socket open after the exit of the worker, and would continue to serve with
//! the old program.
//!
//! The service is a subreaper, so the kernel makes strays children of the service. The variable
//! `CLUSTER_WORKER` identifies the worker of a stray.

use cluster::{Event, Supervisor, SupervisorEvent};

use crate::subject::Subject;

/// Kills the strays of a worker when the worker exits. Linux only.
#[derive(Debug)]
pub(crate) struct Strays {
    is_subreaper: bool,
}

impl Strays {
    /// Makes this process a subreaper if the program is foreign.
    #[cfg(target_os = "linux")]
    pub(crate) fn of(subject: &Subject, supervisor: &mut Supervisor) -> anyhow::Result<Strays> {
        let is_subreaper = subject.stop_signal.is_some();
        if is_subreaper {
            nix::sys::prctl::set_child_subreaper(true)?;
            supervisor.reap_orphans()?;
        }
        Ok(Strays { is_subreaper })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of(_: &Subject, _: &mut Supervisor) -> anyhow::Result<Strays> {
        Ok(Strays { is_subreaper: false })
    }

    /// Sends SIGKILL to the strays, as the supervisor does to the process group.
    pub(crate) fn observe(&self, event: &SupervisorEvent) {
        if self.is_subreaper
            && let SupervisorEvent::Primary(Event::Exit { worker, .. }) = event
        {
            crate::processes::kill_strays(*worker);
        }
    }
}
