//! Processes that do not come back from what they are doing, as from an endless loop: for ever, or until something
//! appears in the file system. That one is stopped by a fault for a while is not told here.

use super::process_table::Pid;
use super::{Kernel, Readiness};

/// When a process does nothing any more, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Blocked {
    /// So many calls its program has commanded before.
    calls: usize,
    /// It goes on when there is something at this path; `None`: never.
    until: Option<String>,
}

impl Kernel {
    /// A process does so many calls more, and then nothing. Only a signal reaches it then.
    pub(crate) fn block(&mut self, pid: Pid, calls: usize, until: Option<String>) {
        self.process_mut(pid).block = Some(Blocked { calls, until });
        self.block_if_due(pid);
    }

    /// A process has made a call.
    pub(super) fn count_call(&mut self, pid: Pid) {
        let Some(Blocked { calls, .. }) = self.process(pid).block else { return };
        if calls == 0 {
            // It has come back.
            self.process_mut(pid).block = None;
            return;
        }
        if let Some(blocked) = &mut self.process_mut(pid).block {
            blocked.calls -= 1;
        }
        self.block_if_due(pid);
    }

    fn block_if_due(&mut self, pid: Pid) {
        if self.process(pid).block.as_ref().is_some_and(|blocked| blocked.calls == 0) {
            self.stop(pid);
        }
    }

    /// Whether a process that does nothing can go on.
    pub(super) fn can_continue(&self, pid: Pid) -> Readiness {
        match &self.process(pid).block {
            _ if !self.is_stopped(pid) => Readiness::Obsolete,
            Some(Blocked { calls: 0, until: None }) => Readiness::Obsolete,
            Some(Blocked { calls: 0, until: Some(path) }) if self.mode(path).is_none() => Readiness::Waiting,
            Some(_) | None => Readiness::Enabled,
        }
    }

    /// Whether it depends on the file system when a process goes on.
    pub(super) fn waits_for_path(&self, pid: Pid) -> bool {
        self.process(pid).block.as_ref().is_some_and(|blocked| blocked.until.is_some())
    }
}
