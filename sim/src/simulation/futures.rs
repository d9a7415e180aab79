//! A process of futures, as a program of the simulator: each hook delivers an input and runs the tasks until
//! none is ready.
//!
//! A process is a deterministic function of its inputs. A copy is only the list of inputs, and runs them
//! again when the copy first runs. A process with a clock ahead of the world also runs its inputs again. A
//! copy of a running process takes the process over, because the copy is made for a change, and the original
//! runs its inputs again if it runs at all.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use cluster::simulated::Action;
use cluster_core::{
    Event, OsEvent, Primary, SLOT_VARIABLE, Signal, SlotId, Supervisor, SupervisorEvent, Worker, WorkerEvent,
};

use super::live::{Definition, Live, ProcessInput, Role, Waits};
use crate::cow::{Fingerprint, fingerprint};
use crate::event::{Actor, ClientEvent, ClientId, SocketEvent};
use crate::program::{Driver, MachineMut, Process, Program, Resumption};
use crate::running_process::EitherMachine;
use crate::step::Pid;

/// The signals that change the number of slots.
const SIGTTIN: Signal = Signal(21);
const SIGTTOU: Signal = Signal(22);

/// A program of futures: the program of a [`Simulation`](super::Simulation)'s world.
pub struct Futures {
    definition: Arc<Definition>,
    records: Vec<Record>,
    /// The number of records in the fingerprint, and the fingerprint.
    digest: Cell<(usize, Fingerprint)>,
    /// In the driver, the fingerprint of the observations of each observer.
    observed: BTreeMap<Actor, Fingerprint>,
    /// `None`: not started, or a copy that has not run its inputs.
    live: Cell<Option<Box<Live>>>,
    waits: Waits,
    /// The time of the next timer, valid until the next input.
    peeked: Option<Peeked>,
}

/// An input or a poll of a process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Record {
    /// The machine was polled, after an input if there is one.
    Machine(Option<OsEvent>),
    Input(u64, ProcessInput),
}

/// The next timer of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Peeked {
    /// The timer is not due before this time.
    At(u64),
    Never,
}

impl Peeked {
    fn time(self) -> Option<u64> {
        match self {
            Peeked::At(at) => Some(at),
            Peeked::Never => None,
        }
    }
}

impl Futures {
    pub(super) fn new(definition: Arc<Definition>) -> Self {
        Futures {
            definition,
            records: Vec::new(),
            digest: Cell::default(),
            observed: BTreeMap::new(),
            live: Cell::default(),
            waits: Waits::default(),
            peeked: None,
        }
    }

    /// The fingerprint of the records. Each record is hashed once.
    fn digest(&self) -> Fingerprint {
        let (n, digest) = self.digest.get();
        let digest = self.records[n..].iter().fold(digest, |digest, record| fingerprint(&(digest, record)));
        self.digest.set((self.records.len(), digest));
        digest
    }

    /// The process, after all recorded inputs.
    fn live(&mut self, now_ms: u64) -> Option<&mut Live> {
        if self.live.get_mut().as_ref().is_none_or(|live| live.is_ahead(now_ms)) {
            self.live.set(self.replayed());
        }
        self.live.get_mut().as_deref_mut()
    }

    /// The process that takes an input. The first input begins the process.
    fn live_for(&mut self, now_ms: u64, input: &ProcessInput) -> Option<&mut Live> {
        if let ProcessInput::Begin(role) = input {
            self.live.set(Some(Box::new(Live::new(&self.definition, *role, now_ms))));
        }
        self.live(now_ms)
    }

