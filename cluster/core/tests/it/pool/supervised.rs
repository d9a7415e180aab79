//! A pool over a supervisor.

use std::time::Duration;

use cluster_core::{
    Event, HandleType, IncomingHandle, Message, Pool, PoolEvent, PoolSettings, Readiness, SocketId,
    Supervisor, SupervisorEvent, TimerId, WorkerId,
};
use serde_json::json;

use crate::supervisor::story::{Story, settings};

const READY: &str = r#""CLUSTER_TASKS_READY""#;

/// Performs the outputs of the pool.
fn drive(pool: &mut Pool, supervisor: &mut Supervisor) -> Vec<String> {
    let text = |event| match event {
        PoolEvent::Started { task, worker } => format!("{task} on {worker}"),
        PoolEvent::Completed { task, outcome } => format!("{task}: {}", outcome.is_ok()),
        PoolEvent::Killed { task, worker, .. } => format!("{worker} killed by {task}"),
        PoolEvent::Empty => "empty".to_owned(),
    };
    std::iter::from_fn(|| pool.drive(supervisor)).map(text).collect()
}

/// A pool and a supervisor with these workers, each with a task.
fn busy(workers: u32) -> (Pool, Story) {
    let settings = PoolSettings::new(workers)
        .map_supervisor(|_| settings(workers).readiness(Readiness::Message("CLUSTER_TASKS_READY".into())));
    let mut pool = Pool::new(&settings).expect("possible settings");
    let mut story = Story::new(settings.into_supervisor());
    for worker in 1..=u64::from(workers) {
        ready(&mut pool, &mut story, worker);
        pool.run(&Message::from(json!(worker))).expect("room");
        story.command(|supervisor| drop(drive(&mut pool, supervisor)));
    }
    story.lines();
    (pool, story)
}

#[track_caller]
fn ready(pool: &mut Pool, story: &mut Story, worker: u64) -> Vec<String> {
    story.online(worker);
    assert!(pool.message(WorkerId(worker), &Message::from("CLUSTER_TASKS_READY")));
    story.says(worker, READY)
}

#[track_caller]
fn replies(pool: &mut Pool, story: &mut Story, worker: u64) -> Vec<String> {
    let reply = json!({ "cmd": "CLUSTER_TASK_DONE", "id": worker });
    assert!(pool.message(WorkerId(worker), &Message::from(reply)));
    let mut events = Vec::new();
    let lines = story.command(|supervisor| events = drive(pool, supervisor));
    [events, lines].concat()
}

/// A lame duck is disconnected after the last reply, and receives no further task.
#[test]
fn reload_waits_for_tasks() {
    let (mut pool, mut story) = busy(1);
    story.command(|supervisor| {
        supervisor.reload();
    });
    let lines = ready(&mut pool, &mut story, 2);
    assert_eq!(lines, ["lame duck -> 1", "0: worker 2 ready"]);
    pool.run(&Message::from(json!(0))).expect("room");
    let mut events = Vec::new();
    story.command(|supervisor| events = drive(&mut pool, supervisor));
    assert_eq!(events, ["2 on 2"]);
    assert!(story.wait(2_000).is_empty());
    assert_eq!(replies(&mut pool, &mut story, 1), ["1: true", "ping -> 1", "disconnect -> 1"]);
}

/// The time of a drain bounds the wait for the last reply.
#[test]
fn drain_bounds_tasks() {
    let (mut pool, mut story) = busy(1);
    story.command(|supervisor| {
        supervisor.reload();
    });
    ready(&mut pool, &mut story, 2);
    story.lines();
    assert_eq!(story.wait(3_000), ["SIGTERM -> 1"]);
    assert_eq!(story.wait(1_000), ["SIGKILL -> 1"]);
}

/// A shutdown waits for the last reply as well, within its time.
#[test]
fn shutdown_waits_for_tasks() {
    let (mut pool, mut story) = busy(2);
    let lines = story.command(Supervisor::shutdown);
    assert!(!lines.iter().any(|line| line.starts_with("disconnect")), "{lines:?}");
    let lines = replies(&mut pool, &mut story, 2);
    assert_eq!(lines, ["2: true", "ping -> 2", "disconnect -> 2"]);
    let lines = story.wait(4_000);
    assert!(lines.contains(&"SIGTERM -> 1".to_owned()), "{lines:?}");
}

