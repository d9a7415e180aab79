//! Accepting without descriptors: a growing pause, a retry as soon as a descriptor is freed, and no busy
//! loop.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use cluster_core::testing::{TestCluster, TestProcess};
use cluster_core::{
    Call, Errno, Limits, ListenOptions, ListenerId, Machine, OsEvent, Serialization, Settings, SocketId,
    TimerId, Worker, WorkerId,
};

const ONE: WorkerId = WorkerId(1);
const LISTENER: ListenerId = ListenerId(1);
/// The listening socket.
const BOUND: SocketId = SocketId(1);

/// The calls about accepting.
fn about_accepting(calls: &[Call]) -> Vec<&Call> {
    let is_about = |call: &&Call| {
        matches!(call, Call::PauseAccept { .. } | Call::ResumeAccept { .. } | Call::SetTimer { .. })
    };
    calls.iter().filter(is_about).collect()
}

fn failed(errno: Errno) -> OsEvent {
    OsEvent::AcceptFailed { listener: BOUND, errno }
}

/// The last timer of these calls, and its delay.
fn timer(calls: &[Call]) -> Option<(TimerId, u64)> {
    calls.iter().rev().find_map(|call| match call {
        Call::SetTimer { timer, after_ms } => Some((*timer, *after_ms)),
        _ => None,
    })
}

/// A primary with one worker that asks for a connection.
fn serving() -> TestCluster {
    let mut cluster = TestCluster::serving(Settings::default(), 1, &ListenOptions::default());
    cluster.worker(ONE).accept(LISTENER);
    cluster.settle();
    cluster
}

/// The primary's calls for one input.
fn calls_of(cluster: &mut TestCluster, event: OsEvent) -> Vec<Call> {
    let before = cluster.os.calls.len();
    cluster.handle(event);
    cluster.os.calls[before..].to_vec()
}

/// A worker with a listening socket of its own, and a program that asks for a connection.
struct Own(TestProcess<Worker>);

impl Own {
    fn new() -> Self {
        let mut worker = Worker::new(ONE, Serialization::Json, Limits::default());
        worker.listen(ListenOptions { exclusive: true, ..ListenOptions::default() });
        let mut own = Own(TestProcess::new(worker));
        own.0.machine.accept(LISTENER);
        own.drain();
        own
    }

    fn drain(&mut self) -> Vec<Call> {
        self.0.drain();
        self.0.os.take_calls()
    }

    fn calls(&mut self, event: OsEvent) -> Vec<Call> {
        self.0.machine.handle(event);
        self.drain()
    }
}

const PAUSES: [u64; 8] = [1, 2, 4, 8, 16, 32, 64, 64];

#[test]
fn primary_pause_grows_until_success() {
    let mut cluster = serving();
    for pause in PAUSES {
        let calls = calls_of(&mut cluster, failed(Errno::EMFILE));
        let (timer, after_ms) = timer(&calls).expect("a timer of the pause");
        assert_eq!(after_ms, pause);
        assert!(calls.contains(&Call::PauseAccept { socket: BOUND }));
        assert_eq!(calls_of(&mut cluster, OsEvent::Timer { timer }), [Call::ResumeAccept { socket: BOUND }]);
    }
    cluster.connect(BOUND);
    assert_eq!(timer(&calls_of(&mut cluster, failed(Errno::ENFILE))).map(|(_, after_ms)| after_ms), Some(1));
}

/// Accepting resumes when the primary frees a descriptor: by closing its copy of an acknowledged connection,
/// or by closing the channel of a worker that has exited.
#[test]
fn primary_retries_when_descriptor_is_freed() {
    let mut cluster = serving();
    cluster.worker(ONE).withdraw(LISTENER);
    cluster.connect(BOUND);
    let (timer_id, _) = timer(&calls_of(&mut cluster, failed(Errno::EMFILE))).expect("a timer of the pause");
    let before = cluster.os.calls.len();
    cluster.worker(ONE).accept(LISTENER);
    cluster.settle();
    assert_eq!(about_accepting(&cluster.os.calls[before..]), [&Call::ResumeAccept { socket: BOUND }]);
    assert_eq!(calls_of(&mut cluster, OsEvent::Timer { timer: timer_id }), []);

    cluster.fork(1);
    calls_of(&mut cluster, failed(Errno::EMFILE));
    let calls = calls_of(&mut cluster, OsEvent::ChannelClosed { channel: WorkerId(2).into() });
    assert_eq!(about_accepting(&calls), [&Call::ResumeAccept { socket: BOUND }]);
}

#[test]
fn worker_pause_grows_until_success() {
    let mut own = Own::new();
    for pause in PAUSES {
        let calls = own.calls(failed(Errno::EMFILE));
        let (timer, after_ms) = timer(&calls).expect("a timer of the pause");
        assert_eq!(after_ms, pause);
        assert!(calls.contains(&Call::PauseAccept { socket: BOUND }));
        assert_eq!(own.calls(OsEvent::Timer { timer }), [Call::ResumeAccept { socket: BOUND }]);
    }
    own.calls(OsEvent::Accepted { listener: BOUND, socket: SocketId(2), client: None });
    own.0.machine.accept(LISTENER);
    own.drain();
    assert_eq!(timer(&own.calls(failed(Errno::ENFILE))).map(|(_, after_ms)| after_ms), Some(1));
}

#[test]
fn worker_retries_when_connection_is_released() {
    let mut own = Own::new();
    own.calls(OsEvent::Accepted { listener: BOUND, socket: SocketId(2), client: None });
    own.0.machine.accept(LISTENER);
    own.drain();
    let (timer, _) = timer(&own.calls(failed(Errno::EMFILE))).expect("a timer of the pause");
    own.0.machine.release(SocketId(2));
    assert_eq!(own.drain(), [Call::ResumeAccept { socket: BOUND }]);
    assert_eq!(own.calls(OsEvent::Timer { timer }), []);
}

/// A program that cancels an `accept` and starts another one, as in a loop with `select!`, does not cause a
/// retry.
#[test]
fn worker_rests_through_repeated_accepts() {
    let mut own = Own::new();
    own.calls(failed(Errno::EMFILE));
    for _ in 0..10 {
        own.0.machine.withdraw(LISTENER);
        own.0.machine.accept(LISTENER);
        assert!(!own.drain().contains(&Call::ResumeAccept { socket: BOUND }));
    }
}

/// An aborted connection is not a shortage of this process.
#[test]
fn aborted_connection_pauses_nothing() {
    assert_eq!(calls_of(&mut serving(), failed(Errno::ECONNABORTED)), []);
    assert_eq!(Own::new().calls(failed(Errno::ECONNABORTED)), []);
}