    /// Runs the recorded inputs in a new process, with a new machine.
    fn replayed(&self) -> Option<Box<Live>> {
        let mut again = Futures::new(self.definition.clone());
        let mut machine: Option<EitherMachine> = None;
        for record in &self.records {
            match record {
                Record::Machine(input) => {
                    // The program does not exist before the first poll; its first input has the role.
                    let machine = machine.get_or_insert_with(|| self.new_machine());
                    input.clone().into_iter().for_each(|input| machine.handle(input));
                    let takes_events =
                        again.live.get_mut().as_ref().is_some_and(|live| live.waits().takes_events);
                    // The output is dropped: later records have its effects.
                    machine.poll(!takes_events, &mut None);
                }
                Record::Input(now_ms, input) => {
                    let live = again.live_for(*now_ms, input)?;
                    live.run(*now_ms, input.clone(), machine.as_mut().map(EitherMachine::as_mut));
                    for action in live.process.take_actions() {
                        if let (Action::Close(socket), Some(machine)) = (action, &mut machine) {
                            machine.release(socket);
                        }
                    }
                    live.net.forget_commands();
                }
            }
        }
        again.live.take()
    }

    /// The machine of this process at the start.
    fn new_machine(&self) -> EitherMachine {
        let role = self.records.iter().find_map(|record| match record {
            Record::Input(_, ProcessInput::Begin(role)) => Some(*role),
            Record::Input(..) | Record::Machine(_) => None,
        });
        let pid = match role {
            Some(Role::Worker { id, .. }) => id.into(),
            Some(Role::Primary | Role::Driver) | None => Pid::PRIMARY,
        };
        self.definition.machines.machine(pid)
    }

    fn input(&mut self, machine: MachineMut<'_>, process: &mut Process<'_>, input: ProcessInput) {
        let now_ms = process.now_ms();
        let Some(live) = self.live_for(now_ms, &input) else { return };
        live.run(now_ms, input.clone(), Some(machine));
        for action in live.process.take_actions() {
            match action {
                Action::Write(connection, bytes) => process.write(connection, &bytes),
                Action::End(connection) => process.end(connection),
                Action::Close(connection) => process.close(connection),
            }
        }
        for line in std::mem::take(&mut live.lines) {
            process.observe(line);
        }
        if let Some(code) = live.exit() {
            process.exit(code);
        }
        (self.waits, self.peeked) = (live.waits(), None);
        self.records.push(Record::Input(now_ms, input));
    }

    fn drive(&mut self, driver: &mut Driver<'_>, input: ProcessInput) {
        let now_ms = driver.now_ms();
        let Some(live) = self.live_for(now_ms, &input) else { return };
        live.run(now_ms, input.clone(), None);
        for line in std::mem::take(&mut live.lines) {
            live.net.observe(line);
        }
        live.net.perform(driver);
        self.peeked = None;
        self.records.push(Record::Input(now_ms, input));
    }
}

fn slot_of(process: &Process<'_>) -> Option<SlotId> {
    let is_slot = |name: &[u8]| name == SLOT_VARIABLE.as_bytes();
    let (_, value) = process.env().iter().find(|(name, _)| is_slot(name.as_bytes()))?;
    std::str::from_utf8(value.as_bytes()).ok()?.parse().ok().map(SlotId)
}

impl Program for Futures {
    fn primary_start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {
        process.notify_driver("");
        self.input(MachineMut::Primary(primary), process, ProcessInput::Begin(Role::Primary));
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        self.input(MachineMut::Primary(primary), process, ProcessInput::Primary(event));
    }

    fn supervisor_start(&mut self, supervisor: &mut Supervisor, process: &mut Process<'_>) {
        process.notify_driver("");
        self.input(MachineMut::Supervisor(supervisor), process, ProcessInput::Begin(Role::Primary));
    }

