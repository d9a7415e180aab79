//! Sockets of every kind in whole worlds: no socket is leaked, in any process and after any failure.

use cluster_core::{
    BindAddress, Event, HandleType, IncomingHandle, ListenAddress, ListenOptions, LocalAddress,
    OutgoingHandle, Primary, SchedulingPolicy, Settings, SocketId, Worker, WorkerError, WorkerEvent,
    WorkerId,
};
use cluster_sim::explore::exhaustive;
use cluster_sim::{
    Actor, Check, ClientEvent, ClientId, Driver, Ending, Failure, Fault, Faults, Process, Program, Schedule,
    SocketEvent, World,
};
use serde_json::json;

/// Runs a program on many schedules, without and with faults.
#[track_caller]
fn holds<P: Program>(program: &P, policy: SchedulingPolicy) {
    for seed in 0..300 {
        let faults = if seed < 100 { Faults::none() } else { Faults::swarm(seed) };
        let settings = Settings { policy, ..Settings::default() };
        let mut world = World::new(program.clone(), settings).on(Schedule::seed(seed)).with_faults(faults);
        assert_eq!(world.run().map_err(|failure| failure.to_string()), Ok(()), "seed {seed}");
    }
}

/// The observations of a quiet run, a line each.
fn quiet<P: Program>(program: P, policy: SchedulingPolicy) -> Vec<String> {
    let mut world = World::new(program, Settings { policy, ..Settings::default() });
    world.run().expect("nothing fails");
    world.observations().map(|line| format!("{}: {}", line.observer, line.text)).collect()
}

fn loopback(port: u16) -> ListenAddress {
    ListenAddress::Tcp { host: Some([127, 0, 0, 1].into()), port, ipv6_only: false }
}

/// A worker with an exclusive server is disconnected while a client is connected, and then serves another
/// client.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct ExclusiveServer {
    port: u16,
    served: u32,
    listener: Option<cluster_core::ListenerId>,
}

impl Program for ExclusiveServer {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        match event {
            Event::Message { worker, .. } => primary.disconnect_worker(worker),
            Event::Disconnect { .. } => process.observe("disconnect"),
            Event::Exit { status, .. } => process.observe(format!("exit {status:?}")),
            Event::Listening { .. } => process.observe("received `listening` of an exclusive server"),
            _ => {}
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        let options = ListenOptions { exclusive: true, ..ListenOptions::from(loopback(0)) };
        self.listener = Some(worker.listen(options));
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        match event {
            WorkerEvent::Listening { listener, address, .. } => {
                process.notify_driver(address.port().to_string());
                worker.accept(listener);
            }
            WorkerEvent::Connection { listener, .. } => worker.accept(listener),
            WorkerEvent::Disconnect => process.observe("disconnect"),
            _ => {}
        }
    }

    fn connection_data(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        _: &[u8],
    ) {
        self.served += 1;
        process.observe(format!("serves {}", self.served));
        process.end(connection);
        if self.served == 1 {
            // Fails if the channel is closed.
            let _ = worker.send(json!("served"));
        } else if let Some(listener) = self.listener.take() {
            worker.close(listener);
        }
    }

    fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, text: &str) {
        self.port = text.parse().expect("a port number");
        driver.connect(self.port);
    }

    fn observed(&mut self, driver: &mut Driver<'_>, observer: Actor, text: &str) {
        if observer == Actor::Primary && text == "disconnect" {
            driver.connect(self.port);
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        if event == ClientEvent::Connected {
            driver.send(client, b"hello");
        }
    }
}

#[test]
fn exclusive_server_outlives_the_channel() {
    let lines = quiet(ExclusiveServer::default(), SchedulingPolicy::RoundRobin);
    assert_eq!(
        lines,
        [
            "worker 1: serves 1",
            "worker 1: disconnect",
            "primary: disconnect",
            "worker 1: serves 2",
            "primary: exit Code(0)",
        ]
    );
    holds(&ExclusiveServer::default(), SchedulingPolicy::RoundRobin);
}

/// Two workers serve a Unix socket to two clients, and the cluster disconnects.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct PathServer {
    served: u32,
    connected: bool,
}

const DOOR: &str = "/run/door";

