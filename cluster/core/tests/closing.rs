//! Servers and channels that are closed while something is under way: nothing of it is lost.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it looks for, and no more")]

#[allow(dead_code, reason = "each test program uses a part of the house")]
mod house;

use cluster_core::{
    Call, ChannelId, Limits, ListenOptions, Machine, OsEvent, Output, PassedKind, Passing, SchedulingPolicy,
    Sent, Serialization, Settings, SocketId, Worker, WorkerId,
};
use house::House;
use serde_json::json;

const ONE: WorkerId = WorkerId(1);
const TWO: WorkerId = WorkerId(2);

#[test]
fn a_server_closed_before_the_answer_does_not_take_the_next_one_with_it() {
    let mut house = House::new(Settings { keep_listening: true, ..Settings::default() });
    house.fork(1);
    let early = house.worker(ONE).listen(ListenOptions::default());
    house.worker(ONE).close(early);
    let late = house.worker(ONE).listen(ListenOptions::default());
    house.settle();
    house.worker(ONE).accept(late);
    // The first socket was bound for the server that was closed, the second for the one that serves.
    house.connect(SocketId(2));
    assert_eq!(house.connections(ONE), 1);
}

#[test]
fn a_shared_socket_that_is_closed_is_not_sent_any_more() {
    let mut settings = Settings { policy: SchedulingPolicy::Shared, ..Settings::default() };
    settings.limits.congested_bytes = 100;
    let mut house = House::new(settings);
    house.fork(1);
    let ask = |index: u32| {
        format!(
            "{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"index\":{index},\"address\":null,\"port\":0,\
             \"addressType\":4,\"seq\":{index}}}\n"
        )
    };
    // It asks twice and does not acknowledge the first socket: the second answer is held.
    for index in [7, 8] {
        house.primary.handle(OsEvent::Read {
            channel: ONE.into(),
            bytes: ask(index).into_bytes(),
            socket: None,
        });
        assert_eq!(cluster_core::pump(&mut house.primary, &mut house.desk), None);
    }
    let sent = |house: &House| {
        house.desk.calls.iter().filter(|call| matches!(call, Call::Write { socket: Some(_), .. })).count()
    };
    house.primary.disconnect_worker(ONE);
    let acknowledged = b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n".to_vec();
    house.primary.handle(OsEvent::Read { channel: ONE.into(), bytes: acknowledged, socket: None });
    while cluster_core::pump(&mut house.primary, &mut house.desk).is_some() {}
    assert_eq!(sent(&house), 1, "the second socket is closed, and what would have carried it is not sent");
    let said = house.desk.calls.iter().rev().find_map(|call| match call {
        Call::Write { bytes, .. } => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    });
    assert!(said.is_some_and(|said| said.contains("disconnect")), "what was held behind it is");
    let sent = house.primary.send(ONE, &json!("more"));
    assert_eq!(sent, Ok(Sent::Buffered), "what is not sent any more is not waited for, either");
}

#[test]
fn what_a_closed_server_was_offered_goes_to_another_worker() {
    let mut house = House::new(Settings::default());
    let listeners =
        house.fork(2).into_iter().map(|worker| house.worker(worker).listen(ListenOptions::default()));
    let listeners: Vec<_> = listeners.collect();
    house.settle();
    house.worker(TWO).accept(listeners[1]);
    // The first of the sockets the primary has opened. It is offered to the first worker, which has not asked for it.
    house.connect(SocketId(1));
    assert_eq!(house.connections(TWO), 0);
    house.worker(ONE).close(listeners[0]);
    house.settle();
    assert_eq!((house.connections(ONE), house.connections(TWO)), (0, 1));
}

/// What a worker asks its system for next.
fn asked(worker: &mut Worker) -> Option<Call> {
    let mut outputs = std::iter::from_fn(|| worker.poll());
    outputs.find_map(|output| if let Output::Call(call) = output { Some(call) } else { None })
}

/// A worker whose channel has taken a part of its first line, and has no room for the rest.
fn with_a_full_channel() -> (Worker, Vec<u8>) {
    let mut worker = Worker::new(ONE, Serialization::Json, Limits::default());
    let Some(Call::Write { channel, bytes, socket: None }) = asked(&mut worker) else {
        unreachable!("it is online")
    };
    let rest = bytes[1..].to_vec();
    worker.handle(OsEvent::Wrote { channel, rest: rest.clone() });
    (worker, rest)
}

/// The primary says a line.
fn hears(worker: &mut Worker, line: &str) {
    let bytes = format!("{line}\n").into_bytes();
    worker.handle(OsEvent::Read { channel: ChannelId::PRIMARY, bytes, socket: None });
}

const LEAVE: &str = r#"{"cmd":"NODE_CLUSTER","act":"disconnect","seq":1}"#;

#[test]
fn a_channel_closes_when_the_last_byte_is_written() {
    let channel = ChannelId::PRIMARY;
    let (mut worker, unsent) = with_a_full_channel();
    hears(&mut worker, LEAVE);
    assert_eq!(asked(&mut worker), None, "it has no room, and does not close over it");
    worker.handle(OsEvent::Writable { channel });
    assert_eq!(asked(&mut worker), Some(Call::Write { channel, bytes: unsent, socket: None }));
    worker.handle(OsEvent::Wrote { channel, rest: Vec::new() });
    assert_eq!(asked(&mut worker), Some(Call::CloseChannel { channel }));
}

#[test]
fn a_channel_closes_when_the_last_socket_has_arrived() {
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
    let passing = Passing { socket: SocketId(77), kind: PassedKind::Socket, keep_open: false };
    worker.send_with(&json!("last"), passing).expect("it is open");
    assert_eq!(written(&mut worker), Some(passing.socket));
    hears(&mut worker, LEAVE);
    assert_eq!(asked(&mut worker), None, "it waits for the answer");
    hears(&mut worker, r#"{"cmd":"NODE_HANDLE_NACK"}"#);
    assert_eq!(written(&mut worker), Some(passing.socket), "it goes again");
    hears(&mut worker, r#"{"cmd":"NODE_HANDLE_ACK"}"#);
    let last: Vec<Call> = std::iter::from_fn(|| asked(&mut worker)).collect();
    assert_eq!(last, [Call::Close { socket: passing.socket }, Call::CloseChannel { channel }]);
}

#[test]
fn a_socket_goes_with_the_first_byte_of_its_line_and_not_with_the_rest_again() {
    let channel = ChannelId::PRIMARY;
    let mut worker = Worker::new(ONE, Serialization::Json, Limits::default());
    asked(&mut worker).expect("it is online");
    worker.handle(OsEvent::Wrote { channel, rest: Vec::new() });
    let passing = Passing { socket: SocketId(77), kind: PassedKind::Socket, keep_open: false };
    worker.send_with(&json!("take it"), passing).expect("it is open");
    let mut offered = Vec::new();
    // Nothing of the line is taken, then its first byte, then the rest.
    for taken in [0, 1, usize::MAX] {
        let Some(Call::Write { bytes, socket, .. }) = asked(&mut worker) else { unreachable!("it writes") };
        offered.push(socket);
        let rest = bytes.get(taken..).unwrap_or_default().to_vec();
        worker.handle(OsEvent::Wrote { channel, rest });
        worker.handle(OsEvent::Writable { channel });
    }
    assert_eq!(offered, [Some(passing.socket), Some(passing.socket), None]);
}
