//! Failed writes: with every error number, with and without a descriptor, in a primary and in a worker. Only
//! a broken channel loses messages, and the loss is counted.

use cluster_core::testing::{self, Answer, TestOs};
use cluster_core::{
    Call, ChannelError, ChannelId, ConnectionState, Errno, Event, HandleType, Limits, Machine, OsEvent,
    OutgoingHandle, Output, Primary, Serialization, Settings, SocketId, TimerId, Worker, WorkerError,
    WorkerEvent, WorkerId,
};

const ONE: WorkerId = WorkerId(1);
const CHANNEL: ChannelId = ChannelId(1);
const CONNECTION: SocketId = SocketId(7);

/// The error numbers of a broken channel. The last two count only without a descriptor: with a descriptor
/// they are about the descriptor.
const BROKEN: [Errno; 6] =
    [Errno::EPIPE, Errno::ECONNRESET, Errno::ENOTCONN, Errno::ESHUTDOWN, Errno::EBADF, Errno::ENOTSOCK];

fn errnos() -> impl Iterator<Item = Errno> {
    (1..135).map(Errno)
}

/// The outputs of a machine. A write succeeds, or fails once with this error number.
fn drain<M: Machine>(machine: &mut M, failure: Option<Errno>) -> Vec<Output<M::Event>> {
    let (mut os, mut outputs) = (TestOs::default(), Vec::new());
    os.writes = failure.map_or(Answer::Success, |errno| Answer::Failures(1, errno));
    testing::drain(machine, &mut os, |output| outputs.push(output));
    outputs
}

/// The lines offered to the operating system.
fn lines<E>(outputs: &[Output<E>]) -> Vec<String> {
    let lines = outputs.iter().filter_map(|output| match output {
        Output::Call(Call::Write { bytes, .. }) => Some(String::from_utf8_lossy(bytes).trim_end().to_owned()),
        Output::Call(_) | Output::Event(_) => None,
    });
    lines.collect()
}

fn timer<E>(outputs: &[Output<E>]) -> Option<TimerId> {
    outputs.iter().find_map(|output| match output {
        Output::Call(Call::SetTimer { timer, .. }) => Some(*timer),
        Output::Call(_) | Output::Event(_) => None,
    })
}

fn worker() -> Worker {
    let mut worker = Worker::new(ONE, Serialization::Json, Limits::default());
    drain(&mut worker, None);
    worker
}

#[test]
fn worker_repeats_failed_writes_in_order() {
    for errno in errnos() {
        let mut worker = worker();
        for text in ["one", "two"] {
            worker.send(text).expect("an open channel");
        }
        let outputs = drain(&mut worker, Some(errno));
        let errors: Vec<_> = outputs.iter().filter(|output| matches!(output, Output::Event(_))).collect();
        if BROKEN.contains(&errno) {
            let error = ChannelError::Write { errno, lost: 2 };
            assert_eq!(errors, [&Output::Event(WorkerEvent::Error { error })], "{errno}");
            assert_eq!(worker.unwritten(), None, "{errno}");
            continue;
        }
        let error = ChannelError::Delayed(errno);
        assert_eq!(errors, [&Output::Event(WorkerEvent::Error { error })], "{errno}");
        assert_eq!((lines(&outputs), worker.unwritten()), (vec!["\"one\"".to_owned()], Some(2)), "{errno}");
        worker.handle(OsEvent::Timer { timer: timer(&outputs).expect("a timer of the retry") });
        let again = drain(&mut worker, None);
        assert_eq!((lines(&again), worker.unwritten()), (vec!["\"one\"".into(), "\"two\"".into()], Some(0)));
    }
}

/// A socket that cannot be sent is returned, and the messages behind it are sent; a shortage leads to a
/// retry.
#[test]
fn unfit_sockets_hold_up_nothing() {
    let shortages = [11, 4, 12, 23, 24, 105, 109].map(Errno);
    for errno in errnos() {
        let mut worker = worker();
        let passing = OutgoingHandle { socket: CONNECTION, kind: HandleType::Socket, keep_open: false };
        worker.send_with("with", passing).expect("an open channel");
        worker.send("behind").expect("an open channel");
        let outputs = drain(&mut worker, Some(errno));
        let closed = outputs.contains(&Output::Call(Call::Close { socket: CONNECTION }));
        let refused =
            outputs.contains(&Output::Event(WorkerEvent::Error { error: ChannelError::NotReceived }));
        let behind = lines(&outputs).iter().any(|line| line.contains("behind"));
        let is_broken = BROKEN[..4].contains(&errno);
        let is_short = shortages.contains(&errno);
        assert_eq!((closed, refused), (!is_short, !is_short && !is_broken), "{errno}");
        assert_eq!((behind, timer(&outputs).is_some()), (!is_short && !is_broken, is_short), "{errno}");
    }
}

/// A primary with one listening worker, and the listening socket.
fn serving() -> (Primary, SocketId) {
    let mut primary = Primary::new(Settings::default());
    primary.fork().expect("the settings are valid");
    drain(&mut primary, None);
    let query = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","address":null,"port":0,"addressType":4,"index":0,"seq":1}"#;
    primary.handle(OsEvent::Read { channel: CHANNEL, bytes: format!("{query}\n").into(), socket: None });
    drain(&mut primary, None);
    (primary, SocketId(1))
}

