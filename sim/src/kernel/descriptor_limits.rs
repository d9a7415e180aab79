//! The limits of descriptors: how many sockets and channels a process may have open.

use super::Kernel;
use super::ready::Dependencies;
use crate::step::Pid;

impl Kernel {
    /// Limits a process to `more` descriptors beyond those that are open now. `None` removes the limit.
    pub(crate) fn limit(&mut self, pid: Pid, more: Option<usize>) {
        self.touched = Dependencies::ALL;
        match more.map(|more| descriptors_of(self, pid) + more) {
            Some(limit) => self.system.limits.insert(pid, limit),
            None => self.system.limits.remove(&pid),
        };
    }

    /// Whether a process can open `more` further descriptors.
    pub(super) fn has_room(&self, pid: Pid, more: usize) -> bool {
        self.system.limits.get(&pid).is_none_or(|&limit| descriptors_of(self, pid) + more <= limit)
    }
}

/// The number of sockets and channels that a process has open.
fn descriptors_of(kernel: &Kernel, pid: Pid) -> usize {
    kernel.processes.open_sockets(pid) + kernel.channels.open_ends(pid)
}
