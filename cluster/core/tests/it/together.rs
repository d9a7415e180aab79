//! A primary with workers, delivered in order: what each promise and each verb means when nothing goes wrong but the
//! one thing that is told.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it looks for, and no more")]

use crate::house::House;
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

/// Workers that listen on one port; `ready` ones want a connection.
fn serving(workers: usize, ready: &[WorkerId]) -> House {
    serving_with(Settings::default(), workers, ready)
}

fn serving_with(settings: Settings, workers: usize, ready: &[WorkerId]) -> House {
    let mut house = House::new(settings);
    for worker in house.fork(workers) {
        house.worker(worker).listen(ListenOptions::default());
    }
    house.settle();
    for worker in ready {
        house.worker(*worker).accept(LISTENER);
    }
    house.settle();
    house.heard();
    house
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

fn first_connection(house: &House, worker: WorkerId) -> SocketId {
    let connection = house.processes[&worker].events.iter().find_map(|event| match event {
        WorkerEvent::Connection { connection, .. } => Some(*connection),
        _ => None,
    });
    connection.expect("it was served")
}

#[test]
fn a_worker_is_forked_online_and_listening() {
    let mut house = House::new(Settings::default());
    house.fork(1);
    assert_eq!(house.primary.worker(ONE).map(WorkerInfo::state), Some(WorkerState::Online));
    assert_eq!(house.primary.worker(ONE).and_then(WorkerInfo::pid), Some(1001));
    house.worker(ONE).listen(ListenOptions::default());
    house.settle();
    assert_eq!(names(&house.events), ["setup", "fork", "online", "listening"]);
    assert_eq!(house.primary.worker(ONE).map(WorkerInfo::state), Some(WorkerState::Listening));
    let Some(Event::Listening { address, .. }) = house.events.last() else { unreachable!() };
    assert_eq!((address.address.as_deref(), address.port), (None, 40_001));
}

#[test]
fn messages_go_both_ways_and_reserved_ones_nowhere() {
    let mut house = House::new(Settings::default());
    house.fork(1);
    assert_eq!(house.primary.send(ONE, json!({"hello": [1, null, "\n"]})), Ok(Sent::Buffered));
    assert_eq!(house.worker(ONE).send(json!("back")), Ok(Sent::Buffered));
    assert_eq!(house.primary.send(ONE, json!({"cmd": "NODE_CLUSTER"})), Err(SendError::Reserved));
    assert_eq!(house.primary.send(TWO, json!(1)), Err(SendError::Closed));
    house.settle();
    assert_eq!(
        house.events.last(),
        Some(&Event::Message { worker: ONE, message: json!("back").into(), handle: None })
    );
    let heard = WorkerEvent::Message { message: json!({"hello": [1, null, "\n"]}).into(), handle: None };
    assert_eq!(house.processes[&ONE].events, [heard]);
}

#[test]
fn what_a_worker_is_told_to_do_needs_no_event_to_be_done() {
    let mut house = House::new(Settings::default());
    house.fork(1);
    house.worker(ONE).send(json!("now")).expect("it is open");
    let Some(Call::Write { bytes, .. }) = house.worker(ONE).poll_call() else {
        unreachable!("it is written")
    };
    assert_eq!(bytes, b"\"now\"\n");
}

#[test]
fn sequential_connections_rotate() {
    let mut house = serving(3, &[ONE, TWO, WorkerId(3)]);
    for round in 1..=2 {
        for worker in [ONE, TWO, WorkerId(3)] {
            house.connect(BOUND);
            assert_eq!(house.connections(worker), round);
            house.worker(worker).accept(LISTENER);
            house.settle();
        }
    }
    assert_eq!((house.primary.ledger().accepted(), house.primary.ledger().owned()), (6, 6));
    assert_eq!(house.primary.ledger().open().count(), 0);
}

#[test]
fn what_a_dead_worker_has_not_acknowledged_goes_to_another() {
    let mut house = serving(2, &[TWO]);
    let connection = house.connect(BOUND);
    let handed = house.primary.ledger().open().next();
    assert!(matches!(handed, Some((socket, ConnectionState::Handed(_, ONE))) if socket == connection));
    house.kill(ONE);
    assert_eq!(house.connections(TWO), 1);
    assert_eq!(house.primary.ledger().owned(), 1);
}

#[test]
fn a_dead_worker_is_not_in_the_way_when_its_exit_comes_before_its_channel_closes() {
    let mut house = serving(2, &[TWO]);
    house.connect(BOUND);
    house.processes.remove(&ONE);
    house.tell(OsEvent::Exited { worker: ONE, status: ExitStatus::Code(0) });
    assert_eq!(house.connections(TWO), 1);
    let life = house.primary.worker(ONE).expect("its channel is open");
    assert!(life.is_dead() && life.is_connected() && life.is_listed());
    house.heard();
    house.tell(OsEvent::ChannelClosed { channel: ONE.into() });
    assert_eq!(names(&house.events), ["disconnect"]);
    assert!(house.primary.worker(ONE).is_none());
}

#[test]
fn what_nobody_is_left_to_serve_is_closed_with_a_reason() {
    let mut house = serving(1, &[]);
    let connection = house.connect(BOUND);
    house.kill(ONE);
    assert_eq!(house.primary.ledger().closed(CloseReason::NoListener), 1);
    assert!(house.desk.calls.contains(&Call::Close { socket: connection }));
    assert!(house.desk.calls.contains(&Call::Close { socket: BOUND }));
}

#[test]
fn with_keep_listening_the_door_stays_open_for_the_next_worker() {
    let mut house = serving_with(Settings { keep_listening: true, ..Settings::default() }, 1, &[]);
    let connection = house.connect(BOUND);
    house.kill(ONE);
    assert!(!house.desk.calls.contains(&Call::Close { socket: BOUND }));
    house.fork(1);
    house.worker(TWO).listen(ListenOptions::default());
    house.settle();
    house.worker(TWO).accept(LISTENER);
    house.settle();
    assert_eq!(house.connections(TWO), 1);
    assert!(house.desk.calls.contains(&Call::Close { socket: connection }));
}

#[test]
fn a_full_queue_stops_accepting_and_goes_on_when_it_drains() {
    let mut settings = Settings::default();
    settings.limits.queued_connections = 2;
    let mut house = serving_with(settings, 1, &[]);
    let pauses = |house: &House| {
        house.desk.calls.iter().filter(|call| matches!(call, Call::PauseAccept { .. })).count()
    };
    for _ in 0..2 {
        house.connect(BOUND);
    }
    assert_eq!(pauses(&house), 0, "one is handed, one is queued");
    house.connect(BOUND);
    assert_eq!(pauses(&house), 1);
    house.worker(ONE).accept(LISTENER);
    house.settle();
    let resumes = house.desk.calls.iter().filter(|call| matches!(call, Call::ResumeAccept { .. })).count();
    assert_eq!(resumes, 2, "once when it was bound, once when the queue drained");
}

#[test]
fn a_worker_the_primary_disconnects_drains_first() {
    let mut house = serving(1, &[ONE]);
    house.connect(BOUND);
    house.primary.disconnect_worker(ONE);
    house.settle();
    assert!(house.desk.calls.contains(&Call::Close { socket: BOUND }), "its listener closes at once");
    let life = house.primary.worker(ONE).expect("it drains");
    assert_eq!(
        (life.is_listed(), life.exited_after_disconnect(), life.is_connected()),
        (false, Some(true), true)
    );
    assert_eq!((house.primary.workers().count(), house.primary.running_workers().count()), (0, 1));
    let connection = first_connection(&house, ONE);
    house.worker(ONE).release(connection);
    house.settle();
    assert_eq!(names(&house.events), ["disconnect", "exit"]);
    assert!(house.primary.worker(ONE).is_none());
}

#[test]
fn a_worker_that_disconnects_itself_waits_for_the_answer() {
    let mut house = serving(1, &[]);
    house.worker(ONE).disconnect();
    house.settle();
    assert_eq!(names(&house.events), ["disconnect", "exit"]);
    assert_eq!(house.primary.workers().count(), 0);
}

#[test]
fn exited_after_disconnect_is_decided_before_the_first_end_is_told() {
    let mut house = serving(1, &[]);
    house.primary.handle(OsEvent::ChannelClosed { channel: ONE.into() });
    assert_eq!(house.primary.worker(ONE).and_then(WorkerInfo::exited_after_disconnect), None);
    let event = loop {
        match house.primary.poll() {
            Some(Output::Event(event)) => break event,
            Some(Output::Call(_)) => {}
            None => unreachable!("it is told"),
        }
    };
    assert_eq!(event, Event::Disconnect { worker: ONE });
    assert_eq!(house.primary.worker(ONE).and_then(WorkerInfo::exited_after_disconnect), Some(false));
}

#[test]
fn all_disconnected_comes_with_the_last_and_not_the_first() {
    let mut house = serving(2, &[]);
    house.worker(TWO).accept(LISTENER);
    house.primary.disconnect_all();
    house.settle();
    assert_eq!(
        names(&house.events),
        ["disconnect", "exit", "disconnect", "exit", "all disconnected"],
        "Node calls back before the exit of the first"
    );
    house.primary.disconnect_all();
    house.settle();
    assert_eq!(house.events.last(), Some(&Event::AllDisconnected), "at once if there is nobody");
}

/// Only for a worker that was not disconnected and is not known to have exited.
#[test]
fn lingering_is_reported_unless_asked() {
    for is_asked in [false, true] {
        let mut house = House::new(Settings::default());
        house.fork(1);
        if is_asked {
            house.primary.disconnect_worker(ONE);
        }
        house.events.clear();
        house.tell(OsEvent::ChannelClosed { channel: ONE.into() });
        house.tell(OsEvent::Lingers { worker: ONE });
        assert_eq!(
            names(&house.events),
            if is_asked { vec!["disconnect"] } else { vec!["disconnect", "error"] }
        );
        house.tell(OsEvent::Exited { worker: ONE, status: cluster_core::ExitStatus::Code(0) });
        house.events.clear();
        house.tell(OsEvent::Lingers { worker: ONE });
        assert_eq!(names(&house.events), [""; 0]);
    }
}

#[test]
fn a_program_that_cannot_be_started_is_an_error_and_leaves_nothing() {
    let command = SpawnOptions::new().exec("/no/such/program");
    let mut house = House::new(Settings { spawn: command, ..Settings::default() });
    house.primary.fork().expect("nothing impossible was set up");
    // It is for the next worker.
    house.primary.setup(SpawnOptions::new().exec("/another"));
    assert!(matches!(house.primary.poll(), Some(Output::Call(Call::Spawn { .. }))));
    house.tell(OsEvent::SpawnFailed { worker: ONE, program: None, directory: false, errno: Errno::ENOENT });
    assert_eq!(names(&house.events), ["setup", "error", "fork", "disconnect", "setup"]);
    let error = WorkerError::Spawn {
        program: Some("/no/such/program".into()),
        directory: None,
        errno: Errno::ENOENT,
    };
    let told = "cannot start `/no/such/program`: ENOENT (no such file or directory); check the path of the program, or `PATH` if it has no slash, and the interpreter that a script names";
    assert_eq!(error.to_string(), told);
    assert_eq!(house.events[1], Event::Error { worker: ONE, error });
    assert!(house.primary.worker(ONE).is_none());
    assert_eq!(house.fork(1), [TWO], "a number is never used twice");
}

/// A `close` without a key is not among it: Node ignores that.
const RUBBISH: [&str; 4] = [
    "\n",
    "{\n",
    "{\"cmd\":\"NODE_HANDLE_ACK\"}\n",
    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"index\":[]}\n",
];

#[test]
fn a_worker_that_talks_rubbish_loses_its_channel_and_nobody_else_does() {
    for rubbish in RUBBISH {
        let mut house = serving(2, &[TWO]);
        let bytes = rubbish.as_bytes().to_vec();
        house.tell(OsEvent::Read { channel: ONE.into(), bytes, socket: None });
        assert_eq!(names(&house.events), ["error", "disconnect"], "{rubbish:?}");
        house.connect(BOUND);
        assert_eq!(house.connections(TWO), 1);
    }
}

#[test]
fn another_workers_answer_is_no_answer() {
    let mut house = serving(2, &[]);
    house.connect(BOUND);
    let forged = b"{\"cmd\":\"NODE_CLUSTER\",\"ack\":2,\"accepted\":true,\"seq\":9}\n".to_vec();
    house.tell(OsEvent::Read { channel: TWO.into(), bytes: forged, socket: None });
    assert_eq!(house.primary.ledger().owned(), 0);
}

#[test]
fn a_port_in_use_is_an_error_in_the_worker_that_asked() {
    let mut house = House::new(Settings::default());
    house.fork(1);
    house.worker(ONE).listen(ListenAddress::any(80).into());
    house.worker(ONE).listen(ListenAddress::any(80).into());
    let refuse = |house: &mut House| {
        let Some(Output::Call(Call::Write { bytes, .. })) = house.worker(ONE).poll() else { unreachable!() };
        house
            .worker(ONE)
            .handle(OsEvent::Wrote { channel: cluster_core::ChannelId::PRIMARY, rest: Vec::new() });
        house.primary.handle(OsEvent::Read { channel: ONE.into(), bytes, socket: None });
        while let Some(output) = house.primary.poll() {
            if let Output::Call(Call::Bind { handle, .. }) = output {
                house.primary.handle(OsEvent::BindFailed { handle, errno: Errno::EADDRINUSE });
            } else if let Output::Call(Call::Write { channel, bytes, .. }) = output {
                house.primary.handle(OsEvent::Wrote { channel, rest: Vec::new() });
                house.worker(ONE).handle(OsEvent::Read { channel, bytes, socket: None });
            }
        }
    };
    refuse(&mut house);
    refuse(&mut house);
    house.settle();
    let failed: Vec<_> = house.processes[&ONE]
        .events
        .iter()
        .map(|event| match event {
            WorkerEvent::ListenFailed { listener, error } => (listener.0, error.errno, error.address.port()),
            other => unreachable!("{other:?}"),
        })
        .collect();
    assert_eq!(failed, [(1, Errno::EADDRINUSE, 80), (2, Errno::EADDRINUSE, 80)]);
}

#[test]
fn under_the_shared_policy_workers_accept_from_the_same_socket_themselves() {
    let shared = Settings { policy: SchedulingPolicy::Shared, ..Settings::default() };
    let house = serving_with(shared, 2, &[ONE, TWO]);
    assert_eq!(house.processes[&ONE].events.len(), 1, "{:?}", house.processes[&ONE].events);
    let resumes = |call: &Call| matches!(call, Call::ResumeAccept { .. });
    assert!(!house.desk.calls.iter().any(resumes), "the primary accepts nothing");
}

#[test]
fn kill_sends_a_signal_and_decides_nothing() {
    let mut house = serving(1, &[]);
    house.primary.kill(ONE, Signal::SIGTERM);
    house.settle();
    assert!(house.desk.calls.contains(&Call::Kill { worker: ONE, signal: Signal::SIGTERM }));
    assert_eq!(house.primary.worker(ONE).and_then(WorkerInfo::exited_after_disconnect), None);
}

#[test]
fn a_refused_connection_waits_a_little_instead_of_bouncing() {
    let mut house = serving(1, &[]);
    house.connect(BOUND);
    let refusal = b"{\"cmd\":\"NODE_CLUSTER\",\"ack\":1,\"accepted\":false,\"seq\":9}\n".to_vec();
    // The real worker has acknowledged the descriptor; this answers in its place.
    house.tell(OsEvent::Read { channel: ONE.into(), bytes: refusal, socket: None });
    let Some(Call::SetTimer { timer, .. }) = house.desk.calls.last().cloned() else {
        unreachable!("{:?}", house.desk.calls.last())
    };
    house.tell(OsEvent::Timer { timer });
    assert!(matches!(house.desk.calls.last(), Some(Call::Write { socket: Some(_), .. })));
}

#[test]
fn commands_take_effect_in_the_order_they_are_given() {
    let mut house = House::new(Settings::default());
    house.primary.fork().expect("nothing impossible was set up");
    house.primary.disconnect_worker(ONE);
    house.primary.kill(ONE, Signal::SIGTERM);
    house.primary.send(ONE, json!("too late")).expect("its channel is open");
    house.settle();
    let kinds: Vec<&str> = house.desk.calls.iter().take(4).map(kind).collect();
    assert_eq!(kinds, ["spawn", "write", "kill", "write"]);
}

fn kind(call: &Call) -> &'static str {
    match call {
        Call::Spawn { .. } => "spawn",
        Call::Write { .. } => "write",
        Call::Kill { .. } => "kill",
        _ => "other",
    }
}

