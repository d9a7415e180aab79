//! Both sides of each limit of a channel, and the bytes that count against the limit. Most tests use a
//! worker, because a primary has the same channels.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use cluster_core::testing::{TestCluster, TestOs, drain};
use cluster_core::{
    Call, ChannelError, ChannelId, Errno, Event, ExitStatus, HandleType, Limits, ListenOptions, Machine,
    OsEvent, OutgoingHandle, Output, Primary, SendError, Serialization, Settings, SocketId, Violation,
    Worker, WorkerError, WorkerEvent, WorkerId,
};
use serde_json::json;

const ONE: WorkerId = WorkerId(1);
const CHANNEL: ChannelId = ChannelId::PRIMARY;
const SOCKET: OutgoingHandle =
    OutgoingHandle { socket: SocketId(77), kind: HandleType::Socket, keep_open: false };

fn worker(limits: Limits) -> Worker {
    let mut worker = Worker::new(ONE, Serialization::Json, limits);
    settle(&mut worker);
    worker
}

/// Drains a machine without answering the writes.
fn outputs<M: Machine>(machine: &mut M) -> Vec<Output<M::Event>> {
    std::iter::from_fn(|| machine.poll()).collect()
}

/// Drains a machine with successful writes. Returns the written bytes.
fn settle<M: Machine>(machine: &mut M) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    drain(machine, &mut TestOs::default(), |output| {
        if let Output::Call(Call::Write { bytes, .. }) = output {
            lines.push(bytes);
        }
    });
    lines
}

/// Delivers a line of the primary.
fn read(worker: &mut Worker, line: &str, socket: Option<SocketId>) -> Vec<Output<WorkerEvent>> {
    worker.handle(OsEvent::Read { channel: CHANNEL, bytes: format!("{line}\n").into_bytes(), socket });
    outputs(worker)
}

fn wrote(worker: &mut Worker, rest: usize) -> Vec<Output<WorkerEvent>> {
    worker.handle(OsEvent::Wrote { channel: CHANNEL, rest: vec![b'x'; rest] });
    outputs(worker)
}

fn calls<E>(outputs: &[Output<E>]) -> Vec<&Call> {
    outputs
        .iter()
        .filter_map(|output| if let Output::Call(call) = output { Some(call) } else { None })
        .collect()
}

/// A peer with the same limits reads the longest message that can be sent.
#[test]
fn longest_message_is_read() {
    let limits = Limits { message_bytes: 100, ..Limits::default() };
    let mut worker = worker(limits.clone());
    let settings = Settings { limits: limits.clone(), ..Settings::default() };
    let mut primary = Primary::new(settings);
    primary.fork().expect("the settings are valid");
    settle(&mut primary);
    let sent = |length: usize, worker: &mut Worker| worker.send("x".repeat(length)).is_ok();
    let longest = (0..200).take_while(|length| sent(*length, &mut worker)).last().expect("some are short");
    let line = settle(&mut worker).pop().expect("a written line");
    assert_eq!(line.len(), longest + 3, "two quotation marks and the end of the line");
    assert_eq!(line.len(), limits.message_bytes);
    primary.handle(OsEvent::Read { channel: ChannelId::from(ONE), bytes: line, socket: None });
    let events = outputs(&mut primary);
    assert!(matches!(events[..], [Output::Event(Event::Message { .. })]), "{events:?}");
}

/// One short message per 64 bytes of the limit may wait.
#[test]
fn short_messages_are_counted() {
    for lines in [100, 1000] {
        let mut worker = worker(Limits { unsent_bytes: 64 * lines, ..Limits::default() });
        let accepted = (0..10_000).take_while(|_| worker.send(json!(1)).is_ok()).count();
        assert_eq!(accepted, lines);
        assert_eq!(worker.send(json!(1)), Err(SendError::Full));
    }
}

/// Messages that wait for an acknowledgement count like messages that wait for the kernel.
#[test]
fn blocked_messages_are_counted() {
    let settings =
        Settings { limits: Limits { unsent_bytes: 64 * 100, ..Limits::default() }, ..Settings::default() };
    let mut primary = Primary::new(settings);
    primary.fork().expect("the settings are valid");
    settle(&mut primary);
    primary.send_with(ONE, json!(1), SOCKET).expect("the channel is open");
    settle(&mut primary);
    let accepted = (0..1000).take_while(|_| primary.send(ONE, json!(1)).is_ok()).count();
    assert_eq!(accepted, 100);
}

/// An offer of a connection is not an answer: the primary reads from the worker, with any number of unwritten
/// offers.
#[test]
fn offers_are_no_answers() {
    let settings =
        Settings { limits: Limits { answer_bytes: 0, ..Limits::default() }, ..Settings::default() };
    let mut cluster = TestCluster::serving(settings, 1, &ListenOptions::default());
    cluster.primary.handle(OsEvent::Accepted { listener: SocketId(1), socket: SocketId(99), client: None });
    let outputs = outputs(&mut cluster.primary);
    let calls = calls(&outputs);
    assert!(calls.iter().any(|call| matches!(call, Call::Write { .. })), "{calls:?}");
    assert!(!calls.iter().any(|call| matches!(call, Call::PauseRead { .. })), "{calls:?}");
}

