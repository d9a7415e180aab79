//! A primary with workers, with every event delivered in order: the effect of each command and each single
//! failure.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use cluster_core::testing::{Answer, TestCluster};
use cluster_core::{
    Call, CloseReason, ConnectionState, Errno, Event, ExitStatus, ListenAddress, ListenOptions, ListenerId,
    Machine, OsEvent, Output, SchedulingPolicy, SendError, Sent, Settings, Signal, SocketId, SpawnOptions,
    WorkerError, WorkerEvent, WorkerId, WorkerInfo, WorkerState,
};
use serde_json::json;

const ONE: WorkerId = WorkerId(1);
const TWO: WorkerId = WorkerId(2);
const LISTENER: ListenerId = ListenerId(1);
/// The first socket a primary binds.
const BOUND: SocketId = SocketId(1);

/// Workers listening on one port; the `ready` ones ask for a connection.
fn serving(workers: usize, ready: &[WorkerId]) -> TestCluster {
    serving_with(Settings::default(), workers, ready)
}

fn serving_with(settings: Settings, workers: usize, ready: &[WorkerId]) -> TestCluster {
    let mut cluster = TestCluster::serving(settings, workers, &ListenOptions::default());
    for worker in ready {
        cluster.worker(*worker).accept(LISTENER);
    }
    cluster.settle();
    cluster.take_events();
    cluster
}

fn names(events: &[Event]) -> Vec<&'static str> {
    events
        .iter()
        .map(|event| match event {
            Event::Setup { .. } => "setup",
            Event::Fork { .. } => "fork",
            Event::Online { .. } => "online",
            Event::Listening { .. } => "listening",
            Event::Message { .. } => "message",
            Event::Disconnect { .. } => "disconnect",
            Event::Exit { .. } => "exit",
            Event::Error { .. } => "error",
            Event::AcceptFailed { .. } => "accept failed",
            Event::AllDisconnected => "all disconnected",
        })
        .collect()
}

/// A forked worker becomes online and listening.
#[test]
fn fork_reaches_listening() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(1);
    assert_eq!(cluster.primary.worker(ONE).map(WorkerInfo::state), Some(WorkerState::Online));
    assert_eq!(cluster.primary.worker(ONE).and_then(WorkerInfo::pid), Some(1001));
    cluster.worker(ONE).listen(ListenOptions::default());
    cluster.settle();
    assert_eq!(names(&cluster.events), ["setup", "fork", "online", "listening"]);
    assert_eq!(cluster.primary.worker(ONE).map(WorkerInfo::state), Some(WorkerState::Listening));
    let Some(Event::Listening { address, .. }) = cluster.events.last() else { unreachable!() };
    assert_eq!((address.address.as_deref(), address.port), (None, 40_001));
}

/// Messages pass both ways; a reserved message is rejected.
#[test]
fn messages_pass_unless_reserved() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(1);
    assert_eq!(cluster.primary.send(ONE, json!({"hello": [1, null, "\n"]})), Ok(Sent::Buffered));
    assert_eq!(cluster.worker(ONE).send(json!("back")), Ok(Sent::Buffered));
    assert_eq!(cluster.primary.send(ONE, json!({"cmd": "NODE_CLUSTER"})), Err(SendError::Reserved));
    // The request to the preload is the only exception.
    assert!(cluster.primary.send(ONE, json!({"cmd": "NODE_CLUSTER_STATS"})).is_ok());
    assert_eq!(cluster.primary.send(TWO, json!(1)), Err(SendError::UnknownWorker));
    cluster.settle();
    assert_eq!(
        cluster.events.last(),
        Some(&Event::Message { worker: ONE, message: json!("back").into(), handle: None })
    );
    let message = WorkerEvent::Message { message: json!({"hello": [1, null, "\n"]}).into(), handle: None };
    assert_eq!(cluster.processes[&ONE].events, [message]);
}

/// A command of a worker takes effect without another event.
#[test]
fn worker_command_acts_without_event() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(1);
    cluster.worker(ONE).send(json!("now")).expect("an open channel");
    let Some(Call::Write { bytes, .. }) = cluster.worker(ONE).poll_call() else {
        unreachable!("it is written")
    };
    assert_eq!(bytes, b"\"now\"\n");
}

