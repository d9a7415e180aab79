//! Sockets that travel with messages, both ways: whose they are at every moment, and what becomes of them when they do
//! not arrive.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it looks for, and no more")]

use crate::house::House;
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

fn house(workers: usize) -> House {
    let mut house = House::new(Settings::default());
    house.fork(workers);
    house.heard();
    house
}

/// How often each of the two ends has closed the socket.
fn closed(house: &House) -> (usize, usize) {
    let closes = |calls: &[Call]| calls.iter().filter(|call| **call == Call::Close { socket: OWN }).count();
    (closes(&house.desk.calls), house.processes.get(&ONE).map_or(0, |process| closes(&process.asked)))
}

/// The lines that carried a socket down, and their number.
fn envelopes(house: &House) -> Vec<String> {
    let carried = house.desk.calls.iter().filter_map(|call| match call {
        Call::Write { bytes, socket: Some(_), .. } => Some(String::from_utf8_lossy(bytes).trim_end().into()),
        _ => None,
    });
    carried.collect()
}

/// A worker says a line of its own making; a real one, which would not know of it, is not there.
fn says(house: &mut House, line: &str, socket: Option<SocketId>) {
    house.tell(OsEvent::Read { channel: ONE.into(), bytes: format!("{line}\n").into_bytes(), socket });
}

/// The last line the primary wrote.
fn last_said(house: &House) -> String {
    let said = house.desk.calls.iter().rev().find_map(|call| match call {
        Call::Write { bytes, .. } => Some(String::from_utf8_lossy(bytes).trim_end().into()),
        _ => None,
    });
    said.unwrap_or_default()
}

#[test]
fn a_socket_goes_down_with_its_message_and_is_closed_here_once_it_is_there() {
    let mut house = house(1);
    assert_eq!(house.primary.send_with(ONE, json!("take it"), SOCKET), Ok(Sent::Buffered));
    house.settle();
    let handle = Some(IncomingHandle { socket: OWN, kind: HandleType::Socket });
    let message = WorkerEvent::Message { message: json!("take it").into(), handle };
    assert_eq!(house.processes[&ONE].events, [message]);
    assert_eq!(closed(&house), (1, 0));
}

#[test]
fn a_socket_goes_up_with_its_message_and_is_closed_there_once_it_is_here() {
    let mut house = house(1);
    assert_eq!(house.worker(ONE).send_with(json!("take it"), SOCKET), Ok(Sent::Buffered));
    house.settle();
    let handle = Some(IncomingHandle { socket: OWN, kind: HandleType::Socket });
    assert_eq!(house.events, [Event::Message { worker: ONE, message: json!("take it").into(), handle }]);
    assert_eq!(closed(&house), (0, 1));
}

/// In Node's other serialization everything is as in JSON.
#[test]
fn a_cluster_may_speak_v8s_structured_clone() {
    let advanced = SpawnOptions::new().serialization(Serialization::Advanced);
    let mut house = House::new(Settings::default());
    house.primary.setup(advanced);
    house.fork(1);
    let listener = house.worker(ONE).listen(ListenOptions::default());
    house.worker(ONE).accept(listener);
    house.worker(ONE).send_with(json!({"up": ["\u{fc}", -1.5, null]}), SOCKET).expect("it is open");
    house.primary.send(ONE, json!("down")).expect("it is open");
    house.settle();
    let connection = house.connect(SocketId(1));
    let got = WorkerEvent::Connection { listener, connection };
    let heard = &house.processes[&ONE].events;
    let down = |event: &WorkerEvent| matches!(event, WorkerEvent::Message { message, handle: None } if *message == json!("down"));
    assert!(heard.iter().any(down) && heard.contains(&got), "{heard:?}");
    house.primary.disconnect_worker(ONE);
    house.worker(ONE).release(connection);
    house.settle();
    let passed = Some(IncomingHandle { socket: OWN, kind: HandleType::Socket });
    let up = json!({"up": ["\u{fc}", -1.5, null]});
    let heard = house.heard();
    let is_up = |event: &Event| matches!(event, Event::Message { worker: ONE, message, handle } if *message == up && *handle == passed);
    assert!(heard.iter().any(is_up) && heard.contains(&Event::Disconnect { worker: ONE }), "{heard:?}");
    let written = house.desk.calls.iter().filter_map(|call| match call {
        Call::Write { bytes, .. } => Some(bytes),
        _ => None,
    });
    for frame in written {
        let length = u32::try_from(frame.len() - 4).expect("it is short").to_be_bytes();
        assert_eq!((&frame[..4], &frame[4..6]), (&length[..], &[0xFF, 15][..]));
    }
}

