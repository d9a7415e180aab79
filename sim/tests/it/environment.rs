//! The driver changes the system around the cluster, and the processes handle the changes.

use std::net::IpAddr;

use cluster_core::{
    Errno, Event, ListenAddress, ListenOptions, Primary, Settings, Signal, SpawnOptions, Worker, WorkerEvent,
};
use cluster_sim::{Actor, ClientEvent, ClientId, Driver, Process, Program, Schedule, World};
use serde_json::json;

/// The observations of a quiet run, and the running processes at its end.
fn quiet<P: Program>(program: P) -> (Vec<String>, Vec<Actor>) {
    let mut world = World::new(program, Settings::default());
    world.run().expect("every check holds");
    (lines(&world), world.running().collect())
}

fn lines<P: Program>(world: &World<P>) -> Vec<String> {
    world.observations().map(|line| format!("{}: {}", line.observer, line.text)).collect()
}

/// Every resource is missing. A worker asks for each resource, through the primary and by itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct NoResources;

fn tcp(port: u16) -> ListenAddress {
    ListenAddress::Tcp { host: Some(IpAddr::from([127, 0, 0, 1])), port, ipv6_only: false }
}

fn udp(port: u16) -> ListenAddress {
    let host = Some(IpAddr::from([127, 0, 0, 1]));
    ListenAddress::Udp { v6: false, host, port: Some(port), ipv6_only: false, reuse_address: false }
}

fn path(path: &str) -> ListenAddress {
    ListenAddress::Path { path: path.into(), readable_all: false, writable_all: false }
}

impl Program for NoResources {
    fn driver_start(&mut self, driver: &mut Driver<'_>) {
        driver.drop_root();
        driver.drop_ipv6();
        driver.occupy(4000);
        driver.occupy_udp(4001);
        driver.occupy_path("/tmp/taken");
        driver.break_path("/nowhere", Errno::ENOENT);
    }

    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
        primary.setup(SpawnOptions::new().exec("/nowhere/program"));
        primary.fork().expect("the failure is reported later");
    }

    fn primary_event(&mut self, _: &mut Primary, process: &mut Process<'_>, event: Event) {
        if let Event::Error { error, .. } = event {
            process.observe(error.to_string());
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        for exclusive in [false, true] {
            let v6 = ListenAddress::Tcp { host: Some(IpAddr::from([0_u16; 8])), port: 0, ipv6_only: true };
            for address in [tcp(80), tcp(4000), udp(4001), path("/tmp/taken"), path("/nowhere/door"), v6] {
                worker.listen(ListenOptions { exclusive, ..ListenOptions::from(address) });
            }
        }
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        match event {
            WorkerEvent::ListenFailed { error, .. } => process.observe(error.to_string()),
            WorkerEvent::Listening { listener, .. } => worker.close(listener),
            _ => {}
        }
    }
}

#[test]
fn unavailable_resource_is_a_named_error() {
    let (mut lines, living) = quiet(NoResources);
    lines.sort();
    let mut wanted: Vec<String> = ["bind", "listen on"]
        .into_iter()
        .flat_map(|what| {
            [
                format!("worker 1: cannot {what} 127.0.0.1:80: EACCES"),
                format!("worker 1: cannot {what} 127.0.0.1:4000: EADDRINUSE"),
                format!("worker 1: cannot {what} 127.0.0.1:4001: EADDRINUSE"),
                format!("worker 1: cannot {what} /tmp/taken: EADDRINUSE"),
                format!("worker 1: cannot {what} /nowhere/door: EACCES"),
                format!("worker 1: cannot {what} [::]:0: EAFNOSUPPORT"),
            ]
        })
        .collect();
    wanted.push("primary: cannot start `/nowhere/program`: ENOENT".to_owned());
    // The tests of the core cover the explanation and the advice of an error.
    let lines: Vec<String> =
        lines.iter().map(|line| line.split(" (").next().unwrap_or(line).to_owned()).collect();
    wanted.sort();
    assert_eq!(lines, wanted);
    assert_eq!(living.len(), 2, "a primary and one worker");
}

/// A worker with other work is disconnected, and continues to run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BusyWorker {
    /// The driver kills the worker after the disconnect.
    killed: bool,
}

impl Program for BusyWorker {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        match event {
            Event::Online { worker } => primary.disconnect_worker(worker),
            Event::Disconnect { .. } => process.observe("disconnect"),
            Event::Exit { status, .. } => process.observe(format!("exit {status:?}")),
            _ => {}
        }
    }

    fn worker_start(&mut self, _: &mut Worker, process: &mut Process<'_>) {
        assert_eq!(process.spawn_options(), &SpawnOptions::new());
        process.keep_alive(true);
    }

    fn observed(&mut self, driver: &mut Driver<'_>, _: Actor, text: &str) {
        if self.killed && text == "disconnect" {
            driver.kill(Actor::Worker(cluster_core::WorkerId(1)), Signal::SIGTERM);
        }
    }
}

#[test]
fn busy_worker_outlives_its_channel() {
    let (lines, living) = quiet(BusyWorker { killed: false });
    assert_eq!((lines, living.len()), (vec!["primary: disconnect".to_owned()], 2));
    let (lines, living) = quiet(BusyWorker { killed: true });
    assert_eq!(lines, ["primary: disconnect", "primary: exit Signal(SIGTERM)"]);
    assert_eq!(living, [Actor::Primary]);
}

