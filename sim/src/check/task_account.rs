//! The account of the tasks of a pool. `task_checks` writes the account; the other files about tasks have the
//! properties.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster_core::{Call, Delivery, Message, TaskId, TaskReply, WorkerId};

use super::Check;

/// The life of a task, from the acceptance on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct TaskLife {
    pub(crate) delivery: Delivery,
    /// How often a worker's program has received the task.
    pub(crate) received: u32,
    pub(crate) cancelled: bool,
    pub(crate) ended: bool,
}

/// The state that the checks of a pool share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct TaskAccount {
    pub(crate) tasks: BTreeMap<TaskId, TaskLife>,
    /// The workers with an announcement that the primary has received.
    pub(crate) announced: BTreeSet<WorkerId>,
    /// The tasks in calls of the primary so far. A write without room is repeated, and counts once.
    pub(crate) written: BTreeSet<(WorkerId, TaskId)>,
    /// The time limit of the tasks.
    pub(crate) time_limit: Option<Duration>,
    /// When each task was sent to a worker, if there is a time limit.
    pub(crate) started: BTreeMap<(WorkerId, TaskId), u64>,
    /// The first violation found within a hook, reported when the primary is idle.
    pub(crate) found: Option<(Check, String)>,
}

/// The task that a call sends, and its worker.
pub(crate) fn sent_task(call: &Call) -> Option<(WorkerId, TaskId)> {
    let Call::Write { channel, bytes, .. } = call else { return None };
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, rest) = text.split_once(r#""cmd":"CLUSTER_TASK","id":"#)?;
    let end = rest.find(|character: char| !character.is_ascii_digit())?;
    Some((WorkerId(channel.0), TaskId(rest[..end].parse().ok()?)))
}

impl TaskAccount {
    /// Whether the program has no pool.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    pub(crate) fn accepted(&mut self, task: TaskId, delivery: Delivery, time_limit: Option<Duration>) {
        self.time_limit = time_limit;
        let life = TaskLife { delivery, received: 0, cancelled: false, ended: false };
        self.tasks.insert(task, life);
    }

    /// Records that the pool has sent a task to a worker.
    pub(crate) fn started(&mut self, worker: WorkerId, task: TaskId, now: u64) {
        self.started.insert((worker, task), now);
    }

    pub(crate) fn cancelled(&mut self, task: TaskId) {
        if let Some(life) = self.tasks.get_mut(&task) {
            life.cancelled |= !life.ended;
        }
    }

    /// Records a message of a worker to the primary. Returns whether the message announces that the worker
    /// serves tasks.
    pub(crate) fn announced(&mut self, worker: WorkerId, message: &Message) -> bool {
        let is_ready = TaskReply::from_message(message) == Some(TaskReply::Ready);
        if is_ready {
            self.announced.insert(worker);
        }
        is_ready
    }
}
