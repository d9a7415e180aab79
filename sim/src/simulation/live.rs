//! A process of futures that runs: its tasks, its face, and the inputs of both.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use cluster::simulated::SimulatedProcess;
use cluster_core::{Event, Primary, SlotId, SocketId, SupervisorEvent, WorkerEvent, WorkerId};

use super::client_net::Net;
use super::log::{logged, take_lines};
use super::runtime::{Main, Tasks};
use crate::event::{ClientEvent, ClientId, Ending};
use crate::program::{MachineMut, Resumption};
use crate::running_process::MachineSettings;

/// The functions of a simulated program.
pub(super) struct Definition {
    pub(super) primary: Box<dyn Fn() -> Main + Send + Sync>,
    pub(super) worker: Box<dyn Fn() -> Main + Send + Sync>,
    pub(super) client: Box<dyn Fn(Net) -> Main + Send + Sync>,
    pub(super) machines: MachineSettings,
    /// A test has removed the lame duck of the workers.
    pub(super) closes_idle_at_once: bool,
    /// The time of the world at which a run ends, in milliseconds.
    pub(super) end_ms: u64,
}

/// The inputs that a process accepts next.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Waits {
    pub(super) takes_events: bool,
    pub(super) resumes_at_rest: bool,
    pub(super) handles_signals: bool,
}

/// An input of the program.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ProcessInput {
    Begin(Role),
    Primary(Event),
    Supervisor(SupervisorEvent),
    /// With the address of the client of a connection.
    Worker(WorkerEvent, Option<SocketAddr>),
    Data(SocketId, Vec<u8>),
    Ended(SocketId, Ending),
    Resumed(Resumption),
    Client(ClientId, ClientEvent),
    Deadline,
}

/// The role of a process, with what a copy needs for a new machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Role {
    Primary,
    Worker { id: WorkerId, slot: Option<SlotId> },
    Driver,
}

/// A process with tasks.
pub(super) struct Live {
    pub(super) process: SimulatedProcess,
    /// `None` after the main future has returned.
    pub(super) tasks: Option<Tasks>,
    pub(super) net: Net,
    /// The program has sent messages that the kernel does not have.
    has_unwritten: bool,
    /// The primary or the supervisor has no worker left, so the program's events end.
    is_finished: bool,
    /// The worker completes a disconnect.
    is_disconnecting: bool,
    /// The exit code, after the main future has returned.
    code: Option<i32>,
    /// The log lines of the last poll.
    pub(super) lines: Vec<String>,
}

impl Live {
    pub(super) fn new(definition: &Definition, role: Role, now_ms: u64) -> Self {
        let net = Net::default();
        let mut process = match role {
            Role::Primary if definition.machines.is_supervised() => SimulatedProcess::supervisor(),
            Role::Primary => SimulatedProcess::primary(),
            Role::Worker { slot, .. } => SimulatedProcess::worker(slot),
            Role::Driver => SimulatedProcess::unknown(),
        };
        if definition.closes_idle_at_once {
            process.close_idle_at_once();
        }
        let main = || match role {
            Role::Primary => (definition.primary)(),
            Role::Worker { .. } => (definition.worker)(),
            Role::Driver => (definition.client)(net.clone()),
        };
        let tasks = process.enter(|| Tasks::new(now_ms, main));
        Live {
            process,
            tasks: Some(tasks),
            net,
            has_unwritten: false,
            is_finished: false,
            is_disconnecting: false,
            code: None,
            lines: Vec::new(),
        }
    }

    /// The clock has passed beyond the time of the world.
    pub(super) fn is_ahead(&self, now_ms: u64) -> bool {
        self.tasks.as_ref().is_some_and(|tasks| tasks.clock_ms() > now_ms)
    }

