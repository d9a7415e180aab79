//! Planted bugs of a task pool, each for one of its checks.

use std::time::Duration;

use cluster_core::{Call, ChannelId, PoolSettings, TaskId, WorkerId};

use super::supervisor_bugs::{change_calls, failed_check, finds};
use super::{PlantedBug, Tampering};
use crate::Check;
use crate::running_process::NextAction;
use crate::scenarios::{PooledTasks, TaskMove};
use crate::step::Pid;

/// Whether `next` is a write of this process with this text.
fn writes(pid: Pid, next: &NextAction, by_primary: bool, text: &str) -> bool {
    (pid == Pid::PRIMARY) == by_primary
        && matches!(next, NextAction::Call(Call::Write { bytes, .. })
            if String::from_utf8_lossy(bytes).contains(text))
}

/// The reply of a worker is lost.
#[test]
fn task_ends_detects_a_lost_reply() {
    let bug: PlantedBug = |pid, next| {
        super::tamper_if(writes(pid, next, false, r#""CLUSTER_TASK_DONE","id":2"#), Tampering::Drop)
    };
    finds(Check::TaskEnds, &PooledTasks::world(PoolSettings::new(2), 2, 3, TaskMove::Run), bug);
}

/// A task is written twice.
#[test]
fn task_runs_detects_a_repeated_task() {
    let bug: PlantedBug = |pid, next| {
        super::tamper_if(writes(pid, next, true, r#""CLUSTER_TASK","id":2"#), Tampering::Duplicate)
    };
    finds(Check::TaskRuns, &PooledTasks::world(PoolSettings::new(2), 2, 3, TaskMove::Run), bug);
}

/// The program does not pass a cancellation on to the pool.
#[test]
fn task_cancels_detects_a_result() {
    let world = |command| PooledTasks::world(PoolSettings::new(2), 2, 3, command);
    assert_eq!(failed_check(&world(TaskMove::Cancel), |_, _| Tampering::None), None);
    assert_eq!(
        failed_check(&world(TaskMove::ForgetCancel), |_, _| Tampering::None),
        Some(Check::TaskCancels)
    );
}

/// A tick of the time limit is too early, or too late.
#[test]
fn task_limits_detects_wrong_time() {
    let settings = PoolSettings::new(2).time_limit(Duration::from_millis(8_008));
    let world = PooledTasks::world_with_endless(settings, 2, 3, TaskMove::Run, TaskId(2));
    let early: PlantedBug = |_, next| {
        change_calls(next, |call| {
            if let Call::SetTimer { after_ms: after_ms @ 1_001, .. } = call {
                *after_ms = 500;
            }
        })
    };
    finds(Check::TaskLimits, &world, early);
    let late: PlantedBug = |_, next| {
        change_calls(next, |call| {
            if let Call::SetTimer { after_ms: after_ms @ 1_001, .. } = call {
                *after_ms = 2_002;
            }
        })
    };
    finds(Check::TaskLimits, &world, late);
}

/// The timer of the time limit is lost.
#[test]
fn task_ends_detects_lost_timer() {
    let settings = PoolSettings::new(2).time_limit(Duration::from_millis(8_008));
    let world = PooledTasks::world_with_endless(settings, 2, 3, TaskMove::Run, TaskId(2));
    let bug: PlantedBug = |_, next| {
        let is_tick = matches!(next, NextAction::Call(Call::SetTimer { after_ms: 1_001, .. }));
        super::tamper_if(is_tick, Tampering::Drop)
    };
    finds(Check::TaskEnds, &world, bug);
}

/// Tasks for the first worker are written to the second worker, which never announces itself.
#[test]
fn task_workers_detects_an_early_task() {
    let world = PooledTasks::world_with(PoolSettings::new(2), 2, 3, TaskMove::Run, Some(WorkerId(2)));
    let bug: PlantedBug = |pid, next| {
        if !writes(pid, next, true, r#""cmd":"CLUSTER_TASK""#) {
            return Tampering::None;
        }
        change_calls(next, |call| {
            if let Call::Write { channel, .. } = call {
                *channel = ChannelId(2);
            }
        })
    };
    assert_eq!(failed_check(&world, bug), Some(Check::TaskWorkers));
}

/// Tasks for the successor are written to the lame duck.
#[test]
fn task_workers_detects_a_lame_duck() {
    let bug: PlantedBug = |pid, next| {
        if !writes(pid, next, true, r#""cmd":"CLUSTER_TASK""#) {
            return Tampering::None;
        }
        change_calls(next, |call| {
            if let Call::Write { channel, .. } = call {
                *channel = ChannelId(1);
            }
        })
    };
    finds(Check::TaskWorkers, &PooledTasks::world(PoolSettings::new(1), 1, 4, TaskMove::Reload), bug);
}