/// A message of 10,000 levels is too deep for a value of JSON, not for a channel: it is forwarded as it is.
#[test]
fn deep_messages_are_forwarded() {
    const DEPTH: usize = 10_000;
    let text = ["[".repeat(DEPTH), "7".into(), "]".repeat(DEPTH)].concat();
    let deep = Message::from_json_text(&*text).expect("it is JSON");
    for serialization in [Serialization::Json, Serialization::Advanced] {
        let mut house = House::new(Settings::default());
        house.primary.setup(SpawnOptions::new().serialization(serialization));
        house.fork(1);
        house.primary.send_with(ONE, &deep, SOCKET).expect("it is open");
        house.settle();
        let [WorkerEvent::Message { message, .. }] = &house.processes[&ONE].events[..] else {
            unreachable!("{:?}", house.events)
        };
        assert_eq!(message.serialization(), serialization);
        assert_eq!(
            (message.json(), message.json_text().as_deref()),
            (Err(MessageError::TooDeep), Ok(&*text))
        );
        let message = message.clone();
        house.worker(ONE).send(message).expect("it is open");
        house.settle();
        let heard = house.heard();
        let Some(Event::Message { message, .. }) = heard.last() else { unreachable!("{heard:?}") };
        assert_eq!(message.json_text().as_deref(), Ok(&*text));
    }
}

#[test]
fn unreadable_message_is_not_sent() {
    let mut settings = Settings::default();
    settings.limits.message_bytes = 100;
    let mut house = House::new(settings);
    house.fork(1);
    assert_eq!(house.primary.send_with(ONE, json!("x".repeat(99)), SOCKET), Err(SendError::TooLong));
    assert_eq!(
        house.primary.send_with(ONE, json!("short"), SOCKET),
        Ok(Sent::Buffered),
        "the socket is still ours"
    );
}

#[test]
fn each_kind_has_nodes_envelope_and_arrives_as_what_it_was_called() {
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
        let mut house = house(1);
        house.primary.send_with(ONE, json!(1), passing(kind)).expect("it is open");
        house.settle();
        assert_eq!(envelopes(&house), [envelope]);
        let handle = Some(IncomingHandle { socket: OWN, kind });
        assert_eq!(house.processes[&ONE].events, [WorkerEvent::Message { message: json!(1).into(), handle }]);
    }
}

#[test]
fn a_kept_socket_stays_open_and_may_go_to_everybody() {
    let mut house = house(2);
    for worker in [ONE, TWO, ONE] {
        assert_eq!(house.primary.send_with(worker, json!(1), KEPT), Ok(Sent::Buffered));
    }
    house.settle();
    assert_eq!(envelopes(&house).len(), 3);
    assert_eq!(closed(&house), (0, 0));
    // To give it away at last is possible, too; then it is closed when all have it.
    house.primary.send_with(ONE, json!(2), KEPT).expect("it is open");
    house.primary.send_with(TWO, json!(2), SOCKET).expect("it is still ours");
    house.settle();
    assert_eq!(closed(&house), (1, 0));
}

#[test]
fn what_was_given_away_cannot_be_given_again() {
    let mut house = house(2);
    house.primary.send_with(ONE, json!(1), SOCKET).expect("it is open");
    assert_eq!(house.primary.send_with(TWO, json!(1), SOCKET), Err(SendError::HandleAlreadySent));
    house.settle();
    assert_eq!((envelopes(&house).len(), closed(&house)), (1, (1, 0)));
}