/// The written part of a line no longer counts; the rest does.
#[test]
fn partial_write_frees_its_bytes() {
    let line = 10;
    let message = "x".repeat(line - 3);
    let mut worker = worker(Limits { unsent_bytes: 100 * line, ..Limits::default() });
    let fill = |worker: &mut Worker| (0..1000).take_while(|_| worker.send(message.as_str()).is_ok()).count();
    assert_eq!(fill(&mut worker), 64, "as many lines may always wait");
    assert_eq!(worker.unwritten(), Some(64));
    outputs(&mut worker);
    wrote(&mut worker, 4);
    assert_eq!(worker.unwritten(), Some(64), "the first is not written whole");
    worker.handle(OsEvent::Writable { channel: CHANNEL });
    settle(&mut worker);
    assert_eq!(worker.unwritten(), Some(0));
    assert_eq!(fill(&mut worker), 64);
}

/// A message that announces a socket, but has none. The receiver rejects the missing socket, and each
/// rejection is an answer.
const BARE: &str = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":1}"#;
const ANSWER: usize = r#"{"cmd":"NODE_HANDLE_NACK"}"#.len() + 1;

/// A primary with more unsent answers than the limit stops reading until half of the answers are written.
#[test]
fn answers_pause_reading_beyond_their_limit() {
    let settings =
        Settings { limits: Limits { answer_bytes: 4 * ANSWER, ..Limits::default() }, ..Settings::default() };
    let mut primary = Primary::new(settings);
    primary.fork().expect("the settings are valid");
    settle(&mut primary);
    let channel = ChannelId::from(ONE);
    let bare = |primary: &mut Primary| {
        primary.handle(OsEvent::Read { channel, bytes: format!("{BARE}\n").into_bytes(), socket: None });
        outputs(primary)
    };
    let (pause, resume) = (Call::PauseRead { channel }, Call::ResumeRead { channel });
    for count in 1..=4 {
        assert!(!calls(&bare(&mut primary)).contains(&&pause), "{count} answers");
    }
    assert!(calls(&bare(&mut primary)).contains(&&pause));
    for left in [4, 3] {
        primary.handle(OsEvent::Wrote { channel, rest: Vec::new() });
        assert!(!calls(&outputs(&mut primary)).contains(&&resume), "{left} answers are left");
    }
    primary.handle(OsEvent::Wrote { channel, rest: Vec::new() });
    assert!(calls(&outputs(&mut primary)).contains(&&resume), "half is left");
}

/// A worker that does not acknowledge a socket blocks its answers in the primary, up to a limit.
#[test]
fn blocked_answers_have_a_limit() {
    let question = r#"{"cmd":"NODE_SOCKET_GET_COUNT","key":"k"}"#;
    let answer = r#"{"cmd":"NODE_SOCKET_COUNT","key":"k","count":0}"#.len() + 1;
    for limit in [1, 3] {
        let limits = Limits { answer_bytes: limit * answer, ..Limits::default() };
        let settings = Settings { limits: limits.clone(), ..Settings::default() };
        let mut primary = Primary::new(settings);
        primary.fork().expect("the settings are valid");
        settle(&mut primary);
        primary.send_with(ONE, json!(1), SOCKET).expect("the channel is open");
        settle(&mut primary);
        let ask = |primary: &mut Primary| {
            let bytes = format!("{question}\n").into_bytes();
            primary.handle(OsEvent::Read { channel: ChannelId::from(ONE), bytes, socket: None });
            let events = outputs(primary).into_iter();
            let is_end = |output| {
                let unacknowledged = WorkerError::Protocol(Violation::Unacknowledged);
                output == Output::Event(Event::Error { worker: ONE, error: unacknowledged })
            };
            events.filter(|output| is_end(output.clone())).count()
        };
        for count in 1..=limit {
            assert_eq!(ask(&mut primary), 0, "{count} of {limit}");
        }
        assert_eq!(ask(&mut primary), 1, "more than {limit}");
    }
}

