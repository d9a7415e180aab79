//! A running process: its machine, its copy of the program, and the next action of the machine. The world
//! performs the actions.

use cluster_core::{
    Call, Event, ExitStatus, Machine as _, OsEvent, Output, Primary, SocketId, Supervisor, SupervisorEvent,
    Worker, WorkerEvent,
};

mod machine_settings;
mod reexec;
mod running_processes;
mod transition_cache;

pub(crate) use machine_settings::MachineSettings;
pub(crate) use running_processes::RunningProcesses;
pub(crate) use transition_cache::HookKey;
use transition_cache::{HookLines, TransitionCache};

use crate::program::{MachineMut, Program, Resumption};

/// The state of a running process outside the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RunningProcess<P> {
    pub(crate) machine: EitherMachine,
    pub(crate) program: P,
    /// Polled in advance, so that the world can ask whether the process is busy. No other process can observe
    /// when a machine is polled.
    pub(crate) next: Option<NextAction>,
    /// The program has started.
    pub(crate) begun: bool,
    /// The exit status, after the program has asked for the exit. Before the exit, the program's commands are
    /// performed.
    pub(crate) exit: Option<ExitStatus>,
    /// The program was resumed since the last action of the machine.
    rested: bool,
}

/// The machine of a process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum EitherMachine {
    Primary(Box<Primary>),
    /// A supervisor instead of a primary.
    Supervisor(Box<Supervisor>),
    Worker(Box<Worker>),
}

impl EitherMachine {
    pub(crate) fn as_mut(&mut self) -> MachineMut<'_> {
        match self {
            EitherMachine::Primary(primary) => MachineMut::Primary(primary),
            EitherMachine::Supervisor(supervisor) => MachineMut::Supervisor(supervisor),
            EitherMachine::Worker(worker) => MachineMut::Worker(worker),
        }
    }

    pub(crate) fn handle(&mut self, event: OsEvent) {
        match self {
            EitherMachine::Primary(primary) => primary.handle(event),
            EitherMachine::Supervisor(supervisor) => supervisor.handle(event),
            EitherMachine::Worker(worker) => worker.handle(event),
        }
    }

    /// Takes back a closed socket of the program.
    pub(crate) fn release(&mut self, socket: SocketId) {
        match self {
            EitherMachine::Primary(primary) => primary.release(socket),
            EitherMachine::Supervisor(supervisor) => supervisor.primary_mut().release(socket),
            EitherMachine::Worker(worker) => worker.release(socket),
        }
    }

    /// Polls the machine, or only the calls that commands have caused. Writes the action to `next`, which is
    /// empty. The method is not inlined, and assigns nothing, because an assignment first drops the former
    /// action. If inlined or assigned, the action is moved in small pieces, at the cost of a twentieth of a
    /// run.
    #[inline(never)]
    pub(crate) fn poll(&mut self, only_commands: bool, next: &mut Option<NextAction>) {
        if only_commands {
            let call = match self {
                EitherMachine::Primary(primary) => primary.poll_call(),
                EitherMachine::Supervisor(supervisor) => supervisor.poll_call(),
                EitherMachine::Worker(worker) => worker.poll_call(),
            };
            if let Some(call) = call {
                next.get_or_insert_with(|| NextAction::Call(call));
            }
            return;
        }
        match self {
            EitherMachine::Primary(primary) => match primary.poll() {
                Some(Output::Call(call)) => next.get_or_insert_with(|| NextAction::Call(call)),
                Some(Output::Event(event)) => next.get_or_insert_with(|| NextAction::Primary(event)),
                None => return,
            },
            EitherMachine::Supervisor(supervisor) => match supervisor.poll() {
                Some(Output::Call(call)) => next.get_or_insert_with(|| NextAction::Call(call)),
                Some(Output::Event(SupervisorEvent::Primary(event))) => {
                    next.get_or_insert_with(|| NextAction::Primary(event))
                }
                Some(Output::Event(event)) => next.get_or_insert_with(|| NextAction::Supervisor(event)),
                None => return,
            },
            EitherMachine::Worker(worker) => match worker.poll() {
                Some(Output::Call(call)) => next.get_or_insert_with(|| NextAction::Call(call)),
                Some(Output::Event(event)) => next.get_or_insert_with(|| NextAction::Worker(event)),
                None => return,
            },
        };
    }
}

/// The next action of a process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum NextAction {
    /// The program starts. This follows the first calls of the machine: a worker first reports `online`.
    Begin,
    Call(Call),
    Primary(Event),
    Supervisor(SupervisorEvent),
    Worker(WorkerEvent),
    /// The program runs without an event.
    Resume(Resumption),
    /// The process exits. Other steps may precede the exit, as with a real process.
    Exit(ExitStatus),
}

impl<P: Program> RunningProcess<P> {
    pub(crate) fn new(machine: EitherMachine, program: P) -> Self {
        RunningProcess { machine, program, next: None, begun: false, exit: None, rested: false }
    }

    /// Finishes the last action: passes the answer or another event to the machine, if there is one, and
    /// polls the next action.
    pub(crate) fn react(&mut self, event: Option<OsEvent>) {
        self.next = None;
        self.program.machine_input(event.as_ref());
        if let Some(event) = event {
            self.rested = false;
            self.machine.handle(event);
        }
        self.poll();
    }

    /// Polls the next action. A process about to exit only performs the calls that commands have caused.
    fn poll(&mut self) {
        let only_commands = self.exit.is_some() || !self.program.takes_events();
        self.machine.poll(only_commands, &mut self.next);
        if self.next.is_some() {
            self.rested = false;
        } else if !std::mem::replace(&mut self.begun, true) {
            self.next = Some(NextAction::Begin);
        } else if self.exit.is_some() {
            self.next = self.exit.map(NextAction::Exit);
        } else if !self.rested && self.program.resumes_at_rest() {
            self.rested = true;
            self.next = Some(NextAction::Resume(Resumption::AtRest));
        }
    }

    /// Gives closed sockets of the program back to the machine.
    pub(crate) fn release(&mut self, sockets: &[SocketId]) {
        for &socket in sockets {
            self.machine.release(socket);
        }
    }
}

impl<P> RunningProcess<P> {
    pub(crate) fn primary(&self) -> Option<&Primary> {
        match &self.machine {
            EitherMachine::Primary(primary) => Some(primary),
            EitherMachine::Supervisor(supervisor) => Some(supervisor.primary()),
            EitherMachine::Worker(_) => None,
        }
    }

    pub(crate) fn supervisor(&self) -> Option<&Supervisor> {
        match &self.machine {
            EitherMachine::Supervisor(supervisor) => Some(supervisor),
            EitherMachine::Primary(_) | EitherMachine::Worker(_) => None,
        }
    }
}
