//! A process that runs: its machine, its copy of the program, and what the machine gives out next.
//! It performs nothing itself.

use cluster_core::{
    Call, Event, ExitStatus, Machine as _, OsEvent, Output, Primary, SocketId, Worker, WorkerEvent,
};

mod transition_cache;

pub(crate) use transition_cache::TransitionCache;

/// The user's half of a process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RunningProcess<P> {
    pub(crate) machine: EitherMachine,
    pub(crate) program: P,
    /// Polled ahead: the process is isolated, so nobody can tell, and everybody knows whether it has something to do.
    pub(crate) next: Option<NextAction>,
    /// Its program has begun.
    pub(crate) begun: bool,
    /// It ends once what its program has commanded is done.
    pub(crate) exit: Option<ExitStatus>,
}

/// A process is one or the other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum EitherMachine {
    Primary(Box<Primary>),
    Worker(Box<Worker>),
}

/// What a process does next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum NextAction {
    /// Its program begins: when the machine has done what it does before, as a worker says that it is online.
    Begin,
    Call(Call),
    Primary(Event),
    Worker(WorkerEvent),
    /// It ends. Others may act before: a real process, too, takes its time between its last words and its end.
    Exit(ExitStatus),
}

impl<P> RunningProcess<P> {
    pub(crate) fn new(machine: EitherMachine, program: P) -> Self {
        RunningProcess { machine, program, next: None, begun: false, exit: None }
    }

    fn handle(&mut self, event: OsEvent) {
        match &mut self.machine {
            EitherMachine::Primary(primary) => primary.handle(event),
            EitherMachine::Worker(worker) => worker.handle(event),
        }
    }

    /// What it was about to do is done; it hears the answer, if there is one, or something else.
    pub(crate) fn react(&mut self, event: Option<OsEvent>) {
        self.next = None;
        if let Some(event) = event {
            self.handle(event);
        }
        self.poll();
    }

    /// Polls ahead. A process that is about to end only does what its program has commanded.
    pub(crate) fn poll(&mut self) {
        let only_commands = self.exit.is_some();
        self.next = match &mut self.machine {
            EitherMachine::Primary(primary) if only_commands => primary.poll_call().map(NextAction::Call),
            EitherMachine::Worker(worker) if only_commands => worker.poll_call().map(NextAction::Call),
            EitherMachine::Primary(primary) => primary.poll().map(|output| match output {
                Output::Call(call) => NextAction::Call(call),
                Output::Event(event) => NextAction::Primary(event),
            }),
            EitherMachine::Worker(worker) => worker.poll().map(|output| match output {
                Output::Call(call) => NextAction::Call(call),
                Output::Event(event) => NextAction::Worker(event),
            }),
        };
        if self.next.is_none() && !std::mem::replace(&mut self.begun, true) {
            self.next = Some(NextAction::Begin);
        } else if self.next.is_none() {
            self.next = self.exit.map(NextAction::Exit);
        }
    }

    /// The program is done with these.
    pub(crate) fn release(&mut self, sockets: &[SocketId]) {
        for &socket in sockets {
            match &mut self.machine {
                EitherMachine::Primary(primary) => primary.release(socket),
                EitherMachine::Worker(worker) => worker.release(socket),
            }
        }
    }

    pub(crate) fn primary(&self) -> Option<&Primary> {
        match &self.machine {
            EitherMachine::Primary(primary) => Some(primary),
            EitherMachine::Worker(_) => None,
        }
    }
}
