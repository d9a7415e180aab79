//! Machines with large counters: near the ends of 32-bit counters, of Node's numbers, and of all numbers. The
//! counters of the operating systems are tested elsewhere.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use std::collections::BTreeSet;

use cluster_core::testing::TestCluster;
use cluster_core::{
    Call, Event, HandleId, Limits, ListenAddress, ListenOptions, ListenerId, Serialization, Settings,
    SpawnOptions, TimerId, WorkerEvent, WorkerId,
};

/// Numbers shortly before the end of a type: 31 and 32 bits, a double, 63 bits, 64 bits. Message numbers end
/// at 2^53, because a double does not distinguish greater numbers from their neighbours.
const NEAR_ENDS: [u64; 5] = [(1 << 31) - 8, (1 << 32) - 8, (1 << 53) - 8, (1 << 63) - 8, u64::MAX - 1_000];

/// A cluster of two workers with every counter continued after `last`.
fn counted(last: u64, serialization: Serialization) -> TestCluster {
    let command = SpawnOptions::new().exec_argv(["--inspect"]).serialization(serialization);
    let mut cluster = TestCluster::new(Settings { spawn: command, ..Settings::default() });
    cluster.primary.count_after(last);
    cluster.primary.count_workers_after(WorkerId(last));
    cluster.os.count_after(last);
    for worker in cluster.fork(2) {
        cluster.worker(worker).count_after(last);
        cluster.processes.get_mut(&worker).expect("a live worker").os.count_after(last);
    }
    cluster
}

/// Makes every worker listen on an exclusive port and on a shared port. Returns the listeners of the first
/// worker.
fn listen(cluster: &mut TestCluster) -> Vec<ListenerId> {
    let workers: Vec<WorkerId> = cluster.primary.workers().collect();
    let mut listeners = Vec::new();
    for worker in &workers {
        for port in [80, 81, 82] {
            let address = ListenAddress::Tcp { host: None, port, ipv6_only: false };
            listeners
                .push(cluster.worker(*worker).listen(ListenOptions { address, ..ListenOptions::default() }));
        }
        cluster.settle();
    }
    listeners.truncate(3);
    listeners
}

/// Serves a number of connections at the first socket, in rotation.
fn serve(cluster: &mut TestCluster, listener: ListenerId, count: usize) -> usize {
    let bound = cluster.os.last_bound().expect("something is bound");
    let workers: Vec<WorkerId> = cluster.primary.workers().collect();
    let before: usize = workers.iter().map(|worker| cluster.connections(*worker).len()).sum();
    for _ in 0..count {
        for worker in &workers {
            cluster.worker(*worker).accept(listener);
        }
        cluster.settle();
        cluster.connect(bound);
    }
    workers.iter().map(|worker| cluster.connections(*worker).len()).sum::<usize>() - before
}

/// Connections are served, and workers listen, exit and are replaced, across each end.
#[test]
fn counters_serve_across_old_ends() {
    for serialization in [Serialization::Json, Serialization::Advanced] {
        for last in NEAR_ENDS {
            let mut cluster = counted(last, serialization);
            let listeners = listen(&mut cluster);
            let listening = |event: &&Event| matches!(event, Event::Listening { .. });
            assert_eq!(cluster.events.iter().filter(listening).count(), 6, "{last}: {:?}", cluster.events);
            assert_eq!(serve(&mut cluster, listeners[2], 40), 40, "{last}, {serialization:?}");
            let first = cluster.primary.workers().next().expect("two workers live");
            cluster.kill(first);
            assert_eq!(cluster.fork(1), [WorkerId(last + 3)]);
            let errors = cluster.events.iter().filter(|event| matches!(event, Event::Error { .. }));
            assert_eq!(errors.count(), 0, "{last}: {:?}", cluster.events);
        }
    }
}

