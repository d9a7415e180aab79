//! Servers and channels that are closed while something is under way: nothing of it is lost.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it looks for, and no more")]

use crate::house::House;
use cluster_core::{
    Call, ChannelId, Event, HandleType, Limits, ListenOptions, ListenerId, LocalAddress, Machine, OsEvent,
    OutgoingHandle, Output, Primary, SchedulingPolicy, Sent, Serialization, Settings, SocketId, Worker,
    WorkerEvent, WorkerId,
};
use serde_json::json;

const ONE: WorkerId = WorkerId(1);
const TWO: WorkerId = WorkerId(2);
/// The first socket a primary binds.
const BOUND: SocketId = SocketId(1);
const LISTENER: ListenerId = ListenerId(1);

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
    let sent = house.primary.send(ONE, json!("more"));
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
    let passing = OutgoingHandle { socket: SocketId(77), kind: HandleType::Socket, keep_open: false };
    worker.send_with(json!("last"), passing).expect("it is open");
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
    let passing = OutgoingHandle { socket: SocketId(77), kind: HandleType::Socket, keep_open: false };
    worker.send_with(json!("take it"), passing).expect("it is open");
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

/// Workers that listen on one port; the first wants a connection.
fn serving(settings: Settings, workers: usize) -> House {
    let mut house = House::new(settings);
    for worker in house.fork(workers) {
        house.worker(worker).listen(ListenOptions::default());
    }
    house.settle();
    house.worker(ONE).accept(LISTENER);
    house.settle();
    house
}

/// The last socket at which the primary began to accept.
fn last_listener(house: &House) -> Option<SocketId> {
    let resumed = |call: &Call| if let Call::ResumeAccept { socket } = call { Some(*socket) } else { None };
    house.desk.calls.iter().rev().find_map(resumed)
}

/// A worker that is forked after `disconnect` serves on a socket of its own, which `keep_listening` keeps until the next one.
#[test]
fn worker_after_disconnect_binds_again() {
    let mut house = serving(Settings { keep_listening: true, ..Settings::default() }, 1);
    house.connect(BOUND);
    house.primary.disconnect_all();
    house.fork(1);
    house.worker(TWO).listen(ListenOptions::default());
    house.settle();
    house.worker(TWO).accept(LISTENER);
    let connection = house.processes[&ONE].events.iter().find_map(|event| match event {
        WorkerEvent::Connection { connection, .. } => Some(*connection),
        _ => None,
    });
    let connection = connection.expect("worker 1 has a connection");
    house.worker(ONE).release(connection);
    house.settle();
    assert!(house.events.contains(&Event::AllDisconnected));
    let again = last_listener(&house).expect("the second worker listens");
    house.connect(again);
    assert_eq!(house.connections(TWO), 1);
    house.kill(TWO);
    assert!(!house.desk.calls.contains(&Call::Close { socket: again }));
    house.primary.disconnect_all();
    house.settle();
    assert!(house.desk.calls.contains(&Call::Close { socket: again }));
}

/// With and without `keep_listening`, in both policies, while a worker drains, and while its address is still being bound: no
/// worker follows, so the socket closes at once.
#[test]
fn disconnect_closes_every_listening_socket() {
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        for keep_listening in [false, true] {
            let settings = Settings { policy, keep_listening, ..Settings::default() };
            let mut house = serving(settings, 2);
            if policy == SchedulingPolicy::RoundRobin {
                house.connect(BOUND);
                assert_eq!(house.connections(ONE), 1, "the connection of worker 1 keeps it from exiting");
            }
            house.primary.disconnect_all();
            while cluster_core::pump(&mut house.primary, &mut house.desk).is_some() {}
            let closes = house.desk.calls.iter().filter(|call| **call == Call::Close { socket: BOUND });
            assert_eq!(closes.count(), 1, "{policy:?}, keep_listening: {keep_listening}");
        }
    }
}

/// The answer of the kernel arrives after the call: the socket is closed unused.
#[test]
fn disconnect_while_binding_leaves_no_socket() {
    let mut primary = Primary::new(Settings { keep_listening: true, ..Settings::default() });
    let mut calls = Vec::new();
    let drain = |primary: &mut Primary, calls: &mut Vec<Call>| {
        while let Some(output) = primary.poll() {
            let Output::Call(call) = output else { continue };
            match call {
                Call::Spawn { worker, .. } => primary.handle(OsEvent::Spawned { worker, pid: 1 }),
                Call::Write { channel, .. } => primary.handle(OsEvent::Wrote { channel, rest: Vec::new() }),
                call => calls.push(call),
            }
        }
    };
    primary.fork().expect("nothing impossible was set up");
    drain(&mut primary, &mut calls);
    let query = br#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":null,"port":0,"addressType":4,"backlog":0,"seq":1}"#;
    let bytes = [query.as_slice(), b"\n"].concat();
    primary.handle(OsEvent::Read { channel: ONE.into(), bytes, socket: None });
    drain(&mut primary, &mut calls);
    let Some(Call::Bind { handle, .. }) = calls.pop() else { unreachable!("it binds") };
    primary.disconnect_all();
    drain(&mut primary, &mut calls);
    let address = LocalAddress::Ip("127.0.0.1:4000".parse().expect("an address"));
    primary.handle(OsEvent::Bound { handle, socket: BOUND, address });
    drain(&mut primary, &mut calls);
    assert_eq!(calls, [Call::Close { socket: BOUND }]);
}
