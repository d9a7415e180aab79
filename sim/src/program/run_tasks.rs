//! The tasks of a pool, with an account for the checks.

use cluster_core::{KillReason, Message, NotAccepted, Pool, PoolEvent, Supervisor, TaskId};

use super::Process;
use crate::check::task_checks;

impl Process<'_> {
    /// Submits a task to a pool. The checks observe the tasks that were submitted here: each must end once,
    /// as reported by [`drive_pool`](Process::drive_pool).
    ///
    /// # Errors
    ///
    /// The errors of [`Pool::run`].
    pub fn run_task(&mut self, pool: &mut Pool, payload: &Message) -> Result<TaskId, NotAccepted> {
        let task = pool.run(payload)?;
        self.access.checks().tasks.accepted(task, pool.delivery(), pool.time_limit());
        Ok(task)
    }

    /// Cancels a task of a pool.
    pub fn cancel_task(&mut self, pool: &mut Pool, task: TaskId) {
        self.record_cancelled_task(task);
        pool.cancel(task);
    }

    pub(crate) fn record_cancelled_task(&mut self, task: TaskId) {
        self.access.checks().tasks.cancelled(task);
    }

    /// Performs the outputs of a pool up to the next event. Call this after each event of the supervisor and
    /// after each command, until the result is `None`.
    pub fn drive_pool(&mut self, pool: &mut Pool, supervisor: &mut Supervisor) -> Option<PoolEvent> {
        let event = pool.drive(supervisor)?;
        let (now, is_even) = (self.access.kernel().clock.now_ms(), self.access.kernel().clock.is_even());
        let checks = self.access.checks();
        match &event {
            PoolEvent::Completed { task, outcome } => {
                task_checks::completed(&mut checks.tasks, *task, outcome);
            }
            PoolEvent::Started { task, worker } if pool.time_limit().is_some() => {
                checks.tasks.started(*worker, *task, now);
            }
            PoolEvent::Killed { task, worker, reason: KillReason::TimeLimit } if is_even => {
                task_checks::killed(&mut checks.tasks, *worker, *task, now);
            }
            PoolEvent::Started { .. } | PoolEvent::Killed { .. } | PoolEvent::Empty => {}
        }
        Some(event)
    }
}