#[test]
fn a_program_that_cannot_be_started_does_not_hold_up_the_other_commands() {
    let mut house = House::new(Settings::default());
    house.primary.fork().expect("nothing impossible was set up");
    house.primary.fork().expect("nothing impossible was set up");
    assert!(matches!(house.primary.poll_call(), Some(Call::Spawn { worker: ONE, .. })));
    house.primary.handle(OsEvent::SpawnFailed {
        worker: ONE,
        program: None,
        directory: false,
        errno: Errno::EAGAIN,
    });
    assert!(matches!(house.primary.poll_call(), Some(Call::Spawn { worker: TWO, .. })));
}

#[test]
fn a_shared_socket_that_is_bound_elsewhere_is_a_port_in_use() {
    let shared = Settings { policy: SchedulingPolicy::Shared, ..Settings::default() };
    let mut house = House::new(shared);
    house.fork(1);
    // The desk says that every shared socket listens at 40001.
    house.worker(ONE).listen(ListenAddress::any(40_002).into());
    house.settle();
    let [WorkerEvent::ListenFailed { error, .. }] = &house.processes[&ONE].events[..] else {
        unreachable!("{:?}", house.processes[&ONE].events)
    };
    assert_eq!(error.errno, Errno::EADDRINUSE);
}

#[test]
fn whoever_keeps_a_dead_workers_channel_open_gets_no_connections_in_its_place() {
    let mut house = serving(2, &[]);
    house.worker(ONE).listen(ListenAddress::any(81).into());
    house.settle();
    // The first is sent and not acknowledged, the second held behind it.
    house.processes.remove(&ONE);
    let sent = house.connect(BOUND);
    house.connect(SocketId(2));
    house.tell(OsEvent::Exited { worker: ONE, status: ExitStatus::Code(0) });
    let before = house.desk.calls.len();
    house.primary.send(ONE, json!("hello")).expect("its channel is open");
    house.settle();
    let descriptors = |call: &&Call| matches!(call, Call::Write { socket: Some(_), .. });
    assert_eq!(house.desk.calls[before..].iter().filter(descriptors).count(), 0);
    let said = |call: &&Call| matches!(call, Call::Write { channel, .. } if *channel == ONE.into());
    assert_eq!(
        house.desk.calls[before..].iter().filter(said).count(),
        1,
        "messages are still sent, as in Node"
    );
    assert_eq!(house.primary.ledger().closed(CloseReason::NoListener), 1, "nobody else listens there");
    let mut open = house.primary.ledger().open();
    assert!(matches!(open.next(), Some((socket, ConnectionState::Handed(_, TWO))) if socket == sent));
}

#[test]
fn an_answer_for_a_connection_that_has_not_arrived_is_a_lie() {
    let mut house = serving(1, &[]);
    house.processes.remove(&ONE);
    house.connect(BOUND);
    let accepted = b"{\"cmd\":\"NODE_CLUSTER\",\"ack\":1,\"accepted\":true,\"seq\":3}\n".to_vec();
    house.tell(OsEvent::Read { channel: ONE.into(), bytes: accepted, socket: None });
    assert_eq!(names(&house.events), ["error", "disconnect"]);
    assert_eq!(house.primary.ledger().owned(), 0);
}

#[test]
fn a_worker_cannot_take_every_descriptor_of_its_primary() {
    let mut settings = Settings::default();
    settings.limits.sockets_per_worker = 2;
    let mut house = House::new(settings);
    house.fork(1);
    for _ in 0..3 {
        house.worker(ONE).listen(ListenOptions::default());
    }
    house.settle();
    let failed: Vec<Errno> = house.processes[&ONE]
        .events
        .iter()
        .filter_map(|event| match event {
            WorkerEvent::ListenFailed { error, .. } => Some(error.errno),
            _ => None,
        })
        .collect();
    assert_eq!(failed, [Errno::EMFILE]);
}
