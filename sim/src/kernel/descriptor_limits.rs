//! The limits of descriptors: how many sockets and channels a process may have open.

use super::Kernel;
use super::channel::{Channel, Side};
use super::ready::Dependencies;
use crate::step::Pid;

impl Kernel {
    /// Limits a process to `more` descriptors above the present ones; `None` removes the limit.
    pub(crate) fn limit(&mut self, pid: Pid, more: Option<usize>) {
        self.touched = Dependencies::ALL;
        match more.map(|more| self.descriptors_of(pid) + more) {
            Some(limit) => self.system.limits.insert(pid, limit),
            None => self.system.limits.remove(&pid),
        };
    }

    /// Whether any process has a limit.
    pub(crate) fn is_limited(&self) -> bool {
        !self.system.limits.is_empty()
    }

    /// Whether a process can open `more` further descriptors.
    pub(crate) fn has_room(&self, pid: Pid, more: usize) -> bool {
        self.system.limits.get(&pid).is_none_or(|&limit| self.descriptors_of(pid) + more <= limit)
    }

    /// The number of sockets and channels that a process has open.
    fn descriptors_of(&self, pid: Pid) -> usize {
        let sockets = self.processes.get(pid.index()).map_or(0, |process| process.descriptors().len());
        let is_open = |&(worker, channel): &(Pid, &Channel)| match pid {
            Pid::PRIMARY => channel.end(Side::Primary).open,
            _ => worker == pid && channel.end(Side::Worker).open,
        };
        sockets + self.channels().filter(is_open).count()
    }
}
