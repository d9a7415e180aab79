//! Properties of the channel for its owner: bytes may be split anywhere, and a peer may send anything.

use std::collections::BTreeSet;

use cluster_core::testing::TestProcess;
use cluster_core::{
    Call, ChannelId, Event, IncomingHandle, Limits, ListenOptions, ListenerId, Machine, OsEvent, Output,
    Primary, Serialization, Settings, SocketId, SpawnOptions, Violation, Worker, WorkerError, WorkerEvent,
    WorkerId,
};
use proptest::prelude::*;
use serde_json::Value;

const ONE: WorkerId = WorkerId(1);

/// A machine on its channel; the test is the peer.
struct Process<M: Machine> {
    inner: TestProcess<M>,
    channel: ChannelId,
}

impl<M: Machine> Process<M> {
    fn new(machine: M, channel: ChannelId) -> Self {
        let mut inner = TestProcess::new(machine);
        inner.os.count_after(100);
        Process { inner, channel }
    }

    fn is_open(&self) -> bool {
        !self.inner.os.calls.contains(&Call::CloseChannel { channel: self.channel })
    }

    fn read(&mut self, bytes: &[u8], with_socket: bool) -> Vec<M::Event> {
        if bytes.is_empty() || !self.is_open() {
            return Vec::new();
        }
        let socket = with_socket.then(|| self.inner.os.next_socket());
        self.give(OsEvent::Read { channel: self.channel, bytes: bytes.to_vec(), socket })
    }

    fn give(&mut self, event: OsEvent) -> Vec<M::Event> {
        self.inner.machine.handle(event);
        self.drain()
    }

    #[track_caller]
    fn drain(&mut self) -> Vec<M::Event> {
        self.inner.drain();
        assert_eq!(self.inner.os.strays, [], "closed, but not open");
        std::mem::take(&mut self.inner.events)
    }

    fn open(&mut self) -> &mut BTreeSet<SocketId> {
        &mut self.inner.os.open
    }

    fn close(&mut self) {
        if self.is_open() {
            self.give(OsEvent::ChannelClosed { channel: self.channel });
        }
    }
}

fn primary() -> Process<Primary> {
    primary_with(Serialization::Json)
}

fn primary_with(serialization: Serialization) -> Process<Primary> {
    let mut primary = Primary::new(Settings::default());
    primary.setup(SpawnOptions::new().serialization(serialization));
    primary.fork().expect("the settings are valid");
    let mut process = Process::new(primary, ChannelId(1));
    process.drain();
    process
}

fn worker() -> Process<Worker> {
    let mut worker = Worker::new(ONE, Serialization::Json, Limits::default());
    worker.listen(ListenOptions::default());
    let mut process = Process::new(worker, ChannelId::PRIMARY);
    process.drain();
    process
}

/// A line of a peer: valid, almost valid, or noise.
fn line() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let act = prop_oneof![
        Just("online"),
        Just("queryServer"),
        Just("listening"),
        Just("close"),
        Just("newconn"),
        Just("disconnect"),
        Just("exitedAfterDisconnect"),
        Just("nonsense")
    ];
    let key = prop_oneof![Just("\"null:0:4:undefined:0\""), Just("\"other\""), Just("7")];
    let port = prop_oneof![Just("0"), Just("80"), Just("70000"), Just("-1"), Just("\"80\""), Just("{}")];
    let kind = prop_oneof![
        Just("4"),
        Just("6,\"fd\":3"),
        Just("-1,\"readableAll\":true"),
        Just("\"udp4\",\"fd\":-1,\"flags\":5"),
        Just("null,\"fd\":7"),
        Just("null"),
        Just("[]")
    ];
    let address = prop_oneof![3 => Just("null"), 1 => Just("\"127.0.0.1\""), 1 => Just("\"/tmp/x\"")];
    let place = (port, kind, address);
    let cluster = (act, key, place, 0..6u8, 0..6u8, any::<bool>(), any::<bool>()).prop_map(
        |(act, key, (port, kind, address), seq, ack, accepted, reply)| {
            let reply =
                if reply { format!("\"ack\":{ack},\"accepted\":{accepted}") } else { format!("\"act\":\"{act}\"") };
            format!(
                "{{\"cmd\":\"NODE_CLUSTER\",{reply},\"key\":{key},\"index\":0,\"address\":{address},\"port\":{port},\
                 \"addressType\":{kind},\"seq\":{seq}}}"
            )
        },
    );
    let message = prop_oneof![
        6 => cluster,
        1 => Just(String::from("{\"cmd\":\"NODE_HANDLE_ACK\"}")),
        1 => Just(String::from("{\"cmd\":\"NODE_HANDLE_NACK\"}")),
        1 => Just(String::from("{\"cmd\":\"NODE_ELSE\"}")),
        1 => Just(String::from("{\"cmd\":\"NODE_SOCKET_GET_COUNT\",\"key\":\"k\"}")),
        1 => Just(String::from("{\"cmd\":\"NODE_SOCKET_NOTIFY_CLOSE\",\"key\":\"k\"}")),
        1 => Just(String::from("[1,\"two\",null]")),
        1 => "[ -~]{0,12}",
    ];
    let types = prop_oneof![
        3 => Just("net.Native"),
        2 => Just("net.Socket\",\"key\":\"k"),
        1 => Just("dgram.Native"),
        1 => Just("strange")
    ];
    let text = (message, any::<bool>(), types).prop_map(|(message, wrapped, kind)| {
        if wrapped {
            format!("{{\"cmd\":\"NODE_HANDLE\",\"type\":\"{kind}\",\"msg\":{message}}}\n").into_bytes()
        } else {
            format!("{message}\n").into_bytes()
        }
    });
    prop_oneof![8 => text, 1 => proptest::collection::vec(any::<u8>(), 0..20)]
        .prop_flat_map(|bytes| (Just(bytes), any::<bool>()))
}

