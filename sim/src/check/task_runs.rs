//! Task runs: under at most once, no two workers run the same task; under at least once, no more workers than
//! the settings allow.

use cluster_core::{Delivery, TaskId};

use super::task_account::TaskLife;

/// The program of a worker has received a task.
pub(crate) fn received(task: TaskId, life: &TaskLife) -> Result<(), String> {
    let limit = match life.delivery {
        Delivery::AtMostOnce => 1,
        Delivery::AtLeastOnce { attempts } => attempts,
    };
    if life.received > limit {
        return Err(format!("task {task} runs {} times, and {limit} are allowed", life.received));
    }
    Ok(())
}
