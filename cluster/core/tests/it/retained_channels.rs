//! Channels that another process holds open after the exit of a worker, and the process group of a worker.

use core::time::Duration;

use cluster_core::testing::TestCluster;
use cluster_core::{
    Call, ChannelId, Event, ExitStatus, OsEvent, ProcessGroup, Settings, Signal, SpawnOptions, TimerId,
    WorkerError, WorkerId,
};

const ONE: WorkerId = WorkerId(1);
const EXITED: OsEvent = OsEvent::Exited { worker: ONE, status: ExitStatus::Code(0) };
const CLOSED: OsEvent = OsEvent::ChannelClosed { channel: ChannelId(1) };

/// A worker without a server.
fn cluster(settings: Settings) -> TestCluster {
    let mut cluster = TestCluster::new(settings);
    cluster.fork(1);
    cluster.processes.remove(&ONE);
    cluster.take_events();
    cluster
}

fn limited() -> Settings {
    Settings { retained_channel_timeout: Some(Duration::from_secs(10)), ..Settings::default() }
}

fn grouped(settings: Settings) -> Settings {
    Settings { spawn: SpawnOptions::new().process_group(ProcessGroup::Own), ..settings }
}

/// The timer of the wait.
fn timer(cluster: &TestCluster) -> Option<TimerId> {
    cluster.os.calls.iter().find_map(|call| {
        let Call::SetTimer { timer, after_ms: 10_000 } = call else { return None };
        Some(*timer)
    })
}

fn last_call(cluster: &TestCluster) -> Option<&Call> {
    cluster.os.calls.last()
}

const KILL: Call = Call::Kill { worker: ONE, signal: Signal::SIGKILL };

/// After the deadline the channel is closed and the worker is forgotten.
#[test]
fn retained_channel_is_given_up() {
    let mut cluster = cluster(limited());
    cluster.handle(EXITED);
    let timer = timer(&cluster).expect("a timer");
    cluster.take_events();
    cluster.handle(OsEvent::Timer { timer });
    let error = Event::Error { worker: ONE, error: WorkerError::RetainedChannel };
    assert_eq!(cluster.events, [error, Event::Disconnect { worker: ONE }]);
    assert_eq!(last_call(&cluster), Some(&Call::CloseChannel { channel: ONE.into() }));
    assert!(cluster.primary.worker(ONE).is_none());
}

/// Nothing happens at the deadline if the channel has closed before; without a limit there is no deadline.
#[test]
fn retained_channel_may_close_in_time() {
    let mut waiting = cluster(limited());
    waiting.handle(EXITED);
    waiting.handle(CLOSED);
    waiting.take_events();
    let timer_of_wait = timer(&waiting).expect("a timer");
    waiting.handle(OsEvent::Timer { timer: timer_of_wait });
    assert_eq!(waiting.events, []);
    let mut patient = cluster(Settings::default());
    patient.handle(EXITED);
    assert_eq!(timer(&patient), None);
    let mut usual = cluster(limited());
    usual.handle(CLOSED);
    usual.handle(EXITED);
    assert_eq!(timer(&usual), None);
}

/// The other processes of a group are killed after the exit and the end of the channel, and not before.
#[test]
fn group_ends_with_its_worker() {
    for inputs in [[EXITED, CLOSED], [CLOSED, EXITED]] {
        let mut grouped = cluster(grouped(Settings::default()));
        let [first, second] = inputs.clone();
        grouped.handle(first);
        assert_ne!(last_call(&grouped), Some(&KILL));
        grouped.handle(second);
        assert_eq!(last_call(&grouped), Some(&KILL));
        let mut inherited = cluster(Settings::default());
        for input in inputs {
            inherited.handle(input);
        }
        assert!(!inherited.os.calls.contains(&KILL));
    }
}

/// The process group is also killed when the primary closes a retained channel at the deadline.
#[test]
fn group_ends_with_given_up_channel() {
    let mut cluster = cluster(grouped(limited()));
    cluster.handle(EXITED);
    let timer = timer(&cluster).expect("a timer");
    cluster.handle(OsEvent::Timer { timer });
    assert_eq!(last_call(&cluster), Some(&KILL));
}
