//! The errors of tasks.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use crate::os::{ExitStatus, WorkerId};
use crate::os_bytes::Escaped;
use crate::send::SendError;

/// The reason why a task of a [`Pool`](super::Pool) has no result.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskError {
    /// The program of the worker has returned this error.
    Failed(String),
    /// The task was cancelled.
    Cancelled,
    /// The worker has exited before the reply. The task may have run, in part or completely: see
    /// [`Delivery::AtMostOnce`](super::Delivery::AtMostOnce).
    WorkerDied {
        /// The worker.
        worker: WorkerId,
        /// The exit status. `None`: the process is stuck, and cannot be killed.
        status: Option<ExitStatus>,
    },
    /// Each worker that has received the task has exited before the reply: see
    /// [`Delivery::AtLeastOnce`](super::Delivery::AtLeastOnce).
    TooManyAttempts {
        /// The number of workers.
        attempts: u32,
        /// The exit status of the last worker. `None`: the process is stuck, and cannot be killed.
        status: Option<ExitStatus>,
    },
    /// The task has exceeded [`PoolSettings::time_limit`](super::PoolSettings::time_limit), and the worker
    /// was killed. With [`Delivery::AtLeastOnce`](super::Delivery::AtLeastOnce), this is the error of the
    /// last attempt.
    TimedOut {
        /// The worker.
        worker: WorkerId,
        /// The time limit.
        limit: Duration,
    },
    /// The pool was closed before the task was started.
    Closed,
    /// Every slot of the supervisor is suspended, so no worker will start unless a command starts one.
    NoWorkers,
    /// The channel does not accept the message of the task.
    NotSent(SendError),
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskError::Failed(error) => write!(f, "the task failed: {}", Escaped(error)),
            TaskError::Cancelled => f.write_str("the task was cancelled"),
            TaskError::WorkerDied { worker, status } => {
                write!(f, "worker {worker} exited before its reply ({})", Status(*status))
            }
            TaskError::TooManyAttempts { attempts, status } => {
                write!(
                    f,
                    "{attempts} workers received the task, and each exited before its reply (the last: {})",
                    Status(*status)
                )
            }
            TaskError::TimedOut { worker, limit } => {
                write!(f, "worker {worker} was killed: no reply within {limit:?} (`time_limit`)")
            }
            TaskError::Closed => f.write_str("the pool was closed before the task was started"),
            TaskError::NoWorkers => f.write_str(
                "no worker will start: every slot is suspended; the workers print their own errors",
            ),
            TaskError::NotSent(_) => f.write_str("the task was not sent"),
        }
    }
}

impl core::error::Error for TaskError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            TaskError::NotSent(error) => Some(error),
            TaskError::Failed(_)
            | TaskError::Cancelled
            | TaskError::WorkerDied { .. }
            | TaskError::TooManyAttempts { .. }
            | TaskError::TimedOut { .. }
            | TaskError::Closed
            | TaskError::NoWorkers => None,
        }
    }
}

struct Status(Option<ExitStatus>);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(status) => status.fmt(f),
            None => f.write_str("no exit status"),
        }
    }
}
