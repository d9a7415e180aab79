//! The workers of a pool, and the running tasks of each. Here, tasks are only numbers. Indexes list the free
//! workers and the changed workers, so no command visits every worker.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::mem;

use super::TaskId;
use super::time_limit::Ticks;
use crate::os::WorkerId;

/// The tasks of a worker, each with the ticks since its start.
pub(super) type RunningTasks = BTreeMap<TaskId, Ticks>;

/// A worker with tasks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct TaskWorker {
    /// Whether the worker has sent [`TASKS_READY`](super::TASKS_READY).
    has_announced: bool,
    is_ready: bool,
    /// Whether the channel is full.
    is_congested: bool,
    running: RunningTasks,
    /// The cancelled tasks that have no reply yet. A cancelled task still takes a place.
    cancelled: RunningTasks,
    /// The cancelled tasks without a sent message, because the channel was full.
    unsent: BTreeSet<TaskId>,
}

impl TaskWorker {
    fn load(&self) -> usize {
        self.running.len() + self.cancelled.len()
    }

    /// Whether a task is running, cancelled tasks aside.
    fn is_busy(&self) -> bool {
        !self.running.is_empty()
    }

    fn may_receive(&self, limit: usize) -> bool {
        self.has_announced && self.is_ready && !self.is_congested && self.load() < limit
    }

    /// Counts a tick for each task. Returns the first task that exceeds its limit with this tick.
    fn tick(&mut self) -> Option<TaskId> {
        let mut late = None;
        for (task, ticks) in self.running.iter_mut().chain(&mut self.cancelled) {
            let exceeds = !ticks.are_too_many();
            ticks.count();
            if exceeds && ticks.are_too_many() {
                late.get_or_insert(*task);
            }
        }
        late
    }
}

/// The workers, by id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct TaskWorkers {
    /// The number of tasks per worker.
    limit: usize,
    workers: BTreeMap<WorkerId, TaskWorker>,
    /// The workers with room for a task, by the number of their tasks.
    free: BTreeSet<(usize, WorkerId)>,
    /// The workers that have sent [`TASKS_READY`](super::TASKS_READY), but have not been ready yet.
    early: BTreeSet<WorkerId>,
    congested: BTreeSet<WorkerId>,
    /// The workers that have become busy or idle since the last call of `take_changed`.
    changed: BTreeSet<WorkerId>,
}