/// A payload in V8's structured clone: valid, almost valid, or noise.
fn payload() -> impl Strategy<Value = (Vec<u8>, bool)> {
    let tags = prop::sample::select(&b"oA^\"ID\\\x7B$_0\x00\x01\x02\x04"[..]);
    let text =
        prop_oneof![Just("cmd"), Just("NODE_CLUSTER"), Just("NODE_HANDLE_ACK"), Just("act"), Just("online")];
    let texts =
        text.prop_map(|text| [&[b'"', u8::try_from(text.len()).expect("short")], text.as_bytes()].concat());
    let part = prop_oneof![3 => tags.prop_map(|tag| vec![tag]), 2 => texts];
    let object = proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat());
    let length = prop_oneof![9 => Just(None), 1 => any::<u32>().prop_map(Some)];
    (object, length, any::<bool>()).prop_map(|(object, length, with_socket)| {
        let payload = [&[0xFF, 15][..], &object].concat();
        let length = length.unwrap_or(u32::try_from(payload.len()).expect("short"));
        ([&length.to_be_bytes()[..], &payload].concat(), with_socket)
    })
}

fn messages(events: Vec<Event>) -> Vec<Value> {
    let message = |event| if let Event::Message { message, .. } = event { Some(message) } else { None };
    events.into_iter().filter_map(message).map(|message| message.json().expect("a JSON form")).collect()
}