    fn deliver(&mut self, input: ProcessInput) {
        match input {
            ProcessInput::Primary(event) => self.process.deliver_to_primary(event),
            ProcessInput::Supervisor(event) => self.process.deliver_to_supervisor(event),
            ProcessInput::Worker(event, client) => {
                if let (WorkerEvent::Connection { connection, .. }, Some(client)) = (&event, client) {
                    self.process.connect(*connection, client);
                }
                self.process.deliver_to_worker(event);
            }
            ProcessInput::Data(connection, bytes) => self.process.receive(connection, &bytes),
            ProcessInput::Ended(connection, ending) => self.process.end(connection, ending == Ending::Reset),
            ProcessInput::Resumed(Resumption::ExitRequested(code)) => self.process.request_exit(code),
            ProcessInput::Resumed(Resumption::Signal(signal)) => self.process.raise(signal),
            ProcessInput::Client(client, event) => self.net.deliver(client, &event),
            ProcessInput::Begin(_)
            | ProcessInput::Resumed(Resumption::AtRest | Resumption::Timer)
            | ProcessInput::Deadline => {}
        }
    }

    /// Runs the tasks with an input. The machine of the process is lent for the time.
    pub(super) fn run(&mut self, now_ms: u64, input: ProcessInput, mut machine: Option<MachineMut<'_>>) {
        let is_at_rest = matches!(input, ProcessInput::Resumed(Resumption::AtRest));
        swap(&mut self.process, &mut machine);
        if let Some(tasks) = &mut self.tasks {
            self.process.enter(|| tasks.pass(now_ms));
        }
        self.deliver(input);
        self.process.begin(is_at_rest);
        let tasks = &mut self.tasks;
        let ran = self.process.enter(|| {
            logged(|| {
                catch_unwind(AssertUnwindSafe(|| {
                    let result = tasks.as_mut().and_then(Tasks::run);
                    if result.is_some() {
                        // The end of the runtime drops the tasks, and their destructors act.
                        *tasks = None;
                    }
                    result
                }))
            })
        });
        swap(&mut self.process, &mut machine);
        self.lines = take_lines(now_ms);
        match ran {
            Ok(None) => {}
            Ok(Some(result)) => {
                self.code = Some(i32::from(result.is_err()));
                self.lines.extend(result.err().map(|error| format!("main has failed: {error}")));
            }
            Err(payload) if SimulatedProcess::is_exit(&*payload) => {}
            Err(panic) => resume_unwind(panic),
        }
        if let Some(machine) = machine {
            self.observe(&machine);
        }
    }

    /// Records the states of the machine on which the program waits without an event.
    fn observe(&mut self, machine: &MachineMut<'_>) {
        let unwritten = |primary: &Primary| {
            primary
                .running_workers()
                .any(|worker| primary.unwritten(worker).is_some_and(|unwritten| unwritten > 0))
        };
        match machine {
            MachineMut::Primary(primary) => {
                self.has_unwritten = unwritten(primary);
                self.is_finished = primary.running_workers().next().is_none();
            }
            MachineMut::Supervisor(supervisor) => {
                self.has_unwritten = unwritten(supervisor.primary());
                self.is_finished = supervisor.is_finished();
            }
            MachineMut::Worker(worker) => {
                self.has_unwritten = worker.unwritten().is_some_and(|unwritten| unwritten > 0);
                self.is_disconnecting = worker.exited_after_disconnect() && !worker.is_finished();
            }
        }
    }

    /// The exit code, once nothing is left to be done before the exit.
    pub(super) fn exit(&self) -> Option<i32> {
        let is_done = |_: &i32| self.tasks.is_none() && !self.has_unwritten && !self.is_disconnecting;
        self.process.exited().or_else(|| self.code.filter(is_done))
    }

    pub(super) fn waits(&self) -> Waits {
        let (has_returned, is_awaiting) = (self.tasks.is_none(), self.process.is_awaiting());
        Waits {
            takes_events: has_returned || is_awaiting,
            resumes_at_rest: self.has_unwritten || self.is_finished && is_awaiting || has_returned,
            handles_signals: self.process.handles_signals(),
        }
    }
}

/// Lends the machine, or returns the machine.
pub(super) fn swap(process: &mut SimulatedProcess, machine: &mut Option<MachineMut<'_>>) {
    match machine {
        Some(MachineMut::Primary(primary)) => process.swap_primary(primary),
        Some(MachineMut::Supervisor(supervisor)) => process.swap_supervisor(supervisor),
        Some(MachineMut::Worker(worker)) => process.swap_worker(worker),
        None => {}
    }
}

impl Drop for Live {
    /// The end of a process: the destructors of its values have no effect on the world.
    fn drop(&mut self) {
        let tasks = self.tasks.take();
        self.process.enter(|| drop(tasks));
    }
}
