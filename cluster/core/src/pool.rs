//! The machine of a task pool: a queue of tasks, and the workers that run them. The inputs are commands, the
//! states of workers and their messages. The outputs are messages to workers, and the outcomes of tasks.
//! `driven` connects the machine to a [`Supervisor`](crate::Supervisor).

use alloc::collections::{BTreeMap, VecDeque};
use core::fmt;
use core::time::Duration;

use crate::message_error::MessageError;
use crate::os::{ExitStatus, TimerId, WorkerId};
use crate::send::SendError;
use crate::user_message::Message;

mod driven;
mod pool_settings;
mod task_error;
mod task_message;
mod task_queue;
mod task_workers;
mod time_limit;

pub use driven::PoolEvent;
pub use pool_settings::{CancelRunning, Delivery, PoolSettings, PoolSettingsError};
pub use task_error::TaskError;
pub use task_message::{TASKS_READY, TaskReply, TaskRequest};

use pool_settings::PoolRules;
use task_queue::TaskQueue;
use task_workers::TaskWorkers;

/// A task, numbered from 1 in the order of [`Pool::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub u64);

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An output of a [`Pool`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum PoolOutput {
    /// Send the message to the worker. If the send fails, call [`Pool::not_sent`].
    Send { worker: WorkerId, task: TaskId, message: Message },
    /// Kill the worker of a task.
    Kill { worker: WorkerId, task: TaskId, reason: KillReason },
    /// Call [`Pool::tick`] after this time.
    SetTimer { after: Duration },
    /// A task has ended. Each task ends once.
    Completed { task: TaskId, outcome: Result<Message, TaskError> },
    /// The pool was closed by [`Pool::close`], and no task is left.
    Empty,
}

/// The reason for killing the worker of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KillReason {
    /// The task was cancelled, and it was the only task of the worker: [`CancelRunning::Kill`].
    Cancelled,
    /// The task has exceeded [`PoolSettings::time_limit`].
    TimeLimit,
}

/// The reason why a task was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAccepted {
    /// [`PoolSettings::queue`] tasks wait for a worker already.
    Full,
    /// The pool was closed.
    Closed,
    /// The payload has no JSON form.
    Payload(MessageError),
}

impl fmt::Display for NotAccepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NotAccepted::Full => {
                f.write_str("the queue of the pool is full; wait for room, or raise `queue`")
            }
            NotAccepted::Closed => f.write_str("the pool was closed"),
            NotAccepted::Payload(_) => f.write_str("the task cannot be sent as JSON"),
        }
    }
}

impl core::error::Error for NotAccepted {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            NotAccepted::Payload(error) => Some(error),
            NotAccepted::Full | NotAccepted::Closed => None,
        }
    }
}

/// What happens to the queued tasks of a closed pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClosePolicy {
    /// Queued tasks still run.
    Drain,
    /// Queued tasks end with [`TaskError::Closed`]; running tasks complete.
    Fail,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Task {
    message: Message,
    /// The number of workers that have received the task.
    attempts: u32,
    /// The worker that runs the task.
    worker: Option<WorkerId>,
}

/// Whether tasks are accepted and started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Intake {
    Open,
    /// No task is accepted; queued tasks still start.
    Draining,
    /// No task is accepted or started.
    Closed,
    /// [`PoolOutput::Empty`] was emitted.
    Reported,
}

/// A queue of tasks, and the workers that run them.
///
/// A worker receives tasks when it has sent [`TASKS_READY`] and [`Pool::set_ready`] has set it ready, at most
/// [`PoolSettings::tasks_per_worker`] at a time. Each task is sent to the worker with the fewest tasks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pool {
    rules: PoolRules,
    intake: Intake,
    last: TaskId,
    /// The tasks that have not ended.
    tasks: BTreeMap<TaskId, Task>,
    /// The tasks that wait for a worker.
    queue: TaskQueue,
    workers: TaskWorkers,
    /// Whether a timer of the time limit is running.
    is_ticking: bool,
    /// The id of the running timer. `None`: no timer, or a timer that is not of a supervisor.
    timer: Option<TimerId>,
    outputs: VecDeque<PoolOutput>,
}

