//! Task cancels: a task that was cancelled before its end has no result.

use cluster_core::{Message, TaskError, TaskId};

use super::task_account::TaskAccount;

/// The pool reports the end of a task.
pub(crate) fn completed(
    account: &TaskAccount,
    task: TaskId,
    outcome: &Result<Message, TaskError>,
) -> Result<(), String> {
    let is_cancelled = account.tasks.get(&task).is_some_and(|life| life.cancelled);
    if is_cancelled && *outcome != Err(TaskError::Cancelled) {
        return Err(format!("task {task} was cancelled and ends with {outcome:?}"));
    }
    Ok(())
}
