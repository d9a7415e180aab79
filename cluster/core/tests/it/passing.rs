//! Sockets sent with messages, in both directions: which process owns a socket at every moment, and what
//! happens to a socket that does not arrive.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use cluster_core::testing::TestCluster;
use cluster_core::{
    Call, ChannelError, ConnectionState, Event, ExitStatus, HandleType, IncomingHandle, ListenOptions,
    ListenerId, Machine, Message, MessageError, OsEvent, OutgoingHandle, SendError, Sent, Serialization,
    Settings, SocketId, SpawnOptions, WorkerError, WorkerEvent, WorkerId,
};
use serde_json::json;

const ONE: WorkerId = WorkerId(1);
const TWO: WorkerId = WorkerId(2);
/// A socket of the program's own.
const OWN: SocketId = SocketId(77);

const fn passing(kind: HandleType) -> OutgoingHandle {
    OutgoingHandle { socket: OWN, kind, keep_open: false }
}

const SOCKET: OutgoingHandle = passing(HandleType::Socket);
const KEPT: OutgoingHandle = OutgoingHandle { keep_open: true, ..SOCKET };

fn cluster(workers: usize) -> TestCluster {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(workers);
    cluster.take_events();
    cluster
}

/// How often the primary and the worker have closed the socket.
fn closed(cluster: &TestCluster) -> (usize, usize) {
    let closes = |calls: &[Call]| calls.iter().filter(|call| **call == Call::Close { socket: OWN }).count();
    (closes(&cluster.os.calls), cluster.processes.get(&ONE).map_or(0, |process| closes(&process.os.calls)))
}

/// The lines with sockets to the worker.
fn envelopes(cluster: &TestCluster) -> Vec<String> {
    let carried = cluster.os.calls.iter().filter_map(|call| match call {
        Call::Write { bytes, socket: Some(_), .. } => Some(String::from_utf8_lossy(bytes).trim_end().into()),
        _ => None,
    });
    carried.collect()
}

/// The last line of the primary.
fn last_said(cluster: &TestCluster) -> String {
    cluster.os.written().pop().unwrap_or_default()
}

/// A socket sent to a worker is closed in the primary once acknowledged.
#[test]
fn socket_to_worker_is_closed_here() {
    let mut cluster = cluster(1);
    assert_eq!(cluster.primary.send_with(ONE, json!("take it"), SOCKET), Ok(Sent::Buffered));
    cluster.settle();
    let handle = Some(IncomingHandle { socket: OWN, kind: HandleType::Socket });
    let message = WorkerEvent::Message { message: json!("take it").into(), handle };
    assert_eq!(cluster.processes[&ONE].events, [message]);
    assert_eq!(closed(&cluster), (1, 0));
}

/// A socket sent to the primary is closed in the worker once acknowledged.
#[test]
fn socket_to_primary_is_closed_there() {
    let mut cluster = cluster(1);
    assert_eq!(cluster.worker(ONE).send_with(json!("take it"), SOCKET), Ok(Sent::Buffered));
    cluster.settle();
    let handle = Some(IncomingHandle { socket: OWN, kind: HandleType::Socket });
    assert_eq!(cluster.events, [Event::Message { worker: ONE, message: json!("take it").into(), handle }]);
    assert_eq!(closed(&cluster), (0, 1));
}

/// Node's other serialization behaves like JSON.
#[test]
fn advanced_serialization_works() {
    let advanced = SpawnOptions::new().serialization(Serialization::Advanced);
    let mut cluster = TestCluster::new(Settings::default());
    cluster.primary.setup(advanced);
    cluster.fork(1);
    let listener = cluster.worker(ONE).listen(ListenOptions::default());
    cluster.worker(ONE).accept(listener);
    cluster.worker(ONE).send_with(json!({"up": ["\u{fc}", -1.5, null]}), SOCKET).expect("an open channel");
    cluster.primary.send(ONE, json!("down")).expect("an open channel");
    cluster.settle();
    let connection = cluster.connect(SocketId(1));
    let got = WorkerEvent::Connection { listener, connection };
    let events = &cluster.processes[&ONE].events;
    let down = |event: &WorkerEvent| matches!(event, WorkerEvent::Message { message, handle: None } if *message == json!("down"));
    assert!(events.iter().any(down) && events.contains(&got), "{events:?}");
    cluster.primary.disconnect_worker(ONE);
    cluster.worker(ONE).release(connection);
    cluster.settle();
    let passed = Some(IncomingHandle { socket: OWN, kind: HandleType::Socket });
    let up = json!({"up": ["\u{fc}", -1.5, null]});
    let events = cluster.take_events();
    let is_up = |event: &Event| matches!(event, Event::Message { worker: ONE, message, handle } if *message == up && *handle == passed);
    assert!(events.iter().any(is_up) && events.contains(&Event::Disconnect { worker: ONE }), "{events:?}");
    let written = cluster.os.calls.iter().filter_map(|call| match call {
        Call::Write { bytes, .. } => Some(bytes),
        _ => None,
    });
    for frame in written {
        let length = u32::try_from(frame.len() - 4).expect("a short value").to_be_bytes();
        assert_eq!((&frame[..4], &frame[4..6]), (&length[..], &[0xFF, 15][..]));
    }
}