    fn supervisor_event(
        &mut self,
        supervisor: &mut Supervisor,
        process: &mut Process<'_>,
        event: SupervisorEvent,
    ) {
        self.input(MachineMut::Supervisor(supervisor), process, ProcessInput::Supervisor(event));
    }

    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        // The process ends with its main future, not with its channel.
        process.keep_alive(true);
        let role = Role::Worker { id: worker.id(), slot: slot_of(process) };
        self.input(MachineMut::Worker(worker), process, ProcessInput::Begin(role));
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        let client = match &event {
            WorkerEvent::Connection { connection, .. } => process.peer(*connection),
            WorkerEvent::Listening { .. }
            | WorkerEvent::ListenFailed { .. }
            | WorkerEvent::Closed { .. }
            | WorkerEvent::Message { .. }
            | WorkerEvent::Error { .. }
            | WorkerEvent::LameDuck
            | WorkerEvent::Disconnect => None,
        };
        self.input(MachineMut::Worker(worker), process, ProcessInput::Worker(event, client));
    }

    fn worker_socket(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: SocketEvent) {
        let input = match event {
            SocketEvent::Data { connection, bytes } => ProcessInput::Data(connection, bytes),
            SocketEvent::Ended { connection, ending } => ProcessInput::Ended(connection, ending),
            SocketEvent::Accepted { .. } | SocketEvent::Datagram { .. } => return,
        };
        self.input(MachineMut::Worker(worker), process, input);
    }

    fn observed(&mut self, _: &mut Driver<'_>, observer: Actor, text: &str) {
        let digest = self.observed.entry(observer).or_default();
        *digest = fingerprint(&(*digest, text));
    }

    fn notified(&mut self, driver: &mut Driver<'_>, author: Actor, _: &str) {
        if author == Actor::Primary && self.records.is_empty() {
            self.drive(driver, ProcessInput::Begin(Role::Driver));
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        self.drive(driver, ProcessInput::Client(client, event));
    }

    fn driver_resumed(&mut self, driver: &mut Driver<'_>) {
        self.drive(driver, ProcessInput::Deadline);
    }

    fn resumed(&mut self, machine: MachineMut<'_>, process: &mut Process<'_>, why: Resumption) {
        self.input(machine, process, ProcessInput::Resumed(why));
    }

    fn machine_input(&mut self, input: Option<&OsEvent>) {
        self.records.push(Record::Machine(input.cloned()));
    }

    fn takes_events(&self) -> bool {
        self.waits.takes_events
    }

    fn resumes_at_rest(&self) -> bool {
        self.waits.resumes_at_rest
    }

    fn handles_signal(&self, signal: Signal) -> bool {
        let commands = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, SIGTTIN, SIGTTOU];
        self.waits.handles_signals && commands.contains(&signal)
    }

    fn handles_exit(&self) -> bool {
        true
    }

    fn has_deadlines(&self) -> bool {
        true
    }

    fn deadline(&mut self, limit: Option<u64>) -> Option<u64> {
        let end = self.definition.end_ms;
        if let Some(peeked) = self.peeked {
            return peeked.time();
        }
        // A clock that is ahead has been peeked.
        let live = self.live(u64::MAX)?;
        let tasks = live.tasks.as_mut()?;
        let limit = limit.unwrap_or(end).min(end);
        let at = live.process.enter(|| tasks.peek(limit));
        self.peeked.insert(if at < end { Peeked::At(at) } else { Peeked::Never }).time()
    }
}

impl Clone for Futures {
    /// The copy takes the running process over. The original, if it runs again, runs the recorded inputs.
    fn clone(&self) -> Self {
        let Futures { definition, records, digest, observed, live, waits, peeked } = self;
        Futures {
            definition: definition.clone(),
            records: records.clone(),
            digest: digest.clone(),
            observed: observed.clone(),
            live: Cell::new(live.take()),
            waits: *waits,
            peeked: *peeked,
        }
    }
}

impl PartialEq for Futures {
    fn eq(&self, other: &Self) -> bool {
        (&self.records, &self.observed, self.peeked) == (&other.records, &other.observed, other.peeked)
    }
}

impl Eq for Futures {}

impl Hash for Futures {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.digest(), &self.observed, self.peeked).hash(state);
    }
}

impl fmt::Debug for Futures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Futures").field("inputs", &self.records.len()).finish_non_exhaustive()
    }
}