#[test]
fn sequential_connections_rotate() {
    let mut cluster = serving(3, &[ONE, TWO, WorkerId(3)]);
    for round in 1..=2 {
        for worker in [ONE, TWO, WorkerId(3)] {
            cluster.connect(BOUND);
            assert_eq!(cluster.connections(worker).len(), round);
            cluster.worker(worker).accept(LISTENER);
            cluster.settle();
        }
    }
    assert_eq!((cluster.primary.ledger().accepted(), cluster.primary.ledger().owned()), (6, 6));
    assert_eq!(cluster.primary.ledger().open().count(), 0);
}

/// A connection that a dead worker has not acknowledged is handed to another worker.
#[test]
fn unacknowledged_connection_is_requeued() {
    let mut cluster = serving(2, &[TWO]);
    let connection = cluster.connect(BOUND);
    let handed = cluster.primary.ledger().open().next();
    assert!(matches!(handed, Some((socket, ConnectionState::Handed(_, ONE))) if socket == connection));
    cluster.kill(ONE);
    assert_eq!(cluster.connections(TWO).len(), 1);
    assert_eq!(cluster.primary.ledger().owned(), 1);
}

/// A connection is handed to another worker also when the exit precedes the close of the channel.
#[test]
fn exit_before_close_requeues() {
    let mut cluster = serving(2, &[TWO]);
    cluster.connect(BOUND);
    cluster.processes.remove(&ONE);
    cluster.handle(OsEvent::Exited { worker: ONE, status: ExitStatus::Code(0) });
    assert_eq!(cluster.connections(TWO).len(), 1);
    let life = cluster.primary.worker(ONE).expect("its channel is open");
    assert!(life.is_dead() && life.is_connected() && life.is_listed());
    cluster.take_events();
    cluster.handle(OsEvent::ChannelClosed { channel: ONE.into() });
    assert_eq!(names(&cluster.events), ["disconnect"]);
    assert!(cluster.primary.worker(ONE).is_none());
}

/// A connection is closed with a reason if no worker is left.
#[test]
fn unserved_connection_is_closed() {
    let mut cluster = serving(1, &[]);
    let connection = cluster.connect(BOUND);
    cluster.kill(ONE);
    assert_eq!(cluster.primary.ledger().closed(CloseReason::NoListener), 1);
    assert!(cluster.os.calls.contains(&Call::Close { socket: connection }));
    assert!(cluster.os.calls.contains(&Call::Close { socket: BOUND }));
}

/// With `keep_listening` the socket stays open for the next worker.
#[test]
fn keep_listening_keeps_socket() {
    let mut cluster = serving_with(Settings { keep_listening: true, ..Settings::default() }, 1, &[]);
    let connection = cluster.connect(BOUND);
    cluster.kill(ONE);
    assert!(!cluster.os.calls.contains(&Call::Close { socket: BOUND }));
    cluster.fork(1);
    cluster.worker(TWO).listen(ListenOptions::default());
    cluster.settle();
    cluster.worker(TWO).accept(LISTENER);
    cluster.settle();
    assert_eq!(cluster.connections(TWO).len(), 1);
    assert!(cluster.os.calls.contains(&Call::Close { socket: connection }));
}

/// A full queue pauses accepting until it drains.
#[test]
fn full_queue_pauses_accepting() {
    let mut settings = Settings::default();
    settings.limits.queued_connections = 2;
    let mut cluster = serving_with(settings, 1, &[]);
    let pauses = |cluster: &TestCluster| {
        cluster.os.calls.iter().filter(|call| matches!(call, Call::PauseAccept { .. })).count()
    };
    for _ in 0..2 {
        cluster.connect(BOUND);
    }
    assert_eq!(pauses(&cluster), 0, "one is handed, one is queued");
    cluster.connect(BOUND);
    assert_eq!(pauses(&cluster), 1);
    cluster.worker(ONE).accept(LISTENER);
    cluster.settle();
    let resumes = cluster.os.calls.iter().filter(|call| matches!(call, Call::ResumeAccept { .. })).count();
    assert_eq!(resumes, 2, "once when it was bound, once when the queue drained");
}

