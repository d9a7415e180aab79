//! The errors of a supervisor and of handles.

use std::time::Duration;
use std::{error, fmt, io};

use cluster_core::{AbandonReason, SettingsError, SlotId};

use crate::error::PrimaryError;

/// Why [`Supervisor::new`](crate::Supervisor::new) failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SupervisorError {
    /// This process cannot have a primary.
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

/// Why [`Supervisor::run`](crate::Supervisor::run) failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The signals cannot be handled.
    Signals(io::Error),
    /// The workers have exited too often, and none was ready.
    GaveUp {
        /// The restarts done within the time.
        restarts: u32,
        /// The time in which restarts count.
        within: Duration,
    },
    /// The supervisor has given up, and the settings demand this exit code.
    Code(i32),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Signals(_) => f.write_str("cannot handle the signals of this process"),
            RunError::GaveUp { restarts, within } => {
                match restarts {
                    0 => f.write_str("no worker is ready, and no restart is allowed")?,
                    1 => write!(f, "no worker is ready after 1 restart within {within:?}")?,
                    _ => write!(f, "no worker is ready after {restarts} restarts within {within:?}")?,
                }
                f.write_str("; the workers print their own errors")
            }
            RunError::Code(code) => write!(f, "the workers have exited too often: exit code {code}"),
        }
    }
}

impl error::Error for RunError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            RunError::Signals(error) => Some(error),
            RunError::GaveUp { .. } | RunError::Code(_) => None,
        }
    }
}

/// Why a command of a [`SupervisorHandle`](crate::SupervisorHandle) failed.
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
            HandleError::NoSlot(slot) => write!(f, "no slot has the number {slot}"),
        }
    }
}

impl error::Error for HandleError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            HandleError::Settings(error) => error.source(),
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

    /// The error has the number of restarts.
    #[test]
    fn gave_up_counts_restarts() {
        let text = |restarts| RunError::GaveUp { restarts, within: Duration::from_mins(1) }.to_string();
        let own = "; the workers print their own errors";
        assert_eq!(text(0), format!("no worker is ready, and no restart is allowed{own}"));
        assert_eq!(text(1), format!("no worker is ready after 1 restart within 60s{own}"));
        assert_eq!(text(2), format!("no worker is ready after 2 restarts within 60s{own}"));
    }
}
