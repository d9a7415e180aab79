//! A cluster in virtual time. The machines of `cluster-core` decide: a supervisor with its primary, and the
//! machine of each worker, which exchange the messages of the real protocol. Only time is a model:
//!
//! * A worker is an event loop. A request runs in slices; between two slices the loop reads the channel and
//!   accepts. Messages, the kernel and the primary take no time.
//! * Under the policies of the kernel, a model of Linux decides: see [`Kernel`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cluster_benches::policies::Policy;
use cluster_core::testing::TestOs;
use cluster_core::{
    Call, ChannelId, ExitStatus, Limits, ListenOptions, ListenerId, Machine, OsEvent, Output, Serialization,
    Settings, Signal, SocketId, Supervisor, SupervisorSettings, Worker, WorkerEvent, WorkerId,
};

use super::agenda::{Agenda, Occurrence};
use super::kernel::Kernel;
use super::load::{Case, Change, Client, WORKERS};
use super::outcome::{Outcome, Sample};

/// The time from the start of a process to its first message, in microseconds.
const START: u64 = 50_000;
/// The time of the first sample, in microseconds: the number of lasting connections no longer grows.
const FIRST_SAMPLE: u64 = 20_000_000;
/// The time between two samples of the open connections, in microseconds.
const SAMPLE: u64 = 100_000;

/// A request in a worker.
#[derive(Debug, Clone, Copy)]
struct Job {
    client: usize,
    /// The connection in the machine. `None`: the kernel has assigned the connection.
    connection: Option<SocketId>,
    /// The work that is left, in microseconds.
    left: u64,
}

struct Process {
    machine: Worker,
    os: TestOs,
    slot: u32,
    is_running: bool,
    /// The messages that the event loop has not read.
    inbox: VecDeque<OsEvent>,
    /// The request of the present slice.
    current: Option<Job>,
    ready: VecDeque<Job>,
    /// The clients with an open connection.
    open: BTreeSet<usize>,
}

pub(crate) struct Model<'a> {
    case: &'a Case,
    supervisor: Supervisor,
    os: TestOs,
    kernel: Option<Kernel>,
    processes: BTreeMap<WorkerId, Process>,
    agenda: Agenda,
    /// Messages on the way, each with the receiver. `None`: the primary.
    in_flight: VecDeque<(Option<WorkerId>, OsEvent)>,
    clients: Vec<Client>,
    /// The time of the last request, by client.
    asked: Vec<u64>,
    connections: BTreeMap<SocketId, usize>,
    outcome: Outcome,
}

/// Runs a load under a policy.
pub(crate) fn run(case: &Case, policy: Policy, clients: Vec<Client>) -> Outcome {
    let limits = Limits { queued_connections: usize::MAX, ..Limits::default() };
    let primary = Settings { policy: policy.setting, limits, ..Settings::default() };
    let supervisor = Supervisor::new(SupervisorSettings::new(WORKERS).primary(primary));
    let mut model = Model {
        case,
        supervisor: supervisor.expect("the settings are valid"),
        os: silent(),
        kernel: Kernel::of(policy),
        processes: BTreeMap::new(),
        agenda: Agenda::default(),
        in_flight: VecDeque::new(),
        asked: vec![0; clients.len()],
        clients,
        connections: BTreeMap::new(),
        outcome: Outcome::default(),
    };
    model.plan();
    while let Some(occurrence) = model.agenda.next() {
        model.occur(occurrence);
        model.settle();
    }
    model.outcome
}