/// A worker answers the question for its count of sockets, and reports when the last is closed.
#[test]
fn worker_answers_for_its_sockets() {
    let mut worker = worker(Limits::default());
    let counted = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","key":"k","msg":1}"#;
    worker.handle(OsEvent::Read {
        channel: CHANNEL,
        bytes: format!("{counted}\n").into_bytes(),
        socket: Some(SocketId(7)),
    });
    settle(&mut worker);
    let mut ask = |line: &str| {
        worker.handle(OsEvent::Read {
            channel: CHANNEL,
            bytes: format!("{line}\n").into_bytes(),
            socket: None,
        });
        settle(&mut worker).concat()
    };
    let one = b"{\"cmd\":\"NODE_SOCKET_COUNT\",\"key\":\"k\",\"count\":1}\n";
    assert_eq!(ask(r#"{"cmd":"NODE_SOCKET_GET_COUNT","key":"k"}"#), one);
    assert_eq!(ask(r#"{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"k"}"#), b"");
    worker.release(SocketId(7));
    assert_eq!(settle(&mut worker).concat(), b"{\"cmd\":\"NODE_SOCKET_ALL_CLOSED\",\"key\":\"k\"}\n");
}

/// After a violation, the rest of the input is not delivered, and its socket is closed.
#[test]
fn nothing_is_delivered_after_a_breach() {
    let unasked = r#"{"cmd":"NODE_HANDLE_ACK"}"#;
    let mut message = worker(Limits::default());
    let events = read(&mut message, &format!("{unasked}\n1"), None);
    let is_message =
        |output: &Output<WorkerEvent>| matches!(output, Output::Event(WorkerEvent::Message { .. }));
    assert!(!events.iter().any(is_message), "{events:?}");
    for lines in [format!("{unasked}\n{BARE}"), format!("{BARE}\n{unasked}")] {
        let mut socket = worker(Limits::default());
        let events = read(&mut socket, &lines, Some(SocketId(7)));
        assert!(!events.iter().any(is_message), "{events:?}");
        let closed = calls(&events).into_iter().filter(|call| **call == Call::Close { socket: SocketId(7) });
        assert_eq!(closed.count(), 1, "{events:?}");
    }
}

/// Messages not accepted by the kernel are unwritten; messages of a broken channel are lost.
#[test]
fn unwritten_messages_are_counted() {
    let mut primary = Primary::new(Settings::default());
    assert_eq!(primary.unwritten(ONE), None, "there is no such worker");
    primary.fork().expect("the settings are valid");
    settle(&mut primary);
    assert_eq!(primary.unwritten(ONE), Some(0));
    primary.send(ONE, json!(1)).expect("the channel is open");
    primary.send(ONE, json!(2)).expect("the channel is open");
    assert_eq!(primary.unwritten(ONE), Some(2));
    let [Output::Call(Call::Write { channel, .. })] = outputs(&mut primary)[..] else {
        unreachable!("one at a time")
    };
    primary.handle(OsEvent::Wrote { channel, rest: Vec::new() });
    outputs(&mut primary);
    assert_eq!(primary.unwritten(ONE), Some(1));
    primary.handle(OsEvent::WriteFailed { channel, errno: Errno::EPIPE });
    outputs(&mut primary);
    assert_eq!(primary.unwritten(ONE), None, "one is lost");
    assert_eq!(primary.send(ONE, json!(3)), Err(SendError::Closed));
}

/// A loss remains known, whatever the peer sends afterwards.
#[test]
fn loss_stays_known() {
    let mut primary = Primary::new(Settings::default());
    primary.fork().expect("the settings are valid");
    settle(&mut primary);
    primary.send(ONE, json!(1)).expect("the channel is open");
    outputs(&mut primary);
    let channel = ChannelId::from(ONE);
    primary.handle(OsEvent::WriteFailed { channel, errno: Errno::EPIPE });
    outputs(&mut primary);
    primary.handle(OsEvent::Read { channel, bytes: format!("{BARE}\n").into_bytes(), socket: None });
    outputs(&mut primary);
    assert_eq!(primary.unwritten(ONE), None);
}

/// The request that a worker disconnect counts as an unwritten message.
#[test]
fn unwritten_wish_is_counted() {
    let mut primary = Primary::new(Settings::default());
    primary.fork().expect("the settings are valid");
    settle(&mut primary);
    primary.disconnect_worker(ONE);
    outputs(&mut primary);
    assert_eq!(primary.unwritten(ONE), Some(1));
}

/// A message with a socket that cannot be sent, because the worker has exited, no longer counts as unwritten.
#[test]
fn withdrawn_messages_are_not_unwritten() {
    let mut primary = Primary::new(Settings::default());
    primary.fork().expect("the settings are valid");
    settle(&mut primary);
    primary.send_with(ONE, json!(1), SOCKET).expect("the channel is open");
    primary
        .send_with(ONE, json!(2), OutgoingHandle { socket: SocketId(78), ..SOCKET })
        .expect("one may wait");
    outputs(&mut primary);
    assert_eq!(primary.unwritten(ONE), Some(2));
    primary.handle(OsEvent::Exited { worker: ONE, status: ExitStatus::Code(0) });
    let first = primary.poll();
    assert_eq!(primary.unwritten(ONE), Some(0), "{first:?}");
}

/// A failed write of a worker emits one error, with the number of lost messages.
#[test]
fn lost_messages_are_reported_once() {
    let mut worker = worker(Limits::default());
    worker.send(json!(1)).expect("the channel is open");
    outputs(&mut worker);
    worker.handle(OsEvent::WriteFailed { channel: CHANNEL, errno: Errno::EPIPE });
    let lost = ChannelError::Write { errno: Errno::EPIPE, lost: 1 };
    let errors = outputs(&mut worker);
    let is_lost =
        |output: &&Output<WorkerEvent>| **output == Output::Event(WorkerEvent::Error { error: lost });
    assert_eq!(errors.iter().filter(is_lost).count(), 1, "{errors:?}");
    assert_eq!(worker.unwritten(), None);
}
