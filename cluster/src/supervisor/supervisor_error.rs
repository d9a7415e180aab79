//! The errors of a supervisor and of handles.

use std::{error, fmt, io};

use cluster_core::{AbandonReason, GiveUpReason, RestartReason, SendError, SettingsError, SlotId};

use crate::error::PrimaryError;

/// The error of [`Supervisor::new`](crate::Supervisor::new).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SupervisorError {
    /// This process cannot create a primary.
    Primary(PrimaryError),
    /// The settings are invalid: see [`SettingsError`].
    Settings(SettingsError),
}

impl fmt::Display for SupervisorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SupervisorError::Primary(error) => error.fmt(f),
            SupervisorError::Settings(error) => error.fmt(f),
        }
    }
}

impl error::Error for SupervisorError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            SupervisorError::Primary(error) => error.source(),
            SupervisorError::Settings(error) => error.source(),
        }
    }
}

/// The error of [`Supervisor::run`](crate::Supervisor::run).
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The signals cannot be handled.
    Signals(io::Error),
    /// A limit of the settings is reached, and either no worker is ready or the settings demand the exit. The
    /// source is the reason of the last restart.
    GaveUp {
        /// The limit that was reached.
        reason: GiveUpReason,
        /// The slot of the restart that was not done.
        slot: SlotId,
        /// The reason for that restart: the last failure.
        last: RestartReason,
        /// The code of [`GiveUp::Exit`](crate::GiveUp::Exit); 1 with another setting.
        code: i32,
    },
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Signals(_) => f.write_str("cannot handle the signals of this process"),
            RunError::GaveUp { reason: reason @ GiveUpReason::CannotStart, .. } => {
                write!(f, "no worker is ready: {reason}")
            }
            RunError::GaveUp { reason, slot, .. } => write!(
                f,
                "no worker is ready: {reason}; the last failure was in slot {slot}, and the workers print their own errors"
            ),
        }
    }
}

impl error::Error for RunError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            RunError::Signals(error) => Some(error),
            RunError::GaveUp { last, .. } => Some(last),
        }
    }
}

/// The error of a command of a [`SupervisorHandle`](crate::SupervisorHandle).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandleError {
    /// The supervisor was dropped.
    Dropped,
    /// The supervisor shuts down.
    ShuttingDown,
    /// The reload has ended early; slots that were not replaced keep their old workers.
    Abandoned(AbandonReason),
    /// The settings do not allow the number of workers.
    Settings(SettingsError),
    /// A later command has set another number of workers.
    Superseded {
        /// The other number.
        workers: u32,
    },
    /// No slot has this number.
    NoSlot(SlotId),
    /// The message was not sent.
    Send(SendError),
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HandleError::Dropped => f.write_str("the supervisor was dropped"),
            HandleError::ShuttingDown => f.write_str("the supervisor shuts down"),
            HandleError::Abandoned(reason) => write!(f, "the reload was abandoned: {reason}"),
            HandleError::Settings(error) => error.fmt(f),
            HandleError::Superseded { workers } => {
                write!(f, "a later command has set the number of workers to {workers}")
            }
            HandleError::Send(_) => f.write_str("the supervisor cannot send the message"),
            HandleError::NoSlot(slot) => write!(f, "no slot has the number {slot}"),
        }
    }
}

impl error::Error for HandleError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            HandleError::Settings(error) => error.source(),
            HandleError::Send(error) => Some(error),
            HandleError::Dropped
            | HandleError::ShuttingDown
            | HandleError::Abandoned(_)
            | HandleError::Superseded { .. }
            | HandleError::NoSlot(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error as _;
    use std::time::Duration;

    use cluster_core::{ExitStatus, StartFailure};

    /// The error has the limit, and the reason of the last restart once, as its source.
    #[test]
    fn gave_up_shows_last_reason() {
        let reason = GiveUpReason::Restarts { restarts: 2, within: Duration::from_mins(1) };
        let last = RestartReason::StartFailed(StartFailure::Exited(ExitStatus::Code(3)));
        let error = RunError::GaveUp { reason, slot: SlotId(1), last, code: 1 };
        let own = "no worker is ready: 2 restarts within 60s; the last failure was in slot 1, and the workers print their own errors";
        assert_eq!(error.to_string(), own);
        let source = error.source().expect("a source").to_string();
        assert_eq!(source, "the worker exited before it was ready: exit status: 3");
    }
}
