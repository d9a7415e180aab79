//! Pending work of the primary, beside the steps of its channels.

use serde::{Deserialize, Serialize};

use crate::channel::MachineStep;
use crate::event::Event;
use crate::os::{BindAddress, Errno, ExitStatus, HandleId, SocketId, WorkerId};
use crate::steps::IsCall;

/// Pending work of the primary.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Step {
    Emit(Event),
    /// Emit an event one tick later.
    Later(Event),
    /// Remove the worker from the list: its process has exited and its channel is closed.
    Remove(WorkerId),
    /// Bind the socket of a handle, unless the handle was closed in the meantime.
    Bind(HandleId, BindAddress, Option<u32>),
    /// The bind of a socket has succeeded or failed: answer the waiting workers.
    AnswerQueries(HandleId, Result<(), Errno>),
    /// Let a listening socket accept, unless the queue is full by now.
    ResumeAccept(SocketId),
    /// The process has exited: decide whether the exit was requested, and emit.
    Exited(WorkerId, ExitStatus),
    /// The channel is closed: decide whether the exit was requested, and emit.
    Disconnected(WorkerId),
    /// Every event of the worker was emitted: drop its entry.
    Forget(WorkerId),
}

impl IsCall for Step {
    fn is_call(&self) -> bool {
        match self {
            // `Later` makes no call, and only queues an event for the next tick. The step counts as a call,
            // so the ticks keep the order of the calls around the step.
            Step::Later(_) | Step::ResumeAccept(_) => true,
            Step::Emit(_)
            | Step::Remove(_)
            | Step::Bind(..)
            | Step::AnswerQueries(..)
            | Step::Exited(..)
            | Step::Disconnected(_)
            | Step::Forget(_) => false,
        }
    }
}

impl MachineStep<Step> {
    /// The worker that must still have an entry when the step runs.
    pub(super) fn of_worker(&self) -> Option<WorkerId> {
        match self {
            MachineStep::Own(
                Step::Remove(worker)
                | Step::Exited(worker, _)
                | Step::Disconnected(worker)
                | Step::Forget(worker),
            ) => Some(*worker),
            MachineStep::Own(
                Step::Emit(_)
                | Step::Later(_)
                | Step::Bind(..)
                | Step::AnswerQueries(..)
                | Step::ResumeAccept(_),
            )
            | MachineStep::Call(_)
            | MachineStep::Channel(..) => None,
        }
    }

    /// The handle that must be bound when the step runs, unless it was closed.
    pub(super) fn of_bound(&self) -> Option<HandleId> {
        if let MachineStep::Own(Step::AnswerQueries(handle, Ok(()))) = self { Some(*handle) } else { None }
    }
}