impl TaskWorkers {
    pub(super) fn new(limit: usize) -> Self {
        TaskWorkers {
            limit,
            workers: BTreeMap::new(),
            free: BTreeSet::new(),
            early: BTreeSet::new(),
            congested: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Changes a worker, and updates the indexes. `None`: the worker is unknown.
    fn change<T>(&mut self, id: WorkerId, change: impl FnOnce(&mut TaskWorker) -> T) -> Option<T> {
        let worker = self.workers.get_mut(&id)?;
        let was_busy = worker.is_busy();
        self.free.remove(&(worker.load(), id));
        let changed = change(worker);
        if worker.may_receive(self.limit) {
            self.free.insert((worker.load(), id));
        }
        if worker.is_busy() != was_busy {
            self.changed.insert(id);
        }
        Some(changed)
    }

    /// Called when the worker has sent [`TASKS_READY`](super::TASKS_READY).
    pub(super) fn announce(&mut self, worker: WorkerId) {
        let is_ready = self.workers.entry(worker).or_default().is_ready;
        self.change(worker, |worker| worker.has_announced = true);
        if !is_ready {
            self.early.insert(worker);
        }
    }

    /// Sets whether a worker is ready.
    pub(super) fn set_ready(&mut self, worker: WorkerId, is_ready: bool) {
        self.workers.entry(worker).or_default();
        self.early.remove(&worker);
        self.change(worker, |worker| worker.is_ready = is_ready);
    }

    /// The workers that have sent [`TASKS_READY`](super::TASKS_READY), but have not been ready yet.
    pub(super) fn early(&self) -> Vec<WorkerId> {
        self.early.iter().copied().collect()
    }

    /// The worker with the fewest tasks, among those with room.
    pub(super) fn least_loaded(&self) -> Option<WorkerId> {
        self.free.first().map(|(_, worker)| *worker)
    }

    /// The workers that have become busy (true) or idle (false) since the last call.
    pub(super) fn take_changed(&mut self) -> impl Iterator<Item = (WorkerId, bool)> {
        let workers = &self.workers;
        mem::take(&mut self.changed)
            .into_iter()
            .map(|id| (id, workers.get(&id).is_some_and(TaskWorker::is_busy)))
    }

    /// Removes a worker, and returns the running tasks.
    pub(super) fn remove(&mut self, worker: WorkerId) -> RunningTasks {
        self.early.remove(&worker);
        self.congested.remove(&worker);
        self.changed.remove(&worker);
        let Some(removed) = self.workers.remove(&worker) else { return RunningTasks::new() };
        self.free.remove(&(removed.load(), worker));
        removed.running
    }

    /// Called when the worker has received the task.
    pub(super) fn start(&mut self, worker: WorkerId, task: TaskId) {
        self.change(worker, |worker| worker.running.insert(task, Ticks::default()));
    }

    /// Called when the worker has replied. False: the task does not run there, or was cancelled.
    pub(super) fn finish(&mut self, worker: WorkerId, task: TaskId) -> bool {
        let is_running = self.change(worker, |worker| {
            worker.cancelled.remove(&task);
            worker.unsent.remove(&task);
            worker.running.remove(&task).is_some()
        });
        is_running == Some(true)
    }

    /// Marks a running task as cancelled.
    pub(super) fn cancel(&mut self, worker: WorkerId, task: TaskId) {
        self.change(worker, |worker| {
            let ticks = worker.running.remove(&task);
            worker.cancelled.extend(ticks.map(|ticks| (task, ticks)));
        });
    }

    /// Called when the channel of the worker is full. `cancelled`: a task without a sent message.
    pub(super) fn congested(&mut self, worker: WorkerId, cancelled: Option<TaskId>) {
        let known = self.change(worker, |worker| {
            worker.is_congested = true;
            worker.unsent.extend(cancelled);
        });
        self.congested.extend(known.map(|()| worker));
    }

    pub(super) fn are_congested(&self) -> bool {
        !self.congested.is_empty()
    }

    /// Called when channels may have room. Returns the cancelled tasks without a sent message.
    pub(super) fn has_room(&mut self) -> Vec<(WorkerId, TaskId)> {
        let mut unsent = Vec::new();
        for id in mem::take(&mut self.congested) {
            let tasks = self.change(id, |worker| {
                worker.is_congested = false;
                mem::take(&mut worker.unsent)
            });
            unsent.extend(tasks.into_iter().flatten().map(|task| (id, task)));
        }
        unsent
    }

    // ---- the time limit

    /// Counts a tick for every task. Returns the workers to kill, each with the first late task.
    pub(super) fn tick(&mut self) -> Vec<(WorkerId, TaskId)> {
        let mut late = Vec::new();
        for (id, worker) in &mut self.workers {
            late.extend(worker.tick().map(|task| (*id, task)));
        }
        for (worker, _) in &late {
            self.set_ready(*worker, false);
        }
        late
    }

    /// Whether a task is running, cancelled or not.
    pub(super) fn have_tasks(&self) -> bool {
        self.workers.values().any(|worker| worker.load() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKERS: u64 = 1000;

    /// A command on a worker reports this worker only, and a choice looks only at workers with room. So the
    /// number of steps does not depend on the number of workers.
    #[test]
    fn command_visits_no_other_worker() {
        let mut workers = TaskWorkers::new(1);
        for id in 1..=WORKERS {
            workers.set_ready(WorkerId(id), true);
            workers.announce(WorkerId(id));
            workers.start(WorkerId(id), TaskId(id));
        }
        assert_eq!(workers.take_changed().count() as u64, WORKERS);
        assert!(workers.early().is_empty());
        for id in 1..=WORKERS {
            assert_eq!(workers.least_loaded(), None);
            workers.cancel(WorkerId(id), TaskId(id));
            assert_eq!(workers.take_changed().collect::<Vec<_>>(), [(WorkerId(id), false)]);
            workers.finish(WorkerId(id), TaskId(id));
            assert_eq!(workers.least_loaded(), Some(WorkerId(id)));
            workers.start(WorkerId(id), TaskId(WORKERS + id));
            assert_eq!(workers.take_changed().collect::<Vec<_>>(), [(WorkerId(id), true)]);
        }
    }
}
