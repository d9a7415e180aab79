//! The cluster under test as a program of the simulator: the same lines of the same processes, and the same
//! clients.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use cluster::SupervisorSettings;
use cluster_conformance::arm::translate;
use cluster_conformance::observation::{Observation, Observer};
use cluster_conformance::trace::Canon;
use cluster_conformance::vocabulary::{self, ServerAddress};
use cluster_core::{
    ListenAddress, ListenOptions, LocalAddress, Signal, SlotState, SocketId, Supervisor, SupervisorEvent,
    Worker, WorkerEvent, WorkerId,
};
use cluster_sim::{
    Actor, ClientEvent, ClientId, Driver, Ending, Faults, MachineMut, Process, Program, Resumption, World,
};

use crate::clients::{AT_ONCE, ClientEnd, ROUNDS};
use crate::record::seen;
use crate::server::{self, Cluster, RELOADED, SOCKET, WORKERS};

/// The directory of a simulated run.
const PLACE: &str = "/run";

/// The counterpart of an injected fault: what fails in the simulator.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Mishap {
    /// The kinds of faults.
    pub(crate) faults: Faults,
    /// The process that SIGKILL ends, at any moment.
    pub(crate) dies: Option<Actor>,
    /// The connections that the first worker closes without an answer, counted from 0.
    pub(crate) drops: BTreeSet<u32>,
}

/// The supervised server, the clients, and the operator.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SimulatedServer {
    cluster: Cluster,
    mishap: Mishap,
    canon: Canon,
    /// Whether this process is the primary.
    is_primary: bool,
    /// The number of connections of a worker.
    connections: BTreeMap<SocketId, u32>,
    operator: Operator,
}

/// The state of the driver.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Operator {
    /// The workers that listen or have failed.
    settled: u32,
    address: Option<LocalAddress>,
    /// The rounds that have begun.
    rounds: usize,
    /// The bytes received by each client of the round.
    answers: BTreeMap<ClientId, Vec<u8>>,
    reloading: bool,
    is_killed: bool,
}

impl SimulatedServer {
    /// The world with the fault.
    pub(crate) fn world(cluster: Cluster, mishap: Mishap) -> World<Self> {
        let faults = mishap.faults;
        let server = SimulatedServer {
            cluster,
            mishap,
            canon: Canon::default(),
            is_primary: false,
            connections: BTreeMap::new(),
            operator: Operator::default(),
        };
        let settings: SupervisorSettings = server::settings(cluster);
        World::supervised(server, settings).named(format!("inject-{}", cluster.name())).with_faults(faults)
    }

    fn observe(&mut self, process: &mut Process<'_>, seen: Observation) {
        let observer = observer(process.actor());
        let line = self.canon.make(observer, seen, &BTreeSet::new());
        process.observe(line.to_string());
    }

    /// Whether the ends of clients are compared. Without a primary, no claim concerns the clients.
    fn has_clients(&self) -> bool {
        self.mishap.dies != Some(Actor::Primary)
    }

    // ---- the operator

    fn connect_round(&mut self, driver: &mut Driver<'_>) {
        let Some(address) = self.operator.address.clone() else { return };
        self.operator.rounds += 1;
        for _ in 0..AT_ONCE {
            let client = driver.connect_to(address.clone());
            self.operator.answers.insert(client, Vec::new());
        }
    }

    fn end_client(&mut self, driver: &mut Driver<'_>, client: ClientId, end: &ClientEnd) {
        if self.operator.answers.remove(&client).is_none() {
            return;
        }
        if self.has_clients() {
            driver.observe(client, seen(end).to_string());
        }
        if self.operator.answers.is_empty() {
            self.end_round(driver);
        }
    }

    fn end_round(&mut self, driver: &mut Driver<'_>) {
        if self.cluster == Cluster::Reload && self.operator.rounds == 1 {
            self.operator.reloading = true;
            driver.kill(Actor::Primary, Signal::SIGHUP);
        } else if self.operator.rounds < ROUNDS {
            self.connect_round(driver);
        } else {
            driver.kill(Actor::Primary, Signal::SIGTERM);
        }
    }

    /// Kills the victim at any later moment.
    fn kill_at_start(&mut self, driver: &mut Driver<'_>, line: &Observation) {
        let is_start = match self.mishap.dies {
            Some(Actor::Primary) => true,
            Some(Actor::Worker(WorkerId(id))) => line.what == "fork" && line.worker() == Some(id),
            Some(Actor::Client(_)) | None => false,
        };
        if let Some(victim) = self.mishap.dies.filter(|_| is_start && !self.operator.is_killed) {
            self.operator.is_killed = true;
            driver.kill(victim, Signal::SIGKILL);
        }
    }
}

fn observer(actor: Actor) -> Observer {
    match actor {
        Actor::Primary => Observer::Primary,
        Actor::Worker(worker) => Observer::Worker(worker.0),
        Actor::Client(client) => Observer::Client(client.0),
    }
}

/// The address of a worker's listener in a line.
fn local(address: &LocalAddress) -> ServerAddress {
    match address {
        LocalAddress::Ip(_) | LocalAddress::Zoned { .. } => ServerAddress::Port(address.port()),
        LocalAddress::Path(path) => ServerAddress::path(path),
    }
}

impl Program for SimulatedServer {
    fn supervisor_start(&mut self, _: &mut Supervisor, _: &mut Process<'_>) {
        self.is_primary = true;
    }

