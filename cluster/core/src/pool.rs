//! The machine of a task pool: a queue of tasks and the workers that run them. Inputs are commands, the states of workers and
//! their messages; outputs are messages to workers and the outcomes of tasks. `driven` connects the machine with a
//! [`Supervisor`](crate::Supervisor).

use alloc::collections::{BTreeMap, VecDeque};
use core::fmt;

use crate::message_error::MessageError;
use crate::os::{ExitStatus, WorkerId};
use crate::send::SendError;
use crate::user_message::Message;

mod driven;
mod pool_settings;
mod task_error;
mod task_message;
mod task_queue;
mod task_workers;

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
    /// Send the message to the worker. A failure is the input [`Pool::not_sent`].
    Send { worker: WorkerId, task: TaskId, message: Message },
    /// Kill the worker: its only task was cancelled.
    Kill { worker: WorkerId },
    /// A task has ended. Each task ends once.
    Completed { task: TaskId, outcome: Result<Message, TaskError> },
    /// After [`Pool::close`]: no task is left.
    Empty,
}

/// Why a task was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotAccepted {
    /// [`PoolSettings::queue`] tasks wait for a worker.
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

/// What happens to the queue of a closed pool.
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
    /// The number of workers that the task was sent to.
    attempts: u32,
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
/// A worker receives tasks once it has sent [`TASKS_READY`] and while [`Pool::set_ready`] is on, at most
/// [`PoolSettings::tasks_per_worker`] at a time; each task is sent to the worker with the fewest tasks.
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
    outputs: VecDeque<PoolOutput>,
}

impl Pool {
    /// A pool without workers.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn new(settings: &PoolSettings) -> Result<Self, PoolSettingsError> {
        Ok(Pool {
            rules: settings.rules()?,
            intake: Intake::Open,
            last: TaskId(0),
            tasks: BTreeMap::new(),
            queue: TaskQueue::default(),
            workers: TaskWorkers::default(),
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
        self.tasks.insert(task, Task { message, attempts: 0 });
        self.queue.insert(task, 0);
        Ok(task)
    }

    /// Cancels a task: a queued task is removed; the worker of a running task receives a message, and the reply is
    /// ignored. No effect if the task has ended.
    pub fn cancel(&mut self, task: TaskId) {
        if self.tasks.remove(&task).is_none() {
            return;
        }
        self.queue.remove(task);
        if let Some(worker) = self.workers.cancel(task) {
            self.outputs.push_back(match self.rules.cancel {
                CancelRunning::Ask => cancel_message(worker, task),
                CancelRunning::Kill => PoolOutput::Kill { worker },
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

    /// Whether a worker may receive tasks: ready, and neither asked to exit nor disconnected.
    pub fn set_ready(&mut self, worker: WorkerId, ready: bool) {
        self.workers.get_or_add(worker).is_ready = ready;
    }

    /// The worker has exited. Without a status the worker is stuck, and the supervisor no longer waits for the exit.
    /// The running tasks end or are queued again, by [`Delivery`].
    pub fn exited(&mut self, worker: WorkerId, status: Option<ExitStatus>) {
        for task in self.workers.remove(worker) {
            let Some(attempts) = self.tasks.get(&task).map(|task| task.attempts) else { continue };
            match self.rules.delivery {
                Delivery::AtMostOnce => {
                    self.end(task, Err(TaskError::WorkerDied { worker, status }));
                }
                Delivery::AtLeastOnce { attempts: limit } if attempts >= limit => {
                    self.end(task, Err(TaskError::TooManyAttempts { attempts, status }));
                }
                Delivery::AtLeastOnce { .. } if self.intake >= Intake::Closed => {
                    self.end(task, Err(TaskError::Closed));
                }
                Delivery::AtLeastOnce { .. } => self.queue.insert(task, attempts),
            }
        }
    }

    /// No worker will become ready: queued tasks end with [`TaskError::NoWorkers`].
    pub fn no_workers(&mut self) {
        self.fail_queue(&TaskError::NoWorkers);
    }

    /// A message of a worker. Returns whether the message belongs to the pool.
    pub fn message(&mut self, worker: WorkerId, message: &Message) -> bool {
        let Some(reply) = TaskReply::from_message(message) else { return false };
        let (task, outcome) = match reply {
            TaskReply::Ready => {
                self.workers.get_or_add(worker).has_announced = true;
                return true;
            }
            TaskReply::Done { task, result } => (task, Ok(result)),
            TaskReply::Failed { task, error } => (task, Err(TaskError::Failed(error))),
        };
        // A cancelled task only frees its worker.
        if self.workers.finish(worker, task) {
            self.end(task, outcome);
        }
        true
    }

    /// A message of [`PoolOutput::Send`] was not sent.
    pub fn not_sent(&mut self, worker: WorkerId, task: TaskId, error: SendError) {
        let is_cancelled = !self.tasks.contains_key(&task);
        match error {
            SendError::Full if is_cancelled => self.workers.congested(worker, Some(task)),
            SendError::Full => {
                self.workers.congested(worker, None);
                self.take_back(worker, task);
            }
            // The exit follows, and ends a cancelled task.
            SendError::Closed | SendError::UnknownWorker if is_cancelled => {}
            SendError::Closed | SendError::UnknownWorker => {
                self.workers.get_or_add(worker).is_ready = false;
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

    /// Channels may have room again after [`SendError::Full`].
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

    /// Sends the head of the queue to the worker with the fewest tasks.
    fn assign(&mut self) -> Option<PoolOutput> {
        let task = self.queue.first()?;
        let worker = self.workers.start(task, self.rules.tasks_per_worker)?;
        self.queue.remove(task);
        let entry = self.tasks.get_mut(&task).expect("a queued task");
        entry.attempts += 1;
        Some(PoolOutput::Send { worker, task, message: entry.message.clone() })
    }

    /// A task was not sent after all.
    fn take_back(&mut self, worker: WorkerId, task: TaskId) {
        if self.workers.finish(worker, task)
            && let Some(entry) = self.tasks.get_mut(&task)
        {
            entry.attempts -= 1;
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
