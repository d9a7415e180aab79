//! A pool over the workers of a supervisor: events of the supervisor become inputs of the pool, and outputs of the pool become
//! commands of the supervisor.

use super::task_error::TaskError;
use super::{ClosePolicy, Pool, PoolOutput, TaskId};
use crate::event::Event;
use crate::os::WorkerId;
use crate::supervisor::{SlotState, Supervisor, SupervisorEvent};
use crate::user_message::Message;

/// An event of a pool over a supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum PoolEvent {
    /// A task was sent to a worker. A task that is delivered at least once has this event for each worker.
    Started { task: TaskId, worker: WorkerId },
    /// A task has ended. Each task ends once.
    Completed { task: TaskId, outcome: Result<Message, TaskError> },
    /// After [`Pool::close`]: no task is left.
    Empty,
}

impl Pool {
    /// Takes an event of the supervisor; [`Pool::drive`] has to follow. Returns whether the event is a message of the pool.
    pub fn observe(&mut self, event: &SupervisorEvent) -> bool {
        match event {
            SupervisorEvent::Primary(Event::Message { worker, message, handle: None }) => {
                return self.message(*worker, message);
            }
            SupervisorEvent::Primary(Event::Exit { worker, status, .. }) => {
                self.exited(*worker, Some(*status));
            }
            SupervisorEvent::Stuck { worker, .. } => self.exited(*worker, None),
            SupervisorEvent::ShutdownStarted => self.close(ClosePolicy::Fail),
            SupervisorEvent::Primary(_)
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

    /// Performs the outputs up to the next event. Call after each input, until `None`: a worker that the supervisor asks to exit
    /// receives no further task, and is disconnected when its tasks have ended.
    pub fn drive(&mut self, supervisor: &mut Supervisor) -> Option<PoolEvent> {
        self.follow(supervisor);
        let event = self.perform_until_event(supervisor);
        for (worker, tasks) in self.workers.iter() {
            supervisor.set_busy(worker, tasks.is_busy());
        }
        event
    }

    /// Updates the states of the workers from the supervisor.
    fn follow(&mut self, supervisor: &Supervisor) {
        self.workers.set_ready(|worker| supervisor.is_ready(worker));
        if supervisor.slots().all(|slot| slot.state == SlotState::Suspended) {
            self.no_workers();
        }
    }

    fn perform_until_event(&mut self, supervisor: &mut Supervisor) -> Option<PoolEvent> {
        while let Some(output) = self.poll() {
            match output {
                PoolOutput::Send { worker, task, message } => {
                    if let Err(error) = supervisor.primary_mut().send(worker, message) {
                        self.not_sent(worker, task, error);
                    } else if self.tasks.contains_key(&task) {
                        return Some(PoolEvent::Started { task, worker });
                    }
                }
                PoolOutput::Kill { worker } => supervisor.kill_worker(worker),
                PoolOutput::Completed { task, outcome } => {
                    return Some(PoolEvent::Completed { task, outcome });
                }
                PoolOutput::Empty => return Some(PoolEvent::Empty),
            }
        }
        None
    }
}
