//! Task limits: if a worker is killed for the time limit of a task, the kill follows no earlier than the
//! limit after the task was sent, and at most an eighth of the limit later. A task that is never killed is
//! lost, which `task_ends` reports.

use std::time::Duration;

use cluster_core::{TaskId, WorkerId};

use super::task_account::TaskAccount;

/// The pool has killed the worker of a task for the time limit.
pub(crate) fn killed(account: &TaskAccount, worker: WorkerId, task: TaskId, now: u64) -> Result<(), String> {
    let Some(limit) = account.time_limit.map(millis) else {
        return Err(format!("worker {worker} is killed for task {task}, which has no time limit"));
    };
    let Some(started) = account.started.get(&(worker, task)) else {
        return Err(format!("worker {worker} is killed for task {task}, which was not sent there"));
    };
    // The pool counts the limit in eighths, each rounded up, and kills after eight or nine of them.
    let [first, last] = [limit, 9 * limit.div_ceil(8)].map(|time| started.saturating_add(time));
    if now < first || now > last {
        return Err(format!(
            "worker {worker} is killed at {now} ms for task {task}, and the limit ends between {first} ms and {last} ms"
        ));
    }
    Ok(())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
