//! Processes that are blocked in a hook, as by an endless loop: forever, or until a path exists. A process
//! that a fault stops for a while does not count as blocked.

use super::process_table::{Blocked, Phase};
use super::processes::Processes;
use super::ready::{Readiness, Ready};
use super::system::System;
use crate::step::Pid;

impl Processes {
    /// Blocks a process after `calls` further calls. Only a signal reaches a blocked process.
    pub(crate) fn block(&mut self, pid: Pid, calls: usize, until: Option<String>, ready: &mut Ready) {
        self.get_mut(pid).block = Some(Blocked { calls, until });
        self.block_if_due(pid, ready);
    }

    /// A process has made a call.
    pub(super) fn count_call(&mut self, pid: Pid, ready: &mut Ready) {
        let Some(Blocked { calls, .. }) = self.get(pid).block else { return };
        if calls == 0 {
            // The block has ended.
            self.get_mut(pid).block = None;
            return;
        }
        if let Some(blocked) = &mut self.get_mut(pid).block {
            blocked.calls -= 1;
        }
        self.block_if_due(pid, ready);
    }

    fn block_if_due(&mut self, pid: Pid, ready: &mut Ready) {
        if self.get(pid).block.as_ref().is_some_and(|blocked| blocked.calls == 0) {
            self.stop(pid, ready);
        }
    }

    /// Whether a stopped process can continue.
    pub(super) fn can_continue(&self, pid: Pid, system: &System) -> Readiness {
        match &self.get(pid).block {
            _ if self.get(pid).phase != Phase::Stopped => Readiness::Obsolete,
            Some(Blocked { calls: 0, until: None }) => Readiness::Obsolete,
            Some(Blocked { calls: 0, until: Some(path) }) if system.mode(path).is_none() => {
                Readiness::Waiting
            }
            Some(_) | None => Readiness::Enabled,
        }
    }

    /// Whether a process is blocked until a path exists.
    pub(super) fn waits_for_path(&self, pid: Pid) -> bool {
        self.get(pid).block.as_ref().is_some_and(|blocked| blocked.until.is_some())
    }
}
