//! What happens to connections, offers and sockets when an answer is late, a queue is full, or no worker is
//! left. Each test detects a small mistake that no other test detects.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use cluster_core::testing::{Answer, TestCluster, TestOs, TestProcess};
use cluster_core::{
    Call, ChannelId, CloseReason, Errno, Event, ExitStatus, Limits, ListenAddress, ListenOptions, ListenerId,
    LocalAddress, OsEvent, Primary, SchedulingPolicy, Serialization, Settings, SocketId, Worker, WorkerEvent,
    WorkerId,
};

const ONE: WorkerId = WorkerId(1);
const TWO: WorkerId = WorkerId(2);
const LISTENER: ListenerId = ListenerId(1);
/// The first socket a primary binds.
const BOUND: SocketId = SocketId(1);
const KEY: &str = "null:0:4:undefined:0";

/// Workers that listen on one address and ask for no connection.
#[track_caller]
fn serving(settings: Settings, workers: usize) -> TestCluster {
    let cluster = TestCluster::serving(settings, workers, &ListenOptions::default());
    let listening = cluster.events.iter().filter(|event| matches!(event, Event::Listening { .. }));
    assert_eq!(listening.count(), workers, "{:?}", cluster.events);
    cluster
}

fn limited(queued_connections: usize) -> Settings {
    Settings { limits: Limits { queued_connections, ..Limits::default() }, ..Settings::default() }
}

/// The calls of the primary for one input.
fn calls_of(cluster: &mut TestCluster, event: OsEvent) -> Vec<Call> {
    let before = cluster.os.calls.len();
    cluster.handle(event);
    cluster.os.calls[before..].to_vec()
}

fn timers(calls: &[Call]) -> Vec<OsEvent> {
    let timer = |call: &Call| match call {
        Call::SetTimer { timer, .. } => Some(OsEvent::Timer { timer: *timer }),
        _ => None,
    };
    calls.iter().filter_map(timer).collect()
}

const PAUSE: Call = Call::PauseAccept { socket: BOUND };
const RESUME: Call = Call::ResumeAccept { socket: BOUND };

// ---- a full queue

/// A socket paused after a failed accept does not accept again while the queue is full.
#[test]
fn retry_waits_while_queue_full() {
    let mut cluster = serving(limited(2), 1);
    for _ in 0..3 {
        cluster.connect(BOUND);
    }
    assert_eq!(cluster.os.calls.iter().filter(|call| **call == PAUSE).count(), 1, "two wait");
    let failed = OsEvent::AcceptFailed { listener: BOUND, errno: Errno::EMFILE };
    let retries = timers(&calls_of(&mut cluster, failed));
    assert_eq!(retries.len(), 1);
    assert_eq!(calls_of(&mut cluster, retries[0].clone()), [], "the queue is full");
    for _ in 0..3 {
        cluster.worker(ONE).accept(LISTENER);
        cluster.settle();
    }
    assert_eq!(cluster.os.calls.iter().rev().find(|call| [PAUSE, RESUME].contains(call)), Some(&RESUME));
}

/// The queue pauses accepting exactly at the limit, and resumes below.
#[test]
fn queue_pauses_at_its_limit() {
    for limit in 1..4 {
        let mut cluster = serving(limited(limit), 1);
        // One connection is offered to the worker and does not wait in the queue.
        for _ in 0..limit {
            cluster.connect(BOUND);
        }
        assert!(!cluster.os.calls.contains(&PAUSE), "{limit}");
        cluster.connect(BOUND);
        assert_eq!(cluster.os.calls.iter().filter(|call| **call == PAUSE).count(), 1, "{limit}");
        let resumes = |cluster: &TestCluster| cluster.os.calls.iter().filter(|call| **call == RESUME).count();
        let before = resumes(&cluster);
        cluster.worker(ONE).accept(LISTENER);
        cluster.settle();
        assert_eq!(resumes(&cluster), before + 1, "{limit}");
    }
}

/// The answer of a worker makes room in the queue, and the write of the next offer fails: the connection
/// fills the queue again, so accepting stays paused.
#[test]
fn failed_offer_keeps_full_queue_paused() {
    let mut cluster = serving(limited(1), 2);
    for _ in 0..3 {
        cluster.connect(BOUND);
    }
    cluster.os.writes = Answer::Failures(1, Errno::ETOOMANYREFS);
    let before = cluster.os.calls.len();
    cluster.worker(ONE).accept(LISTENER);
    cluster.settle();
    let calls = &cluster.os.calls[before..];
    assert_eq!(calls.iter().filter(|call| is_offer(call)).count(), 1, "{calls:?}");
    assert_eq!(cluster.os.calls.iter().rev().find(|call| [PAUSE, RESUME].contains(call)), Some(&PAUSE));
}

