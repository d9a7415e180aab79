//! The sticky policy in a cluster.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use crate::listening::{BOUND, LISTENER, ONE, TWO, path, serving};
use cluster_core::testing::TestCluster;
use cluster_core::{ListenAddress, ListenOptions, SchedulingPolicy, Settings, SocketId, WorkerId};

fn sticky(options: &ListenOptions) -> TestCluster {
    let mut cluster = serving(Settings { policy: SchedulingPolicy::Sticky, ..Settings::default() }, options);
    accept(&mut cluster);
    cluster
}

/// Each worker is ready for a connection.
fn accept(cluster: &mut TestCluster) {
    let workers: Vec<WorkerId> = cluster.processes.keys().copied().collect();
    for worker in workers {
        cluster.worker(worker).accept(LISTENER);
    }
    cluster.settle();
}

fn client(host: u8) -> IpAddr {
    Ipv4Addr::new(192, 0, 2, host).into()
}

/// The worker that has received a connection.
fn owner(cluster: &TestCluster, connection: SocketId) -> Option<WorkerId> {
    cluster.processes.keys().copied().find(|worker| {
        let ledger = cluster.primary.ledger();
        ledger.open().all(|(open, _)| open != connection) && !cluster.connections(*worker).is_empty()
    })
}

/// The worker of a connection from each of these clients.
fn owners(cluster: &mut TestCluster, hosts: impl Iterator<Item = u8>) -> Vec<WorkerId> {
    let mut owners = Vec::new();
    for host in hosts {
        for process in cluster.processes.values_mut() {
            process.events.clear();
        }
        let connection = cluster.connect_from(Some(client(host)), BOUND);
        owners.push(owner(cluster, connection).expect("an owner"));
        accept(cluster);
    }
    owners
}

/// Every client keeps the same worker, and every worker has clients.
#[test]
fn sticky_client_keeps_worker() {
    let mut cluster = sticky(&ListenAddress::any(80).into());
    let first = owners(&mut cluster, 0..20);
    assert_eq!(first.iter().copied().collect::<BTreeSet<_>>(), [ONE, TWO].into());
    assert_eq!(owners(&mut cluster, 0..20), first);
}

/// When a worker dies, its queued connections, and its connection without an answer, reach the next worker.
#[test]
fn dead_worker_releases_its_clients() {
    let mut cluster = sticky(&ListenAddress::any(80).into());
    let first = owners(&mut cluster, 0..20);
    let of_one = u8::try_from(first.iter().position(|owner| *owner == ONE).expect("a client")).expect("few");
    // The first is delivered, the second offered, the third queued.
    for _ in 0..3 {
        cluster.connect_from(Some(client(of_one)), BOUND);
    }
    assert_eq!(cluster.primary.ledger().open().count(), 2);
    cluster.kill(ONE);
    for _ in 0..2 {
        accept(&mut cluster);
    }
    assert_eq!(cluster.primary.ledger().open().count(), 0);
}

/// Clients of a Unix socket have no address: the connections rotate.
#[test]
fn path_is_round_robin_under_sticky() {
    let mut cluster = sticky(&path().into());
    for _ in 0..4 {
        cluster.connect(BOUND);
        accept(&mut cluster);
    }
    assert_eq!([ONE, TWO].map(|worker| cluster.connections(worker).len()), [2, 2]);
}