proptest! {
    /// The split of the bytes does not matter.
    #[test]
    fn bytes_may_be_cut_anywhere(
        sent in proptest::collection::vec(any::<(u32, String)>(), 1..6),
        cuts in proptest::collection::vec(1..9usize, 1..200),
    ) {
        let sent: Vec<Value> = sent.into_iter().map(|(number, text)| serde_json::json!({"n": number, "t": text})).collect();
        let bytes: Vec<u8> = sent.iter().flat_map(|value| format!("{value}\n").into_bytes()).collect();
        let mut process = primary();
        let (mut received, mut rest, mut cuts) = (Vec::new(), &bytes[..], cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            received.extend(messages(process.read(now, false)));
            rest = later;
        }
        prop_assert_eq!(received, sent);
    }

    /// The split of the bytes does not matter in the 'advanced' serialization either.
    #[test]
    fn payloads_may_be_cut_anywhere(
        sent in proptest::collection::vec("[a-z]{0,200}", 1..6),
        cuts in proptest::collection::vec(1..9usize, 1..200),
    ) {
        let frame = |text: &String| {
            let length = u8::try_from(text.len()).expect("short");
            // A length of more than seven bits takes two bytes.
            let varint = if length < 128 { vec![length] } else { vec![length & 127 | 128, 1] };
            let payload = [&[0xFF, 15, b'"'][..], &varint, text.as_bytes()].concat();
            [&u32::try_from(payload.len()).expect("short").to_be_bytes()[..], &payload].concat()
        };
        let bytes: Vec<u8> = sent.iter().flat_map(frame).collect();
        let mut process = primary_with(Serialization::Advanced);
        let (mut received, mut rest, mut cuts) = (Vec::new(), &bytes[..], cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap_or(1).min(rest.len()));
            received.extend(messages(process.read(now, false)));
            rest = later;
        }
        prop_assert_eq!(received, sent.into_iter().map(Value::from).collect::<Vec<_>>());
    }

    /// No payload on a channel of the 'advanced' serialization harms the primary.
    #[test]
    fn wrong_serialization_spares_primary(
        sent in proptest::collection::vec(payload(), 0..12),
    ) {
        let mut process = primary_with(Serialization::Advanced);
        let mut events = Vec::new();
        for (bytes, with_socket) in &sent {
            events.extend(process.read(bytes, *with_socket));
        }
        process.close();
        events.extend(process.drain());
        let ends = events.iter().filter(|event| matches!(event, Event::Disconnect { .. })).count();
        prop_assert!(ends <= 1);
        prop_assert!(process.open().is_empty(), "still open: {:?}", process.open());
    }

    /// For any bytes of a worker, the primary does not panic, emits at most one end of the channel, and keeps
    /// no socket of the worker.
    #[test]
    fn hostile_worker_spares_primary(sent in proptest::collection::vec(line(), 0..30)) {
        let mut process = primary();
        let mut events = Vec::new();
        for (bytes, with_socket) in &sent {
            events.extend(process.read(bytes, *with_socket));
            if let Some(listener) = process.open().first().copied()
                && process.inner.machine.ledger().accepted() < 3
            {
                let socket = process.inner.os.next_socket();
                events.extend(process.give(OsEvent::Accepted { listener, socket, client: None }));
            }
        }
        process.close();
        events.extend(process.drain());
        for event in &events {
            // The program owns a socket that arrives with a message.
            if let Event::Message { handle: Some(IncomingHandle { socket, .. }), .. } = event {
                process.open().remove(socket);
            }
        }
        let ends = events.iter().filter(|event| matches!(event, Event::Disconnect { .. })).count();
        prop_assert!(ends <= 1);
        prop_assert!(process.open().is_empty(), "still open: {:?}", process.open());
        prop_assert_eq!(process.inner.machine.ledger().open().count(), 0);
    }

    /// For any bytes of the primary, the worker does not panic, and keeps only the application's sockets.
    #[test]
    fn hostile_primary_spares_worker(sent in proptest::collection::vec(line(), 0..30)) {
        let mut process = worker();
        let mut given = BTreeSet::new();
        for (bytes, with_socket) in &sent {
            process.inner.machine.accept(ListenerId(1));
            for event in process.drain().into_iter().chain(process.read(bytes, *with_socket)) {
                if let WorkerEvent::Connection { connection, .. } = event {
                    given.insert(connection);
                }
                if let WorkerEvent::Message { handle: Some(IncomingHandle { socket, .. }), .. } = event {
                    given.insert(socket);
                }
            }
        }
        process.close();
        process.inner.machine.close(ListenerId(1));
        process.drain();
        prop_assert!(process.open().is_subset(&given), "still open: {:?}, given: {given:?}", process.open());
    }
}

/// A line without an end is a violation at the limit.
#[test]
fn endless_line_ends_at_limit() {
    let mut settings = Settings::default();
    settings.limits.message_bytes = 1000;
    let mut primary = Primary::new(settings);
    primary.fork().expect("the settings are valid");
    let mut process = Process::new(primary, ChannelId(1));
    process.drain();
    assert_eq!(process.read(&[b'x'; 1000], false), []);
    assert!(matches!(process.read(b"x", false)[..], [Event::Error { .. }, Event::Disconnect { .. }]));
    assert!(!process.is_open());
}

/// A payload longer than the limit is a violation at once.
#[test]
fn too_long_payload_ends_at_once() {
    let start = || {
        let mut settings = Settings::default();
        settings.limits.message_bytes = 1000;
        let mut primary = Primary::new(settings);
        primary.setup(SpawnOptions::new().serialization(Serialization::Advanced));
        primary.fork().expect("the settings are valid");
        let mut process = Process::new(primary, ChannelId(1));
        process.drain();
        process
    };
    let mut process = start();
    assert_eq!(process.read(&1000_u32.to_be_bytes(), false), []);
    assert!(process.is_open());
    let mut process = start();
    let error = WorkerError::Protocol(Violation::TooLong);
    let events = process.read(&1001_u32.to_be_bytes(), false);
    assert_eq!(events, [Event::Error { worker: ONE, error }, Event::Disconnect { worker: ONE }]);
    assert!(!process.is_open());
}