impl Pool {
    /// A pool without workers.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn new(settings: &PoolSettings) -> Result<Self, PoolSettingsError> {
        let rules = settings.rules()?;
        Ok(Pool {
            rules,
            intake: Intake::Open,
            last: TaskId(0),
            tasks: BTreeMap::new(),
            queue: TaskQueue::default(),
            workers: TaskWorkers::new(rules.tasks_per_worker),
            is_ticking: false,
            timer: None,
            outputs: VecDeque::new(),
        })
    }

    /// The number of tasks that wait for a worker.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// The number of tasks that have not ended.
    pub fn unfinished(&self) -> usize {
        self.tasks.len()
    }

    /// What happens to the tasks of a worker that exits.
    pub fn delivery(&self) -> Delivery {
        self.rules.delivery
    }

    /// The time limit of a task.
    pub fn time_limit(&self) -> Option<Duration> {
        self.rules.time_limit
    }

    // ---- commands

    /// Accepts a task with this payload.
    ///
    /// # Errors
    /// The queue is full, the pool was closed, or the payload has no JSON form.
    pub fn run(&mut self, payload: &Message) -> Result<TaskId, NotAccepted> {
        if self.intake != Intake::Open {
            return Err(NotAccepted::Closed);
        }
        if self.queue.unsent() >= self.rules.queue {
            return Err(NotAccepted::Full);
        }
        let task = TaskId(self.last.0 + 1);
        let request = TaskRequest::Run { task, payload: payload.clone() };
        let message = request.to_message().map_err(NotAccepted::Payload)?;
        self.last = task;
        self.tasks.insert(task, Task { message, attempts: 0, worker: None });
        self.queue.insert(task, 0);
        Ok(task)
    }

    /// Cancels a task. A queued task is removed. For a running task, the worker receives a message, and the
    /// reply is ignored. Has no effect if the task has ended.
    pub fn cancel(&mut self, task: TaskId) {
        let Some(Task { worker, .. }) = self.tasks.remove(&task) else { return };
        self.queue.remove(task);
        if let Some(worker) = worker {
            self.workers.cancel(worker, task);
            self.outputs.push_back(match self.rules.cancel {
                CancelRunning::Ask => cancel_message(worker, task),
                CancelRunning::Kill => PoolOutput::Kill { worker, task, reason: KillReason::Cancelled },
            });
        }
        self.completed(task, Err(TaskError::Cancelled));
    }

    /// Accepts no further task. [`PoolOutput::Empty`] follows when no task is left. A second call may change
    /// [`ClosePolicy::Drain`] to [`ClosePolicy::Fail`].
    pub fn close(&mut self, policy: ClosePolicy) {
        match policy {
            ClosePolicy::Drain => self.intake = self.intake.max(Intake::Draining),
            ClosePolicy::Fail => {
                self.intake = self.intake.max(Intake::Closed);
                self.fail_queue(&TaskError::Closed);
            }
        }
    }

    // ---- workers

    /// Sets whether a worker may receive tasks: whether it is ready, and neither asked to exit nor
    /// disconnected.
    pub fn set_ready(&mut self, worker: WorkerId, ready: bool) {
        self.workers.set_ready(worker, ready);
    }

    /// Called when the worker has exited. `None` in place of a status: the process is stuck, and the
    /// supervisor no longer waits for the exit. The running tasks end or are queued again, by [`Delivery`].
    pub fn exited(&mut self, worker: WorkerId, status: Option<ExitStatus>) {
        for (task, ticks) in self.workers.remove(worker) {
            let Some(attempts) = self.tasks.get(&task).map(|task| task.attempts) else { continue };
            match self.rules.delivery {
                Delivery::AtLeastOnce { attempts: limit } if attempts < limit => {
                    if self.intake >= Intake::Closed {
                        self.end(task, Err(TaskError::Closed));
                    } else {
                        self.enqueue_again(task);
                    }
                }
                Delivery::AtLeastOnce { .. } | Delivery::AtMostOnce => {
                    let limit = self.rules.time_limit.filter(|_| ticks.are_too_many());
                    self.end(task, Err(self.death(worker, status, attempts, limit)));
                }
            }
        }
    }

    /// The error of a task after the exit of the worker. `limit`: the time limit, if the task has exceeded
    /// it.
    fn death(
        &self,
        worker: WorkerId,
        status: Option<ExitStatus>,
        attempts: u32,
        limit: Option<Duration>,
    ) -> TaskError {
        match (limit, self.rules.delivery) {
            (Some(limit), _) => TaskError::TimedOut { worker, limit },
            (None, Delivery::AtMostOnce) => TaskError::WorkerDied { worker, status },
            (None, Delivery::AtLeastOnce { .. }) => TaskError::TooManyAttempts { attempts, status },
        }
    }

    /// Call after the time of [`PoolOutput::SetTimer`]. Kills workers with tasks that have exceeded the time
    /// limit.
    pub fn tick(&mut self) {
        self.is_ticking = false;
        for (worker, task) in self.workers.tick() {
            self.outputs.push_back(PoolOutput::Kill { worker, task, reason: KillReason::TimeLimit });
        }
        if self.workers.have_tasks() {
            self.set_timer();
        }
    }

    /// Sets the timer of the time limit, unless there is no limit or a timer is running.
    fn set_timer(&mut self) {
        if let Some(limit) = self.rules.time_limit.filter(|_| !self.is_ticking) {
            self.is_ticking = true;
            self.outputs.push_back(PoolOutput::SetTimer { after: time_limit::tick(limit) });
        }
    }

    /// Call when no worker will become ready: queued tasks end with [`TaskError::NoWorkers`].
    pub fn no_workers(&mut self) {
        self.fail_queue(&TaskError::NoWorkers);
    }

    /// Takes a message of a worker. Returns whether the message belongs to the pool.
    pub fn message(&mut self, worker: WorkerId, message: &Message) -> bool {
        let Some(reply) = TaskReply::from_message(message) else { return false };
        let (task, outcome) = match reply {
            TaskReply::Ready => {
                self.workers.announce(worker);
                return true;
            }
            TaskReply::Done { task, result } => (task, Ok(result)),
            TaskReply::Failed { task, error } => (task, Err(TaskError::Failed(error))),
        };
        // The reply for a cancelled task only frees its worker.
        if self.workers.finish(worker, task) {
            self.end(task, outcome);
        }
        true
    }

    /// Call when a message of [`PoolOutput::Send`] was not sent.
    pub fn not_sent(&mut self, worker: WorkerId, task: TaskId, error: SendError) {
        let is_cancelled = !self.tasks.contains_key(&task);
        match error {
            SendError::Full if is_cancelled => self.workers.congested(worker, Some(task)),
            SendError::Full => {
                self.workers.congested(worker, None);
                self.take_back(worker, task);
            }
            // The exit of the worker follows, and ends the cancelled task.
            SendError::Closed | SendError::UnknownWorker if is_cancelled => {}
            SendError::Closed | SendError::UnknownWorker => {
                self.workers.set_ready(worker, false);
                self.take_back(worker, task);
            }
            SendError::Reserved
            | SendError::TooLong { .. }
            | SendError::NoJson
            | SendError::HandleAlreadySent => {
                if self.workers.finish(worker, task) {
                    self.end(task, Err(TaskError::NotSent(error)));
                }
            }
        }
    }

    /// Call when channels may have room again, after [`SendError::Full`].
    pub fn has_room(&mut self) {
        for (worker, task) in self.workers.has_room() {
            self.outputs.push_back(cancel_message(worker, task));
        }
    }

    /// Whether an output waits for [`Pool::has_room`].
    pub fn is_congested(&self) -> bool {
        self.workers.are_congested()
    }

    // ---- outputs

    /// The next output.
    pub fn poll(&mut self) -> Option<PoolOutput> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        if let Some(output) = self.assign() {
            return Some(output);
        }
        if matches!(self.intake, Intake::Draining | Intake::Closed) && self.tasks.is_empty() {
            self.intake = Intake::Reported;
            return Some(PoolOutput::Empty);
        }
        None
    }

    /// Sends the first queued task to the worker with the fewest tasks.
    fn assign(&mut self) -> Option<PoolOutput> {
        let task = self.queue.first()?;
        let worker = self.workers.least_loaded()?;
        self.workers.start(worker, task);
        self.queue.remove(task);
        let entry = self.tasks.get_mut(&task).expect("a queued task");
        entry.attempts += 1;
        entry.worker = Some(worker);
        let message = entry.message.clone();
        self.set_timer();
        Some(PoolOutput::Send { worker, task, message })
    }

    /// Takes a task back from a worker, because it was not sent.
    fn take_back(&mut self, worker: WorkerId, task: TaskId) {
        if self.workers.finish(worker, task)
            && let Some(entry) = self.tasks.get_mut(&task)
        {
            entry.attempts -= 1;
            self.enqueue_again(task);
        }
    }

    fn enqueue_again(&mut self, task: TaskId) {
        if let Some(entry) = self.tasks.get_mut(&task) {
            entry.worker = None;
            self.queue.insert(task, entry.attempts);
        }
    }

    fn fail_queue(&mut self, error: &TaskError) {
        while let Some(task) = self.queue.pop_first() {
            self.end(task, Err(error.clone()));
        }
    }

    fn end(&mut self, task: TaskId, outcome: Result<Message, TaskError>) {
        if self.tasks.remove(&task).is_some() {
            self.completed(task, outcome);
        }
    }

    fn completed(&mut self, task: TaskId, outcome: Result<Message, TaskError>) {
        self.outputs.push_back(PoolOutput::Completed { task, outcome });
    }
}

fn cancel_message(worker: WorkerId, task: TaskId) -> PoolOutput {
    let message = TaskRequest::Cancel { task }.to_message().expect("a number has JSON");
    PoolOutput::Send { worker, task, message }
}
