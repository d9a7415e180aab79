//! Passes the events of tasks to the checks of tasks, and updates the account.

use cluster_core::{Message, TaskError, TaskId, TaskRequest, WorkerId};

use super::account::Account;
use super::task_account::TaskAccount;
use super::{Check, task_cancels, task_ends, task_limits, task_runs, task_workers};

type TaskCheck = Result<(), (Check, String)>;

/// Checks the end of a task. A hook cannot return a failure, so the account keeps a violation until the
/// primary is idle.
pub(crate) fn completed(account: &mut TaskAccount, task: TaskId, outcome: &Result<Message, TaskError>) {
    let ends = task_ends::completed(account, task).map_err(|what| (Check::TaskEnds, what));
    let cancels =
        || task_cancels::completed(account, task, outcome).map_err(|what| (Check::TaskCancels, what));
    let found = ends.and_then(|()| cancels()).err();
    account.found = account.found.take().or(found);
    if let Some(life) = account.tasks.get_mut(&task) {
        life.ended = true;
    }
}

/// Checks that the pool has killed a worker for the time limit of a task.
pub(crate) fn killed(account: &mut TaskAccount, worker: WorkerId, task: TaskId, now: u64) {
    let found =
        task_limits::killed(account, worker, task, now).map_err(|what| (Check::TaskLimits, what)).err();
    account.found = account.found.take().or(found);
}

/// Checks a message that the program of a worker has received.
pub(crate) fn received(account: &mut TaskAccount, message: &Message) -> TaskCheck {
    let Some(TaskRequest::Run { task, .. }) = TaskRequest::from_message(message) else { return Ok(()) };
    let Some(life) = account.tasks.get_mut(&task) else { return Ok(()) };
    life.received += 1;
    task_runs::received(task, life).map_err(|what| (Check::TaskRuns, what))
}

/// Checks a task before the primary writes the task to a worker.
pub(crate) fn sent(
    account: &mut TaskAccount,
    worker: WorkerId,
    task: TaskId,
    supervised: &Account,
) -> TaskCheck {
    if !account.written.insert((worker, task)) {
        return Ok(());
    }
    task_workers::sent(account, supervised, worker, task).map_err(|what| (Check::TaskWorkers, what))
}
