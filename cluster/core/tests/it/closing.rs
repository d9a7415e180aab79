//! Servers and channels closed during an operation: nothing is lost.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use cluster_core::testing::{TestCluster, TestOs, TestProcess};
use cluster_core::{
    Call, ChannelId, Event, HandleType, Limits, ListenOptions, ListenerId, LocalAddress, Machine, OsEvent,
    OutgoingHandle, Output, Primary, SchedulingPolicy, Sent, Serialization, Settings, SocketId, Worker,
    WorkerId,
};
use serde_json::json;

const ONE: WorkerId = WorkerId(1);
const TWO: WorkerId = WorkerId(2);
/// The first socket a primary binds.
const BOUND: SocketId = SocketId(1);
const LISTENER: ListenerId = ListenerId(1);

/// A server closed before the answer leaves the next server of the address open.
#[test]
fn early_close_spares_next_server() {
    let mut cluster = TestCluster::new(Settings { keep_listening: true, ..Settings::default() });
    cluster.fork(1);
    let early = cluster.worker(ONE).listen(ListenOptions::default());
    cluster.worker(ONE).close(early);
    let late = cluster.worker(ONE).listen(ListenOptions::default());
    cluster.settle();
    cluster.worker(ONE).accept(late);
    // Socket 1 was bound for the closed server, socket 2 for the open server.
    cluster.connect(SocketId(2));
    assert_eq!(cluster.connections(ONE).len(), 1);
}

