//! A pool over the workers of a supervisor: events of the supervisor become inputs of the pool, and outputs
//! of the pool become commands of the supervisor.

use super::task_error::TaskError;
use super::{ClosePolicy, KillReason, Pool, PoolOutput, TaskId};
use crate::event::Event;
use crate::os::WorkerId;
use crate::supervisor::{SlotState, Supervisor, SupervisorEvent};
use crate::user_message::Message;

/// An event of a pool over a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum PoolEvent {
    /// A task was sent to a worker. With [`Delivery::AtLeastOnce`](super::Delivery::AtLeastOnce), the event
    /// can occur several times for a task, once for each worker.
    Started { task: TaskId, worker: WorkerId },
    /// A task has ended. Each task ends once.
    Completed { task: TaskId, outcome: Result<Message, TaskError> },
    /// The worker of a task was killed, and is replaced. The exit does not count as a restart. After the
    /// exit, the task ends or starts again, unless it was cancelled.
    Killed { task: TaskId, worker: WorkerId, reason: KillReason },
    /// The pool was closed by [`Pool::close`], and no task is left.
    Empty,
}

impl Pool {
    /// Takes an event of the supervisor. Call [`Pool::drive`] afterwards. Returns whether the event concerns
    /// only the pool. If a message of the pool has a handle, the caller closes the handle, which has no
    /// meaning.
    pub fn observe(&mut self, event: &SupervisorEvent) -> bool {
        match event {
            SupervisorEvent::Primary(Event::Message { worker, message, handle: _ }) => {
                return self.message(*worker, message);
            }
            SupervisorEvent::Primary(Event::Exit { worker, status, .. }) => {
                self.exited(*worker, Some(*status));
            }
            SupervisorEvent::Stuck { worker, .. } => self.exited(*worker, None),
            SupervisorEvent::ShutdownStarted => self.close(ClosePolicy::Fail),
            SupervisorEvent::Timer { timer } if self.timer == Some(*timer) => {
                self.timer = None;
                self.tick();
                return true;
            }
            SupervisorEvent::Primary(_)
            | SupervisorEvent::Timer { .. }
            | SupervisorEvent::SlotReady { .. }
            | SupervisorEvent::StartFailed { .. }
            | SupervisorEvent::Restarting { .. }
            | SupervisorEvent::SlotSuspended { .. }
            | SupervisorEvent::GaveUp { .. }
            | SupervisorEvent::ReloadStarted { .. }
            | SupervisorEvent::ReloadFinished { .. }
            | SupervisorEvent::ReloadAbandoned { .. }
            | SupervisorEvent::Scaled { .. }
            | SupervisorEvent::Hung { .. }
            | SupervisorEvent::Drained { .. }
            | SupervisorEvent::Cut { .. }
            | SupervisorEvent::Withdrawn { .. }
            | SupervisorEvent::Finished { .. } => {}
        }
        false
    }

    /// Performs the outputs up to the next event. Call after each input, until the result is `None`. If the
    /// supervisor asks a worker to exit, the worker receives no further task, and is disconnected when the
    /// tasks have ended.
    pub fn drive(&mut self, supervisor: &mut Supervisor) -> Option<PoolEvent> {
        self.follow(supervisor);
        let event = self.perform_until_event(supervisor);
        for (worker, is_busy) in self.workers.take_changed() {
            supervisor.set_busy(worker, is_busy);
        }
        event
    }

    /// Updates the states of the workers from the supervisor. Only workers that were never ready are checked,
    /// because a worker does not become ready twice.
    fn follow(&mut self, supervisor: &Supervisor) {
        for worker in self.workers.early() {
            if supervisor.is_ready(worker) {
                self.set_ready(worker, true);
            } else if supervisor.slot_of(worker).is_none() {
                // The worker has no slot, or has exited and another process holds its channel.
                self.workers.remove(worker);
            }
        }
        if !self.queue.is_empty() && supervisor.slots().all(|slot| slot.state == SlotState::Suspended) {
            self.no_workers();
        }
    }

    /// The next output. A worker that is no longer ready receives no task.
    fn next_output(&mut self, supervisor: &Supervisor) -> Option<PoolOutput> {
        while !self.queue.is_empty()
            && let Some(worker) = self.workers.least_loaded()
            && !supervisor.is_ready(worker)
        {
            self.set_ready(worker, false);
        }
        self.poll()
    }

    fn perform_until_event(&mut self, supervisor: &mut Supervisor) -> Option<PoolEvent> {
        while let Some(output) = self.next_output(supervisor) {
            match output {
                PoolOutput::Send { worker, task, message } => {
                    if let Err(error) = supervisor.primary_mut().send(worker, message) {
                        self.not_sent(worker, task, error);
                    } else if self.tasks.contains_key(&task) {
                        return Some(PoolEvent::Started { task, worker });
                    }
                }
                PoolOutput::Kill { worker, task, reason } => {
                    supervisor.kill_worker(worker);
                    return Some(PoolEvent::Killed { task, worker, reason });
                }
                PoolOutput::SetTimer { after } => self.timer = Some(supervisor.set_timer(after)),
                PoolOutput::Completed { task, outcome } => {
                    return Some(PoolEvent::Completed { task, outcome });
                }
                PoolOutput::Empty => return Some(PoolEvent::Empty),
            }
        }
        None
    }
}
