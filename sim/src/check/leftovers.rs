//! Leftovers: in the final state the primary has no channel of a dead worker beyond the time in the settings,
//! and no process remains in the group of a dead worker.

use cluster_core::{ChannelId, Primary};

use crate::kernel::Kernel;
use crate::step::Pid;

/// Checks the final state: no step is enabled.
pub(crate) fn at_the_end(kernel: &Kernel, primary: &Primary) -> Result<(), String> {
    let is_limited = primary.settings().retained_channel_timeout.is_some();
    for (pid @ Pid(worker), process) in kernel.processes.iter().skip(1) {
        if !kernel.processes.has_ended(pid) {
            continue;
        }
        if is_limited && kernel.channels.has_open(Pid::PRIMARY, pid.channel()) {
            return Err(format!(
                "worker {worker} is dead, and the primary has given no time limit to its channel"
            ));
        }
        let has_child = process.child.is_some() || kernel.channels.has_open(pid, ChannelId::PRIMARY);
        if process.has_group() && has_child {
            return Err(format!("worker {worker} is dead, and a process of its group still runs"));
        }
    }
    Ok(())
}
