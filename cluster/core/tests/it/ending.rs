//! Machines of processes about to exit, and flushed calls.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cluster_core::testing::{TestCluster, TestOs};
use cluster_core::{
    Call, ChannelId, Event, ExitStatus, Limits, ListenOptions, ListenerId, Machine, Message, OsEvent, Output,
    Primary, Serialization, Settings, Signal, SocketId, Worker, WorkerEvent, WorkerId, flush, pump,
};
use serde_json::json;

const ONE: WorkerId = WorkerId(1);
const LISTENER: ListenerId = ListenerId(1);
/// The first bound socket of a process.
const BOUND: SocketId = SocketId(1);

/// Far beyond the time of any test.
const BOUND_OF_TIME: Duration = Duration::from_secs(3);

fn within_bound<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(read()));
    receiver.recv_timeout(BOUND_OF_TIME).expect("an end within the bound")
}

/// Workers listening at one address.
fn serving(workers: usize) -> TestCluster {
    TestCluster::serving(Settings::default(), workers, &ListenOptions::default())
}

/// `finish` closes every channel after the sent messages, and asks no worker to disconnect.
#[test]
fn primary_finishes_when_channels_close() {
    let mut cluster = serving(2);
    assert!(!cluster.primary.is_finished());
    cluster.primary.send(ONE, json!("last")).expect("the channel is open");
    let before = cluster.os.calls.len();
    cluster.primary.finish();
    assert!(!cluster.primary.is_finished(), "nothing is written yet");
    cluster.settle();
    assert!(cluster.primary.is_finished());
    let calls = &cluster.os.calls[before..];
    let closed = calls.iter().filter(|call| matches!(call, Call::CloseChannel { .. }));
    assert_eq!(closed.count(), 2, "{calls:?}");
    let asks = |call: &&Call| matches!(call, Call::Write { bytes, .. } if bytes.windows(12).any(|part| part == b"\"disconnect\""));
    assert_eq!(calls.iter().filter(asks).count(), 0, "{calls:?}");
    let has_last =
        |event: &WorkerEvent| matches!(event, WorkerEvent::Message { message, .. } if *message == "last");
    assert!(cluster.processes[&ONE].events.iter().any(has_last));
}

#[test]
fn worker_finishes_when_its_channel_closes() {
    let mut cluster = serving(1);
    assert!(!cluster.worker(ONE).is_finished());
    cluster.worker(ONE).send(json!("last")).expect("the channel is open");
    cluster.worker(ONE).finish();
    assert!(!cluster.worker(ONE).is_finished(), "nothing is written yet");
    let process = cluster.processes.get_mut(&ONE).expect("a live worker");
    process.drain();
    assert!(process.machine.is_finished());
    assert!(process.os.calls.iter().any(|call| matches!(call, Call::CloseChannel { .. })));
}

/// A primary is disconnecting from `disconnect_all` until the last worker has exited, unless another worker
/// is forked.
#[test]
fn disconnecting_ends_with_last_exit() {
    let mut cluster = serving(2);
    assert!(!cluster.primary.is_disconnecting());
    cluster.primary.disconnect_all();
    assert!(cluster.primary.is_disconnecting());
    let mut other = serving(1);
    other.primary.disconnect_all();
    other.primary.fork().expect("the settings are valid");
    assert!(!other.primary.is_disconnecting(), "the new worker was not asked");
}

/// A worker is connected until its channel closes, and alive until it exits.
#[test]
fn info_follows_the_end() {
    let mut cluster = serving(1);
    let state = |cluster: &TestCluster| {
        let info = cluster.primary.worker(ONE).expect("a worker before its last event");
        (info.is_connected(), info.is_dead())
    };
    assert_eq!(state(&cluster), (true, false));
    cluster.primary.handle(OsEvent::ChannelClosed { channel: ONE.into() });
    while pump(&mut cluster.primary, &mut cluster.os).is_some() {}
    assert_eq!(state(&cluster), (false, false));
    cluster.primary.handle(OsEvent::Exited { worker: ONE, status: ExitStatus::Code(0) });
    assert!(matches!(pump(&mut cluster.primary, &mut cluster.os), Some(Event::Exit { .. })));
    assert_eq!(state(&cluster), (false, true));
}

