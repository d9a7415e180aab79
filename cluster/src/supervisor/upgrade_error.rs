//! The reasons why the old program continues in place of a hand-over.

use std::path::PathBuf;
use std::time::Duration;
use std::{error, fmt, io};

/// The error of [`SupervisorHandle::prepare_upgrade`](crate::SupervisorHandle::prepare_upgrade) and
/// [`Upgrade::execute`](crate::Upgrade::execute). The old program continues to serve.
#[derive(Debug)]
#[non_exhaustive]
pub enum UpgradeError {
    /// The new program cannot be started, or has failed in the trial.
    Rejected {
        /// The file.
        program: PathBuf,
        /// The failure as a text: the exit, or the report of the program.
        reason: String,
    },
    /// The hand-over was delayed beyond the limit: by a reload, a restart or a change of the number of
    /// workers with a waiting handle, or by the program ([`Kept::postpone`](crate::Kept::postpone)).
    Busy {
        /// The limit.
        limit: Duration,
    },
    /// The supervisor shuts down.
    ShuttingDown,
    /// Workers have a [parent-death signal](crate::SpawnOptions::parent_death_signal), and the supervisor
    /// does not run in the main thread: the hand-over would kill the workers.
    ForkingThread,
    /// The state of the program cannot be serialized.
    State(String),
    /// The kernel has refused to execute the new program.
    Execute(io::Error),
    /// The supervisor was dropped.
    Dropped,
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpgradeError::Rejected { program, reason } => {
                write!(f, "the new program {} {reason}", program.display())
            }
            UpgradeError::Busy { limit } => {
                write!(f, "another command has not ended within {limit:?}; repeat the upgrade afterwards")
            }
            UpgradeError::ShuttingDown => f.write_str("the supervisor shuts down"),
            UpgradeError::ForkingThread => f.write_str(
                "workers with a parent-death signal would be killed; run the supervisor in the main thread",
            ),
            UpgradeError::State(error) => {
                write!(f, "the state of the program cannot be handed over: {error}")
            }
            UpgradeError::Execute(error) => write!(f, "the new program cannot be executed: {error}"),
            UpgradeError::Dropped => f.write_str("the supervisor was dropped"),
        }
    }
}

impl error::Error for UpgradeError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            UpgradeError::Execute(error) => Some(error),
            UpgradeError::Rejected { .. }
            | UpgradeError::Busy { .. }
            | UpgradeError::ShuttingDown
            | UpgradeError::ForkingThread
            | UpgradeError::State(_)
            | UpgradeError::Dropped => None,
        }
    }
}
