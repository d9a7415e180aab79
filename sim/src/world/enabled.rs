//! The enabled steps of a world. The schedule chooses among these; `execute` takes the chosen one.

use std::hash::BuildHasher;

use cluster_core::Call;
use foldhash::fast::FixedState;

use super::World;
use crate::cow::CowArc;
use crate::kernel::ready::{IndexSet, Readiness, Ready, StepStatus};
use crate::program::Program;
use crate::running_process::{NextAction, RunningProcess};
use crate::step::{Pid, Step};

impl<P: Program> World<P> {
    /// Computes the enabled steps, drops the obsolete ones, and returns the number of the former. The timer is the
    /// last.
    pub(crate) fn refresh(&mut self) -> usize {
        let mut ready = std::mem::take(&mut self.kernel.ready);
        let mut enabled = std::mem::take(&mut self.enabled.indexes);
        let touched = self.kernel.take_touched();
        ready.refresh(touched, self.can_receive(Pid::PRIMARY), |step| self.status(step), &mut enabled);
        if self.kernel.clock.next().is_some_and(|pid| self.can_receive(pid)) {
            enabled.add(ready.len());
        }
        self.kernel.ready = ready;
        self.enabled = Enabled { indexes: enabled, is_known: true };
        self.enabled.indexes.len()
    }

    /// The number of enabled steps at the last refresh.
    pub(crate) fn enabled_len(&self) -> usize {
        self.enabled.indexes.len()
    }

    /// The `n`th enabled step at the last refresh.
    pub(crate) fn enabled(&self, n: usize) -> Step {
        step_at(&self.kernel.ready, self.enabled.indexes.nth(n))
    }

    /// Whether the next action of a process closes the channel, which the peer notices at the next write.
    pub(crate) fn is_about_to_close_channel(&self, pid: Pid) -> bool {
        let running = self.running.get(pid.index()).and_then(Option::as_ref);
        let next = running.and_then(|running| running.next.as_ref());
        matches!(
            next,
            Some(NextAction::Exit(_) | NextAction::Call(Call::Exit { .. } | Call::CloseChannel { .. }))
        )
    }

    /// Whether the next call of a process closes a listener, after which clients are refused.
    pub(crate) fn is_about_to_close_listener(&self, pid: Pid) -> bool {
        let process = self.running.get(pid.index()).and_then(Option::as_ref);
        match process.and_then(|process| process.next.as_ref()) {
            Some(NextAction::Call(Call::Close { socket })) => {
                let file = self.kernel.processes.socket(pid, *socket);
                file.is_some_and(|file| self.kernel.network.sockets.is_listener(file))
            }
            Some(
                NextAction::Begin
                | NextAction::Call(_)
                | NextAction::Primary(_)
                | NextAction::Worker(_)
                | NextAction::Exit(_),
            )
            | None => false,
        }
    }

    /// Whether the `n`th enabled step has a single outcome.
    pub(crate) fn is_certain(&self, n: usize) -> bool {
        let step = self.enabled(n);
        let is_many_reads =
            matches!(step, Step::Read(pid, id) if self.kernel.channels.waiting_writes(pid, id) > 1);
        let is_many_ways = matches!(step, Step::ClientAction(client) if self.kernel.candidates(client) > 1);
        !is_many_reads && !is_many_ways && self.schedule.faults().is_none()
    }

    pub(super) fn pick(&mut self, n: usize) -> Step {
        let at = self.enabled.indexes.nth(n);
        let step = step_at(&self.kernel.ready, at);
        if step != Step::Timer {
            self.kernel.ready.take(at);
        }
        step
    }

    /// The status of a step. Whether the primary is busy is left out, because many steps wait for it.
    fn status(&self, step: Step) -> StepStatus {
        let receiver = match step {
            Step::Read(pid, _) | Step::Writable(pid, _) | Step::Accept(pid, _) | Step::Receive(pid, _) => {
                Some(pid)
            }
            Step::Reap(_) => Some(Pid::PRIMARY),
            Step::Run(_)
            | Step::Start(_)
            | Step::Signal(..)
            | Step::CloseInherited(_)
            | Step::Continue(_)
            | Step::ClientAction(_)
            | Step::ClientEvent(_)
            | Step::DriverEvent
            | Step::Timer => None,
        };
        let by_primary = receiver == Some(Pid::PRIMARY);
        let is_stopped = matches!(step, Step::Run(pid) if self.kernel.processes.is_stopped(pid));
        let waits = is_stopped || !by_primary && receiver.is_some_and(|pid| !self.can_receive(pid));
        let readiness = if waits { Readiness::Waiting } else { self.kernel.readiness(step) };
        StepStatus { readiness, by_primary, depends: self.kernel.dependencies(step) }
    }

    /// Whether a process can receive an event: every call of the last event is performed, and the process is not stopped.
    pub(super) fn can_receive(&self, pid: Pid) -> bool {
        let is_busy = self
            .running
            .get(pid.index())
            .and_then(Option::as_ref)
            .is_some_and(|running| running.next.is_some());
        !is_busy && !self.kernel.processes.is_stopped(pid)
    }
}

/// The enabled steps, as indexes of ready steps.
#[derive(Debug, Clone, Default)]
pub(super) struct Enabled {
    pub(super) indexes: IndexSet,
    /// No step was taken since the last refresh.
    pub(super) is_known: bool,
}

/// The ready step at an index; the timer follows the last.
pub(super) fn step_at(ready: &Ready, at: usize) -> Step {
    ready.get(at).unwrap_or(Step::Timer)
}

/// A hash of the next action of a process, if `step` is a step of a process.
pub(super) fn hash_of_next<P>(running: &[Option<CowArc<RunningProcess<P>>>], step: Step) -> u64 {
    let Step::Run(pid) = step else { return 0 };
    let running = running.get(pid.index()).and_then(Option::as_ref);
    FixedState::default().hash_one(running.and_then(|running| running.next.as_ref()))
}