/// A worker acknowledges a connection from the call that takes it until the acknowledgement is written.
#[test]
fn worker_is_acknowledging_until_written() {
    let mut cluster = serving(1);
    assert!(!cluster.worker(ONE).is_acknowledging());
    cluster.worker(ONE).accept(LISTENER);
    cluster.settle();
    let before = cluster.os.calls.len();
    cluster.primary.handle(OsEvent::Accepted { listener: BOUND, socket: SocketId(99), client: None });
    while pump(&mut cluster.primary, &mut cluster.os).is_some() {}
    let [Call::Write { bytes, socket, .. }] = &cluster.os.calls[before..] else { unreachable!("an offer") };
    let (bytes, socket) = (bytes.clone(), *socket);
    let worker = cluster.worker(ONE);
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
    let mut os = TestOs::default();
    while pump(&mut machine, &mut os).is_some() {}
    os.calls.clear();
    command(&mut machine);
    if is_flushed {
        flush(&mut machine, &mut os);
    }
    let events = std::iter::from_fn(|| pump(&mut machine, &mut os)).collect();
    (os.calls, events)
}

/// A flush makes the calls of a command before anything else, and loses neither a call nor an event.
#[test]
fn flush_loses_nothing() {
    let primary = || {
        let mut primary = Primary::new(Settings::default());
        primary.fork().expect("the settings are valid");
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
    primary.fork().expect("the settings are valid");
    let mut os = TestOs::default();
    while pump(&mut primary, &mut os).is_some() {}
    let before = os.calls.len();
    primary.send(ONE, json!(1)).expect("the channel is open");
    flush(&mut primary, &mut os);
    assert!(matches!(os.calls[before..], [Call::Write { .. }]), "{:?}", &os.calls[before..]);
    assert_eq!(primary.unwritten(ONE), Some(0));
}

/// Input of a peer or a program is read within a bound, wherever it is split, even between or inside
/// surrogates.
#[test]
fn reading_ends() {
    for text in [
        r#""\ud83d\ude00\ud83d\u0041\ude00\n""#,
        r#"{"a\ud800":["\\","\ud800"],"b":[[],{}]}"#,
        "[1,2.5,-3e2]",
    ] {
        let message = Message::from_json_text(text).expect("JSON");
        let read = message.clone();
        within_bound(move || read.json()).expect("a JSON form");
        let structured = within_bound(move || message.structured()).expect("a structured clone");
        let sparse = cluster_core::Structured::SparseArray(3, vec![("1".into(), structured.clone())]);
        for value in [structured, sparse] {
            let message = Message::from_structured(&value).expect("a writable value");
            let read = message.clone();
            within_bound(move || read.json()).expect("a JSON form");
            within_bound(move || message.json_text().map(|text| text.len())).expect("a JSON form");
        }
    }
    for serialization in [Serialization::Json, Serialization::Advanced] {
        within_bound(move || read_in_pieces(serialization));
    }
}

/// A worker reads a primary's output, in pieces of each length.
#[track_caller]
fn read_in_pieces(serialization: Serialization) {
    let mut primary = Primary::new(Settings::default());
    primary.setup(cluster_core::SpawnOptions::new().serialization(serialization));
    primary.fork().expect("the settings are valid");
    let mut os = TestOs::default();
    while pump(&mut primary, &mut os).is_some() {}
    primary.send(ONE, json!({ "text": "x".repeat(20) })).expect("the channel is open");
    while pump(&mut primary, &mut os).is_some() {}
    let Some(Call::Write { bytes, .. }) = os.calls.pop() else { unreachable!("it was written") };
    for length in 1..bytes.len() {
        let mut worker = Worker::new(ONE, serialization, Limits::default());
        let mut os = TestOs::default();
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