/// A peer that asks without acknowledging a descriptor ends its channel. If the primary stopped reading
/// instead, both ends would wait for each other: the acknowledgement may be behind the questions.
#[test]
fn unacknowledged_questions_end_channel() {
    let mut settings = Settings::default();
    settings.limits.answer_bytes = 1000;
    let mut primary = Primary::new(settings);
    primary.fork().expect("the settings are valid");
    let mut process = Process::new(primary, ChannelId(1));
    process.drain();
    let query = |address: &str, seq: u32| {
        format!(
            "{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"address\":{address},\"port\":0,\"addressType\":4,\
             \"seq\":{seq}}}\n"
        )
    };
    process.read(query("null", 1).as_bytes(), false);
    let (listener, socket) =
        (*process.open().first().expect("a bound listener"), process.inner.os.next_socket());
    process.give(OsEvent::Accepted { listener, socket, client: None });
    let mut asked = 1;
    let mut seen = Vec::new();
    while seen.is_empty() {
        asked += 1;
        assert!(asked < 100, "the answers are held without a bound");
        seen = process.read(query("\"no address\"", asked).as_bytes(), false);
    }
    let error = WorkerError::Protocol(Violation::Unacknowledged);
    assert_eq!(seen, [Event::Error { worker: ONE, error }, Event::Disconnect { worker: ONE }]);
    let pause = Call::PauseRead { channel: ONE.into() };
    assert!(!process.is_open() && !process.inner.os.calls.contains(&pause) && asked > 5);
}

/// The channel stops reading from a peer that sends without reading.
#[test]
fn flooding_peer_is_paused() {
    let mut settings = Settings::default();
    settings.limits.answer_bytes = 100;
    let mut primary = Primary::new(settings);
    primary.fork().expect("the settings are valid");
    let channel = ChannelId(1);
    let mut calls = Vec::new();
    let mut taken = 0;
    let mut drain = |primary: &mut Primary, room: bool| {
        while let Some(output) = primary.poll() {
            if let Output::Call(call) = output {
                if let Call::Write { bytes, .. } = &call {
                    let rest = if room { Vec::new() } else { bytes.clone() };
                    taken += usize::from(room);
                    primary.handle(OsEvent::Wrote { channel, rest });
                }
                calls.push(call);
            }
        }
        calls.iter().filter(|call| matches!(call, Call::PauseRead { .. } | Call::ResumeRead { .. })).count()
    };
    drain(&mut primary, false);
    let ask = |seq: u32| {
        format!("{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"exitedAfterDisconnect\",\"seq\":{seq}}}\n").into_bytes()
    };
    let mut asked = 0;
    while drain(&mut primary, false) == 0 {
        asked += 1;
        assert!(asked < 20, "it is never paused");
        primary.handle(OsEvent::Read { channel, bytes: ask(asked), socket: None });
    }
    primary.handle(OsEvent::Writable { channel });
    assert_eq!(drain(&mut primary, true), 2, "paused, then resumed");
    assert_eq!(taken, asked as usize, "every answer was written in the end");
}

/// A Node worker that serves TLS sends data for all workers; every answer has the first worker's data.
#[test]
fn server_data_is_in_answer() {
    let mut process = primary();
    let question = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","address":null,"port":0,"addressType":4,"data":{"a":1},"seq":1}"#;
    process.inner.os.take_calls();
    process.read(format!("{question}\n").as_bytes(), false);
    let answers: Vec<Value> =
        process.inner.os.written().iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!((&answers[0]["ack"], &answers[0]["data"]), (&1.into(), &serde_json::json!({ "a": 1 })));
}

/// Up to version 20, a Node worker keeps the index of a failed attempt, so that later servers no longer
/// match.
#[test]
fn failed_bind_frees_index() {
    let mut process = worker();
    let refused = br#"{"cmd":"NODE_CLUSTER","errno":-98,"key":"k","ack":1,"data":null,"seq":0}"#;
    let events = process.read(&[&refused[..], b"\n"].concat(), false);
    assert!(matches!(events[..], [WorkerEvent::ListenFailed { .. }]), "{events:?}");
    process.inner.machine.listen(ListenOptions::default());
    process.drain();
    let written = process.inner.os.written();
    let question: Value = serde_json::from_str(written.last().expect("a question")).expect("JSON");
    assert_eq!((&question["act"], &question["index"]), (&"queryServer".into(), &0.into()));
}