/// After a refusal, a worker gets an offer later, not at once.
#[test]
fn refusal_pauses_its_worker() {
    let mut cluster = TestCluster::new(Settings::default());
    let worker = cluster.fork(1)[0];
    cluster.worker(worker).listen(ListenOptions { max_connections: Some(0), ..ListenOptions::default() });
    cluster.settle();
    let before = cluster.os.calls.len();
    cluster.connect(BOUND);
    let offers = |calls: &[Call]| calls.iter().filter(|call| is_offer(call)).count();
    let calls = cluster.os.calls[before..].to_vec();
    assert_eq!((offers(&calls), timers(&calls).len()), (1, 1));
    let calls = calls_of(&mut cluster, timers(&calls)[0].clone());
    assert_eq!((offers(&calls), timers(&calls).len()), (1, 1), "again, once a pause");
}

fn is_offer(call: &Call) -> bool {
    matches!(call, Call::Write { bytes, socket: Some(_), .. } if String::from_utf8_lossy(bytes).contains("newconn"))
}

// ---- no worker is left

/// With `keep_listening` and without a worker, `disconnect_all` closes the listening socket and the queued
/// connections.
#[test]
fn kept_listener_closes_at_disconnect() {
    for alive in [0, 1] {
        let mut cluster = serving(Settings { keep_listening: true, ..Settings::default() }, 1);
        cluster.fork(alive);
        cluster.kill(ONE);
        let client = cluster.connect(BOUND);
        assert!(!cluster.os.calls.contains(&Call::Close { socket: BOUND }), "the listening socket is kept");
        cluster.primary.disconnect_all();
        cluster.settle();
        for socket in [BOUND, client] {
            let closes = cluster.os.calls.iter().filter(|call| **call == Call::Close { socket }).count();
            assert_eq!(closes, 1, "{socket:?} with {alive} alive");
        }
        assert_eq!(cluster.primary.ledger().closed(CloseReason::NoListener), 1);
        assert_eq!(cluster.events.last(), Some(&Event::AllDisconnected));
    }
}

/// Without `keep_listening`, the listener closes with its last worker, not with an earlier worker.
#[test]
fn listener_closes_with_last_worker() {
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let mut cluster = serving(Settings { policy, ..Settings::default() }, 2);
        let closes = |cluster: &TestCluster| cluster.os.calls.contains(&Call::Close { socket: BOUND });
        cluster.kill(TWO);
        assert!(!closes(&cluster));
        cluster.kill(ONE);
        assert!(closes(&cluster));
        let worker = cluster.fork(1)[0];
        cluster.worker(worker).listen(ListenOptions::default());
        cluster.settle();
        let bound = cluster.os.last_bound().expect("bound again");
        assert_ne!(bound, BOUND, "a new socket");
    }
}

// ---- a worker, line by line

/// A worker; the test acts as its primary.
struct Alone(TestProcess<Worker>);

impl Alone {
    fn new() -> Self {
        let mut alone = Alone(TestProcess::new(Worker::new(ONE, Serialization::Json, Limits::default())));
        alone.0.take();
        alone
    }

    /// Listens on the port in the primary's answer.
    #[track_caller]
    fn serving(options: ListenOptions) -> Self {
        let mut alone = Alone::new();
        alone.0.machine.listen(options);
        alone.drain();
        let sockname = r#"{"address":"127.0.0.1","family":"IPv4","port":4100}"#;
        let reply = format!(
            r#"{{"cmd":"NODE_CLUSTER","errno":null,"key":"{KEY}","ack":1,"sockname":{sockname},"seq":0}}"#
        );
        alone.react_to(&reply, None);
        alone
    }

    /// The worker's reaction to a line and its socket.
    fn react_to(&mut self, line: &str, socket: Option<SocketId>) -> (Vec<Call>, Vec<WorkerEvent>) {
        self.0.read(ChannelId::PRIMARY, line, socket);
        self.0.take()
    }

