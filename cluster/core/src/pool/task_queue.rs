//! The tasks that wait for a worker. Here, tasks are only numbers.

use alloc::collections::BTreeSet;

use super::TaskId;

/// The waiting tasks, in the order of their numbers, which is the order of their acceptance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct TaskQueue {
    /// The tasks that no worker has received. Only these count toward the limit of the queue.
    unsent: BTreeSet<TaskId>,
    /// The tasks of exited workers, which precede the others.
    returned: BTreeSet<TaskId>,
}

impl TaskQueue {
    pub(super) fn len(&self) -> usize {
        self.unsent.len() + self.returned.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unsent.is_empty() && self.returned.is_empty()
    }

    /// The number of tasks that no worker has received.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }

    /// Adds a task that this number of workers has received.
    pub(super) fn insert(&mut self, task: TaskId, attempts: u32) {
        let tasks = if attempts == 0 { &mut self.unsent } else { &mut self.returned };
        tasks.insert(task);
    }

    /// The next task.
    pub(super) fn first(&self) -> Option<TaskId> {
        self.returned.first().or_else(|| self.unsent.first()).copied()
    }

    pub(super) fn remove(&mut self, task: TaskId) {
        let _ = self.unsent.remove(&task) || self.returned.remove(&task);
    }

    pub(super) fn pop_first(&mut self) -> Option<TaskId> {
        self.returned.pop_first().or_else(|| self.unsent.pop_first())
    }
}