/// A message of 10,000 levels is too deep for a JSON value, but not for a channel: it is forwarded unchanged.
#[test]
fn deep_messages_are_forwarded() {
    const DEPTH: usize = 10_000;
    let text = ["[".repeat(DEPTH), "7".into(), "]".repeat(DEPTH)].concat();
    let deep = Message::from_json_text(&*text).expect("JSON");
    for serialization in [Serialization::Json, Serialization::Advanced] {
        let mut cluster = TestCluster::new(Settings::default());
        cluster.primary.setup(SpawnOptions::new().serialization(serialization));
        cluster.fork(1);
        cluster.primary.send_with(ONE, &deep, SOCKET).expect("an open channel");
        cluster.settle();
        let [WorkerEvent::Message { message, .. }] = &cluster.processes[&ONE].events[..] else {
            unreachable!("{:?}", cluster.events)
        };
        assert_eq!(message.serialization(), serialization);
        assert_eq!(
            (message.json(), message.json_text().as_deref()),
            (Err(MessageError::TooDeep), Ok(&*text))
        );
        let message = message.clone();
        cluster.worker(ONE).send(message).expect("an open channel");
        cluster.settle();
        let events = cluster.take_events();
        let Some(Event::Message { message, .. }) = events.last() else { unreachable!("{events:?}") };
        assert_eq!(message.json_text().as_deref(), Ok(&*text));
    }
}

#[test]
fn unreadable_message_is_not_sent() {
    let mut settings = Settings::default();
    settings.limits.message_bytes = 100;
    let mut cluster = TestCluster::new(settings);
    cluster.fork(1);
    assert_eq!(
        cluster.primary.send_with(ONE, json!("x".repeat(99)), SOCKET),
        Err(SendError::TooLong { limit: 100 })
    );
    assert_eq!(
        cluster.primary.send_with(ONE, json!("short"), SOCKET),
        Ok(Sent::Buffered),
        "the socket is still ours"
    );
}