    fn offers(&mut self, seq: u64, connection: SocketId) -> (Vec<Call>, Vec<WorkerEvent>) {
        self.react_to(
            &carried(&format!(r#"{{"cmd":"NODE_CLUSTER","act":"newconn","key":"{KEY}","seq":{seq}}}"#)),
            Some(connection),
        )
    }

    fn drain(&mut self) -> (Vec<Call>, Vec<WorkerEvent>) {
        self.0.drain();
        self.0.take()
    }
}

/// A message in the envelope of a native socket.
fn carried(message: &str) -> String {
    format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Native","msg":{message}}}"#)
}

/// The answers to offers in these calls: the number of the offer, and whether the worker takes the
/// connection.
fn answers(calls: &[Call]) -> Vec<(u64, bool)> {
    let answer = |call: &Call| {
        let Call::Write { bytes, .. } = call else { return None };
        let line: serde_json::Value = serde_json::from_slice(bytes).ok()?;
        Some((line.get("ack")?.as_u64()?, line.get("accepted")?.as_bool()?))
    };
    calls.iter().filter_map(answer).collect()
}

fn closes(calls: &[Call], socket: SocketId) -> usize {
    calls.iter().filter(|call| **call == Call::Close { socket }).count()
}

/// Offers that the application has not taken count against `max_connections` like its connections.
#[test]
fn offers_count_against_max_connections() {
    for limit in 0..4_u32 {
        let mut alone =
            Alone::serving(ListenOptions { max_connections: Some(limit), ..ListenOptions::default() });
        for nth in 1..=u64::from(limit) {
            assert_eq!(answers(&alone.offers(nth, SocketId(nth)).0), [], "offer {nth} of {limit} waits");
        }
        let beyond = SocketId(99);
        let (calls, _) = alone.offers(99, beyond);
        assert_eq!((answers(&calls), closes(&calls, beyond)), (vec![(99, false)], 1), "limit {limit}");
        alone.0.machine.accept(LISTENER);
        let (calls, events) = alone.drain();
        assert_eq!((answers(&calls).len(), events.len()), (usize::from(limit > 0), usize::from(limit > 0)));
        // The application's connections still count.
        assert_eq!(answers(&alone.offers(100, beyond).0), [(100, false)]);
        if limit > 0 {
            alone.0.machine.release(SocketId(1));
            assert_eq!(answers(&alone.offers(101, beyond).0), [], "one has ended");
        }
    }
}

/// A socket for a server that was closed in the meantime is closed, and its sender gets an answer.
#[test]
fn late_socket_is_closed() {
    let connection = SocketId(7);
    let mut alone = Alone::serving(ListenOptions::default());
    alone.0.machine.close(LISTENER);
    alone.drain();
    let (calls, events) = alone.offers(5, connection);
    assert_eq!((answers(&calls), closes(&calls, connection), events), (vec![(5, false)], 1, vec![]));
}

/// A shared socket in the answer to a cancelled `listen` is closed, and the primary is informed.
#[test]
fn late_answer_closes_its_socket() {
    let socket = SocketId(7);
    let mut alone = Alone::new();
    alone.0.machine.listen(ListenOptions::default());
    alone.drain();
    alone.0.machine.close(LISTENER);
    alone.drain();
    let reply = format!(r#"{{"cmd":"NODE_CLUSTER","errno":0,"key":"{KEY}","ack":1,"seq":0}}"#);
    let (calls, events) = alone.react_to(&carried(&reply), Some(socket));
    assert_eq!((closes(&calls, socket), events), (1, vec![]));
    let tells = |call: &Call| matches!(call, Call::Write { bytes, .. } if String::from_utf8_lossy(bytes).contains(r#""act":"close""#));
    assert_eq!(calls.iter().filter(|call| tells(call)).count(), 1);
}

/// The socket of an answer that no request awaits is closed.
#[test]
fn unasked_socket_is_closed() {
    let socket = SocketId(7);
    for message in [
        format!(r#"{{"cmd":"NODE_CLUSTER","errno":0,"key":"{KEY}","ack":99,"seq":0}}"#),
        String::from(r#"{"cmd":"NODE_CLUSTER","act":"newconn","key":"another","seq":0}"#),
        String::from(r#"{"cmd":"NODE_CLUSTER","act":"unheard of","seq":0}"#),
    ] {
        let mut alone = Alone::serving(ListenOptions::default());
        let (calls, events) = alone.react_to(&carried(&message), Some(socket));
        assert_eq!((closes(&calls, socket), events), (1, vec![]), "{message}");
    }
}

/// A socket is closed when its channel closes before the rest of its message arrives.
#[test]
fn stray_socket_closes_with_channel() {
    let socket = SocketId(7);
    let mut alone = Alone::serving(ListenOptions::default());
    let bytes = br#"{"cmd":"NODE_HANDLE","#.to_vec();
    alone.0.handle(OsEvent::Read { channel: ChannelId::PRIMARY, bytes, socket: Some(socket) });
    assert_eq!(alone.0.take(), (vec![], vec![]));
    alone.0.handle(OsEvent::ChannelClosed { channel: ChannelId::PRIMARY });
    let (calls, _) = alone.0.take();
    assert_eq!(closes(&calls, socket), 1);
}

// ---- the primary's answer

/// A worker listens on the address of the primary's socket, for any address and any number of servers.
#[test]
fn answer_names_the_bound_port() {
    let mut cluster = TestCluster::new(Settings::default());
    cluster.fork(2);
    let ports = [0, 0, 4321];
    for worker in [ONE, TWO] {
        for port in ports {
            let address = ListenAddress::Tcp { host: None, port, ipv6_only: false };
            cluster.worker(worker).listen(ListenOptions { address, ..ListenOptions::default() });
        }
    }
    cluster.settle();
    for worker in [ONE, TWO] {
        let listening = cluster.processes[&worker].events.iter().filter_map(|event| match event {
            WorkerEvent::Listening { address, .. } => Some(address.port()),
            _ => None,
        });
        assert_eq!(listening.collect::<Vec<_>>(), [40_001, 40_002, 4321], "{worker}");
    }
    let bound: Vec<i32> = cluster
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Listening { address, .. } => Some(address.port),
            _ => None,
        })
        .collect();
    assert_eq!(bound, [40_001, 40_002, 4321, 40_001, 40_002, 4321]);
}

/// A socket bound after the exit of every asking worker is closed.
#[test]
fn bound_without_worker_is_closed() {
    let mut primary = Primary::new(Settings::default());
    let worker = primary.fork().expect("the settings are valid");
    let mut primary = TestProcess::on(primary, TestOs::withholding_binds());
    let query = r#"{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"port":0,"addressType":4,"address":null,"seq":0}"#;
    primary.read(worker.into(), query, None);
    let is_bind = |call: &Call| if let Call::Bind { handle, .. } = call { Some(*handle) } else { None };
    let handle = primary.os.calls.iter().find_map(is_bind).expect("a bind");
    primary.handle(OsEvent::ChannelClosed { channel: worker.into() });
    primary.handle(OsEvent::Exited { worker, status: ExitStatus::Code(0) });
    primary.os.take_calls();
    let address = LocalAddress::Ip("127.0.0.1:4000".parse().expect("an address"));
    primary.handle(OsEvent::Bound { handle, socket: BOUND, address });
    assert_eq!(closes(&primary.os.calls, BOUND), 1);
}

// ---- the writes of a handoff

/// A waiting worker acknowledges the descriptor and accepts the connection in one write, and takes the
/// connection afterwards.
#[test]
fn acceptance_is_one_write() {
    let mut alone = Alone::serving(ListenOptions::default());
    alone.0.machine.accept(LISTENER);
    alone.drain();
    let (calls, events) = alone.offers(5, SocketId(7));
    let [Call::Write { bytes, .. }] = calls.as_slice() else { unreachable!("{calls:?}") };
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    assert!(matches!(lines.as_slice(), [first, second]
        if *first == r#"{"cmd":"NODE_HANDLE_ACK"}"# && second.contains(r#""ack":5,"accepted":true"#)));
    assert_eq!(events, [WorkerEvent::Connection { listener: LISTENER, connection: SocketId(7) }]);
}

/// A busy worker acknowledges the descriptor at once: the channel is free for other messages.
#[test]
fn busy_worker_acknowledges_descriptor() {
    let mut alone = Alone::serving(ListenOptions::default());
    let (calls, _) = alone.offers(5, SocketId(7));
    let [Call::Write { bytes, .. }] = calls.as_slice() else { unreachable!("{calls:?}") };
    assert_eq!(bytes, b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n");
    alone.0.machine.accept(LISTENER);
    assert_eq!(answers(&alone.drain().0), [(5, true)]);
}