#[test]
fn where_nothing_can_be_sent_the_socket_stays_the_callers() {
    let mut house = house(1);
    let reserved = json!({"cmd": "NODE_X"});
    assert_eq!(house.primary.send_with(ONE, &reserved, SOCKET), Err(SendError::Reserved));
    assert_eq!(house.primary.send_with(TWO, json!(1), SOCKET), Err(SendError::Closed));
    house.worker(ONE).disconnect();
    house.settle();
    assert_eq!(house.primary.send_with(ONE, json!(1), SOCKET), Err(SendError::Closed));
    assert_eq!(closed(&house), (0, 0));
}

/// Node: `send()` returns true for the first message that waits for a descriptor, and false for the others.
#[test]
fn a_second_message_that_waits_for_a_socket_is_one_too_many() {
    let mut house = house(1);
    let sent = [(); 3].map(|()| house.primary.send_with(ONE, json!(1), KEPT));
    assert_eq!(sent, [Ok(Sent::Buffered), Ok(Sent::Buffered), Ok(Sent::Congested)]);
    house.settle();
    assert_eq!(house.primary.send(ONE, json!(1)), Ok(Sent::Buffered));
}

#[test]
fn a_socket_that_does_not_arrive_is_sent_three_times_more() {
    let mut house = house(1);
    house.losing = 3;
    house.primary.send_with(ONE, json!("first"), SOCKET).expect("it is open");
    house.primary.send(ONE, json!("second")).expect("it is open");
    house.settle();
    let once = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"first"}"#;
    assert_eq!(envelopes(&house), [once; 4], "wrapped once each time");
    let handle = Some(IncomingHandle { socket: OWN, kind: HandleType::Socket });
    let first = WorkerEvent::Message { message: json!("first").into(), handle };
    let second = WorkerEvent::Message { message: json!("second").into(), handle: None };
    assert_eq!(house.processes[&ONE].events, [first, second]);
    assert_eq!((house.heard(), closed(&house)), (vec![], (1, 0)));
}

#[test]
fn a_socket_refused_four_times_is_lost_and_closed_and_said_to_be() {
    let mut house = house(1);
    house.losing = 4;
    house.primary.send_with(ONE, json!("first"), SOCKET).expect("it is open");
    house.primary.send(ONE, json!("second")).expect("it is open");
    house.settle();
    assert_eq!((envelopes(&house).len(), closed(&house)), (4, (1, 0)));
    assert_eq!(house.heard(), [Event::Error { worker: ONE, error: WorkerError::NotReceived }]);
    let second = WorkerEvent::Message { message: json!("second").into(), handle: None };
    assert_eq!(house.processes[&ONE].events, [second]);
}

#[test]
fn a_bare_socket_is_not_sent_again() {
    for kind in [HandleType::Native, HandleType::DatagramNative] {
        let mut house = house(1);
        house.losing = 1;
        house.worker(ONE).send_with(json!(1), passing(kind)).expect("it is open");
        house.settle();
        let error = WorkerEvent::Error { error: ChannelError::NotReceived };
        assert_eq!((house.processes[&ONE].events.clone(), closed(&house)), (vec![error], (0, 1)));
        assert_eq!(house.heard(), []);
    }
}

#[test]
fn both_sides_may_send_sockets_at_once() {
    let mut house = house(1);
    house.primary.send_with(ONE, json!("down"), SOCKET).expect("it is open");
    house.worker(ONE).send_with(json!("up"), KEPT).expect("it is open");
    house.settle();
    assert_eq!((house.events.len(), house.processes[&ONE].events.len(), closed(&house)), (1, 1, (1, 0)));
}

/// A worker is sent two sockets and answers for none: the second waits for the first.
fn two_under_way() -> House {
    let mut house = house(1);
    house.processes.clear();
    house.primary.send_with(ONE, json!(1), SOCKET).expect("it is open");
    let second = OutgoingHandle { socket: SocketId(78), ..SOCKET };
    house.primary.send_with(ONE, json!(2), second).expect("it is open");
    house.settle();
    house
}