impl Model<'_> {
    fn plan(&mut self) {
        for (number, client) in self.clients.iter().enumerate() {
            self.agenda.at(client.at, Occurrence::Arrival(number));
        }
        let last = self.clients.last().map_or(0, |client| client.at);
        for at in (FIRST_SAMPLE..last).step_by(usize::try_from(SAMPLE).expect("a small number")) {
            self.agenda.at(at, Occurrence::Sample);
        }
        if self.case.change.is_some() {
            self.agenda.at(last / 3, Occurrence::Change);
        }
        self.settle();
    }

    fn occur(&mut self, occurrence: Occurrence) {
        match occurrence {
            Occurrence::Arrival(client) => self.arrive(client),
            Occurrence::Ask(worker, client, connection) => self.ask(worker, client, connection),
            Occurrence::SliceEnd(worker) => self.end_slice(worker),
            Occurrence::Started(worker) => self.started(worker),
            Occurrence::Timer(None, timer) => self.supervisor.handle(OsEvent::Timer { timer }),
            Occurrence::Timer(Some(worker), timer) => {
                self.in_flight.push_back((Some(worker), OsEvent::Timer { timer }));
            }
            Occurrence::Sample => self.sample(),
            Occurrence::Change => self.change(),
        }
    }

    // ---- clients

    fn arrive(&mut self, client: usize) {
        self.asked[client] = self.agenda.now();
        if let Some(kernel) = &mut self.kernel {
            let workers = self.processes.iter().filter(|(_, process)| process.is_running);
            let workers = workers.map(|(id, process)| (*id, process.slot, process.current.is_none()));
            if let Some(worker) = kernel.queue(client, workers) {
                self.turn(worker);
            }
            return;
        }
        let socket = self.os.next_socket();
        self.connections.insert(socket, client);
        let listener = self.os.last_bound().expect("the primary listens");
        let address = Some(self.clients[client].address.into());
        self.supervisor.handle(OsEvent::Accepted { listener, socket, client: address });
    }

    /// A client sends its next request, unless the worker was killed: then the client has connected again.
    fn ask(&mut self, worker: WorkerId, client: usize, connection: Option<SocketId>) {
        if let Some(process) = self.processes.get_mut(&worker) {
            self.asked[client] = self.agenda.now();
            let left = self.clients[client].requests[0].work;
            process.ready.push_back(Job { client, connection, left });
            self.turn(worker);
        }
    }

    fn accepted(&mut self, worker: WorkerId, client: usize, connection: Option<SocketId>) {
        let process = self.processes.get_mut(&worker).expect("the worker runs");
        let Client { address, requests, .. } = &self.clients[client];
        process.open.insert(client);
        process.ready.push_back(Job { client, connection, left: requests[0].work });
        self.outcome.connected(process.slot, *address);
    }

    fn answered(&mut self, worker: WorkerId, job: Job) {
        let process = self.processes.get_mut(&worker).expect("the worker runs");
        let requests = &mut self.clients[job.client].requests;
        let request = requests.pop_front().expect("a job is a request");
        let wait = self.agenda.now() - self.asked[job.client] - request.work;
        self.outcome.answered(process.slot, wait);
        if let Some(next) = requests.front() {
            self.agenda.after(next.pause, Occurrence::Ask(worker, job.client, job.connection));
        } else {
            process.open.remove(&job.client);
            if let Some(connection) = job.connection {
                process.machine.release(connection);
                self.drain_worker(worker);
            }
        }
    }

    // ---- workers

    fn started(&mut self, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        process.is_running = true;
        let listener = process.machine.listen(ListenOptions::default());
        process.machine.accept(listener);
        self.turn(worker);
    }

    /// A turn of the event loop: reads the messages, accepts, and runs the next slice.
    fn turn(&mut self, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        if !process.is_running || process.current.is_some() {
            return;
        }
        let slot = process.slot;
        for message in process.inbox.drain(..) {
            process.machine.handle(message);
        }
        self.drain_worker(worker);
        for client in self.kernel.as_mut().map(|kernel| kernel.accept(slot)).unwrap_or_default() {
            self.accepted(worker, client, None);
        }
        let Some(process) = self.processes.get_mut(&worker) else { return };
        if let Some(mut job) = process.ready.pop_front() {
            let slice = self.case.slice.min(job.left);
            job.left -= slice;
            process.current = Some(job);
            self.agenda.after(slice * self.case.slowness(slot), Occurrence::SliceEnd(worker));
        }
    }

    fn end_slice(&mut self, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let Some(job) = process.current.take() else { return };
        if job.left > 0 {
            process.ready.push_back(job);
        } else {
            self.answered(worker, job);
        }
        self.turn(worker);
    }

    // ---- machines

    /// Delivers every message.
    fn settle(&mut self) {
        loop {
            self.drain_primary();
            match self.in_flight.pop_front() {
                Some((None, event)) => self.supervisor.handle(event),
                Some((Some(worker), event)) => {
                    if let Some(process) = self.processes.get_mut(&worker) {
                        process.inbox.push_back(event);
                        self.turn(worker);
                    }
                }
                None => return,
            }
        }
    }

    fn drain_primary(&mut self) {
        while let Some(output) = self.supervisor.poll() {
            let Output::Call(call) = output else { continue };
            let answer = match call {
                Call::Write { channel, bytes, socket } => {
                    let read = OsEvent::Read { channel: ChannelId::PRIMARY, bytes, socket };
                    self.in_flight.push_back((Some(WorkerId(channel.0)), read));
                    Some(OsEvent::Wrote { channel, rest: Vec::new() })
                }
                Call::Spawn { worker, .. } => {
                    self.spawn(worker);
                    Some(OsEvent::Spawned { worker, pid: 1 })
                }
                Call::SetTimer { timer, after_ms } => {
                    self.agenda.after(after_ms * 1000, Occurrence::Timer(None, timer));
                    None
                }
                call => cluster_core::Os::perform(&mut self.os, call),
            };
            if let Some(answer) = answer {
                self.supervisor.handle(answer);
            }
        }
    }

    fn spawn(&mut self, worker: WorkerId) {
        let slot = self.supervisor.slot_of(worker).map_or(0, |slot| slot.0);
        let process = Process {
            machine: Worker::new(worker, Serialization::default(), Limits::default()),
            os: silent(),
            slot,
            is_running: false,
            inbox: VecDeque::new(),
            current: None,
            ready: VecDeque::new(),
            open: BTreeSet::new(),
        };
        self.processes.insert(worker, process);
        self.agenda.after(START, Occurrence::Started(worker));
    }

    fn drain_worker(&mut self, worker: WorkerId) {
        while let Some(output) = self.processes.get_mut(&worker).and_then(|process| process.machine.poll()) {
            match output {
                Output::Event(WorkerEvent::Connection { listener, connection }) => {
                    let client = self.connections.remove(&connection).expect("each connection has a client");
                    self.accepted(worker, client, Some(connection));
                    self.accept(worker, listener);
                }
                Output::Event(_) => {}
                Output::Call(call) => self.perform(worker, call),
            }
        }
    }

    fn accept(&mut self, worker: WorkerId, listener: ListenerId) {
        if let Some(process) = self.processes.get_mut(&worker) {
            process.machine.accept(listener);
        }
    }

    fn perform(&mut self, worker: WorkerId, call: Call) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let answer = match call {
            Call::Write { channel, bytes, socket } => {
                let read = OsEvent::Read { channel: worker.into(), bytes, socket };
                self.in_flight.push_back((None, read));
                Some(OsEvent::Wrote { channel, rest: Vec::new() })
            }
            Call::SetTimer { timer, after_ms } => {
                self.agenda.after(after_ms * 1000, Occurrence::Timer(Some(worker), timer));
                None
            }
            call => cluster_core::Os::perform(&mut process.os, call),
        };
        if let Some(answer) = answer {
            process.machine.handle(answer);
        }
    }

    // ---- changes and samples

    fn change(&mut self) {
        self.outcome.changed_at = Some(self.seconds());
        match self.case.change {
            Some(Change::Scale) => self.supervisor.scale(WORKERS + 1).expect("a valid number"),
            Some(Change::Respawn) => self.kill_first(),
            None => {}
        }
    }

    /// Kills the worker of the first slot. Its clients connect again.
    fn kill_first(&mut self) {
        let first = self.processes.iter().find(|(_, process)| process.slot == 0).map(|(id, _)| *id);
        let Some(worker) = first else { return };
        let process = self.processes.remove(&worker).expect("found above");
        for client in process.open {
            self.outcome.cut += 1;
            let again = self.clients[client].clone();
            self.agenda.after(1000, Occurrence::Arrival(self.clients.len()));
            self.clients.push(again);
            self.asked.push(0);
        }
        let status = ExitStatus::Signal(Signal::SIGKILL);
        self.in_flight.push_back((None, OsEvent::ChannelClosed { channel: worker.into() }));
        self.in_flight.push_back((None, OsEvent::Exited { worker, status }));
    }

    fn sample(&mut self) {
        let running = self.processes.values().filter(|process| process.is_running);
        let count = |process: &Process| u32::try_from(process.open.len()).expect("fewer than 2^32 clients");
        let open = running.map(|process| (process.slot, count(process))).collect();
        self.outcome.samples.push(Sample { at: self.seconds(), open });
    }

    #[allow(clippy::cast_precision_loss, reason = "the microseconds of a run are far below 2^52")]
    fn seconds(&self) -> f64 {
        self.agenda.now() as f64 / 1e6
    }
}

/// An operating system that records nothing.
fn silent() -> TestOs {
    let mut os = TestOs::default();
    os.discards_calls = true;
    os
}
