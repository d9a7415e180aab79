//! Strays: processes of a foreign program that have left its process group, such as daemons. A stray would
//! hold the listening socket after the exit of the worker, and would serve with the old program.
//!
//! The service is a subreaper: strays become children of the service. The variable `CLUSTER_WORKER`
//! identifies them.

use cluster::{Event, Supervisor, SupervisorEvent};

use crate::options::Options;
#[cfg(target_os = "linux")]
use crate::plan;

/// Ends the strays of each worker at the exit of the worker. Linux only.
#[derive(Debug)]
pub(crate) struct Strays {
    is_subreaper: bool,
}

impl Strays {
    /// Makes this process a subreaper if the program is foreign.
    #[cfg(target_os = "linux")]
    pub(crate) fn of(options: &Options, supervisor: &mut Supervisor) -> anyhow::Result<Strays> {
        let is_subreaper = plan::stop_signal(options).is_some();
        if is_subreaper {
            nix::sys::prctl::set_child_subreaper(true)?;
            supervisor.reap_orphans()?;
        }
        Ok(Strays { is_subreaper })
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn of(_: &Options, _: &mut Supervisor) -> anyhow::Result<Strays> {
        Ok(Strays { is_subreaper: false })
    }

    /// Sends SIGKILL, as to the rest of the process group.
    pub(crate) fn observe(&self, event: &SupervisorEvent) {
        if self.is_subreaper
            && let SupervisorEvent::Primary(Event::Exit { worker, .. }) = event
        {
            crate::processes::kill_strays(*worker);
        }
    }
}