/// A worker killed by the pool is replaced at once, and the exit does not count as a restart.
#[test]
fn killed_worker_is_no_restart() {
    let (_, mut story) = busy(1);
    assert_eq!(
        story.command(|supervisor| supervisor.kill_worker(WorkerId(1))),
        ["lame duck -> 1", "SIGKILL -> 1"]
    );
    assert_eq!(story.slots(), "0:Terminating 1");
    assert_eq!(story.dies(1), ["spawn 2 in slot 0", "0: worker 1 cut None"]);
    assert!(story.command(|supervisor| supervisor.kill_worker(WorkerId(1))).is_empty());
}

/// When every slot is suspended, queued tasks end.
#[test]
fn suspended_slots_end_queue() {
    let settings =
        PoolSettings::new(1).map_supervisor(|settings| settings.intensity(0, Duration::from_mins(1)));
    let mut pool = Pool::new(&settings).expect("possible settings");
    let mut story = Story::new(settings.into_supervisor());
    pool.run(&Message::from(json!(0))).expect("room");
    story.exits(1, 1);
    let mut events = Vec::new();
    story.command(|supervisor| events = drive(&mut pool, supervisor));
    assert_eq!(events, ["1: false"]);
}

/// A message of the pool with a handle has its usual effect, and the caller closes the handle.
#[test]
fn handle_hides_no_message() {
    let settings = PoolSettings::new(1);
    let mut pool = Pool::new(&settings).expect("possible settings");
    let mut story = Story::new(settings.into_supervisor());
    let handle = Some(IncomingHandle { socket: SocketId(9), kind: HandleType::Socket });
    let message = |message| {
        let event = Event::Message { worker: WorkerId(1), message, handle };
        SupervisorEvent::Primary(event)
    };
    story.online(1);
    story.says(1, READY);
    assert!(pool.observe(&message(Message::from("CLUSTER_TASKS_READY"))));
    pool.run(&Message::from(json!(0))).expect("room");
    let mut events = Vec::new();
    story.command(|supervisor| events = drive(&mut pool, supervisor));
    assert_eq!(events, ["1 on 1"]);
    assert!(pool.observe(&message(Message::from(json!({ "cmd": "CLUSTER_TASK_DONE", "id": 1 })))));
    story.command(|supervisor| events = drive(&mut pool, supervisor));
    assert_eq!(events, ["1: true"]);
}

/// A process that holds the channel of an exited worker may announce the worker again: nothing remains of it.
#[test]
fn late_announcement_leaves_no_entry() {
    let (mut pool, mut story) = busy(1);
    replies(&mut pool, &mut story, 1);
    story.command(|supervisor| supervisor.kill_worker(WorkerId(1)));
    pool.exited(WorkerId(1), None);
    story.dies(1);
    let before = pool.clone();
    for _ in 0..3 {
        assert!(pool.message(WorkerId(1), &Message::from("CLUSTER_TASKS_READY")));
        story.command(|supervisor| drop(drive(&mut pool, supervisor)));
        assert_eq!(pool, before);
    }
}

/// The supervisor's timer ends a task that takes too long. The exit of the worker does not count as a
/// restart, and the slot is filled at once.
#[test]
fn timer_ends_late_task() {
    let settings = PoolSettings::new(1)
        .map_supervisor(|_| settings(1).readiness(Readiness::Message("CLUSTER_TASKS_READY".into())))
        .time_limit(Duration::from_secs(8));
    let mut pool = Pool::new(&settings).expect("possible settings");
    let mut story = Story::new(settings.into_supervisor());
    ready(&mut pool, &mut story, 1);
    pool.run(&Message::from(json!(0))).expect("room");
    story.command(|supervisor| drop(drive(&mut pool, supervisor)));
    for tick in 1..=9 {
        let lines = story.wait(1_000);
        let ended = lines.iter().find_map(|line| line.strip_prefix("Timer { timer: TimerId("));
        let timer = ended.and_then(|rest| rest.trim_end_matches([')', ' ', '}']).parse().ok());
        assert!(
            pool.observe(&SupervisorEvent::Timer { timer: TimerId(timer.expect("a timer")) }),
            "{lines:?}"
        );
        let mut events = Vec::new();
        let lines = story.command(|supervisor| events = drive(&mut pool, supervisor));
        let killed = if tick < 9 { vec![] } else { vec!["1 killed by 1".to_owned()] };
        assert_eq!(events, killed, "{lines:?}");
    }
    assert_eq!(story.dies(1), ["spawn 2 in slot 0", "0: worker 1 cut None"]);
}
