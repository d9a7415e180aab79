//! The workers of a pool and the tasks that each runs. Tasks are numbers here.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::TaskId;
use crate::os::WorkerId;

/// A worker that runs tasks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct TaskWorker {
    /// The worker has sent [`TASKS_READY`](super::TASKS_READY).
    pub(super) has_announced: bool,
    pub(super) is_ready: bool,
    /// The channel is full.
    is_congested: bool,
    running: BTreeSet<TaskId>,
    /// The cancelled tasks that the worker has not replied to; each still takes a place.
    cancelled: BTreeSet<TaskId>,
    /// The cancelled tasks without a sent message: the channel was full.
    unsent: BTreeSet<TaskId>,
}

impl TaskWorker {
    fn load(&self) -> usize {
        self.running.len() + self.cancelled.len()
    }

    /// Whether a task that was not cancelled is running.
    pub(super) fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }
}

/// The workers, by number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct TaskWorkers(BTreeMap<WorkerId, TaskWorker>);

impl TaskWorkers {
    pub(super) fn get_or_add(&mut self, worker: WorkerId) -> &mut TaskWorker {
        self.0.entry(worker).or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (WorkerId, &TaskWorker)> {
        self.0.iter().map(|(id, worker)| (*id, worker))
    }

    /// Sets which workers are ready.
    pub(super) fn set_ready(&mut self, is_ready: impl Fn(WorkerId) -> bool) {
        for (id, worker) in &mut self.0 {
            worker.is_ready = is_ready(*id);
        }
    }

    /// Removes a worker, and returns its running tasks.
    pub(super) fn remove(&mut self, worker: WorkerId) -> BTreeSet<TaskId> {
        self.0.remove(&worker).map_or_else(BTreeSet::new, |worker| worker.running)
    }

    /// Chooses the worker with the fewest tasks, below the limit. `None`: no worker has room.
    pub(super) fn start(&mut self, task: TaskId, limit: usize) -> Option<WorkerId> {
        let may_receive = |worker: &&mut TaskWorker| {
            worker.has_announced && worker.is_ready && !worker.is_congested && worker.load() < limit
        };
        let free = self.0.iter_mut().filter(|(_, worker)| may_receive(worker));
        let (id, worker) = free.min_by_key(|(_, worker)| worker.load())?;
        worker.running.insert(task);
        Some(*id)
    }

    /// The worker has replied. False: the task does not run there, or was cancelled.
    pub(super) fn finish(&mut self, worker: WorkerId, task: TaskId) -> bool {
        let Some(worker) = self.0.get_mut(&worker) else { return false };
        worker.cancelled.remove(&task);
        worker.unsent.remove(&task);
        worker.running.remove(&task)
    }

    /// Marks a running task as cancelled, and returns its worker.
    pub(super) fn cancel(&mut self, task: TaskId) -> Option<WorkerId> {
        let (id, worker) = self.0.iter_mut().find(|(_, worker)| worker.running.contains(&task))?;
        worker.running.remove(&task);
        worker.cancelled.insert(task);
        Some(*id)
    }

    /// The channel of the worker is full; the message about `cancelled` was not sent.
    pub(super) fn congested(&mut self, worker: WorkerId, cancelled: Option<TaskId>) {
        let worker = self.get_or_add(worker);
        worker.is_congested = true;
        worker.unsent.extend(cancelled);
    }

    pub(super) fn are_congested(&self) -> bool {
        self.0.values().any(|worker| worker.is_congested)
    }

    /// Channels may have room. Returns the cancelled tasks without a sent message.
    pub(super) fn has_room(&mut self) -> Vec<(WorkerId, TaskId)> {
        let mut unsent = Vec::new();
        for (id, worker) in &mut self.0 {
            worker.is_congested = false;
            unsent.extend(core::mem::take(&mut worker.unsent).into_iter().map(|task| (*id, task)));
        }
        unsent
    }
}