#[test]
fn a_dying_worker_leaves_no_socket_of_ours_open() {
    let mut house = two_under_way();
    assert_eq!((envelopes(&house).len(), closed(&house)), (1, (0, 0)));
    house.kill(ONE);
    assert_eq!(closed(&house), (1, 0));
    assert!(house.desk.calls.contains(&Call::Close { socket: SocketId(78) }));
}

#[test]
fn a_dead_worker_whose_channel_is_held_open_leaves_no_socket_of_ours_open() {
    let mut house = two_under_way();
    house.tell(OsEvent::Exited { worker: ONE, status: cluster_core::ExitStatus::Code(0) });
    assert_eq!((envelopes(&house).len(), closed(&house)), (1, (1, 0)));
    assert!(house.desk.calls.contains(&Call::Close { socket: SocketId(78) }), "nor one that waited");
    assert_eq!(house.primary.send_with(ONE, json!(1), SOCKET), Err(SendError::Closed));
}

#[test]
fn a_peer_that_cannot_be_written_to_gets_no_socket() {
    let mut house = house(1);
    let channel = ONE.into();
    house.primary.send_with(ONE, json!(1), SOCKET).expect("it is open");
    while let Some(output) = house.primary.poll() {
        if let cluster_core::Output::Call(Call::Write { .. }) = output {
            house.primary.handle(OsEvent::WriteFailed { channel, errno: cluster_core::Errno::EPIPE });
        } else if output == cluster_core::Output::Call(Call::Close { socket: OWN }) {
            assert_eq!(house.primary.send_with(ONE, json!(1), SOCKET), Err(SendError::Closed));
            // It had sent this before its end of the channel was closed.
            says(&mut house, r#"{"cmd":"NODE_HANDLE_ACK"}"#, None);
            assert_eq!(house.heard().len(), 1, "that messages were lost, and nothing else");
            return;
        }
    }
    unreachable!("the socket was left open");
}

#[test]
fn an_end_waits_until_the_last_socket_has_arrived() {
    let mut house = house(1);
    house.worker(ONE).send_with(json!("last"), SOCKET).expect("it is open");
    house.worker(ONE).disconnect();
    house.settle();
    let handle = Some(IncomingHandle { socket: OWN, kind: HandleType::Socket });
    assert_eq!(house.events[0], Event::Message { worker: ONE, message: json!("last").into(), handle });
    assert!(house.events.contains(&Event::Disconnect { worker: ONE }));
}

#[test]
fn a_served_connection_that_is_passed_on_is_no_longer_the_servers() {
    let mut house = house(1);
    let listener = house.worker(ONE).listen(ListenOptions::default());
    assert_eq!(listener, ListenerId(1));
    house.worker(ONE).accept(listener);
    house.settle();
    let connection = house.connect(SocketId(1));
    house.worker(ONE).close(listener);
    house.settle();
    let over = |house: &House| house.processes[&ONE].events.contains(&WorkerEvent::Closed { listener });
    assert!(!over(&house), "its connection is open");
    let passing = OutgoingHandle { socket: connection, ..SOCKET };
    house.worker(ONE).send_with(json!("yours"), passing).expect("it is open");
    house.settle();
    assert!(over(&house));
    assert!(house.processes[&ONE].asked.contains(&Call::Close { socket: connection }));
}

#[test]
fn an_envelope_around_an_envelope_is_acknowledged_once() {
    let mut house = house(1);
    house.processes.clear();
    let inner = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"twice"}"#;
    says(&mut house, &format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Native","msg":{inner}}}"#), Some(OWN));
    let handle = Some(IncomingHandle { socket: OWN, kind: HandleType::Socket });
    assert_eq!(house.heard(), [Event::Message { worker: ONE, message: json!("twice").into(), handle }]);
    let acks = house.desk.calls.iter().filter(|call| match call {
        Call::Write { bytes, .. } => bytes.starts_with(b"{\"cmd\":\"NODE_HANDLE_ACK\"}"),
        _ => false,
    });
    assert_eq!(acks.count(), 1);
}

#[test]
fn a_sender_that_counts_its_connections_is_answered() {
    let mut house = house(1);
    house.processes.clear();
    let carry =
        |msg: u64| format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Socket","key":"4:::80","msg":{msg}}}"#);
    let ask = |cmd: &str| format!(r#"{{"cmd":"{cmd}","key":"4:::80"}}"#);
    says(&mut house, &ask("NODE_SOCKET_NOTIFY_CLOSE"), None);
    let none = r#"{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"4:::80"}"#;
    assert_eq!(last_said(&house), none, "there is none yet");
    for socket in [7, 8] {
        says(&mut house, &carry(socket), Some(SocketId(socket)));
    }
    says(&mut house, &ask("NODE_SOCKET_GET_COUNT"), None);
    assert_eq!(last_said(&house), r#"{"cmd":"NODE_SOCKET_COUNT","key":"4:::80","count":2}"#);
    says(&mut house, &ask("NODE_SOCKET_NOTIFY_CLOSE"), None);
    house.primary.release(SocketId(7));
    house.settle();
    assert_ne!(last_said(&house), none);
    house.primary.release(SocketId(8));
    house.settle();
    assert_eq!(last_said(&house), none);
    let count = house.heard().iter().filter(|event| matches!(event, Event::Message { .. })).count();
    assert_eq!(count, 2, "questions and answers are no messages");
}

/// It may be the dead worker's end of its own channel, which would never end.
/// The sender of a connection that its receiver passes on counts the connection until the next process has it.
#[test]
fn forwarded_connection_is_counted_until_delivered() {
    let mut house = house(2);
    house.processes.remove(&ONE);
    let counted = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","key":"4:::80","msg":1}"#;
    says(&mut house, counted, Some(OWN));
    says(&mut house, r#"{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"4:::80"}"#, None);
    let none = r#"{"cmd":"NODE_SOCKET_ALL_CLOSED","key":"4:::80"}"#;
    house.primary.send_with(TWO, json!("kept"), KEPT).expect("the channel is open");
    house.settle();
    assert_eq!(answers(&house, none), 0, "the primary still has its copy");
    house.primary.send_with(TWO, json!("given"), SOCKET).expect("the channel is open");
    house.settle();
    assert_eq!(answers(&house, none), 1);
    house.primary.release(OWN);
    house.settle();
    assert_eq!(answers(&house, none), 1, "once");
}

/// How often the primary has written this line to the first worker.
fn answers(house: &House, line: &str) -> usize {
    let is_answer = |call: &&Call| {
        matches!(call, Call::Write { channel, bytes, .. }
            if *channel == ONE.into() && bytes.trim_ascii_end() == line.as_bytes())
    };
    house.desk.calls.iter().filter(is_answer).count()
}

#[test]
fn a_socket_whose_envelope_was_not_finished_is_closed_with_its_worker() {
    let mut house = house(1);
    house.processes.clear();
    let bytes = b"{\"cmd\":\"NODE_HAN".to_vec();
    house.tell(OsEvent::Read { channel: ONE.into(), bytes, socket: Some(OWN) });
    assert_eq!(closed(&house), (0, 0));
    house.tell(OsEvent::Exited { worker: ONE, status: ExitStatus::Code(0) });
    assert_eq!(closed(&house), (1, 0));
}

#[test]
fn what_the_cluster_hands_out_is_not_counted_among_the_passed() {
    let mut house = house(1);
    let listener = house.worker(ONE).listen(ListenOptions::default());
    house.settle();
    let connection = house.connect(SocketId(1));
    // It is not wanted yet: acknowledged as a descriptor, not as a connection.
    assert_eq!(
        house.primary.ledger().open().collect::<Vec<_>>(),
        [(connection, ConnectionState::Handed(cluster_core::HandleId(1), ONE))]
    );
    house.worker(ONE).accept(listener);
    house.settle();
    assert_eq!(house.primary.ledger().owned(), 1);
}
