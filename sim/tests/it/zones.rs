//! IPv6 addresses in a zone, in whole worlds: a worker listens at such an address, and its clients connect.

use std::net::{SocketAddr, SocketAddrV6};

use cluster_core::{
    Errno, ListenAddress, ListenOptions, Primary, SchedulingPolicy, Settings, Worker, WorkerEvent,
};
use cluster_sim::{
    Actor, ClientEvent, ClientId, Driver, Faults, Process, Program, Schedule, SocketEvent, World,
};

/// A worker that listens at an address, serves one client, and is then disconnected.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ZonedServer {
    options: ListenOptions,
}

impl ZonedServer {
    fn new(host: &str, zone: &str, udp: bool) -> Self {
        let (host, zone) = (host.parse().expect("an address"), zone.to_owned());
        ZonedServer { options: ListenAddress::Zoned { host, zone, port: 0, udp, ipv6_only: false }.into() }
    }

    fn exclusive(mut self) -> Self {
        self.options.exclusive = true;
        self
    }
}

impl Program for ZonedServer {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        worker.listen(self.options.clone());
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        match event {
            WorkerEvent::Listening { listener, address, .. } => {
                process.notify_driver(address.to_string());
                worker.accept(listener);
            }
            WorkerEvent::ListenFailed { error, .. } => {
                process.observe(error.errno.to_string());
                worker.disconnect();
            }
            WorkerEvent::Connection { .. }
            | WorkerEvent::Closed { .. }
            | WorkerEvent::Message { .. }
            | WorkerEvent::LameDuck
            | WorkerEvent::Disconnect
            | WorkerEvent::Error { .. } => {}
        }
    }

    fn worker_socket(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: SocketEvent) {
        match event {
            SocketEvent::Datagram { socket, from, bytes } => {
                process.send_to(socket, from, &bytes);
                worker.disconnect();
            }
            SocketEvent::Data { connection, bytes } => {
                process.write(connection, &bytes);
                process.close(connection);
                worker.disconnect();
            }
            SocketEvent::Ended { connection, .. } => process.close(connection),
            SocketEvent::Accepted { .. } => {}
        }
    }

    fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, address: &str) {
        let to: SocketAddr = address.parse().expect("an address");
        let ListenAddress::Zoned { udp, .. } = self.options.address else { return };
        if udp {
            let client = driver.client();
            driver.observe(client, scope(to));
            driver.send_to(client, to, b"served");
        } else {
            let client = driver.connect_to(to.into());
            driver.observe(client, scope(to));
            driver.send(client, b"served");
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        match event {
            ClientEvent::Data(bytes) | ClientEvent::Datagram { bytes, .. } => {
                driver.observe(client, String::from_utf8_lossy(&bytes).into_owned());
            }
            ClientEvent::Refused => driver.observe(client, "refused"),
            ClientEvent::Connected | ClientEvent::End | ClientEvent::Reset => {}
        }
    }
}

/// The address and the scope, without the port: `fe80::1 2`.
fn scope(address: SocketAddr) -> String {
    let SocketAddr::V6(address) = address else { unreachable!("an IPv4 address: {address}") };
    format!("{} {}", address.ip(), SocketAddrV6::scope_id(&address))
}

/// The observations of a quiet run.
#[track_caller]
fn lines(program: &ZonedServer, policy: SchedulingPolicy) -> Vec<String> {
    let mut world = World::new(program.clone(), Settings { policy, ..Settings::default() });
    assert_eq!(world.run().map_err(|failure| failure.to_string()), Ok(()));
    world.observations().map(|line| format!("{}: {}", line.observer, line.text)).collect()
}

const POLICIES: [SchedulingPolicy; 2] = [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared];

/// Link-local and loopback addresses, by name and by number, bound by the primary or by the worker.
#[test]
fn zoned_server_serves_its_clients() {
    for (host, zone, expected) in [
        ("fe80::1", "eth0", "fe80::1 2"),
        ("fe80::1", "2", "fe80::1 2"),
        ("::1", "lo", "::1 0"),
        ("::1", "1", "::1 0"),
    ] {
        for (policy, udp) in POLICIES.into_iter().flat_map(|policy| [(policy, false), (policy, true)]) {
            let program = ZonedServer::new(host, zone, udp);
            for program in [program.clone(), program.exclusive()] {
                let expected = [format!("client 1: {expected}"), "client 1: served".to_owned()];
                assert_eq!(lines(&program, policy), expected, "{program:?} {policy:?}");
            }
        }
    }
}

#[test]
fn wrong_zone_fails_listen() {
    for (host, zone, expected) in [
        ("fe80::1", "lo", Errno::EADDRNOTAVAIL),
        ("fe80::1", "no such one", Errno::EINVAL),
        ("fe80::1", "7", Errno(19)),
        ("2001:db8::1", "eth0", Errno::EADDRNOTAVAIL),
    ] {
        for policy in POLICIES {
            let program = ZonedServer::new(host, zone, false);
            for program in [program.clone(), program.exclusive()] {
                assert_eq!(
                    lines(&program, policy),
                    [format!("worker 1: {expected}")],
                    "{program:?} {policy:?}"
                );
            }
        }
    }
}

#[test]
fn zoned_server_survives_every_fault() {
    for seed in 0..200 {
        for policy in POLICIES {
            let world = World::new(
                ZonedServer::new("fe80::1", "eth0", seed % 2 == 1),
                Settings { policy, ..Settings::default() },
            );
            let mut world = world.on(Schedule::seed(seed)).with_faults(Faults::swarm(seed));
            assert_eq!(world.run().map_err(|failure| failure.to_string()), Ok(()), "seed {seed}");
        }
    }
}
