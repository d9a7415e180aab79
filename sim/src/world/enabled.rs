//! The enabled steps of a world. The schedule chooses one of these steps; `execute` takes the chosen step.

use cluster_core::Call;

use super::{State, World};
use crate::kernel::Kernel;
use crate::kernel::ready::{Dependencies, IndexSet, Readiness, StepStatus};
use crate::program::Program;
use crate::running_process::{NextAction, RunningProcesses};
use crate::step::{Pid, Step};

/// The enabled steps, as indexes into the ready steps.
#[derive(Debug, Clone, Default)]
pub(super) struct Enabled {
    indexes: IndexSet,
    /// No step was taken since the last refresh.
    is_known: bool,
}

impl Enabled {
    pub(super) fn copy_from(&mut self, other: &Enabled) {
        self.indexes.copy_from(&other.indexes);
        self.is_known = other.is_known;
    }

    /// Drops obsolete steps, computes the enabled steps, and returns their number. The timer is always the
    /// last enabled step.
    fn refresh<P: Program>(&mut self, State { kernel, running, start, .. }: &mut State<P>) -> usize {
        let touched = kernel.take_touched();
        let mut ready = std::mem::take(&mut kernel.ready);
        let is_idle = can_receive(kernel, running, Pid::PRIMARY);
        ready.refresh(touched, is_idle, |step| status(kernel, running, step), &mut self.indexes);
        let has_time = !start.patient_timers || self.indexes.len() == 0;
        if has_time && next_timer(kernel, running).is_some() {
            self.indexes.add(ready.len());
        }
        kernel.ready = ready;
        self.is_known = true;
        self.indexes.len()
    }

    /// As [`refresh`](Enabled::refresh). When only time is left, the programs set their timers first.
    fn compute<P: Program>(&mut self, state: &mut State<P>) -> usize {
        let n = self.refresh(state);
        let is_idle = n == 0 || n == 1 && self.step(&state.kernel, 0) == Step::Timer;
        if is_idle && state.set_program_timers() { self.refresh(state) } else { n }
    }

    /// The number of enabled steps. The result is valid for the next step alone.
    pub(super) fn consume<P: Program>(&mut self, state: &mut State<P>) -> usize {
        let n = if self.is_known { self.indexes.len() } else { self.compute(state) };
        self.is_known = false;
        n
    }

    /// The `n`th enabled step. The timer follows the last ready step.
    pub(super) fn step(&self, kernel: &Kernel, n: usize) -> Step {
        kernel.ready.get(self.indexes.nth(n)).unwrap_or(Step::Timer)
    }

    /// Takes the `n`th enabled step.
    #[inline]
    pub(super) fn pick(&self, kernel: &mut Kernel, n: usize) -> Step {
        let at = self.indexes.nth(n);
        let Some(step) = kernel.ready.get(at) else { return Step::Timer };
        kernel.ready.take(at);
        step
    }
}

impl<P: Program> World<P> {
    /// Computes the enabled steps and returns their number.
    pub(crate) fn refresh(&mut self) -> usize {
        self.enabled.compute(&mut self.state)
    }

    /// The number of enabled steps at the last refresh.
    pub(crate) fn enabled_len(&self) -> usize {
        self.enabled.indexes.len()
    }

    /// The `n`th enabled step at the last refresh.
    pub(crate) fn enabled(&self, n: usize) -> Step {
        self.enabled.step(&self.state.kernel, n)
    }

    /// Whether the next call of a process closes a listener. Afterwards clients are refused.
    pub(crate) fn is_about_to_close_listener(&self, pid: Pid) -> bool {
        let State { kernel, running, .. } = &self.state;
        let Some(NextAction::Call(Call::Close { socket })) = running.next(pid) else { return false };
        kernel.processes.socket(pid, *socket).is_some_and(|file| kernel.network.sockets.is_listener(file))
    }

    /// Whether the `n`th enabled step has a single outcome.
    pub(crate) fn is_certain(&self, n: usize) -> bool {
        let (step, State { kernel, schedule, .. }) = (self.enabled(n), &self.state);
        let is_many_reads =
            matches!(step, Step::Read(pid, id) if kernel.channels.waiting_writes(pid, id) > 1);
        let is_many_ways = matches!(step, Step::ClientAction(client) if kernel.candidates(client) > 1);
        !is_many_reads && !is_many_ways && schedule.faults().is_none()
    }
}

/// The status of a step, apart from whether the primary is busy: many steps wait for an idle primary.
fn status<P: Program>(kernel: &Kernel, running: &RunningProcesses<P>, step: Step) -> StepStatus {
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
    let is_stopped = matches!(step, Step::Run(pid) if kernel.processes.is_stopped(pid));
    // A program reads its own sockets also while it takes no event of its machine.
    let is_own = matches!(step, Step::Receive(..));
    let can = |pid| is_free(kernel, running, pid) && (is_own || running.takes_events(pid));
    let waits = is_stopped || !by_primary && receiver.is_some_and(|pid| !can(pid));
    let is_handled = matches!(step, Step::Signal(pid, signal) if running.handles_signal(pid, signal));
    let waits = waits || matches!(step, Step::Signal(pid, _) if is_handled && !is_free(kernel, running, pid));
    let readiness = if waits { Readiness::Waiting } else { kernel.readiness(step) };
    // The program may begin to handle the signal at any step.
    let is_signal = matches!(step, Step::Signal(..))
        && running.get(Pid::PRIMARY).is_some_and(|primary| primary.program.handles_exit());
    let depends = if is_signal { Dependencies::ALL } else { kernel.dependencies(step) };
    StepStatus { readiness, by_primary, depends }
}

/// Whether a process can receive an event of the machine: the process is free, and the program takes events.
pub(super) fn can_receive<P: Program>(kernel: &Kernel, running: &RunningProcesses<P>, pid: Pid) -> bool {
    is_free(kernel, running, pid) && running.takes_events(pid)
}

/// Whether a process can run: every call of the last event is performed, and the process is not stopped.
pub(super) fn is_free<P>(kernel: &Kernel, running: &RunningProcesses<P>, pid: Pid) -> bool {
    running.next(pid).is_none() && !kernel.processes.is_stopped(pid)
}

/// Whether a timer of a process can fire. A program uses its own timer also while it takes no event of its
/// machine.
pub(super) fn can_fire<P: Program>(
    kernel: &Kernel,
    running: &RunningProcesses<P>,
    (pid, is_of_program): (Pid, bool),
) -> bool {
    is_free(kernel, running, pid) && (is_of_program || running.takes_events(pid))
}

/// The number of the next timer, if the timer can fire. While a program takes no event, the timers of its
/// machine are late.
pub(super) fn next_timer<P: Program>(kernel: &Kernel, running: &RunningProcesses<P>) -> Option<usize> {
    let is_late = |&(pid, is_of_program): &(Pid, bool)| !is_of_program && !running.takes_events(pid);
    let (n, timer) = kernel.clock.waiting().enumerate().find(|(_, timer)| !is_late(timer))?;
    can_fire(kernel, running, timer).then_some(n)
}
