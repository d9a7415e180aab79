//! The open connections of workers in the primary: reports in acknowledgements and in messages, and the
//! policies that compare workers.

use cluster_core::testing::{Answer, TestCluster};
use cluster_core::{
    Call, ChannelId, Event, ListenAddress, Machine, OsEvent, SchedulingPolicy, Settings, SocketId, WorkerId,
};

use crate::listening::{BOUND, LISTENER, ONE, TWO, serving};

fn cluster(policy: SchedulingPolicy) -> TestCluster {
    let mut cluster = serving(Settings { policy, ..Settings::default() }, &ListenAddress::any(80).into());
    accept(&mut cluster);
    cluster
}

/// Each worker is ready for a connection.
fn accept(cluster: &mut TestCluster) {
    for worker in [ONE, TWO] {
        cluster.worker(worker).accept(LISTENER);
    }
    cluster.settle();
}

/// Accepts connections one after another.
fn connect(cluster: &mut TestCluster, count: usize) {
    for _ in 0..count {
        cluster.connect(BOUND);
        accept(cluster);
    }
}

/// The program of a worker closes all its connections.
fn close_all(cluster: &mut TestCluster, worker: WorkerId) {
    for connection in cluster.connections(worker) {
        cluster.worker(worker).release(connection);
    }
    cluster.settle();
}

/// Lets time pass for a worker until its timer fires. Returns whether a timer was set.
fn wait(cluster: &mut TestCluster, worker: WorkerId) -> bool {
    let process = cluster.processes.get_mut(&worker).expect("a live worker");
    let Some(timer) = process.os.next_timer(None) else { return false };
    cluster.worker(worker).handle(timer);
    cluster.settle();
    true
}

