//! The settings of a task pool, and the combinations that are impossible.

use alloc::string::ToString;
use core::fmt;
use core::time::Duration;

use super::task_message::TASKS_READY;
use crate::supervisor::{Readiness, SupervisorSettings};

/// What happens to a task when the worker exits before the reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Delivery {
    /// The task ends with [`TaskError::WorkerDied`](super::TaskError::WorkerDied), and never runs twice.
    #[default]
    AtMostOnce,
    /// The task is sent to another worker, before the tasks that wait. Use this for tasks that may run twice.
    AtLeastOnce {
        /// The most workers that receive the task. Afterwards the task ends with
        /// [`TaskError::TooManyAttempts`](super::TaskError::TooManyAttempts): otherwise a task that kills its
        /// worker would never end.
        attempts: u32,
    },
}

/// What happens to the worker when the running task is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum CancelRunning {
    /// The worker receives a message. Its reply is ignored, and frees the worker for the next task.
    #[default]
    Ask,
    /// The worker is killed and replaced. The exit does not count as a restart.
    Kill,
}

/// The settings of a [`Pool`](super::Pool) and of the supervisor of its workers.
///
/// ```
/// use cluster_core::{Delivery, Pool, PoolSettings};
///
/// let settings = PoolSettings::new(4).delivery(Delivery::AtLeastOnce { attempts: 3 }).queue(100);
/// assert!(Pool::new(&settings).is_ok());
/// assert!(Pool::new(&settings.queue(0)).is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSettings {
    supervisor: SupervisorSettings,
    delivery: Delivery,
    cancel: CancelRunning,
    tasks_per_worker: usize,
    /// See [`queue`](PoolSettings::queue()).
    pub queue: usize,
    time_limit: Option<Duration>,
}

/// The settings of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct PoolRules {
    pub(super) delivery: Delivery,
    pub(super) cancel: CancelRunning,
    pub(super) tasks_per_worker: usize,
    pub(super) queue: usize,
    pub(super) time_limit: Option<Duration>,
}

impl PoolSettings {
    /// The defaults for this number of workers. A worker is ready when it has sent [`TASKS_READY`].
    pub fn new(workers: u32) -> Self {
        PoolSettings {
            supervisor: SupervisorSettings::new(workers)
                .readiness(Readiness::Message(TASKS_READY.to_string())),
            delivery: Delivery::default(),
            cancel: CancelRunning::default(),
            tasks_per_worker: 1,
            queue: 1024,
            time_limit: None,
        }
    }

    /// Changes the settings of the supervisor.
    #[must_use]
    pub fn map_supervisor(mut self, change: impl FnOnce(SupervisorSettings) -> SupervisorSettings) -> Self {
        self.supervisor = change(self.supervisor);
        self
    }

    /// Sets what happens to a task when the worker exits before the reply. Default: [`Delivery::AtMostOnce`].
    #[must_use]
    pub fn delivery(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// Sets what happens to the worker when the running task is cancelled. Default: [`CancelRunning::Ask`].
    #[must_use]
    pub fn cancel(mut self, cancel: CancelRunning) -> Self {
        self.cancel = cancel;
        self
    }

    /// Sets the number of tasks that a worker has at the same time. Default: 1.
    #[must_use]
    pub fn tasks_per_worker(mut self, tasks: usize) -> Self {
        self.tasks_per_worker = tasks;
        self
    }

    /// Sets the most tasks that wait for a worker. Tasks sent again do not count. Default: 1024.
    #[must_use]
    pub fn queue(mut self, tasks: usize) -> Self {
        self.queue = tasks;
        self
    }

    /// Sets the longest time of a task at a worker, from the send to the reply. A worker that exceeds the
    /// limit is killed and replaced, at most an eighth of the limit later. This includes a cancelled task
    /// without a reply. The late task ends with [`TaskError::TimedOut`](super::TaskError::TimedOut) or is
    /// sent to another worker, by [`Delivery`]; a reply before the exit still counts. Other tasks of the
    /// worker end as after any exit. The exit does not count as a restart. Default: none.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = Some(limit);
        self
    }

    /// The settings of the supervisor.
    pub fn into_supervisor(self) -> SupervisorSettings {
        self.supervisor
    }

    pub(super) fn rules(&self) -> Result<PoolRules, PoolSettingsError> {
        let &PoolSettings { delivery, cancel, tasks_per_worker, queue, time_limit, .. } = self;
        if tasks_per_worker == 0 {
            Err(PoolSettingsError::NoTasks)
        } else if queue == 0 {
            Err(PoolSettingsError::NoQueue)
        } else if delivery == (Delivery::AtLeastOnce { attempts: 0 }) {
            Err(PoolSettingsError::NoAttempts)
        } else if time_limit.is_some_and(|limit| limit.is_zero()) {
            Err(PoolSettingsError::NoTime)
        } else if cancel == CancelRunning::Kill && tasks_per_worker > 1 {
            Err(PoolSettingsError::KillsOtherTasks { tasks_per_worker })
        } else {
            Ok(PoolRules { delivery, cancel, tasks_per_worker, queue, time_limit })
        }
    }
}

/// The reason why the settings of a pool are impossible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolSettingsError {
    /// [`PoolSettings::tasks_per_worker`] is 0.
    NoTasks,
    /// [`PoolSettings::queue`] is 0.
    NoQueue,
    /// [`Delivery::AtLeastOnce`] with 0 attempts.
    NoAttempts,
    /// [`PoolSettings::time_limit`] is 0.
    NoTime,
    /// [`CancelRunning::Kill`] with more than one task per worker: the kill would end the other tasks.
    KillsOtherTasks {
        /// [`PoolSettings::tasks_per_worker`].
        tasks_per_worker: usize,
    },
}

impl fmt::Display for PoolSettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PoolSettingsError::NoTasks => {
                f.write_str("`tasks_per_worker` is 0: no worker would receive a task; set 1 or more")
            }
            PoolSettingsError::NoQueue => {
                f.write_str("`queue` is 0: no task would be accepted; set 1 or more")
            }
            PoolSettingsError::NoAttempts => {
                f.write_str("`attempts` is 0: no task would be sent; set 1 or more")
            }
            PoolSettingsError::NoTime => {
                f.write_str("`time_limit` is 0: each task would be killed; set a longer time")
            }
            PoolSettingsError::KillsOtherTasks { tasks_per_worker } => write!(
                f,
                "`cancel` is `Kill` and `tasks_per_worker` is {tasks_per_worker}: a cancelled task would end the \
                 other tasks of its worker; set `Ask` or 1"
            ),
        }
    }
}

impl core::error::Error for PoolSettingsError {}
