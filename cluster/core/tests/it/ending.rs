//! Machines whose process is about to end, and calls that are made before anything else is done.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::house::{Desk, House};
use cluster_core::{
    Call, ChannelId, Event, ExitStatus, Limits, ListenOptions, ListenerId, Machine, Message, OsEvent, Output,
    Primary, Serialization, Settings, Signal, SocketId, Worker, WorkerEvent, WorkerId, flush, pump,
};
use serde_json::json;

const ONE: WorkerId = WorkerId(1);
const LISTENER: ListenerId = ListenerId(1);
/// The first socket that a process binds.
const BOUND: SocketId = SocketId(1);

/// Nothing here takes so long: a test that waits longer fails.
const BOUND_OF_TIME: Duration = Duration::from_secs(3);

fn within_bound<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(read()));
    receiver.recv_timeout(BOUND_OF_TIME).expect("it ends within its bound")
}

/// Workers that listen at one address.
fn serving(workers: usize) -> House {
    let mut house = House::new(Settings::default());
    for worker in house.fork(workers) {
        house.worker(worker).listen(ListenOptions::default());
    }
    house.settle();
    house
}

/// A primary that finishes closes every channel behind what it has sent, and asks no worker to disconnect.
#[test]
fn primary_finishes_when_channels_close() {
    let mut house = serving(2);
    assert!(!house.primary.is_finished());
    house.primary.send(ONE, json!("last")).expect("the channel is open");
    let before = house.desk.calls.len();
    house.primary.finish();
    assert!(!house.primary.is_finished(), "nothing is written yet");
    house.settle();
    assert!(house.primary.is_finished());
    let calls = &house.desk.calls[before..];
    let closed = calls.iter().filter(|call| matches!(call, Call::CloseChannel { .. }));
    assert_eq!(closed.count(), 2, "{calls:?}");
    let asks = |call: &&Call| matches!(call, Call::Write { bytes, .. } if bytes.windows(12).any(|part| part == b"\"disconnect\""));
    assert_eq!(calls.iter().filter(asks).count(), 0, "{calls:?}");
    let has_last =
        |event: &WorkerEvent| matches!(event, WorkerEvent::Message { message, .. } if *message == "last");
    assert!(house.processes[&ONE].events.iter().any(has_last));
}

#[test]
fn worker_finishes_when_its_channel_closes() {
    let mut house = serving(1);
    assert!(!house.worker(ONE).is_finished());
    house.worker(ONE).send(json!("last")).expect("the channel is open");
    house.worker(ONE).finish();
    assert!(!house.worker(ONE).is_finished(), "nothing is written yet");
    let Process { worker, desk } = Process::of(&mut house);
    while pump(worker, desk).is_some() {}
    assert!(worker.is_finished());
    assert!(desk.calls.iter().any(|call| matches!(call, Call::CloseChannel { .. })));
}

/// The parts of a process that a pump needs.
struct Process<'a> {
    worker: &'a mut Worker,
    desk: &'a mut Desk,
}

impl<'a> Process<'a> {
    fn of(house: &'a mut House) -> Self {
        let process = house.processes.get_mut(&ONE).expect("a live worker");
        Process { worker: &mut process.worker, desk: &mut process.desk }
    }
}

/// A primary is disconnecting from the call until the last worker has exited, unless it forks again.
#[test]
fn primary_is_disconnecting_until_the_last_exit() {
    let mut house = serving(2);
    assert!(!house.primary.is_disconnecting());
    house.primary.disconnect_all();
    assert!(house.primary.is_disconnecting());
    let mut other = serving(1);
    other.primary.disconnect_all();
    other.primary.fork().expect("nothing impossible was set up");
    assert!(!other.primary.is_disconnecting(), "the new worker was not asked");
}

/// A worker is connected until its channel closes, and alive until it exits.
#[test]
fn info_follows_the_end() {
    let mut house = serving(1);
    let state = |house: &House| {
        let info = house.primary.worker(ONE).expect("it is known until its last event");
        (info.is_connected(), info.is_dead())
    };
    assert_eq!(state(&house), (true, false));
    house.primary.handle(OsEvent::ChannelClosed { channel: ONE.into() });
    while pump(&mut house.primary, &mut house.desk).is_some() {}
    assert_eq!(state(&house), (false, false));
    house.primary.handle(OsEvent::Exited { worker: ONE, status: ExitStatus::Code(0) });
    assert!(matches!(pump(&mut house.primary, &mut house.desk), Some(Event::Exit { .. })));
    assert_eq!(state(&house), (false, true));
}

/// A worker acknowledges a connection from the call that takes it until the acknowledgement is written.
#[test]
fn worker_is_acknowledging_until_written() {
    let mut house = serving(1);
    assert!(!house.worker(ONE).is_acknowledging());
    house.worker(ONE).accept(LISTENER);
    house.settle();
    let before = house.desk.calls.len();
    house.primary.handle(OsEvent::Accepted { listener: BOUND, socket: SocketId(99) });
    while pump(&mut house.primary, &mut house.desk).is_some() {}
    let [Call::Write { bytes, socket, .. }] = &house.desk.calls[before..] else { unreachable!("an offer") };
    let (bytes, socket) = (bytes.clone(), *socket);
    let worker = house.worker(ONE);
    worker.handle(OsEvent::Read { channel: ChannelId::PRIMARY, bytes, socket });
    let is_acceptance = |output: &Output<WorkerEvent>| matches!(output, Output::Call(Call::Write { bytes, .. }) if bytes.windows(15).any(|part| part == b"\"accepted\":true"));
    let mut acknowledged = false;
    let mut connections = 0;
    while let Some(output) = worker.poll() {
        connections += usize::from(matches!(output, Output::Event(WorkerEvent::Connection { .. })));
        if is_acceptance(&output) {
            acknowledged = true;
            assert!(worker.is_acknowledging());
        }
        if let Output::Call(Call::Write { channel, .. }) = output {
            worker.handle(OsEvent::Wrote { channel, rest: Vec::new() });
        }
    }
    assert!(acknowledged && !worker.is_acknowledging());
    assert_eq!(connections, 1);
}

