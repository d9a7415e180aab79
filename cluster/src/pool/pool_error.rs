//! The errors of a pool and of its tasks.

use std::{error, fmt};

use cluster_core::{MessageError, PoolSettingsError, TaskError};

use crate::supervisor::SupervisorError;

/// The error of [`Pool::new`](crate::Pool::new).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolStartError {
    /// The settings of the pool contradict each other.
    Settings(PoolSettingsError),
    /// The supervisor of the workers cannot start.
    Supervisor(SupervisorError),
}

impl fmt::Display for PoolStartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolStartError::Settings(error) => error.fmt(f),
            PoolStartError::Supervisor(error) => error.fmt(f),
        }
    }
}

impl error::Error for PoolStartError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            PoolStartError::Settings(error) => error.source(),
            PoolStartError::Supervisor(error) => error.source(),
        }
    }
}

/// The error of [`Pool::run`](crate::Pool::run).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolError {
    /// The task has no result.
    Task(TaskError),
    /// The task has no JSON form. No worker has received it.
    Encode(MessageError),
    /// The result has another type. The task has run.
    Decode(MessageError),
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolError::Task(error) => error.fmt(f),
            PoolError::Encode(_) => f.write_str("the task cannot be sent as JSON"),
            PoolError::Decode(_) => f.write_str("the result of the task has another type"),
        }
    }
}

impl error::Error for PoolError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            PoolError::Task(error) => error.source(),
            PoolError::Encode(error) | PoolError::Decode(error) => Some(error),
        }
    }
}

/// The error of [`Pool::try_run`](crate::Pool::try_run), with the task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryRunError<T> {
    /// [`PoolSettings::queue`](crate::PoolSettings::queue) tasks wait for a worker.
    Full(T),
    /// The pool was shut down.
    Closed(T),
    /// The task has no JSON form.
    Encode(T, MessageError),
}

impl<T> TryRunError<T> {
    /// The task.
    pub fn into_inner(self) -> T {
        match self {
            TryRunError::Full(task) | TryRunError::Closed(task) | TryRunError::Encode(task, _) => task,
        }
    }
}

impl<T> fmt::Display for TryRunError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TryRunError::Full(_) => "the queue of the pool is full; wait with `run`, or raise `queue`",
            TryRunError::Closed(_) => "the pool was shut down",
            TryRunError::Encode(..) => "the task cannot be sent as JSON",
        })
    }
}

impl<T: fmt::Debug> error::Error for TryRunError<T> {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            TryRunError::Encode(_, error) => Some(error),
            TryRunError::Full(_) | TryRunError::Closed(_) => None,
        }
    }
}