/// A shared socket that was closed is not sent to workers that have asked before.
#[test]
fn closed_shared_socket_is_not_sent() {
    let mut settings = Settings { policy: SchedulingPolicy::Shared, ..Settings::default() };
    settings.limits.congested_bytes = 100;
    let mut cluster = TestCluster::new(settings);
    cluster.fork(1);
    // The worker asks twice, and does not acknowledge the first socket. The second answer is therefore
    // blocked.
    cluster.processes.clear();
    cluster.take_events();
    for index in [7, 8] {
        let query = format!(
            r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":{index},"address":null,"port":0,"addressType":4,"seq":{index}}}"#
        );
        cluster.read(ONE, &query, None);
        assert_eq!(cluster.take_events(), []);
    }
    let sent = |cluster: &TestCluster| {
        cluster.os.calls.iter().filter(|call| matches!(call, Call::Write { socket: Some(_), .. })).count()
    };
    cluster.primary.disconnect_worker(ONE);
    cluster.read(ONE, r#"{"cmd":"NODE_HANDLE_ACK"}"#, None);
    assert_eq!(sent(&cluster), 1, "the second socket is closed, and its message is not sent");
    assert!(
        cluster.os.written().last().is_some_and(|said| said.contains("disconnect")),
        "the messages behind the socket are sent"
    );
    let sent = cluster.primary.send(ONE, json!("more"));
    assert_eq!(sent, Ok(Sent::Buffered), "a cancelled frame is not waited for");
}

/// A connection offered to a closed server is handed to another worker.
#[test]
fn closed_server_returns_offers() {
    let mut cluster = TestCluster::new(Settings::default());
    let listeners =
        cluster.fork(2).into_iter().map(|worker| cluster.worker(worker).listen(ListenOptions::default()));
    let listeners: Vec<_> = listeners.collect();
    cluster.settle();
    cluster.worker(TWO).accept(listeners[1]);
    // A client of the first socket. The connection is offered to the first worker, and no application has
    // asked for a connection.
    cluster.connect(SocketId(1));
    assert_eq!(cluster.connections(TWO).len(), 0);
    cluster.worker(ONE).close(listeners[0]);
    cluster.settle();
    assert_eq!((cluster.connections(ONE).len(), cluster.connections(TWO).len()), (0, 1));
}

/// The next call of a worker.
fn asked(worker: &mut Worker) -> Option<Call> {
    let mut outputs = std::iter::from_fn(|| worker.poll());
    outputs.find_map(|output| if let Output::Call(call) = output { Some(call) } else { None })
}

/// A worker with a full channel: the kernel has taken a part of the first line, and has no room for the rest.
/// Returns the rest.
fn with_a_full_channel() -> (Worker, Vec<u8>) {
    let mut worker = Worker::new(ONE, Serialization::Json, Limits::default());
    let Some(Call::Write { channel, bytes, socket: None }) = asked(&mut worker) else {
        unreachable!("it is online")
    };
    let rest = bytes[1..].to_vec();
    worker.handle(OsEvent::Wrote { channel, rest: rest.clone() });
    (worker, rest)
}

/// Delivers a line of the primary.
fn deliver_line(worker: &mut Worker, line: &str) {
    let bytes = format!("{line}\n").into_bytes();
    worker.handle(OsEvent::Read { channel: ChannelId::PRIMARY, bytes, socket: None });
}

const LEAVE: &str = r#"{"cmd":"NODE_CLUSTER","act":"disconnect","seq":1}"#;

/// A channel closes after the last byte is written.
#[test]
fn channel_closes_after_last_byte() {
    let channel = ChannelId::PRIMARY;
    let (mut worker, unsent) = with_a_full_channel();
    deliver_line(&mut worker, LEAVE);
    assert_eq!(asked(&mut worker), None, "it has no room, and does not close over it");
    worker.handle(OsEvent::Writable { channel });
    assert_eq!(asked(&mut worker), Some(Call::Write { channel, bytes: unsent, socket: None }));
    worker.handle(OsEvent::Wrote { channel, rest: Vec::new() });
    assert_eq!(asked(&mut worker), Some(Call::CloseChannel { channel }));
}

/// A channel closes after the last socket is acknowledged.
#[test]
fn channel_closes_after_last_socket() {
    let channel = ChannelId::PRIMARY;
    let (mut worker, _) = with_a_full_channel();
    worker.handle(OsEvent::Writable { channel });
    let written = |worker: &mut Worker| {
        let Some(Call::Write { socket, .. }) = asked(worker) else {
            unreachable!("there is a line to write")
        };
        worker.handle(OsEvent::Wrote { channel, rest: Vec::new() });
        socket
    };
    assert_eq!(written(&mut worker), None);
    let passing = OutgoingHandle { socket: SocketId(77), kind: HandleType::Socket, keep_open: false };
    worker.send_with(json!("last"), passing).expect("an open channel");
    assert_eq!(written(&mut worker), Some(passing.socket));
    deliver_line(&mut worker, LEAVE);
    assert_eq!(asked(&mut worker), None, "it waits for the answer");
    deliver_line(&mut worker, r#"{"cmd":"NODE_HANDLE_NACK"}"#);
    assert_eq!(written(&mut worker), Some(passing.socket), "the socket is sent again");
    deliver_line(&mut worker, r#"{"cmd":"NODE_HANDLE_ACK"}"#);
    let last: Vec<Call> = std::iter::from_fn(|| asked(&mut worker)).collect();
    assert_eq!(last, [Call::Close { socket: passing.socket }, Call::CloseChannel { channel }]);
}

/// A socket is sent with the first byte of the frame, and not again with the rest.
#[test]
fn socket_is_sent_with_first_byte() {
    let channel = ChannelId::PRIMARY;
    let mut worker = Worker::new(ONE, Serialization::Json, Limits::default());
    asked(&mut worker).expect("an online worker");
    worker.handle(OsEvent::Wrote { channel, rest: Vec::new() });
    let passing = OutgoingHandle { socket: SocketId(77), kind: HandleType::Socket, keep_open: false };
    worker.send_with(json!("take it"), passing).expect("an open channel");
    let mut offered = Vec::new();
    // The kernel accepts no byte of the line, then the first byte, then the rest.
    for taken in [0, 1, usize::MAX] {
        let Some(Call::Write { bytes, socket, .. }) = asked(&mut worker) else { unreachable!("it writes") };
        offered.push(socket);
        let rest = bytes.get(taken..).unwrap_or_default().to_vec();
        worker.handle(OsEvent::Wrote { channel, rest });
        worker.handle(OsEvent::Writable { channel });
    }
    assert_eq!(offered, [Some(passing.socket), Some(passing.socket), None]);
}

/// Workers listening on one port; the first asks for a connection.
fn serving(settings: Settings, workers: usize) -> TestCluster {
    let mut cluster = TestCluster::serving(settings, workers, &ListenOptions::default());
    cluster.worker(ONE).accept(LISTENER);
    cluster.settle();
    cluster
}

/// The last socket at which the primary resumed accepting.
fn last_listener(cluster: &TestCluster) -> Option<SocketId> {
    let resumed = |call: &Call| if let Call::ResumeAccept { socket } = call { Some(*socket) } else { None };
    cluster.os.calls.iter().rev().find_map(resumed)
}

/// A worker forked after `disconnect_all` listens on a new socket, which `keep_listening` keeps until the
/// next call.
#[test]
fn worker_after_disconnect_binds_again() {
    let mut cluster = serving(Settings { keep_listening: true, ..Settings::default() }, 1);
    cluster.connect(BOUND);
    cluster.primary.disconnect_all();
    cluster.fork(1);
    cluster.worker(TWO).listen(ListenOptions::default());
    cluster.settle();
    cluster.worker(TWO).accept(LISTENER);
    let connection = cluster.connections(ONE)[0];
    cluster.worker(ONE).release(connection);
    cluster.settle();
    assert!(cluster.events.contains(&Event::AllDisconnected));
    let again = last_listener(&cluster).expect("the second worker listens");
    cluster.connect(again);
    assert_eq!(cluster.connections(TWO).len(), 1);
    cluster.kill(TWO);
    assert!(!cluster.os.calls.contains(&Call::Close { socket: again }));
    cluster.primary.disconnect_all();
    cluster.settle();
    assert!(cluster.os.calls.contains(&Call::Close { socket: again }));
}

/// After `disconnect_all` a socket closes at once, because no worker follows: with and without
/// `keep_listening`, under both policies, while a worker drains, and while the address is still being bound.
#[test]
fn disconnect_closes_every_listening_socket() {
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        for keep_listening in [false, true] {
            let settings = Settings { policy, keep_listening, ..Settings::default() };
            let mut cluster = serving(settings, 2);
            if policy == SchedulingPolicy::RoundRobin {
                cluster.connect(BOUND);
                assert_eq!(
                    cluster.connections(ONE).len(),
                    1,
                    "the connection of worker 1 keeps it from exiting"
                );
            }
            cluster.primary.disconnect_all();
            while cluster_core::pump(&mut cluster.primary, &mut cluster.os).is_some() {}
            let closes = cluster.os.calls.iter().filter(|call| **call == Call::Close { socket: BOUND });
            assert_eq!(closes.count(), 1, "{policy:?}, keep_listening: {keep_listening}");
        }
    }
}

/// If the kernel's answer to the bind arrives after `disconnect_all`, the socket is closed without use.
#[test]
fn disconnect_while_binding_leaves_no_socket() {
    let mut primary = Primary::new(Settings { keep_listening: true, ..Settings::default() });
    primary.fork().expect("the settings are valid");
    let mut primary = TestProcess::on(primary, TestOs::withholding_binds());
    let query = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":0,"addressType":4,"backlog":0,"seq":1}"#;
    primary.read(ONE.into(), query, None);
    let Some(Call::Bind { handle, .. }) = primary.os.take_calls().pop() else { unreachable!("it binds") };
    primary.machine.disconnect_all();
    primary.drain();
    let address = LocalAddress::Ip("127.0.0.1:4000".parse().expect("an address"));
    primary.handle(OsEvent::Bound { handle, socket: BOUND, address });
    let mut calls = primary.os.take_calls();
    calls.retain(|call| !matches!(call, Call::Write { .. }));
    assert_eq!(calls, [Call::Close { socket: BOUND }]);
}