/// The observations on many schedules, without repetitions.
fn seen<P: Program>(program: &P) -> Vec<Vec<String>> {
    let mut seen: Vec<Vec<String>> = (0..300)
        .map(|seed| {
            let mut world = World::new(program.clone(), Settings::default()).on(Schedule::seed(seed));
            world.run().unwrap_or_else(|failure| unreachable!("{failure}"));
            lines(&world)
        })
        .collect();
    seen.sort();
    seen.dedup();
    seen
}

/// A worker leaves its client to a child, which inherits the channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ConnectionOfChild;

impl Program for ConnectionOfChild {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        match event {
            Event::Message { worker, .. } => primary.kill(worker, Signal::SIGKILL),
            Event::Exit { worker, .. } => {
                let life = primary.worker(worker).expect("an entry until the disconnect");
                process.observe(format!("exit {}", life.is_connected()));
            }
            Event::Disconnect { .. } => process.observe("disconnect"),
            _ => {}
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        worker.listen(tcp(4000).into());
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        match event {
            WorkerEvent::Listening { listener, .. } => {
                worker.accept(listener);
                process.notify_driver("serves");
            }
            WorkerEvent::Connection { connection, .. } => {
                process.leave_child(connection);
                worker.send("ready").expect("the channel is open");
            }
            _ => {}
        }
    }

    fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, _: &str) {
        driver.connect(4000);
    }

    fn observed(&mut self, driver: &mut Driver<'_>, _: Actor, text: &str) {
        if text == "exit true" {
            driver.end(ClientId(1));
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        if event == ClientEvent::End {
            driver.observe(client, "end");
        }
    }
}

#[test]
fn inherited_channel_delays_the_disconnect() {
    let (exit, disconnect, end) = ("primary: exit true", "primary: disconnect", "client 1: end");
    assert_eq!(seen(&ConnectionOfChild), [[exit, end, disconnect], [exit, disconnect, end]]);
}

/// A primary has no free descriptor for its first client, until the driver removes the limit.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct StarvedPrimary;

impl Program for StarvedPrimary {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
    }

    fn primary_event(&mut self, _: &mut Primary, process: &mut Process<'_>, event: Event) {
        match event {
            Event::Listening { .. } => {
                process.limit_descriptors(Some(0));
                process.notify_driver("serves");
            }
            Event::AcceptFailed { errno } => process.observe(errno.to_string()),
            _ => {}
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        worker.listen(tcp(4000).into());
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        match event {
            WorkerEvent::Listening { listener, .. } => worker.accept(listener),
            WorkerEvent::Connection { connection, .. } => {
                process.observe("served");
                process.close(connection);
            }
            _ => {}
        }
    }

    fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, _: &str) {
        driver.connect(4000);
    }

    fn observed(&mut self, driver: &mut Driver<'_>, _: Actor, text: &str) {
        if text == "EMFILE" {
            driver.limit_descriptors(Actor::Primary, None);
        }
    }
}

#[test]
fn starved_primary_reports_one_failure() {
    assert_eq!(seen(&StarvedPrimary), [["primary: EMFILE", "worker 1: served"]]);
}

/// A worker keeps its connection while the whole cluster exits. A second client connects meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct LateClient {
    port: u16,
}

impl Program for LateClient {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        match event {
            Event::Listening { address, .. } => process.notify_driver(address.port.to_string()),
            Event::Message { message, .. } if message == json!(1) => primary.disconnect_all(),
            // The calls of `disconnect` are performed before this event.
            Event::Message { .. } => process.observe("disconnected"),
            _ => {}
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        worker.listen(ListenOptions::from(tcp(0)));
    }

    fn worker_event(&mut self, worker: &mut Worker, _: &mut Process<'_>, event: WorkerEvent) {
        match event {
            WorkerEvent::Listening { listener, .. } => worker.accept(listener),
            WorkerEvent::Connection { listener, .. } => {
                for number in 1..=2 {
                    worker.send(json!(number)).expect("the channel has room");
                }
                worker.accept(listener);
            }
            _ => {}
        }
    }

    fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, port: &str) {
        self.port = port.parse().expect("a port number");
        driver.connect(self.port);
    }

    fn observed(&mut self, driver: &mut Driver<'_>, observer: Actor, _: &str) {
        if observer == Actor::Primary {
            driver.connect(self.port);
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        if client == ClientId(2) {
            driver.observe(client, format!("{event:?}"));
            driver.end(ClientId(1));
        }
    }
}

/// With and without `keep_listening` the client is refused at once: it is not accepted and reset later.
#[test]
fn client_after_disconnect_is_refused() {
    for (keep_listening, seed) in (0..200).flat_map(|seed| [(false, seed), (true, seed)]) {
        let settings = Settings { keep_listening, ..Settings::default() };
        let mut world = World::new(LateClient::default(), settings).on(Schedule::seed(seed));
        assert_eq!(world.run().map_err(|failure| failure.to_string()), Ok(()), "seed {seed}");
        let mut seen = world.observations().filter(|line| line.observer == Actor::Client(ClientId(2)));
        assert_eq!(seen.next().map(|line| &*line.text), Some("Refused"), "seed {seed}");
    }
}