/// A worker disconnected by the primary drains first.
#[test]
fn disconnected_worker_drains_first() {
    let mut cluster = serving(1, &[ONE]);
    cluster.connect(BOUND);
    cluster.primary.disconnect_worker(ONE);
    cluster.settle();
    assert!(cluster.os.calls.contains(&Call::Close { socket: BOUND }), "its listener closes at once");
    let life = cluster.primary.worker(ONE).expect("a draining worker");
    assert_eq!(
        (life.is_listed(), life.exited_after_disconnect(), life.is_connected()),
        (false, Some(true), true)
    );
    assert_eq!((cluster.primary.workers().count(), cluster.primary.running_workers().count()), (0, 1));
    let connection = cluster.connections(ONE)[0];
    cluster.worker(ONE).release(connection);
    cluster.settle();
    assert_eq!(names(&cluster.events), ["disconnect", "exit"]);
    assert!(cluster.primary.worker(ONE).is_none());
}

/// A worker that disconnects itself waits for the primary's answer.
#[test]
fn self_disconnect_waits_for_answer() {
    let mut cluster = serving(1, &[]);
    cluster.worker(ONE).disconnect();
    cluster.settle();
    assert_eq!(names(&cluster.events), ["disconnect", "exit"]);
    assert_eq!(cluster.primary.workers().count(), 0);
}

/// Whether an exit was requested is known before the first event of the exit.
#[test]
fn exit_intent_settles_before_events() {
    let mut cluster = serving(1, &[]);
    cluster.primary.handle(OsEvent::ChannelClosed { channel: ONE.into() });
    assert_eq!(cluster.primary.worker(ONE).and_then(WorkerInfo::exited_after_disconnect), None);
    let event = loop {
        match cluster.primary.poll() {
            Some(Output::Event(event)) => break event,
            Some(Output::Call(_)) => {}
            None => unreachable!("the event is emitted"),
        }
    };
    assert_eq!(event, Event::Disconnect { worker: ONE });
    assert_eq!(cluster.primary.worker(ONE).and_then(WorkerInfo::exited_after_disconnect), Some(false));
}

/// `AllDisconnected` follows the last exit, not the first.
#[test]
fn all_disconnected_waits_for_last() {
    let mut cluster = serving(2, &[]);
    cluster.worker(TWO).accept(LISTENER);
    cluster.primary.disconnect_all();
    cluster.settle();
    assert_eq!(
        names(&cluster.events),
        ["disconnect", "exit", "disconnect", "exit", "all disconnected"],
        "Node calls back before the exit of the first"
    );
    cluster.primary.disconnect_all();
    cluster.settle();
    assert_eq!(cluster.events.last(), Some(&Event::AllDisconnected), "at once without workers");
}

/// A process that still runs after the close of its channel is reported, whether or not the program has asked
/// the worker to disconnect. A process that has exited is not reported.
#[test]
fn lingering_is_reported_until_exit() {
    for is_asked in [false, true] {
        let mut cluster = TestCluster::new(Settings::default());
        cluster.fork(1);
        if is_asked {
            cluster.primary.disconnect_worker(ONE);
        }
        cluster.events.clear();
        cluster.handle(OsEvent::ChannelClosed { channel: ONE.into() });
        cluster.handle(OsEvent::Lingers { worker: ONE });
        assert_eq!(names(&cluster.events), ["disconnect", "error"]);
        cluster.handle(OsEvent::Exited { worker: ONE, status: cluster_core::ExitStatus::Code(0) });
        cluster.events.clear();
        cluster.handle(OsEvent::Lingers { worker: ONE });
        assert_eq!(names(&cluster.events), [""; 0]);
    }
}

