//! A supervised server under random schedules with faults, and every run of small worlds within bounds.

use std::time::Duration;

use cluster_core::{SupervisorSettings, WorkerId};
use cluster_sim::explore::exhaustive;
use cluster_sim::scenarios::{SupervisedServer, SupervisorMove};
use cluster_sim::{Fault, Faults, Schedule, World};

const MOVES: [SupervisorMove; 5] = [
    SupervisorMove::Serve,
    SupervisorMove::Reload,
    SupervisorMove::ReloadAndShutdown,
    SupervisorMove::ScaleDown,
    SupervisorMove::Shutdown,
];

/// Faults that a supervisor must survive; a garbled channel, a stopped primary and a jumping clock are not among them.
const FAULTS: [Fault; 8] = [
    Fault::Kill,
    Fault::SpawnFailure,
    Fault::AcceptFailure,
    Fault::LostDescriptor,
    Fault::ClientReset,
    Fault::ShortWrite,
    Fault::PartialRead,
    Fault::WriteFailure,
];

/// The failure has the replay line.
fn run(world: World<SupervisedServer>, seed: u64) {
    let mut world = world.on(Schedule::seed(seed));
    world.run().expect("every check holds");
}

/// Every command on random schedules, without faults.
#[test]
fn commands_hold_on_random_schedules() {
    for command in MOVES {
        for seed in 0..60 {
            run(SupervisedServer::new(2, 3, command).world(), seed);
        }
    }
}

/// Every command with up to three faults.
#[test]
fn commands_hold_with_faults() {
    for command in MOVES {
        for seed in 0..60 {
            let faults = Faults::only(&FAULTS).limit(1 + u8::try_from(seed % 3).expect("small"));
            run(SupervisedServer::new(3, 3, command).world().with_faults(faults), seed);
        }
    }
}

/// A reload with successors that never listen is abandoned; a server that cannot start gives up.
#[test]
fn bad_deployments_hold() {
    for seed in 0..30 {
        let settings = || SupervisorSettings::new(2).intensity(3, Duration::from_hours(24));
        let reload = SupervisedServer::new(2, 1, SupervisorMove::Reload).broken_from(WorkerId(3));
        run(reload.world_with(settings()), seed);
        let serve = SupervisedServer::new(2, 1, SupervisorMove::Serve).broken_from(WorkerId(2));
        run(serve.world_with(settings()), seed);
    }
}

/// The worlds of an exhaustive search; the bound is part of the printed coverage.
#[test]
fn small_worlds_hold_within_bounds() {
    let kill = Faults::only(&[Fault::Kill]).limit(1);
    let worlds = [
        ("one slot serves", SupervisedServer::new(1, 0, SupervisorMove::Serve).world()),
        (
            "one slot, one kill at any call",
            SupervisedServer::new(1, 0, SupervisorMove::Serve).world().with_faults(kill),
        ),
        (
            "two slots, one kill at any call",
            SupervisedServer::new(2, 0, SupervisorMove::Serve).world().with_faults(kill),
        ),
        ("reload of one slot", SupervisedServer::new(1, 0, SupervisorMove::Reload).world()),
        ("reload of two slots", SupervisedServer::new(2, 0, SupervisorMove::Reload).world()),
        (
            "reload raced with a shutdown",
            SupervisedServer::new(2, 0, SupervisorMove::ReloadAndShutdown).world(),
        ),
        (
            "scale down raced with a death",
            SupervisedServer::new(2, 0, SupervisorMove::ScaleDown).world().with_faults(kill),
        ),
    ];
    for (name, world) in worlds {
        let budget = if cfg!(debug_assertions) { 20_000 } else { 3_000_000 };
        let coverage = exhaustive(&world, budget).expect("every check holds");
        println!("{name}: {coverage}");
    }
}