impl Program for PathServer {
    fn primary_start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {
        for _ in 0..2 {
            primary.fork().expect("the settings are valid");
        }
        assert_eq!(process.mode(DOOR), None);
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        match event {
            Event::Listening { address, .. } if address.port == -1 => {
                process.observe(format!("{:o}", process.mode(DOOR).unwrap_or(0)));
            }
            Event::Message { .. } => {
                self.served += 1;
                if self.served == 2 {
                    primary.disconnect_all();
                }
            }
            Event::AllDisconnected => process.observe(format!("{:?}", process.mode(DOOR))),
            _ => {}
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        let address = ListenAddress::Path { path: DOOR.into(), readable_all: true, writable_all: true };
        worker.listen(address.into());
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        match event {
            WorkerEvent::Listening { listener, address, .. } => {
                assert_eq!(address, LocalAddress::Path(DOOR.into()));
                process.notify_driver("listens");
                worker.accept(listener);
            }
            WorkerEvent::Connection { listener, connection } => {
                process.write(connection, b"welcome");
                process.end(connection);
                worker.accept(listener);
                let _ = worker.send(json!("served"));
            }
            _ => {}
        }
    }

    fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, _: &str) {
        if !std::mem::replace(&mut self.connected, true) {
            for _ in 0..2 {
                driver.connect_to(LocalAddress::Path(DOOR.into()));
            }
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        if let ClientEvent::Data(bytes) = event {
            driver.observe(client, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

#[test]
fn path_is_served_and_removed() {
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let lines = quiet(PathServer::default(), policy);
        for line in ["primary: 777", "client 1: welcome", "client 2: welcome", "primary: None"] {
            assert!(lines.iter().any(|other| other == line), "{policy:?} {line}: {lines:?}");
        }
        holds(&PathServer::default(), policy);
    }
}

/// Two workers share a UDP port; a client sends four datagrams, and each is answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Datagrams {
    answered: u32,
    connected: bool,
}

impl Program for Datagrams {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        for _ in 0..2 {
            primary.fork().expect("the settings are valid");
        }
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        match event {
            Event::Message { .. } => {
                self.answered += 1;
                if self.answered == 4 {
                    primary.disconnect_all();
                }
            }
            Event::AllDisconnected => process.observe("all disconnected"),
            _ => {}
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        let (v6, host, port) = (false, None, Some(0));
        let address = ListenAddress::Udp { v6, host, port, ipv6_only: false, reuse_address: false };
        worker.listen(address.into());
    }

    fn worker_event(&mut self, _: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if let WorkerEvent::Listening { address, socket, .. } = event {
            assert!(socket.is_some(), "the program reads the socket");
            process.notify_driver(address.port().to_string());
        }
    }

    fn worker_socket(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: SocketEvent) {
        if let SocketEvent::Datagram { socket, from, bytes } = event {
            process.send_to(socket, from, &bytes);
            let _ = worker.send(json!("answered"));
        }
    }

    fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, port: &str) {
        if !std::mem::replace(&mut self.connected, true) {
            let client = driver.client();
            let to = ([127, 0, 0, 1], port.parse().expect("a port number")).into();
            (0..4).for_each(|_| driver.send_to(client, to, b"ping"));
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        if let ClientEvent::Datagram { bytes, .. } = event {
            driver.observe(client, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

#[test]
fn shared_udp_port_answers_once() {
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let lines = quiet(Datagrams::default(), policy);
        let pings = lines.iter().filter(|line| *line == "client 1: ping").count();
        assert_eq!((pings, lines.len()), (4, 5), "{lines:?}");
        holds(&Datagrams::default(), policy);
    }
}

/// The primary accepts a connection and sends it to the worker; the worker sends it back; the primary answers
/// the client.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PassedConnection {
    keep_open: bool,
    /// The number of further descriptors that the worker may open; `None`: any number.
    room: Option<usize>,
    /// The primary detaches the connection, but does not send it.
    leaks: bool,
    listener: Option<SocketId>,
    waiting: Vec<SocketId>,
}

impl PassedConnection {
    fn new() -> Self {
        PassedConnection { keep_open: false, room: None, leaks: false, listener: None, waiting: Vec::new() }
    }

    fn passing(&self, socket: SocketId) -> OutgoingHandle {
        OutgoingHandle { socket, kind: HandleType::Socket, keep_open: self.keep_open }
    }

    fn pass_on(&mut self, primary: &mut Primary, process: &mut Process<'_>, worker: WorkerId) {
        for connection in std::mem::take(&mut self.waiting) {
            if self.leaks {
                process.detach(connection);
            } else if primary.send_with(worker, json!("take it"), self.passing(connection)).is_err() {
                process.close(connection);
            } else if !self.keep_open {
                process.detach(connection);
            }
        }
    }
}

impl Program for PassedConnection {
    fn primary_start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
        let address = BindAddress::Tcp { host: None, port: 0, ipv6_only: false, reuse_port: false };
        let (listener, address) = process.open(&address, Some(8)).expect("a free port");
        self.listener = Some(listener);
        process.notify_driver(address.port().to_string());
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        match event {
            Event::Online { worker } => self.pass_on(primary, process, worker),
            Event::Message { handle: Some(IncomingHandle { socket, .. }), .. } => {
                process.observe("back");
                process.write(socket, b"and back");
                process.end(socket);
            }
            Event::Error { worker, error: WorkerError::NotReceived } => {
                process.observe("not received");
                primary.disconnect_worker(worker);
            }
            Event::Disconnect { .. } => {
                self.listener.take().into_iter().for_each(|listener| process.close(listener));
                for waiting in std::mem::take(&mut self.waiting) {
                    process.close(waiting);
                }
            }
            _ => {}
        }
    }

    fn primary_socket(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: SocketEvent) {
        match event {
            SocketEvent::Accepted { connection, .. } => {
                self.waiting.push(connection);
                if primary.worker(WorkerId(1)).is_some_and(cluster_core::WorkerInfo::is_connected) {
                    self.pass_on(primary, process, WorkerId(1));
                }
            }
            SocketEvent::Ended { connection, .. } => {
                process.close(connection);
                primary.disconnect_worker(WorkerId(1));
            }
            SocketEvent::Data { .. } | SocketEvent::Datagram { .. } => {}
        }
    }

    fn worker_start(&mut self, _: &mut Worker, process: &mut Process<'_>) {
        process.limit_descriptors(self.room);
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if let WorkerEvent::Message { handle: Some(IncomingHandle { socket, .. }), .. } = event {
            process.write(socket, b"there ");
            if worker.send_with(json!("take it back"), self.passing(socket)).is_err() {
                process.close(socket);
            } else if !self.keep_open {
                process.detach(socket);
            }
        }
    }

    fn connection_end(&mut self, _: &mut Worker, process: &mut Process<'_>, connection: SocketId, _: Ending) {
        process.close(connection);
    }

    fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, port: &str) {
        driver.connect(port.parse().expect("a port number"));
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        if let ClientEvent::Data(bytes) = event {
            driver.observe(client, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
}

fn received(lines: &[String]) -> String {
    lines.iter().filter_map(|line| line.strip_prefix("client 1: ")).collect()
}

#[test]
fn connection_is_sent_there_and_back() {
    let lines = quiet(PassedConnection::new(), SchedulingPolicy::RoundRobin);
    assert_eq!(received(&lines), "there and back");
    holds(&PassedConnection::new(), SchedulingPolicy::RoundRobin);
}

#[test]
fn connection_kept_open_has_two_owners() {
    let pass = PassedConnection { keep_open: true, ..PassedConnection::new() };
    assert_eq!(received(&quiet(pass.clone(), SchedulingPolicy::RoundRobin)), "there and back");
    holds(&pass, SchedulingPolicy::RoundRobin);
}

#[test]
fn undelivered_connection_is_an_error() {
    let pass = PassedConnection { room: Some(0), ..PassedConnection::new() };
    let lines = quiet(pass.clone(), SchedulingPolicy::RoundRobin);
    assert_eq!(lines, ["primary: not received"]);
    holds(&pass, SchedulingPolicy::RoundRobin);
}

#[test]
fn detached_unsent_socket_is_leaked() {
    let mut world =
        World::new(PassedConnection { leaks: true, ..PassedConnection::new() }, Settings::default());
    let Failure { check, what, .. } = *world.run().expect_err("the connection is leaked");
    assert_eq!(check, Check::Descriptors, "{what}");
}

/// In at least one run the descriptor is lost and sent again.
#[test]
fn lost_connection_is_sent_again() {
    let faults = Faults::only(&[Fault::LostDescriptor]).limit(1);
    let lost_and_found = (0..100).any(|seed| {
        let mut world = World::new(PassedConnection::new(), Settings::default())
            .on(Schedule::seed(seed))
            .with_faults(faults);
        world.run().expect("every check holds");
        let lines: Vec<_> =
            world.observations().map(|line| format!("{}: {}", line.observer, line.text)).collect();
        world.schedule().struck().contains(&Fault::LostDescriptor) && received(&lines) == "there and back"
    });
    assert!(lost_and_found);
}

/// Every run in which one descriptor is lost or one process is killed, at any step.
#[test]
fn sent_connection_arrives_or_is_closed() {
    let faults = Faults::only(&[Fault::LostDescriptor, Fault::Kill]).limit(1);
    let world = World::new(PassedConnection::new(), Settings::default()).with_faults(faults);
    let coverage = exhaustive(&world, 1 << 20).expect("every check holds");
    assert_eq!(coverage.cut, None, "every run was taken");
}
