//! The end of all workers within one deadline, and two ways to hurry: SIGTERM, then SIGKILL.

use core::time::Duration;

use super::leaving::report_after;
use super::members::Phase;
use super::timers::Due;
use super::{Supervisor, SupervisorEvent};

/// The stage of the shutdown, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Stage {
    Running,
    /// No connection is accepted; those in the queue are handed off, for a limited time. Finishes with this code.
    Emptying(i32),
    /// Every worker was asked to exit.
    Leaving(i32),
    /// Every worker got SIGTERM.
    Terminating(i32),
    /// Every worker got SIGKILL.
    Killing(i32),
    /// Every worker has exited; the last channels close.
    Closing(i32),
    Finished,
}

impl Supervisor {
    /// Shuts down: stops accepting, hands off the queued connections, asks every worker to exit, and waits for
    /// [`SupervisorSettings::shutdown`](super::SupervisorSettings::shutdown); then SIGTERM, then SIGKILL. A handoff
    /// without acknowledgement delays the request to exit by at most
    /// [`lame_duck`](super::SupervisorSettings::lame_duck). A second call
    /// hurries to SIGTERM, a third to SIGKILL. [`SupervisorEvent::Finished`] is the last event.
    pub fn shutdown(&mut self) {
        match self.stage {
            Stage::Running => self.begin_shutdown(0),
            Stage::Emptying(code) | Stage::Leaving(code) => self.terminate_all(code),
            Stage::Terminating(code) => {
                self.stage = Stage::Killing(code);
                for worker in self.members.before(Phase::Killed) {
                    self.kill(worker);
                }
            }
            Stage::Killing(_) | Stage::Closing(_) | Stage::Finished => {}
        }
    }

    /// A shutdown was requested, or the supervisor has given up.
    pub fn is_shutting_down(&self) -> bool {
        self.stage != Stage::Running
    }

    /// [`SupervisorEvent::Finished`] was emitted, or is the next event.
    pub fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    pub(super) fn begin_shutdown(&mut self, code: i32) {
        if self.stage != Stage::Running {
            return;
        }
        self.stage = Stage::Emptying(code);
        self.events.push_back(SupervisorEvent::ShutdownStarted);
        self.abandon_all();
        self.slots.hold_waiting();
        self.primary.supervised().stop_accepting();
        self.set_timer(Due::Emptying, self.emptying());
        self.set_timer(Due::Report(None), report_after(self.settings.shutdown));
        self.set_timer(Due::Shutdown, self.settings.shutdown);
    }

    /// The longest wait for acknowledgements: the time of a lame duck, and at most half of the time that the lame ducks
    /// leave for their drain.
    fn emptying(&self) -> Duration {
        let rest = self.settings.shutdown.saturating_sub(self.settings.lame_duck);
        self.settings.lame_duck.min(rest / 2)
    }

    /// The time for acknowledgements has ended. Connections without one remain in the ledger.
    pub(super) fn emptied(&mut self) {
        if let Stage::Emptying(code) = self.stage {
            self.retire_all(code);
        }
    }

    /// Continues a replacement or a shutdown when the primary has nothing left to do. False: no progress.
    pub(super) fn settle(&mut self) -> bool {
        match self.stage {
            Stage::Emptying(code) if self.primary.supervised().is_settled() => self.retire_all(code),
            Stage::Emptying(code)
            | Stage::Leaving(code)
            | Stage::Terminating(code)
            | Stage::Killing(code)
                if self.members.is_empty() =>
            {
                self.stage = Stage::Closing(code);
                self.primary.disconnect_all();
                self.set_timer(Due::Finish, self.settings.term);
            }
            Stage::Running => return self.replace() || self.scaled(),
            Stage::Leaving(_) => return self.primary.supervised().close_listeners(),
            Stage::Emptying(_)
            | Stage::Terminating(_)
            | Stage::Killing(_)
            | Stage::Closing(_)
            | Stage::Finished => return false,
        }
        true
    }

    fn retire_all(&mut self, code: i32) {
        self.stage = Stage::Leaving(code);
        for worker in self.members.before(Phase::Lame) {
            self.retire(worker);
        }
    }

    pub(super) fn shut_down_too_long(&mut self) {
        match self.stage {
            Stage::Emptying(code) | Stage::Leaving(code) => self.terminate_all(code),
            Stage::Running
            | Stage::Terminating(_)
            | Stage::Killing(_)
            | Stage::Closing(_)
            | Stage::Finished => {}
        }
    }

    fn terminate_all(&mut self, code: i32) {
        self.stage = Stage::Terminating(code);
        for worker in self.members.before(Phase::Terminating) {
            self.end_now(worker);
        }
    }

    pub(super) fn all_disconnected(&mut self) {
        if matches!(self.stage, Stage::Closing(_)) {
            self.finish();
        }
    }

    /// Every channel is closed, or an orphan of a worker keeps one open.
    pub(super) fn finish(&mut self) {
        if let Stage::Closing(code) = self.stage {
            self.stage = Stage::Finished;
            self.events.push_back(SupervisorEvent::Finished { code });
        }
    }
}