    fn supervisor_event(
        &mut self,
        supervisor: &mut Supervisor,
        process: &mut Process<'_>,
        event: SupervisorEvent,
    ) {
        if let SupervisorEvent::Primary(event) = &event {
            let known = |worker| supervisor.primary().worker(worker);
            if let Some(line) = translate::event(event, PLACE, 0, known, &mut |_, _| "nothing") {
                if line.what == "listening" {
                    process.notify_driver(line.port().map_or_else(String::new, |port| port.to_string()));
                }
                self.observe(process, line);
            }
        }
        if let SupervisorEvent::GaveUp { .. } = event {
            // As `Supervisor::run_with` does.
            let serves = supervisor.slots().any(|slot| slot.state == SlotState::Ready);
            if !serves && !supervisor.is_shutting_down() {
                supervisor.shutdown();
            }
        }
        if let SupervisorEvent::ReloadFinished { .. } | SupervisorEvent::ReloadAbandoned { .. } = event {
            self.observe(process, Observation::new(RELOADED));
        }
    }

    fn handles_signal(&self, signal: Signal) -> bool {
        self.is_primary && [Signal::SIGTERM, Signal::SIGHUP].contains(&signal)
    }

    fn resumed(&mut self, machine: MachineMut<'_>, _: &mut Process<'_>, why: Resumption) {
        let MachineMut::Supervisor(supervisor) = machine else { return };
        match why {
            Resumption::Signal(Signal::SIGHUP) => {
                supervisor.reload();
            }
            Resumption::Signal(_) => supervisor.shutdown(),
            Resumption::AtRest | Resumption::Timer | Resumption::ExitRequested(_) => {}
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {
        self.observe(process, vocabulary::start());
        let address = match self.cluster {
            Cluster::Tcp | Cluster::Shared | Cluster::Reload | Cluster::Node => {
                ListenAddress::Tcp { host: Some(Ipv4Addr::LOCALHOST.into()), port: 0, ipv6_only: false }
            }
            Cluster::Path => ListenAddress::Path {
                path: format!("{PLACE}/{SOCKET}"),
                readable_all: false,
                writable_all: false,
            },
        };
        worker.listen(ListenOptions { address, ..ListenOptions::default() });
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        match event {
            WorkerEvent::Listening { listener, address, .. } => {
                self.observe(process, vocabulary::listening("web", &local(&address)));
                worker.accept(listener);
            }
            WorkerEvent::Connection { listener, connection, .. } => {
                let number = u32::try_from(self.connections.len()).unwrap_or(u32::MAX);
                self.connections.insert(connection, number);
                // Fails if the channel is closing.
                let _ = worker.send("accepted");
                worker.accept(listener);
            }
            // The program returns from `main` with an error, unless the worker is disconnected.
            WorkerEvent::ListenFailed { .. } => process.exit(i32::from(!worker.exited_after_disconnect())),
            WorkerEvent::Closed { .. }
            | WorkerEvent::Message { .. }
            | WorkerEvent::Error { .. }
            | WorkerEvent::LameDuck
            | WorkerEvent::Disconnect => {}
        }
    }

    fn connection_data(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        _: &[u8],
    ) {
        let number = self.connections.get(&connection);
        let drops = worker.id() == WorkerId(1) && number.is_some_and(|nth| self.mishap.drops.contains(nth));
        if !drops {
            process.write(connection, format!("{}\n", worker.id()).as_bytes());
            process.end(connection);
        }
        process.close(connection);
    }

    fn connection_end(&mut self, _: &mut Worker, process: &mut Process<'_>, connection: SocketId, _: Ending) {
        process.close(connection);
    }

    fn observed(&mut self, driver: &mut Driver<'_>, observer: Actor, text: &str) {
        let Ok(line) = text.parse::<Observation>() else { return };
        if observer != Actor::Primary {
            return;
        }
        self.kill_at_start(driver, &line);
        match line.what.as_str() {
            "listening" | "exit" | "error" => self.operator.settled += 1,
            RELOADED if self.operator.reloading => {
                self.operator.reloading = false;
                return self.connect_round(driver);
            }
            _ => {}
        }
        if self.operator.settled >= WORKERS && self.operator.rounds == 0 {
            self.connect_round(driver);
        }
    }

    fn notified(&mut self, _: &mut Driver<'_>, _: Actor, port: &str) {
        let path = || LocalAddress::Path(format!("{PLACE}/{SOCKET}"));
        let address = port.parse::<u16>().map(|port| LocalAddress::Ip((Ipv4Addr::LOCALHOST, port).into()));
        self.operator.address = Some(address.unwrap_or_else(|_| path()));
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        match event {
            ClientEvent::Connected => driver.send(client, b"?\n"),
            ClientEvent::Data(bytes) => {
                self.operator.answers.entry(client).or_default().extend(bytes);
            }
            ClientEvent::Refused => {
                self.end_client(driver, client, &ClientEnd::Refused(std::io::ErrorKind::ConnectionRefused));
            }
            ClientEvent::Reset => self.end_client(driver, client, &ClientEnd::Lost),
            ClientEvent::End => {
                let answer = self.operator.answers.get(&client).map(|bytes| String::from_utf8_lossy(bytes));
                let answer = answer.unwrap_or_default().trim_end().to_owned();
                let end = if answer.is_empty() { ClientEnd::Lost } else { ClientEnd::Served(answer) };
                driver.end(client);
                self.end_client(driver, client, &end);
            }
            ClientEvent::Datagram { .. } => {}
        }
    }
}
