//! The results of a trial: see `trial`.

use std::time::Duration;
use std::{fmt, io};

use serde::{Deserialize, Serialize};

/// The report of the child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    Ready { version: String },
    Refused { error: String },
}

/// The reason why a program is not executed.
#[derive(Debug)]
pub(crate) enum TrialFailure {
    /// The program cannot be started.
    Start(io::Error),
    /// The program exited without a verdict, with the last lines of the standard error.
    Exit { status: String, output: String },
    /// The program has reported a failure.
    Refused(String),
    /// The program has not exited in time.
    Timeout(Duration),
}

impl fmt::Display for TrialFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrialFailure::Start(error) => write!(f, "cannot be started: {error}"),
            TrialFailure::Exit { status, output } if output.is_empty() => {
                write!(f, "has ended before it could resume: {status}")
            }
            TrialFailure::Exit { status, output } => {
                write!(f, "has ended before it could resume: {status}: {output}")
            }
            TrialFailure::Refused(error) => write!(f, "cannot resume: {error}"),
            TrialFailure::Timeout(limit) => write!(f, "has not answered within {limit:?}"),
        }
    }
}