/// A failed start of a program is an error, and no process or descriptor remains.
#[test]
fn spawn_failure_is_an_error() {
    let command = SpawnOptions::new().exec("/no/such/program");
    let mut cluster = TestCluster::new(Settings { spawn: command, ..Settings::default() });
    cluster.primary.fork().expect("the settings are valid");
    // These options are for the next worker, and do not change the error of this worker.
    cluster.primary.setup(SpawnOptions::new().exec("/another"));
    assert!(matches!(cluster.primary.poll(), Some(Output::Call(Call::Spawn { .. }))));
    cluster.handle(OsEvent::SpawnFailed {
        worker: ONE,
        program: None,
        directory: false,
        errno: Errno::ENOENT,
    });
    assert_eq!(names(&cluster.events), ["setup", "error", "fork", "disconnect", "setup"]);
    let error = WorkerError::Spawn {
        program: Some("/no/such/program".into()),
        directory: None,
        errno: Errno::ENOENT,
    };
    let text = "cannot start `/no/such/program`: ENOENT (no such file or directory); check the path of the program, or `PATH` if it has no slash, and the interpreter that a script names";
    assert_eq!(error.to_string(), text);
    assert_eq!(cluster.events[1], Event::Error { worker: ONE, error });
    assert!(cluster.primary.worker(ONE).is_none());
    assert_eq!(cluster.fork(1), [TWO], "a number is never used twice");
}