/// Each handle type has Node's envelope, and arrives as sent.
#[test]
fn handle_types_survive_the_wire() {
    for (kind, envelope) in [
        (HandleType::Native, r#"{"cmd":"NODE_HANDLE","type":"net.Native","msg":1}"#),
        (HandleType::Server, r#"{"cmd":"NODE_HANDLE","type":"net.Server","msg":1}"#),
        (HandleType::Socket, r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":1}"#),
        (HandleType::DatagramNative, r#"{"cmd":"NODE_HANDLE","type":"dgram.Native","msg":1}"#),
        (
            HandleType::Datagram { v6: true },
            r#"{"cmd":"NODE_HANDLE","type":"dgram.Socket","dgramType":"udp6","msg":1}"#,
        ),
    ] {
        let mut cluster = cluster(1);
        cluster.primary.send_with(ONE, json!(1), passing(kind)).expect("an open channel");
        cluster.settle();
        assert_eq!(envelopes(&cluster), [envelope]);
        let handle = Some(IncomingHandle { socket: OWN, kind });
        assert_eq!(
            cluster.processes[&ONE].events,
            [WorkerEvent::Message { message: json!(1).into(), handle }]
        );
    }
}

/// A socket with `keep_open` stays open and can be sent to every worker.
#[test]
fn kept_socket_can_be_sent_again() {
    let mut cluster = cluster(2);
    for worker in [ONE, TWO, ONE] {
        assert_eq!(cluster.primary.send_with(worker, json!(1), KEPT), Ok(Sent::Buffered));
    }
    cluster.settle();
    assert_eq!(envelopes(&cluster).len(), 3);
    assert_eq!(closed(&cluster), (0, 0));
    // The last send may be without `keep_open`; the socket is closed once every worker has a copy.
    cluster.primary.send_with(ONE, json!(2), KEPT).expect("an open channel");
    cluster.primary.send_with(TWO, json!(2), SOCKET).expect("an owned socket");
    cluster.settle();
    assert_eq!(closed(&cluster), (1, 0));
}

/// A socket sent without `keep_open` cannot be sent again.
#[test]
fn sent_socket_cannot_be_resent() {
    let mut cluster = cluster(2);
    cluster.primary.send_with(ONE, json!(1), SOCKET).expect("an open channel");
    assert_eq!(cluster.primary.send_with(TWO, json!(1), SOCKET), Err(SendError::HandleAlreadySent));
    cluster.settle();
    assert_eq!((envelopes(&cluster).len(), closed(&cluster)), (1, (1, 0)));
}

/// When a send fails, the caller keeps the socket.
#[test]
fn failed_send_returns_socket() {
    let mut cluster = cluster(1);
    let reserved = json!({"cmd": "NODE_X"});
    assert_eq!(cluster.primary.send_with(ONE, &reserved, SOCKET), Err(SendError::Reserved));
    assert_eq!(cluster.primary.send_with(TWO, json!(1), SOCKET), Err(SendError::UnknownWorker));
    cluster.worker(ONE).disconnect();
    cluster.settle();
    assert_eq!(cluster.primary.send_with(ONE, json!(1), SOCKET), Err(SendError::Closed));
    assert_eq!(closed(&cluster), (0, 0));
}

/// Node: `send()` returns true for the first message that waits for a descriptor, and false for the others.
#[test]
fn second_blocked_message_is_congestion() {
    let mut cluster = cluster(1);
    let sent = [(); 3].map(|()| cluster.primary.send_with(ONE, json!(1), KEPT));
    assert_eq!(sent, [Ok(Sent::Buffered), Ok(Sent::Buffered), Ok(Sent::Congested)]);
    cluster.settle();
    assert_eq!(cluster.primary.send(ONE, json!(1)), Ok(Sent::Buffered));
}

/// A rejected socket is sent three times more.
#[test]
fn rejected_socket_is_sent_again() {
    let mut cluster = cluster(1);
    cluster.sockets_to_lose = 3;
    cluster.primary.send_with(ONE, json!("first"), SOCKET).expect("an open channel");
    cluster.primary.send(ONE, json!("second")).expect("an open channel");
    cluster.settle();
    let once = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"first"}"#;
    assert_eq!(envelopes(&cluster), [once; 4], "wrapped once each time");
    let handle = Some(IncomingHandle { socket: OWN, kind: HandleType::Socket });
    let first = WorkerEvent::Message { message: json!("first").into(), handle };
    let second = WorkerEvent::Message { message: json!("second").into(), handle: None };
    assert_eq!(cluster.processes[&ONE].events, [first, second]);
    assert_eq!((cluster.take_events(), closed(&cluster)), (vec![], (1, 0)));
}

/// A socket rejected four times is lost, closed and reported.
#[test]
fn fourth_rejection_loses_socket() {
    let mut cluster = cluster(1);
    cluster.sockets_to_lose = 4;
    cluster.primary.send_with(ONE, json!("first"), SOCKET).expect("an open channel");
    cluster.primary.send(ONE, json!("second")).expect("an open channel");
    cluster.settle();
    assert_eq!((envelopes(&cluster).len(), closed(&cluster)), (4, (1, 0)));
    assert_eq!(cluster.take_events(), [Event::Error { worker: ONE, error: WorkerError::NotReceived }]);
    let second = WorkerEvent::Message { message: json!("second").into(), handle: None };
    assert_eq!(cluster.processes[&ONE].events, [second]);
}

/// A rejected bare socket is not sent again.
#[test]
fn bare_socket_is_not_resent() {
    for kind in [HandleType::Native, HandleType::DatagramNative] {
        let mut cluster = cluster(1);
        cluster.sockets_to_lose = 1;
        cluster.worker(ONE).send_with(json!(1), passing(kind)).expect("an open channel");
        cluster.settle();
        let error = WorkerEvent::Error { error: ChannelError::NotReceived };
        assert_eq!((cluster.processes[&ONE].events.clone(), closed(&cluster)), (vec![error], (0, 1)));
        assert_eq!(cluster.take_events(), []);
    }
}

/// Both sides can send sockets at once.
#[test]
fn sockets_cross_in_flight() {
    let mut cluster = cluster(1);
    cluster.primary.send_with(ONE, json!("down"), SOCKET).expect("an open channel");
    cluster.worker(ONE).send_with(json!("up"), KEPT).expect("an open channel");
    cluster.settle();
    assert_eq!(
        (cluster.events.len(), cluster.processes[&ONE].events.len(), closed(&cluster)),
        (1, 1, (1, 0))
    );
}

/// A worker gets two sockets and acknowledges none: the second waits for the first.
fn two_under_way() -> TestCluster {
    let mut cluster = cluster(1);
    cluster.processes.clear();
    cluster.primary.send_with(ONE, json!(1), SOCKET).expect("an open channel");
    let second = OutgoingHandle { socket: SocketId(78), ..SOCKET };
    cluster.primary.send_with(ONE, json!(2), second).expect("an open channel");
    cluster.settle();
    cluster
}

/// The exit of a worker leaves no socket of the primary open.
#[test]
fn dying_worker_leaks_no_socket() {
    let mut cluster = two_under_way();
    assert_eq!((envelopes(&cluster).len(), closed(&cluster)), (1, (0, 0)));
    cluster.kill(ONE);
    assert_eq!(closed(&cluster), (1, 0));
    assert!(cluster.os.calls.contains(&Call::Close { socket: SocketId(78) }));
}

/// If another process holds the channel of a dead worker open, no socket of the primary remains open.
#[test]
fn retained_channel_leaks_no_socket() {
    let mut cluster = two_under_way();
    cluster.handle(OsEvent::Exited { worker: ONE, status: cluster_core::ExitStatus::Code(0) });
    assert_eq!((envelopes(&cluster).len(), closed(&cluster)), (1, (1, 0)));
    assert!(cluster.os.calls.contains(&Call::Close { socket: SocketId(78) }), "nor a waiting socket");
    assert_eq!(cluster.primary.send_with(ONE, json!(1), SOCKET), Err(SendError::Closed));
}

/// A broken channel carries no socket.
#[test]
fn broken_channel_gets_no_socket() {
    let mut cluster = cluster(1);
    let channel = ONE.into();
    cluster.primary.send_with(ONE, json!(1), SOCKET).expect("an open channel");
    while let Some(output) = cluster.primary.poll() {
        if let cluster_core::Output::Call(Call::Write { .. }) = output {
            cluster.primary.handle(OsEvent::WriteFailed { channel, errno: cluster_core::Errno::EPIPE });
        } else if output == cluster_core::Output::Call(Call::Close { socket: OWN }) {
            assert_eq!(cluster.primary.send_with(ONE, json!(1), SOCKET), Err(SendError::Closed));
            // The worker sent this acknowledgement before its end of the channel was closed.
            cluster.read(ONE, r#"{"cmd":"NODE_HANDLE_ACK"}"#, None);
            assert_eq!(cluster.take_events().len(), 1, "that messages were lost, and nothing else");
            return;
        }
    }
    unreachable!("the socket was left open");
}

/// A disconnect waits until the last socket is acknowledged.
#[test]
fn disconnect_waits_for_last_socket() {
    let mut cluster = cluster(1);
    cluster.worker(ONE).send_with(json!("last"), SOCKET).expect("an open channel");
    cluster.worker(ONE).disconnect();
    cluster.settle();
    let handle = Some(IncomingHandle { socket: OWN, kind: HandleType::Socket });
    assert_eq!(cluster.events[0], Event::Message { worker: ONE, message: json!("last").into(), handle });
    assert!(cluster.events.contains(&Event::Disconnect { worker: ONE }));
}

/// A connection that a worker has passed on no longer counts as a connection of its server.
#[test]
fn forwarded_connection_leaves_server() {
    let mut cluster = cluster(1);
    let listener = cluster.worker(ONE).listen(ListenOptions::default());
    assert_eq!(listener, ListenerId(1));
    cluster.worker(ONE).accept(listener);
    cluster.settle();
    let connection = cluster.connect(SocketId(1));
    cluster.worker(ONE).close(listener);
    cluster.settle();
    let over =
        |cluster: &TestCluster| cluster.processes[&ONE].events.contains(&WorkerEvent::Closed { listener });
    assert!(!over(&cluster), "its connection is open");
    let passing = OutgoingHandle { socket: connection, ..SOCKET };
    cluster.worker(ONE).send_with(json!("yours"), passing).expect("an open channel");
    cluster.settle();
    assert!(over(&cluster));
    assert!(cluster.processes[&ONE].os.calls.contains(&Call::Close { socket: connection }));
}

/// An envelope in an envelope is acknowledged once.
#[test]
fn nested_envelope_is_acknowledged_once() {
    let mut cluster = cluster(1);
    cluster.processes.clear();
    let inner = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"twice"}"#;
    cluster.read(ONE, &format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Native","msg":{inner}}}"#), Some(OWN));
    let handle = Some(IncomingHandle { socket: OWN, kind: HandleType::Socket });
    assert_eq!(
        cluster.take_events(),
        [Event::Message { worker: ONE, message: json!("twice").into(), handle }]
    );
    let acks = cluster.os.calls.iter().filter(|call| match call {
        Call::Write { bytes, .. } => bytes.starts_with(b"{\"cmd\":\"NODE_HANDLE_ACK\"}"),
        _ => false,
    });
    assert_eq!(acks.count(), 1);
}

/// A sender that counts its connections is answered.
#[test]
fn count_questions_are_answered() {
    let mut cluster = cluster(1);
    cluster.processes.clear();
    let carry =
        |msg: u64| format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Socket","key":"4:::80","msg":{msg}}}"#);
    let ask = |cmd: &str| format!(r#"{{"cmd":"{cmd}","key":"4:::80"}}"#);
    cluster.read(ONE, &ask("NODE_SOCKET_NOTIFY_CLOSE"), None);
    let none = r#"{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"4:::80"}"#;
    assert_eq!(last_said(&cluster), none, "there is none yet");
    for socket in [7, 8] {
        cluster.read(ONE, &carry(socket), Some(SocketId(socket)));
    }
    cluster.read(ONE, &ask("NODE_SOCKET_GET_COUNT"), None);
    assert_eq!(last_said(&cluster), r#"{"cmd":"NODE_SOCKET_COUNT","key":"4:::80","count":2}"#);
    cluster.read(ONE, &ask("NODE_SOCKET_NOTIFY_CLOSE"), None);
    cluster.primary.release(SocketId(7));
    cluster.settle();
    assert_ne!(last_said(&cluster), none);
    cluster.primary.release(SocketId(8));
    cluster.settle();
    assert_eq!(last_said(&cluster), none);
    let count = cluster.take_events().iter().filter(|event| matches!(event, Event::Message { .. })).count();
    assert_eq!(count, 2, "questions and answers are no messages");
}

/// If a receiver passes a connection on, its sender counts the connection until the next process has received
/// it.
#[test]
fn forwarded_connection_is_counted_until_delivered() {
    let mut cluster = cluster(2);
    cluster.processes.remove(&ONE);
    let counted = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","key":"4:::80","msg":1}"#;
    cluster.read(ONE, counted, Some(OWN));
    cluster.read(ONE, r#"{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"4:::80"}"#, None);
    let none = r#"{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"4:::80"}"#;
    cluster.primary.send_with(TWO, json!("kept"), KEPT).expect("the channel is open");
    cluster.settle();
    assert_eq!(answers(&cluster, none), 0, "the primary still has its copy");
    cluster.primary.send_with(TWO, json!("given"), SOCKET).expect("the channel is open");
    cluster.settle();
    assert_eq!(answers(&cluster, none), 1);
    cluster.primary.release(OWN);
    cluster.settle();
    assert_eq!(answers(&cluster, none), 1, "once");
}

/// The number of times that the primary has written a line to the first worker.
fn answers(cluster: &TestCluster, line: &str) -> usize {
    let is_answer = |call: &&Call| {
        matches!(call, Call::Write { channel, bytes, .. }
            if *channel == ONE.into() && bytes.trim_ascii_end() == line.as_bytes())
    };
    cluster.os.calls.iter().filter(is_answer).count()
}

/// When a worker exits, the socket of its incomplete envelope is closed. The socket may be the worker's end
/// of its own channel, which would never close.
#[test]
fn incomplete_envelope_closes_socket() {
    let mut cluster = cluster(1);
    cluster.processes.clear();
    let bytes = b"{\"cmd\":\"NODE_HAN".to_vec();
    cluster.handle(OsEvent::Read { channel: ONE.into(), bytes, socket: Some(OWN) });
    assert_eq!(closed(&cluster), (0, 0));
    cluster.handle(OsEvent::Exited { worker: ONE, status: ExitStatus::Code(0) });
    assert_eq!(closed(&cluster), (1, 0));
}

/// Connections that the primary hands over are not counted as sent sockets.
#[test]
fn handed_connections_are_not_counted() {
    let mut cluster = cluster(1);
    let listener = cluster.worker(ONE).listen(ListenOptions::default());
    cluster.settle();
    let connection = cluster.connect(SocketId(1));
    // The application has not asked for a connection: the descriptor is acknowledged, the connection is not.
    assert_eq!(
        cluster.primary.ledger().open().collect::<Vec<_>>(),
        [(connection, ConnectionState::Handed(cluster_core::HandleId(1), ONE))]
    );
    cluster.worker(ONE).accept(listener);
    cluster.settle();
    assert_eq!(cluster.primary.ledger().owned(), 1);
}
