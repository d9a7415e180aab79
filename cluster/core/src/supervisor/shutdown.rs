//! The stages of a shutdown: all workers end within one deadline, and there are two ways to hurry them:
//! SIGTERM, then SIGKILL. The supervisor carries out the steps.

use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::lifecycle::Lifecycle;
use super::timers::ShutdownTimer;

/// The stage of the shutdown, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
enum Stage {
    #[default]
    Running,
    /// No connection is accepted. Queued connections are handed off, for a limited time.
    Emptying,
    /// Every worker was asked to exit.
    Draining,
    /// Every worker got SIGTERM.
    Terminating,
    /// Every worker got SIGKILL.
    Killing,
    /// Every worker has exited; the last channels close.
    Closing,
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShutdownStep {
    /// Announce the shutdown, and accept no further connection.
    StopAccepting,
    /// Ask every worker to exit.
    RetireAll,
    /// Close the sockets that have neither a worker nor an open connection.
    CloseListeners,
    TerminateAll,
    KillAll,
    CloseChannels,
    /// Report the end, with the exit code.
    Finish(i32),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct StagedShutdown {
    stage: Stage,
    /// The exit code reported at the end.
    code: i32,
    /// Whether a further request is treated as a repetition of the last request, and has no effect.
    is_repeated: bool,
}

impl StagedShutdown {
    /// Whether no shutdown has begun, so the supervisor may start processes.
    pub(super) fn is_running(&self) -> bool {
        self.stage == Stage::Running
    }

    pub(super) fn is_finished(&self) -> bool {
        self.stage == Stage::Finished
    }

    /// The time before SIGTERM for a worker asked to exit now. `None`: all workers have the deadline of the
    /// shutdown.
    pub(super) fn drain(&self, drain: Duration) -> Option<Duration> {
        self.is_running().then_some(drain)
    }

    /// Begins, unless the shutdown has begun.
    pub(super) fn begin(&mut self, code: i32) -> Option<ShutdownStep> {
        self.is_running().then(|| {
            self.code = code;
            self.enter(Stage::Emptying, ShutdownStep::StopAccepting)
        })
    }

    /// Handles a request. The first begins the shutdown, and later requests hurry the workers. A repetition
    /// has no effect.
    pub(super) fn request(&mut self) -> Option<ShutdownStep> {
        if self.is_repeated {
            return None;
        }
        match self.stage {
            Stage::Running => self.begin(0),
            Stage::Emptying | Stage::Draining => self.hurry(),
            Stage::Terminating => Some(self.enter(Stage::Killing, ShutdownStep::KillAll)),
            Stage::Killing | Stage::Closing | Stage::Finished => None,
        }
    }

    /// From now until [`ShutdownTimer::Repetition`], further requests are treated as repetitions.
    pub(super) fn expect_repetition(&mut self) {
        self.is_repeated = true;
    }

    /// Called when a timer of the shutdown has ended.
    pub(super) fn expired(&mut self, timer: ShutdownTimer) -> Option<ShutdownStep> {
        match timer {
            ShutdownTimer::Emptying => self.end_emptying(),
            ShutdownTimer::Shutdown => self.hurry(),
            ShutdownTimer::Repetition => {
                self.is_repeated = false;
                None
            }
            ShutdownTimer::Finish => self.finish(),
        }
    }

    /// Ends the stage. Connections without an acknowledgement remain in the ledger.
    fn end_emptying(&mut self) -> Option<ShutdownStep> {
        (self.stage == Stage::Emptying).then(|| self.enter(Stage::Draining, ShutdownStep::RetireAll))
    }

    fn hurry(&mut self) -> Option<ShutdownStep> {
        let is_early = matches!(self.stage, Stage::Emptying | Stage::Draining);
        is_early.then(|| self.enter(Stage::Terminating, ShutdownStep::TerminateAll))
    }

    /// The next step, called when the primary has nothing left to do.
    pub(super) fn next(&mut self, lifecycle: &mut Lifecycle) -> Option<ShutdownStep> {
        match self.stage {
            Stage::Emptying if lifecycle.primary_mut().supervised().all_acknowledged() => self.end_emptying(),
            Stage::Emptying | Stage::Draining | Stage::Terminating | Stage::Killing
                if lifecycle.processes().is_empty() =>
            {
                Some(self.enter(Stage::Closing, ShutdownStep::CloseChannels))
            }
            Stage::Draining => Some(ShutdownStep::CloseListeners),
            Stage::Running
            | Stage::Emptying
            | Stage::Terminating
            | Stage::Killing
            | Stage::Closing
            | Stage::Finished => None,
        }
    }

    /// Ends the shutdown, when every channel is closed or a stuck process keeps one open.
    pub(super) fn finish(&mut self) -> Option<ShutdownStep> {
        let step = ShutdownStep::Finish(self.code);
        (self.stage == Stage::Closing).then(|| self.enter(Stage::Finished, step))
    }

    fn enter(&mut self, stage: Stage, step: ShutdownStep) -> ShutdownStep {
        self.stage = stage;
        step
    }
}
