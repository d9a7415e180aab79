//! The events of a supervisor and their reasons as texts, for logs and terminals. No decision depends on
//! these texts.

use core::fmt;

use super::{GiveUpReason, RecycleReason, ReloadId, ReloadScope, RestartReason, SupervisorEvent};

impl fmt::Display for SupervisorEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SupervisorEvent::Primary(event) => event.fmt(f),
            SupervisorEvent::SlotReady { slot, worker } => write!(f, "slot {slot}: worker {worker} is ready"),
            SupervisorEvent::StartFailed { slot, worker: Some(worker), failure } => {
                write!(f, "slot {slot}: worker {worker} {failure}")
            }
            SupervisorEvent::StartFailed { slot, worker: None, failure } => {
                write!(f, "slot {slot}: a worker {failure}")
            }
            SupervisorEvent::Restarting { slot, reason, after, .. } if after.is_zero() => {
                write!(f, "slot {slot} restarts at once: {reason}")
            }
            SupervisorEvent::Restarting { slot, reason, after, .. } => {
                write!(f, "slot {slot} restarts after {after:?}: {reason}")
            }
            SupervisorEvent::SlotSuspended { slot } => {
                write!(f, "slot {slot} is suspended, without a worker")
            }
            SupervisorEvent::GaveUp { reason, slot, last } => {
                write!(f, "gave up: {reason}; slot {slot}: {last}")
            }
            SupervisorEvent::ReloadStarted { id, scope } => write!(f, "{} started", Numbered(*id, *scope)),
            SupervisorEvent::ReloadFinished { id, scope } => write!(f, "{} finished", Numbered(*id, *scope)),
            SupervisorEvent::ReloadAbandoned { id, scope, reason } => {
                write!(f, "{} was abandoned: {reason}", Numbered(*id, *scope))
            }
            SupervisorEvent::Scaled { workers: 1 } => f.write_str("scaled to 1 worker"),
            SupervisorEvent::Scaled { workers } => write!(f, "scaled to {workers} workers"),
            SupervisorEvent::Hung { slot, worker } => {
                write!(f, "slot {slot}: worker {worker} hangs, and was killed")
            }
            SupervisorEvent::Drained { slot, worker } => {
                write!(f, "slot {slot}: worker {worker} has drained")
            }
            SupervisorEvent::Cut { slot, worker, connections } => {
                write!(f, "slot {slot}: worker {worker} was cut off, with ")?;
                match connections {
                    None => f.write_str("an unknown number of open connections"),
                    Some(1) => f.write_str("1 open connection"),
                    Some(connections) => write!(f, "{connections} open connections"),
                }
            }
            SupervisorEvent::Withdrawn { slot, worker } => {
                write!(f, "slot {slot}: worker {worker} has exited, and was not ready")
            }
            SupervisorEvent::Stuck { slot, worker } => {
                write!(f, "slot {slot}: worker {worker} has not exited after SIGKILL")
            }
            SupervisorEvent::Timer { timer } => write!(f, "timer {} has ended", timer.0),
            SupervisorEvent::ShutdownStarted => f.write_str("the shutdown started"),
            SupervisorEvent::Finished { code: 0 } => f.write_str("the shutdown finished"),
            SupervisorEvent::Finished { code } => write!(f, "the shutdown finished with code {code}"),
        }
    }
}

/// A reload or a recycle, as the subject of a sentence. A recycle requested by the user is named *restart*.
/// Reloads and recycles share one count, so the text of a recycle has the slot and not the number.
struct Numbered(ReloadId, ReloadScope);

impl fmt::Display for Numbered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            ReloadScope::All => write!(f, "reload {}", self.0.0),
            ReloadScope::Slot { slot, reason: RecycleReason::Command } => {
                write!(f, "restart of slot {slot}")
            }
            ReloadScope::Slot { slot, reason } => {
                write!(f, "replacement of slot {slot} ({reason})")
            }
        }
    }
}

impl fmt::Display for RecycleReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecycleReason::Command => f.write_str("command"),
            RecycleReason::Age => f.write_str("age"),
            RecycleReason::Memory { bytes } => write!(f, "{bytes} bytes of memory"),
            RecycleReason::Connections { count } => write!(f, "{count} connections"),
        }
    }
}

impl fmt::Display for RestartReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RestartReason::StartFailed(failure) => write!(f, "the worker {failure}"),
            RestartReason::Exited(status) => write!(f, "the worker exited: {status}"),
            RestartReason::Disconnected => f.write_str("the channel of the worker closed"),
            RestartReason::Stuck => f.write_str("the worker has not exited after SIGKILL"),
        }
    }
}

impl core::error::Error for RestartReason {}

impl fmt::Display for GiveUpReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GiveUpReason::Restarts { restarts: 0, .. } => f.write_str("no restart is allowed"),
            GiveUpReason::Restarts { restarts: 1, within } => write!(f, "1 restart within {within:?}"),
            GiveUpReason::Restarts { restarts, within } => {
                write!(f, "{restarts} restarts within {within:?}")
            }
            GiveUpReason::FailedStarts { starts: 1 } => f.write_str("a start failed"),
            GiveUpReason::FailedStarts { starts } => {
                write!(f, "{starts} starts in a row failed in one slot")
            }
            GiveUpReason::CannotStart => f.write_str("another start would fail as well"),
        }
    }
}
