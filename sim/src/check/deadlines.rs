//! Deadlines: in the final state no process that was asked to exit still runs without SIGKILL, so every phase has ended. The
//! length of a phase is not checked: a message of the supervisor may wait in the channel behind a connection.

use super::supervision::Supervision;
use crate::kernel::Kernel;
use crate::step::Pid;

pub(crate) fn at_the_end(supervision: &Supervision, kernel: &Kernel) -> Result<(), String> {
    for (worker, life) in &supervision.lives {
        let pid = Pid::from(*worker);
        let is_running = pid.index() < kernel.processes.len() && kernel.processes.get(pid).is_alive();
        if is_running && life.is_asked() && life.asked[3].is_none() {
            return Err(format!("worker {worker} was asked to exit, still runs, and no SIGKILL follows"));
        }
    }
    Ok(())
}