/// No id of any kind is used twice across an end.
#[test]
fn counters_never_repeat_an_id() {
    for last in NEAR_ENDS {
        let mut cluster = counted(last, Serialization::Json);
        listen(&mut cluster);
        let handles: Vec<HandleId> = cluster.os.calls.iter().filter_map(handle).collect();
        let unique: BTreeSet<HandleId> = handles.iter().copied().collect();
        assert_eq!((handles.len(), unique.len()), (3, 3), "{handles:?}");
        assert!(unique.iter().all(|HandleId(id)| *id > last), "{last}: {handles:?}");
        let listening =
            cluster.processes.values().flat_map(|process| &process.events).filter_map(|event| match event {
                WorkerEvent::Listening { listener, .. } => Some(listener.0),
                _ => None,
            });
        assert_eq!(listening.collect::<Vec<_>>(), [1, 2, 3, 1, 2, 3].map(|n| last + n));
    }
}

fn handle(call: &Call) -> Option<HandleId> {
    if let Call::Bind { handle, .. } = call { Some(*handle) } else { None }
}

/// After declining a connection, a worker receives the next offer after a pause, and no timer number is used
/// twice.
#[test]
fn counters_number_retries_across_ends() {
    for last in NEAR_ENDS {
        let mut cluster = TestCluster::new(Settings::default());
        cluster.primary.count_after(last);
        let worker = cluster.fork(1)[0];
        let options = ListenOptions { max_connections: Some(0), ..ListenOptions::default() };
        cluster.worker(worker).listen(options);
        cluster.settle();
        let bound = cluster.os.last_bound().expect("a bound listener");
        cluster.connect(bound);
        let mut timers = BTreeSet::new();
        for _ in 0..20 {
            let set = cluster.os.calls.iter().rev().find_map(|call| match call {
                Call::SetTimer { timer, .. } => Some(*timer),
                _ => None,
            });
            let timer = set.expect("a retry is set");
            assert!(timer > TimerId(last) && timers.insert(timer), "{timer:?} of {timers:?}");
            cluster.handle(cluster_core::OsEvent::Timer { timer });
        }
    }
}

/// The inspector ports continue where they were, and wrap inside the range of ports.
#[test]
fn counters_keep_inspector_ports_in_range() {
    for last in NEAR_ENDS {
        let mut cluster = counted(last, Serialization::Json);
        cluster.fork(20);
        let ports = cluster.os.calls.iter().filter_map(|call| match call {
            Call::Spawn { options, .. } => {
                options.exec_argv.as_deref().unwrap_or_default().last().map(ToString::to_string)
            }
            _ => None,
        });
        let ports: Vec<u16> =
            ports.map(|port| port["--inspect-port=".len()..].parse().expect("a port")).collect();
        assert!(ports.len() == 22 && ports.iter().all(|port| *port >= 1024), "{last}: {ports:?}");
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 22, "{last}: {ports:?}");
    }
}

/// A counter beyond the requested number is unchanged.
#[test]
fn counters_never_turn_back() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(3);
    cluster.primary.count_workers_after(WorkerId(1));
    assert_eq!(cluster.fork(1), [WorkerId(4)]);
    let limits = Limits::default();
    let mut worker = cluster_core::Worker::new(WorkerId(1), Serialization::Json, limits);
    let first = worker.listen(ListenOptions::default());
    worker.count_after(0);
    assert!(worker.listen(ListenOptions::default()) > first);
}

/// Message numbers continue after `last`, at the latest a million before 2^53.
#[test]
fn counters_number_messages_below_doubles() {
    for (last, first) in
        [(0, 1), (100, 101), ((1 << 32) - 1, 1_u64 << 32), (u64::MAX, (1 << 53) - 1_000_000 + 1)]
    {
        let mut cluster = TestCluster::new(Settings::default());
        let worker = cluster.fork(1)[0];
        cluster.primary.count_after(last);
        cluster.primary.disconnect_worker(worker);
        cluster.settle();
        let wants = format!(r#""seq":{first}"#);
        let written = |call: &Call| match call {
            Call::Write { bytes, .. } => String::from_utf8_lossy(bytes).contains(&wants),
            _ => false,
        };
        assert!(cluster.os.calls.iter().any(written), "{wants} in {:?}", cluster.os.calls);
    }
}
