//! One input after another.

use std::time::Duration;

use cluster_core::{
    CancelRunning, ClosePolicy, Delivery, Message, NotAccepted, Pool, PoolOutput, PoolSettings,
    PoolSettingsError, SendError, TaskId, WorkerId,
};
use serde_json::json;

use super::Tasks;

fn at_least_once(attempts: u32) -> PoolSettings {
    PoolSettings::new(2).delivery(Delivery::AtLeastOnce { attempts })
}

/// A worker receives tasks once it is ready and has announced itself, one at a time.
#[test]
fn ready_worker_receives_tasks() {
    let mut tasks = Tasks::with(&PoolSettings::new(1), 0);
    assert!(tasks.run(7).is_empty());
    tasks.0.set_ready(WorkerId(1), true);
    assert!(tasks.outputs().is_empty());
    assert_eq!(tasks.ready(1), ["run 1 on 1"]);
    assert!(tasks.run(8).is_empty());
    assert_eq!(tasks.replies(1, 1, "a"), [r#"1 done: "a""#, "run 2 on 1"]);
    assert_eq!(tasks.replies(1, 2, "b"), [r#"2 done: "b""#]);
    assert_eq!((tasks.0.queued(), tasks.0.unfinished()), (0, 0));
}

/// The worker with the fewest tasks receives the next; results arrive in any order.
#[test]
fn task_prefers_least_loaded_worker() {
    let mut tasks = Tasks::with(&PoolSettings::new(2).tasks_per_worker(2), 2);
    let sent: Vec<_> = (0..5).flat_map(|payload| tasks.run(payload)).collect();
    assert_eq!(sent, ["run 1 on 1", "run 2 on 2", "run 3 on 1", "run 4 on 2"]);
    assert_eq!(tasks.replies(2, 4, "d"), [r#"4 done: "d""#, "run 5 on 2"]);
    assert_eq!(tasks.replies(1, 1, "a"), [r#"1 done: "a""#]);
}

/// A full queue rejects a task. When a task starts, its place in the queue is free again.
#[test]
fn queue_is_bounded() {
    let mut tasks = Tasks::with(&PoolSettings::new(1).queue(1), 1);
    assert_eq!(tasks.run(1), ["run 1 on 1"]);
    assert!(tasks.run(2).is_empty());
    assert_eq!(tasks.0.run(&Message::from(json!(3))), Err(NotAccepted::Full));
    assert_eq!(tasks.replies(1, 1, "a"), [r#"1 done: "a""#, "run 2 on 1"]);
    assert!(tasks.run(4).is_empty());
}

/// At most once: the tasks of a dead worker end with its status.
#[test]
fn dead_worker_ends_its_tasks() {
    let mut tasks = Tasks::with(&PoolSettings::new(2).tasks_per_worker(2), 1);
    tasks.run(1);
    tasks.run(2);
    tasks.run(3);
    let died = |task| format!("{task}: worker 1 exited before its reply (signal: SIGKILL)");
    let mut ended = tasks.dies(1);
    ended.sort();
    assert_eq!(ended, [died(1), died(2)]);
    assert_eq!(tasks.ready(2), ["run 3 on 2"]);
}

/// At least once: the tasks of a dead worker return to the head of the queue, in the order of acceptance.
#[test]
fn dead_worker_returns_its_tasks() {
    let mut tasks = Tasks::with(&at_least_once(2).tasks_per_worker(2), 1);
    (1..=3).for_each(|payload| drop(tasks.run(payload)));
    assert!(tasks.dies(1).is_empty());
    assert_eq!(tasks.ready(2), ["run 1 on 2", "run 2 on 2"]);
    assert_eq!(tasks.replies(2, 1, "a"), [r#"1 done: "a""#, "run 3 on 2"]);
    let mut ended = tasks.dies(2);
    assert_eq!(
        ended.remove(0),
        "2: 2 workers received the task, and each exited before its reply (the last: signal: SIGKILL)"
    );
    assert!(ended.is_empty());
    assert_eq!(tasks.ready(3), ["run 3 on 3"]);
}

/// Returned tasks take no room in the queue, and start in the order of their acceptance, whichever worker
/// exits first.
#[test]
fn returned_tasks_take_no_room() {
    let mut tasks = Tasks::with(&at_least_once(2).queue(1), 2);
    (1..=2).for_each(|payload| drop(tasks.run(payload)));
    assert!(tasks.dies(1).is_empty() && tasks.dies(2).is_empty());
    assert!(tasks.run(3).is_empty());
    assert_eq!(tasks.0.run(&Message::from(json!(4))), Err(NotAccepted::Full));
    assert_eq!(tasks.0.queued(), 3);
    assert_eq!(tasks.ready(3), ["run 1 on 3"]);
    assert_eq!(tasks.cancel(2), ["2: the task was cancelled"]);
    assert_eq!(tasks.ready(4), ["run 3 on 4"]);
}

/// A cancelled task in the queue never starts.
#[test]
fn cancel_removes_queued_task() {
    let mut tasks = Tasks::with(&PoolSettings::new(1), 1);
    tasks.run(1);
    tasks.run(2);
    assert_eq!(tasks.cancel(2), ["2: the task was cancelled"]);
    assert_eq!(tasks.replies(1, 1, "a"), [r#"1 done: "a""#]);
    assert!(tasks.cancel(1).is_empty() && tasks.cancel(9).is_empty());
}

/// The worker of a cancelled task receives one message, and is free after its reply, which is ignored.
#[test]
fn cancel_ignores_reply() {
    let mut tasks = Tasks::with(&PoolSettings::new(1), 1);
    tasks.run(1);
    tasks.run(2);
    assert_eq!(tasks.cancel(1), ["cancel 1 on 1", "1: the task was cancelled"]);
    assert_eq!(tasks.replies(1, 1, "a"), ["run 2 on 1"]);
    tasks.cancel(2);
    assert!(tasks.dies(1).is_empty());
}

/// By setting, the worker of a cancelled task is killed.
#[test]
fn cancel_kills_by_setting() {
    let mut tasks = Tasks::with(&PoolSettings::new(1).cancel(CancelRunning::Kill), 1);
    tasks.run(1);
    tasks.run(2);
    assert_eq!(tasks.cancel(1), ["kill 1", "1: the task was cancelled"]);
    assert!(tasks.dies(1).is_empty());
    assert_eq!(tasks.ready(2), ["run 2 on 2"]);
}

/// A lame duck completes the running tasks and receives no further task.
#[test]
fn lame_worker_receives_no_task() {
    let mut tasks = Tasks::with(&PoolSettings::new(1), 1);
    tasks.run(1);
    tasks.run(2);
    assert!(tasks.lame(1).is_empty());
    assert_eq!(tasks.replies(1, 1, "a"), [r#"1 done: "a""#]);
    assert_eq!(tasks.ready(2), ["run 2 on 2"]);
}

/// A drained pool completes every task, and accepts none.
#[test]
fn close_drains_queue() {
    let mut tasks = Tasks::with(&PoolSettings::new(1), 1);
    tasks.run(1);
    tasks.run(2);
    tasks.0.close(ClosePolicy::Drain);
    assert_eq!(tasks.0.run(&Message::from(json!(3))), Err(NotAccepted::Closed));
    assert_eq!(tasks.replies(1, 1, "a"), [r#"1 done: "a""#, "run 2 on 1"]);
    assert_eq!(tasks.replies(1, 2, "b"), [r#"2 done: "b""#, "empty"]);
    tasks.0.close(ClosePolicy::Drain);
    assert!(tasks.outputs().is_empty());
}

/// A closed queue fails; running tasks complete, or are not started again.
#[test]
fn close_fails_queue() {
    let closed = "the pool was closed before the task was started";
    let mut tasks = Tasks::with(&at_least_once(9), 1);
    tasks.run(1);
    tasks.run(2);
    tasks.0.close(ClosePolicy::Drain);
    tasks.0.close(ClosePolicy::Fail);
    assert_eq!(tasks.outputs(), [format!("2: {closed}")]);
    let mut dead = tasks.clone();
    assert_eq!(tasks.replies(1, 1, "a"), [r#"1 done: "a""#, "empty"]);
    assert_eq!(dead.dies(1), [format!("1: {closed}"), "empty".to_owned()]);
}

/// If no worker will start, the queued tasks end, and the pool accepts further tasks.
#[test]
fn queue_without_workers_ends() {
    let mut tasks = Tasks::with(&PoolSettings::new(1), 0);
    tasks.run(1);
    tasks.0.no_workers();
    let lines = tasks.outputs();
    assert!(lines.len() == 1 && lines[0].starts_with("1: no worker will start"), "{lines:?}");
    tasks.run(2);
    assert_eq!(tasks.ready(1), ["run 2 on 1"]);
}

const TICK: &str = "tick after 1s";

fn limited(settings: PoolSettings) -> PoolSettings {
    settings.time_limit(Duration::from_secs(8))
}

/// A task that exceeds the limit ends with the worker. One timer counts for all tasks, and only while a task
/// is running.
#[test]
fn late_task_kills_its_worker() {
    let mut tasks = Tasks::with(&limited(PoolSettings::new(2)), 2);
    assert_eq!(tasks.run(1), ["run 1 on 1", TICK]);
    assert_eq!(tasks.ticks(1), [TICK]);
    assert_eq!(tasks.run(2), ["run 2 on 2"]);
    assert_eq!(tasks.ticks(7), [TICK]);
    assert_eq!(tasks.ticks(1), ["kill 1", TICK]);
    assert!(tasks.run(3).is_empty(), "a killed worker receives no task");
    assert_eq!(tasks.replies(2, 2, "b"), [r#"2 done: "b""#, "run 3 on 2"]);
    assert_eq!(tasks.dies(1), ["1: worker 1 was killed: no reply within 8s (`time_limit`)"]);
    assert_eq!(tasks.ticks(8), [TICK]);
    assert_eq!(tasks.replies(2, 3, "c"), [r#"3 done: "c""#]);
    assert!(tasks.ticks(1).is_empty());
    assert_eq!(tasks.run(4), ["run 4 on 2", TICK]);
}

/// At least once: another worker receives the late task, and the last attempt has the reason. The other tasks
/// of the worker are not charged an attempt.
#[test]
fn late_task_is_redelivered() {
    let mut tasks = Tasks::with(&limited(at_least_once(2)).tasks_per_worker(2), 1);
    assert_eq!(tasks.run(1), ["run 1 on 1", TICK]);
    assert_eq!(tasks.ticks(9), ["kill 1", TICK]);
    assert!(tasks.dies(1).is_empty());
    assert_eq!(tasks.ready(2), ["run 1 on 2"]);
    assert!(tasks.ticks(8) == [TICK] && tasks.run(2) == ["run 2 on 2"]);
    assert_eq!(tasks.ticks(1), ["kill 2", TICK]);
    assert_eq!(tasks.dies(2), ["1: worker 2 was killed: no reply within 8s (`time_limit`)"]);
    assert_eq!(tasks.ready(3), ["run 2 on 3"]);
}

/// A reply that arrives before the exit still counts, and the limit ends a cancelled task without a reply.
#[test]
fn late_reply_is_a_result() {
    let mut tasks = Tasks::with(&limited(PoolSettings::new(1)), 1);
    tasks.run(1);
    tasks.ticks(9);
    assert_eq!(tasks.replies(1, 1, "a"), [r#"1 done: "a""#]);
    assert!(tasks.dies(1).is_empty() && tasks.ticks(1).is_empty());
    tasks.ready(2);
    tasks.run(2);
    assert_eq!(tasks.cancel(2), ["cancel 2 on 2", "2: the task was cancelled"]);
    assert_eq!(tasks.ticks(9), ["kill 2", TICK]);
}

/// The channel accepts no message: the next output of the pool is not sent.
#[track_caller]
fn unsent(tasks: &mut Tasks, error: SendError) {
    let output = tasks.0.poll().expect("an output");
    assert!(matches!(output, PoolOutput::Send { .. }), "{output:?}");
    if let PoolOutput::Send { worker, task, .. } = output {
        tasks.0.not_sent(worker, task, error);
    }
}

/// A full channel delays its messages; the task is not counted as sent, and may be sent elsewhere.
#[test]
fn full_channel_delays_messages() {
    let mut tasks = Tasks::with(&at_least_once(1), 1);
    tasks.0.run(&Message::from(json!(1))).expect("room");
    unsent(&mut tasks, SendError::Full);
    assert!(tasks.outputs().is_empty() && tasks.0.is_congested());
    tasks.0.has_room();
    assert_eq!(tasks.outputs(), ["run 1 on 1"]);
    tasks.0.cancel(TaskId(1));
    unsent(&mut tasks, SendError::Full);
    assert_eq!(tasks.outputs(), ["1: the task was cancelled"]);
    tasks.0.has_room();
    assert_eq!(tasks.outputs(), ["cancel 1 on 1"]);
    assert!(!tasks.0.is_congested());
    tasks.run(2);
    assert_eq!(tasks.ready(2), ["run 2 on 2"]);
}

/// A closed channel returns its task to the queue.
#[test]
fn closed_channel_returns_task() {
    let mut tasks = Tasks::with(&at_least_once(1), 1);
    tasks.0.run(&Message::from(json!(1))).expect("room");
    unsent(&mut tasks, SendError::Closed);
    assert!(tasks.outputs().is_empty());
    assert!(tasks.dies(1).is_empty());
    assert_eq!(tasks.ready(2), ["run 1 on 2"]);
    tasks.0.cancel(TaskId(1));
    unsent(&mut tasks, SendError::Closed);
    assert_eq!(tasks.outputs(), ["1: the task was cancelled"]);
}

/// A task that no channel accepts ends, and frees its worker.
#[test]
fn long_task_ends() {
    let mut tasks = Tasks::with(&PoolSettings::new(1), 1);
    tasks.0.run(&Message::from(json!(1))).expect("room");
    unsent(&mut tasks, SendError::TooLong { limit: 3 });
    assert_eq!(tasks.outputs(), ["1: the task was not sent"]);
    assert_eq!(tasks.run(2), ["run 2 on 1"]);
}

/// A reply for a task of another worker, or for no task, has no effect.
#[test]
fn foreign_reply_is_ignored() {
    let mut tasks = Tasks::with(&PoolSettings::new(2), 2);
    tasks.run(1);
    assert!(tasks.replies(2, 1, "forged").is_empty());
    assert!(tasks.replies(1, 9, "unknown").is_empty());
    assert_eq!(tasks.replies(1, 1, "a"), [r#"1 done: "a""#]);
    assert!(tasks.replies(1, 1, "twice").is_empty());
}

/// The settings that contradict each other, by name.
#[test]
fn settings_have_limits() {
    let error = |settings: PoolSettings| Pool::new(&settings).expect_err("impossible settings");
    let new = || PoolSettings::new(1);
    assert_eq!(error(new().queue(0)), PoolSettingsError::NoQueue);
    assert_eq!(error(new().tasks_per_worker(0)), PoolSettingsError::NoTasks);
    assert_eq!(error(at_least_once(0)), PoolSettingsError::NoAttempts);
    assert_eq!(error(new().time_limit(Duration::ZERO)), PoolSettingsError::NoTime);
    let both = error(new().tasks_per_worker(2).cancel(CancelRunning::Kill));
    assert_eq!(both, PoolSettingsError::KillsOtherTasks { tasks_per_worker: 2 });
    assert!(both.to_string().contains("`cancel`") && both.to_string().contains("`tasks_per_worker`"));
    assert_eq!(new().queue(3).queue, 3);
}