/// The calls and the events of a machine after a command, with or without a flush in between.
fn outcome<M: Machine>(
    mut machine: M,
    command: impl Fn(&mut M),
    is_flushed: bool,
) -> (Vec<Call>, Vec<M::Event>) {
    let mut desk = Desk::default();
    while pump(&mut machine, &mut desk).is_some() {}
    desk.calls.clear();
    command(&mut machine);
    if is_flushed {
        flush(&mut machine, &mut desk);
    }
    let events = std::iter::from_fn(|| pump(&mut machine, &mut desk)).collect();
    (desk.calls, events)
}

/// A flush makes the calls of a command before anything else, and loses neither a call nor an event.
#[test]
fn flush_loses_nothing() {
    let primary = || {
        let mut primary = Primary::new(Settings::default());
        primary.fork().expect("nothing impossible was set up");
        primary
    };
    let commands: [fn(&mut Primary); 6] = [
        |primary| {
            let _ = primary.fork();
        },
        |primary| {
            let _ = primary.send(ONE, json!(1));
        },
        |primary| primary.kill(ONE, Signal::SIGTERM),
        |primary| primary.disconnect_worker(ONE),
        Primary::disconnect_all,
        Primary::finish,
    ];
    for command in commands {
        assert_eq!(outcome(primary(), command, true), outcome(primary(), command, false));
    }
    let worker = || Worker::new(ONE, Serialization::Json, Limits::default());
    let commands: [fn(&mut Worker); 5] = [
        |worker| {
            let _ = worker.send(json!(1));
        },
        |worker| {
            let _ = worker.listen(ListenOptions::default());
        },
        Worker::disconnect,
        Worker::kill,
        Worker::finish,
    ];
    for command in commands {
        assert_eq!(outcome(worker(), command, true), outcome(worker(), command, false));
    }
}

/// A flush is enough for a message to be written.
#[test]
fn flush_writes() {
    let mut primary = Primary::new(Settings::default());
    primary.fork().expect("nothing impossible was set up");
    let mut desk = Desk::default();
    while pump(&mut primary, &mut desk).is_some() {}
    let before = desk.calls.len();
    primary.send(ONE, json!(1)).expect("the channel is open");
    flush(&mut primary, &mut desk);
    assert!(matches!(desk.calls[before..], [Call::Write { .. }]), "{:?}", &desk.calls[before..]);
    assert_eq!(primary.unwritten(ONE), Some(0));
}

/// What a peer or a program gives is read within a bound, however it is cut, also half characters and pairs of them.
#[test]
fn reading_ends() {
    for text in [
        r#""\ud83d\ude00\ud83d\u0041\ude00\n""#,
        r#"{"a\ud800":["\\","\ud800"],"b":[[],{}]}"#,
        "[1,2.5,-3e2]",
    ] {
        let message = Message::from_json_text(text).expect("it is JSON");
        let read = message.clone();
        within_bound(move || read.json()).expect("it has JSON");
        let structured = within_bound(move || message.structured()).expect("it is a structured clone");
        let sparse = cluster_core::Structured::SparseArray(3, vec![("1".into(), structured.clone())]);
        for value in [structured, sparse] {
            let message = Message::from_structured(&value).expect("it can be written");
            let read = message.clone();
            within_bound(move || read.json()).expect("it has JSON");
            within_bound(move || message.json_text().map(|text| text.len())).expect("it has JSON");
        }
    }
    for serialization in [Serialization::Json, Serialization::Advanced] {
        within_bound(move || read_in_pieces(serialization));
    }
}

/// A worker reads what a primary wrote, in pieces of each length.
fn read_in_pieces(serialization: Serialization) {
    let mut primary = Primary::new(Settings::default());
    primary.setup(cluster_core::SpawnOptions::new().serialization(serialization));
    primary.fork().expect("nothing impossible was set up");
    let mut desk = Desk::default();
    while pump(&mut primary, &mut desk).is_some() {}
    primary.send(ONE, json!({ "text": "x".repeat(20) })).expect("the channel is open");
    while pump(&mut primary, &mut desk).is_some() {}
    let Some(Call::Write { bytes, .. }) = desk.calls.pop() else { unreachable!("it was written") };
    for length in 1..bytes.len() {
        let mut worker = Worker::new(ONE, serialization, Limits::default());
        let mut os = Desk::default();
        let mut messages = 0;
        for piece in bytes.chunks(length) {
            worker.handle(OsEvent::Read { channel: ChannelId::PRIMARY, bytes: piece.to_vec(), socket: None });
            while let Some(event) = pump(&mut worker, &mut os) {
                messages += usize::from(matches!(event, WorkerEvent::Message { .. }));
            }
        }
        assert_eq!(messages, 1, "in pieces of {length} bytes");
    }
}
