//! A task pool under random schedules with faults, and every run of small worlds.

use std::time::Duration;

use cluster_core::{CancelRunning, Delivery, PoolSettings, TaskId};
use cluster_sim::explore::exhaustive;
use cluster_sim::scenarios::{PooledTasks, TaskMove};
use cluster_sim::{Fault, Faults, Schedule, World};

const MOVES: [TaskMove; 6] =
    [TaskMove::Run, TaskMove::Cancel, TaskMove::Reload, TaskMove::ScaleDown, TaskMove::Drain, TaskMove::Fail];

/// The faults that a pool must survive. A garbled channel, a stopped primary and a jumping clock are not
/// among them.
const FAULTS: [Fault; 6] = [
    Fault::Kill,
    Fault::SpawnFailure,
    Fault::ShortWrite,
    Fault::PartialRead,
    Fault::WriteFailure,
    Fault::LostStatus,
];

/// Settings with different delivery, cancellation and load.
fn settings(workers: u32) -> [PoolSettings; 4] {
    let new = || PoolSettings::new(workers);
    [
        new(),
        new().delivery(Delivery::AtLeastOnce { attempts: 2 }),
        new().tasks_per_worker(2).delivery(Delivery::AtLeastOnce { attempts: 1 }),
        new().cancel(CancelRunning::Kill),
    ]
}

/// A failure prints the replay line.
fn run(world: World<PooledTasks>, seed: u64) {
    let mut world = world.on(Schedule::seed(seed));
    world.run().expect("every check holds");
}

/// Every command on random schedules, without faults.
#[test]
fn tasks_hold_on_random_schedules() {
    for command in MOVES {
        for settings in settings(2) {
            for seed in 0..20 {
                run(PooledTasks::world(settings.clone(), 2, 4, command), seed);
            }
        }
    }
}

/// Every command with up to three faults.
#[test]
fn tasks_hold_with_faults() {
    for command in MOVES {
        for settings in settings(3) {
            for seed in 0..40 {
                let faults = Faults::only(&FAULTS).limit(1 + u8::try_from(seed % 3).expect("small"));
                run(PooledTasks::world(settings.clone(), 3, 5, command).with_faults(faults), seed);
            }
        }
    }
}

/// Every command with a task to which no worker replies, without and with faults: the time limit ends the
/// task.
#[test]
fn endless_tasks_hold() {
    for command in MOVES {
        for settings in settings(2) {
            let settings = settings.time_limit(Duration::from_secs(8));
            for seed in 0..20 {
                let world =
                    |task| PooledTasks::world_with_endless(settings.clone(), 2, 4, command, TaskId(task));
                run(world(1 + seed % 4), seed);
                run(world(1 + seed % 4).with_faults(Faults::only(&FAULTS).limit(2)), seed);
            }
        }
    }
}

/// Small worlds in which a task races with a death or a command.
fn small_worlds() -> Vec<(&'static str, World<PooledTasks>)> {
    let kill = Faults::only(&[Fault::Kill]).limit(1);
    let world =
        |workers, tasks, command| PooledTasks::world(PoolSettings::new(workers), workers, tasks, command);
    let again = PoolSettings::new(2).delivery(Delivery::AtLeastOnce { attempts: 2 });
    let endless = |workers, tasks, command| {
        let settings = PoolSettings::new(workers).time_limit(Duration::from_secs(8));
        PooledTasks::world_with_endless(settings, workers, tasks, command, TaskId(1))
    };
    vec![
        ("two workers, three tasks", world(2, 3, TaskMove::Run)),
        ("two workers, three tasks, one kill", world(2, 3, TaskMove::Run).with_faults(kill)),
        ("two workers, two tasks, one kill", world(2, 2, TaskMove::Run).with_faults(kill)),
        (
            "two workers, two tasks at least once, one kill",
            PooledTasks::world(again, 2, 2, TaskMove::Run).with_faults(kill),
        ),
        ("two workers, three tasks, cancellation", world(2, 3, TaskMove::Cancel)),
        ("one worker, two tasks, cancellation, one kill", world(1, 2, TaskMove::Cancel).with_faults(kill)),
        ("two workers, two tasks, reload", world(2, 2, TaskMove::Reload)),
        ("one worker, two tasks, shutdown, one kill", world(1, 2, TaskMove::Drain).with_faults(kill)),
        ("one worker, two tasks, one endless", endless(1, 2, TaskMove::Run)),
        ("one worker, one endless task, reload", endless(1, 1, TaskMove::Reload)),
        ("one worker, one endless task, one kill", endless(1, 1, TaskMove::Run).with_faults(kill)),
    ]
}

/// With patient timers: a timer fires only when no other step is enabled.
#[test]
fn small_pools_hold() {
    for (name, world) in small_worlds() {
        let coverage = exhaustive(&world.with_patient_timers(), 1_000_000).expect("every check holds");
        println!("{name}: {coverage}");
        assert!(coverage.is_complete(), "{name}: {coverage}");
    }
}
