//! Task ends: no task is lost. Each accepted task ends once, with a result or an error.

use cluster_core::TaskId;

use super::task_account::TaskAccount;

/// The pool reports the end of a task.
pub(crate) fn completed(account: &TaskAccount, task: TaskId) -> Result<(), String> {
    match account.tasks.get(&task) {
        None => Err(format!("task {task} ends and was not accepted")),
        Some(life) if life.ended => Err(format!("task {task} ends twice")),
        Some(_) => Ok(()),
    }
}

/// Checks the final state: no step is enabled.
pub(crate) fn at_the_end(account: &TaskAccount) -> Result<(), String> {
    let lost = account.tasks.iter().find(|(_, life)| !life.ended);
    lost.map_or(Ok(()), |(task, _)| Err(format!("task {task} was accepted and has not ended")))
}