#[test]
fn failed_handoff_returns_to_ledger() {
    for errno in errnos() {
        let (mut primary, listener) = serving();
        primary.handle(OsEvent::Accepted { listener, socket: CONNECTION, client: None });
        let outputs = drain(&mut primary, Some(errno));
        let open: Vec<_> = primary.ledger().open().collect();
        assert!(matches!(open[..], [(CONNECTION, ConnectionState::Queued(_))]), "{errno}: {open:?}");
        let errors: Vec<_> = outputs.iter().filter(|output| matches!(output, Output::Event(_))).collect();
        if BROKEN[..4].contains(&errno) {
            assert!(errors.is_empty(), "nothing of the program's is lost: {errno}");
        } else {
            let error = Event::Error { worker: ONE, error: WorkerError::Delayed(errno) };
            assert_eq!(errors, [&Output::Event(error)], "{errno}");
            primary.handle(OsEvent::Timer { timer: timer(&outputs).expect("a timer of the retry") });
            let again = lines(&drain(&mut primary, None));
            assert!(again.iter().any(|line| line.contains("newconn")), "{errno}: {again:?}");
        }
    }
}

#[test]
fn broken_channel_is_offered_nothing() {
    let (mut primary, listener) = serving();
    for socket in 7..9 {
        primary.handle(OsEvent::Accepted { listener, socket: SocketId(socket), client: None });
        let offered = lines(&drain(&mut primary, Some(Errno::EPIPE)));
        assert_eq!(offered.len(), usize::from(socket == 7), "{offered:?}");
    }
    primary.handle(OsEvent::ChannelClosed { channel: CHANNEL });
    drain(&mut primary, None);
    assert_eq!(primary.ledger().closed(cluster_core::CloseReason::NoListener), 2);
}

/// Internal messages of the cluster are not counted.
#[test]
fn loss_counts_program_messages() {
    let mut primary = serving().0;
    for text in ["one", "two", "three"] {
        primary.send(ONE, text).expect("an open channel");
    }
    let outputs = drain(&mut primary, Some(Errno::ECONNRESET));
    let error = WorkerError::Write { errno: Errno::ECONNRESET, lost: 3 };
    assert!(outputs.contains(&Output::Event(Event::Error { worker: ONE, error })), "{outputs:?}");
}

/// A guard holds the channel of a disconnecting worker open for a last message.
#[test]
fn hold_keeps_the_channel_open() {
    let mut worker = worker();
    let leave = b"{\"cmd\":\"NODE_CLUSTER\",\"act\":\"disconnect\",\"seq\":1}\n".to_vec();
    let close = Output::Call(Call::CloseChannel { channel: ChannelId::PRIMARY });
    worker.hold();
    worker.handle(OsEvent::Read { channel: ChannelId::PRIMARY, bytes: leave, socket: None });
    assert!(!drain(&mut worker, None).contains(&close));
    worker.send("last").expect("an open channel");
    worker.release_hold();
    let outputs = drain(&mut worker, None);
    assert_eq!(lines(&outputs), ["\"last\""]);
    assert!(outputs.contains(&close), "{outputs:?}");
}

/// A request that the primary answers.
fn goodbye(seq: u32) -> Vec<u8> {
    format!("{{\"cmd\":\"NODE_CLUSTER\",\"act\":\"exitedAfterDisconnect\",\"seq\":{seq}}}\n").into_bytes()
}

/// A primary with a small limit of unsent bytes.
fn narrow() -> Primary {
    let mut settings = Settings::default();
    settings.limits.answer_bytes = 100;
    settings.limits.unsent_bytes = 100;
    let mut primary = Primary::new(settings);
    primary.fork().expect("the settings are valid");
    calls(&mut primary);
    primary
}

/// The calls of a machine. No write is answered.
fn calls<M: Machine>(machine: &mut M) -> Vec<Call> {
    let outputs = std::iter::from_fn(|| machine.poll());
    outputs.filter_map(|output| if let Output::Call(call) = output { Some(call) } else { None }).collect()
}

/// A machine reads from its peer, whatever the program sends: two peers that both send would otherwise wait
/// for each other.
#[test]
fn reading_never_depends_on_sending() {
    let mut primary = narrow();
    let channel = ChannelId(1);
    let long = "x".repeat(200);
    assert_eq!(primary.send(ONE, long.as_str()), Ok(cluster_core::Sent::Buffered));
    assert_eq!(primary.send(ONE, long.as_str()), Err(cluster_core::SendError::Full));
    primary.disconnect_worker(ONE);
    assert!(!calls(&mut primary).contains(&Call::PauseRead { channel }));
    // The worker's own answers still count.
    for seq in 0..3 {
        primary.handle(OsEvent::Read { channel, bytes: goodbye(seq), socket: None });
    }
    assert!(calls(&mut primary).contains(&Call::PauseRead { channel }));
}

/// The output of an exiting peer is read although the peer can no longer be written to.
#[test]
fn broken_channel_is_read_again() {
    let mut primary = narrow();
    for seq in 0..3 {
        primary.handle(OsEvent::Read { channel: CHANNEL, bytes: goodbye(seq), socket: None });
    }
    assert!(calls(&mut primary).contains(&Call::PauseRead { channel: CHANNEL }));
    primary.handle(OsEvent::WriteFailed { channel: CHANNEL, errno: Errno::EPIPE });
    assert!(calls(&mut primary).contains(&Call::ResumeRead { channel: CHANNEL }));
}

/// A worker reads from its primary with any number of unsent answers.
#[test]
fn worker_always_reads() {
    let limits = Limits { answer_bytes: 0, unsent_bytes: 0, ..Limits::default() };
    let mut worker = Worker::new(ONE, Serialization::Json, limits);
    let (channel, mut asked) = (ChannelId::PRIMARY, Vec::new());
    let offer = "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\",\"seq\":1}}\n";
    for socket in 1..9 {
        let socket = Some(SocketId(socket));
        worker.handle(OsEvent::Read { channel, bytes: offer.into(), socket });
        asked.extend(calls(&mut worker));
    }
    assert!(!asked.contains(&Call::PauseRead { channel }), "{asked:?}");
}
