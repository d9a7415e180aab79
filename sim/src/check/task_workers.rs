//! Task workers: a task is sent only to an announced worker that neither is a lame duck, nor was asked to
//! disconnect, nor has exited. Signals do not count here: a signal may overtake a task in the channel.

use cluster_core::{TaskId, WorkerId};

use super::account::Account;
use super::task_account::TaskAccount;

/// Checks a task before the first write to a worker.
pub(crate) fn sent(
    account: &TaskAccount,
    supervised: &Account,
    worker: WorkerId,
    task: TaskId,
) -> Result<(), String> {
    if !account.announced.contains(&worker) {
        return Err(format!("task {task} is sent to worker {worker}, which has not announced itself"));
    }
    let life = supervised.lives.get(&worker);
    if life.is_some_and(|life| life.over || life.asked[0].is_some() || life.asked[1].is_some()) {
        return Err(format!("task {task} is sent to worker {worker}, which was asked to exit"));
    }
    Ok(())
}