/// The messages that a worker has sent.
fn sent(cluster: &TestCluster, worker: WorkerId) -> String {
    let writes = cluster.processes[&worker].os.calls.iter().filter_map(|call| match call {
        Call::Write { bytes, .. } => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    writes.collect()
}

fn open(cluster: &TestCluster) -> [Option<u64>; 2] {
    [ONE, TWO].map(|worker| cluster.primary.worker(worker).expect("a worker").open_connections())
}

fn received(cluster: &TestCluster) -> [usize; 2] {
    [ONE, TWO].map(|worker| cluster.connections(worker).len())
}

/// An acknowledgement has the number of open connections, including the acknowledged one.
#[test]
fn acknowledgement_reports_load() {
    let mut cluster = cluster(SchedulingPolicy::LeastConnections);
    assert_eq!(open(&cluster), [None, None]);
    connect(&mut cluster, 4);
    assert!(sent(&cluster, ONE).contains(r#""accepted":true,"count":2,"#), "{}", sent(&cluster, ONE));
    assert_eq!((open(&cluster), received(&cluster)), ([Some(2), Some(2)], [2, 2]));
}

/// A worker that has closed connections reports the number after the delay, once, and receives the next
/// connections.
#[test]
fn quiet_worker_reports_closes() {
    let mut cluster = cluster(SchedulingPolicy::LeastConnections);
    connect(&mut cluster, 4);
    close_all(&mut cluster, TWO);
    assert_eq!(open(&cluster), [Some(2), Some(2)], "before the delay");
    assert!(wait(&mut cluster, TWO));
    assert_eq!(open(&cluster), [Some(2), Some(0)]);
    assert_eq!(sent(&cluster, TWO).matches("NODE_CLUSTER_LOAD").count(), 1);
    assert!(!wait(&mut cluster, TWO), "nothing has changed");
    connect(&mut cluster, 2);
    assert_eq!(received(&cluster), [2, 4]);
}

/// An acknowledgement within the delay makes the message unnecessary.
#[test]
fn acknowledgement_replaces_message() {
    let mut cluster = cluster(SchedulingPolicy::LeastConnections);
    connect(&mut cluster, 2);
    for worker in [ONE, TWO] {
        close_all(&mut cluster, worker);
    }
    connect(&mut cluster, 2);
    for worker in [ONE, TWO] {
        assert!(wait(&mut cluster, worker));
        assert!(!sent(&cluster, worker).contains("NODE_CLUSTER_LOAD"));
    }
}

/// While the channel is full no report waits. When the channel is empty again, one report follows.
#[test]
fn full_channel_delays_report() {
    let mut cluster = cluster(SchedulingPolicy::LeastConnections);
    connect(&mut cluster, 2);
    let writes = |cluster: &mut TestCluster, answer| {
        cluster.processes.get_mut(&ONE).expect("a live worker").os.writes = answer;
    };
    writes(&mut cluster, Answer::Withheld);
    cluster.worker(ONE).send("a message").expect("an open channel");
    cluster.settle();
    close_all(&mut cluster, ONE);
    assert!(!wait(&mut cluster, ONE), "no timer while the channel is full");
    writes(&mut cluster, Answer::Success);
    cluster.worker(ONE).handle(OsEvent::Wrote { channel: ChannelId::PRIMARY, rest: Vec::new() });
    cluster.settle();
    assert!(wait(&mut cluster, ONE));
    assert_eq!(open(&cluster)[0], Some(0));
}

/// Under round robin and sticky, the primary asks for no report, and no worker reports.
#[test]
fn node_policies_ask_no_reports() {
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Sticky] {
        let mut cluster = cluster(policy);
        connect(&mut cluster, 4);
        for worker in [ONE, TWO] {
            close_all(&mut cluster, worker);
            assert!(!wait(&mut cluster, worker));
            assert!(!sent(&cluster, worker).contains("count"));
            assert!(!sent(&cluster, worker).contains("NODE_CLUSTER_LOAD"));
        }
        assert_eq!(open(&cluster), [None, None]);
    }
}

/// A value of a report that this library does not send is ignored, and the largest number does not overflow.
#[test]
fn strange_reports_are_harmless() {
    let mut cluster = cluster(SchedulingPolicy::LeastConnections);
    connect(&mut cluster, 2);
    cluster.take_events();
    for value in ["-1", "0.5", "1e300", "null", "true", "\"many\"", "[]", "{}", "18446744073709551616"] {
        cluster.read(ONE, &format!(r#"{{"cmd":"NODE_CLUSTER_LOAD","count":{value}}}"#), None);
        assert_eq!(open(&cluster), [Some(1), Some(1)], "{value}");
    }
    cluster.read(ONE, r#"{"cmd":"NODE_CLUSTER_LOAD"}"#, None);
    cluster.read(ONE, r#"{"cmd":"NODE_CLUSTER_LOAD","count":9007199254740991,"seq":"x"}"#, None);
    cluster.read(ONE, r#"{"cmd":"NODE_CLUSTER_LOAD","count":9007199254740991}"#, None);
    assert_eq!(open(&cluster), [Some(9_007_199_254_740_991), Some(1)]);
    connect(&mut cluster, 3);
    assert_eq!(received(&cluster), [1, 4]);
    let errors = cluster.take_events();
    assert!(!errors.iter().any(|event| matches!(event, Event::Error { .. })), "{errors:?}");
}

/// A worker that reports nothing, as Node does, counts as a worker without open connections: the connections
/// rotate.
#[test]
fn silent_workers_take_turns() {
    let mut cluster = cluster(SchedulingPolicy::LeastConnections);
    let offers = |cluster: &TestCluster| {
        let writes = cluster.os.calls.iter().filter_map(|call| match call {
            Call::Write { channel: ChannelId(worker), socket: Some(_), .. } => Some(*worker),
            _ => None,
        });
        writes.collect::<Vec<u64>>()
    };
    // The workers of this test answer without a number, so their machines are bypassed.
    cluster.processes.clear();
    cluster.os.take_calls();
    for connection in 0..4 {
        cluster.handle(OsEvent::Accepted {
            listener: BOUND,
            socket: SocketId(1_000 + connection),
            client: None,
        });
        let worker = WorkerId(*offers(&cluster).last().expect("an offer"));
        cluster.read(worker, r#"{"cmd":"NODE_HANDLE_ACK"}"#, None);
        let offer = cluster.os.written().pop().expect("a line");
        let offer: serde_json::Value = serde_json::from_str(&offer).expect("JSON");
        let seq = &offer["msg"]["seq"];
        let answer = format!(r#"{{"cmd":"NODE_CLUSTER","ack":{seq},"accepted":true,"seq":9}}"#);
        cluster.read(worker, &answer, None);
    }
    assert_eq!(offers(&cluster), [1, 2, 1, 2]);
    assert_eq!(open(&cluster), [None, None]);
}