/// Lines that are violations. A `close` without a key is not among them, because Node ignores it.
const RUBBISH: [&str; 4] =
    ["", "{", r#"{"cmd":"NODE_HANDLE_ACK"}"#, r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":[]}"#];

/// A malformed message closes the channel of the sender, and no other.
#[test]
fn malformed_message_closes_own_channel() {
    for rubbish in RUBBISH {
        let mut cluster = serving(2, &[TWO]);
        cluster.read(ONE, rubbish, None);
        assert_eq!(names(&cluster.events), ["error", "disconnect"], "{rubbish:?}");
        cluster.connect(BOUND);
        assert_eq!(cluster.connections(TWO).len(), 1);
    }
}

/// The answer of another worker has no effect.
#[test]
fn answer_of_another_worker_is_ignored() {
    let mut cluster = serving(2, &[]);
    cluster.connect(BOUND);
    cluster.read(TWO, r#"{"cmd":"NODE_CLUSTER","ack":2,"accepted":true,"seq":9}"#, None);
    assert_eq!(cluster.primary.ledger().owned(), 0);
}

/// A port in use is an error in the worker that asked.
#[test]
fn port_in_use_fails_in_asker() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(1);
    cluster.worker(ONE).listen(ListenAddress::any(80).into());
    cluster.worker(ONE).listen(ListenAddress::any(80).into());
    cluster.os.binds = Answer::Failures(2, Errno::EADDRINUSE);
    cluster.settle();
    let failed: Vec<_> = cluster.processes[&ONE]
        .events
        .iter()
        .map(|event| match event {
            WorkerEvent::ListenFailed { listener, error } => (listener.0, error.errno, error.address.port()),
            other => unreachable!("{other:?}"),
        })
        .collect();
    assert_eq!(failed, [(1, Errno::EADDRINUSE, 80), (2, Errno::EADDRINUSE, 80)]);
}

/// Under the shared policy, workers accept from one socket.
#[test]
fn shared_policy_shares_socket() {
    let shared = Settings { policy: SchedulingPolicy::Shared, ..Settings::default() };
    let cluster = serving_with(shared, 2, &[ONE, TWO]);
    assert_eq!(cluster.processes[&ONE].events.len(), 1, "{:?}", cluster.processes[&ONE].events);
    let resumes = |call: &Call| matches!(call, Call::ResumeAccept { .. });
    assert!(!cluster.os.calls.iter().any(resumes), "the primary accepts nothing");
}

/// `kill` only sends a signal: the exit does not count as requested.
#[test]
fn kill_only_sends_signal() {
    let mut cluster = serving(1, &[]);
    cluster.primary.kill(ONE, Signal::SIGTERM);
    cluster.settle();
    assert!(cluster.os.calls.contains(&Call::Kill { worker: ONE, signal: Signal::SIGTERM }));
    assert_eq!(cluster.primary.worker(ONE).and_then(WorkerInfo::exited_after_disconnect), None);
}

/// After a worker has declined a connection, the next offer to this worker waits for a pause.
#[test]
fn refused_connection_waits() {
    let mut cluster = serving(1, &[]);
    cluster.connect(BOUND);
    // The worker has acknowledged the descriptor. The test answers the offer in place of the worker.
    cluster.read(ONE, r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":false,"seq":9}"#, None);
    let Some(Call::SetTimer { timer, .. }) = cluster.os.calls.last().cloned() else {
        unreachable!("{:?}", cluster.os.calls.last())
    };
    cluster.handle(OsEvent::Timer { timer });
    assert!(matches!(cluster.os.calls.last(), Some(Call::Write { socket: Some(_), .. })));
}

/// A shared socket at another port than the requested one is reported as a port in use.
#[test]
fn shared_socket_bound_elsewhere_fails() {
    let shared = Settings { policy: SchedulingPolicy::Shared, ..Settings::default() };
    let mut cluster = TestCluster::new(shared);
    cluster.fork(1);
    // The test's operating system reports every shared socket at port 40001.
    cluster.worker(ONE).listen(ListenAddress::any(40_002).into());
    cluster.settle();
    let [WorkerEvent::ListenFailed { error, .. }] = &cluster.processes[&ONE].events[..] else {
        unreachable!("{:?}", cluster.processes[&ONE].events)
    };
    assert_eq!(error.errno, Errno::EADDRINUSE);
}

/// A process that holds the channel of a dead worker receives no connections.
#[test]
fn retained_channel_gets_no_connections() {
    let mut cluster = serving(2, &[]);
    cluster.worker(ONE).listen(ListenAddress::any(81).into());
    cluster.settle();
    // The first connection is sent and not acknowledged, the second is blocked behind the first.
    cluster.processes.remove(&ONE);
    let sent = cluster.connect(BOUND);
    cluster.connect(SocketId(2));
    cluster.handle(OsEvent::Exited { worker: ONE, status: ExitStatus::Code(0) });
    let before = cluster.os.calls.len();
    cluster.primary.send(ONE, json!("hello")).expect("its channel is open");
    cluster.settle();
    let descriptors = |call: &&Call| matches!(call, Call::Write { socket: Some(_), .. });
    assert_eq!(cluster.os.calls[before..].iter().filter(descriptors).count(), 0);
    let is_message = |call: &&Call| matches!(call, Call::Write { channel, .. } if *channel == ONE.into());
    assert_eq!(
        cluster.os.calls[before..].iter().filter(is_message).count(),
        1,
        "messages are still sent, as in Node"
    );
    assert_eq!(cluster.primary.ledger().closed(CloseReason::NoListener), 1, "no other worker listens");
    let mut open = cluster.primary.ledger().open();
    assert!(matches!(open.next(), Some((socket, ConnectionState::Handed(_, TWO))) if socket == sent));
}

/// An answer for a connection that has not arrived is a violation.
#[test]
fn premature_answer_is_a_violation() {
    let mut cluster = serving(1, &[]);
    cluster.processes.remove(&ONE);
    cluster.connect(BOUND);
    cluster.read(ONE, r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3}"#, None);
    assert_eq!(names(&cluster.events), ["error", "disconnect"]);
    assert_eq!(cluster.primary.ledger().owned(), 0);
}

/// A worker cannot use every descriptor of the primary.
#[test]
fn sockets_per_worker_are_limited() {
    let mut settings = Settings::default();
    settings.limits.sockets_per_worker = 2;
    let mut cluster = TestCluster::new(settings);
    cluster.fork(1);
    for _ in 0..3 {
        cluster.worker(ONE).listen(ListenOptions::default());
    }
    cluster.settle();
    let failed: Vec<Errno> = cluster.processes[&ONE]
        .events
        .iter()
        .filter_map(|event| match event {
            WorkerEvent::ListenFailed { error, .. } => Some(error.errno),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [Errno::EMFILE]);
}
