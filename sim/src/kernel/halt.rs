//! Processes that do not come back from what they are doing, as from an endless loop: for ever, or until something
//! appears in the file system. That one is stopped by a fault for a while is not told here.

use super::process::Pid;
use super::{Kernel, Verdict};

/// When a process does nothing any more, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Halt {
    /// So many calls its program has commanded before.
    calls: usize,
    /// It goes on when there is something at this path; `None`: never.
    until: Option<String>,
}

impl Kernel {
    /// A process does so many calls more, and then nothing. Only a signal reaches it then.
    pub(crate) fn halt(&mut self, pid: Pid, calls: usize, until: Option<String>) {
        self.process_mut(pid).halt = Some(Halt { calls, until });
        self.halt_if_done(pid);
    }

    /// A process has made a call.
    pub(super) fn count_down(&mut self, pid: Pid) {
        let Some(Halt { calls, .. }) = self.process(pid).halt else { return };
        if calls == 0 {
            // It has come back.
            self.process_mut(pid).halt = None;
            return;
        }
        if let Some(halt) = &mut self.process_mut(pid).halt {
            halt.calls -= 1;
        }
        self.halt_if_done(pid);
    }

    fn halt_if_done(&mut self, pid: Pid) {
        if self.process(pid).halt.as_ref().is_some_and(|halt| halt.calls == 0) {
            self.stop(pid);
        }
    }

    /// Whether a process that does nothing can go on.
    pub(super) fn can_continue(&self, pid: Pid) -> Verdict {
        match &self.process(pid).halt {
            _ if !self.is_stopped(pid) => Verdict::Gone,
            Some(Halt { calls: 0, until: None }) => Verdict::Gone,
            Some(Halt { calls: 0, until: Some(path) }) if self.mode(path).is_none() => Verdict::Waiting,
            Some(_) | None => Verdict::Enabled,
        }
    }

    /// Whether it depends on the file system when a process goes on.
    pub(super) fn looks_for_a_path(&self, pid: Pid) -> bool {
        self.process(pid).halt.as_ref().is_some_and(|halt| halt.until.is_some())
    }
}
