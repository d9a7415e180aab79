//! A supervised server under random schedules with faults, and small worlds under every schedule, within
//! bounds.

use std::time::Duration;

use cluster_core::{ProcessGroup, SchedulingPolicy, Settings, SpawnOptions, SupervisorSettings, WorkerId};
use cluster_sim::explore::exhaustive;
use cluster_sim::scenarios::{SupervisedServer, SupervisorMove};
use cluster_sim::{Actor, Fault, Faults, Schedule, World};

const MOVES: [SupervisorMove; 7] = [
    SupervisorMove::Serve,
    SupervisorMove::Reload,
    SupervisorMove::ReloadAndShutdown,
    SupervisorMove::ReloadAndAbandon,
    SupervisorMove::ScaleDown,
    SupervisorMove::Shutdown,
    SupervisorMove::ShutdownTwice,
];

/// The faults that a supervisor must survive. A garbled channel, a stopped primary and a jumping clock are
/// not among them.
const FAULTS: [Fault; 14] = [
    Fault::Kill,
    Fault::Grandchild,
    Fault::SpawnFailure,
    Fault::AcceptFailure,
    Fault::LostDescriptor,
    Fault::ClientReset,
    Fault::ShortWrite,
    Fault::PartialRead,
    Fault::WriteFailure,
    Fault::LostStatus,
    Fault::Reexec,
    Fault::ExecFailure,
    Fault::HalfClose,
    Fault::KillFailure,
];

/// A failure prints the replay line.
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

/// A shutdown that is requested twice at once is no faster. With patient timers no deadline passes, so no
/// worker gets a signal.
#[test]
fn repeated_shutdown_signals_no_worker() {
    for seed in 0..60 {
        let server = SupervisedServer::new(2, 3, SupervisorMove::ShutdownTwice);
        let mut world = server.world().with_patient_timers().on(Schedule::seed(seed)).traced();
        world.run().expect("every check holds");
        let trace = world.trace().expect("the trace is recorded");
        let text = format!("{trace}{:?}", trace.rows());
        assert!(!text.contains("SIGTERM"), "seed {seed}: {text}");
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

/// Every command with up to three faults, under the sticky policy: a slot keeps its clients.
#[test]
fn sticky_slots_hold_with_faults() {
    let sticky = || {
        let primary = Settings { policy: SchedulingPolicy::Sticky, ..Settings::default() };
        SupervisorSettings::new(3).primary(primary)
    };
    for command in MOVES {
        for seed in 0..60 {
            let faults = Faults::only(&FAULTS).limit(1 + u8::try_from(seed % 3).expect("small"));
            run(SupervisedServer::new(3, 6, command).world_with(sticky()).with_faults(faults), seed);
        }
    }
}

/// Workers in groups of their own.
fn grouped(workers: u32) -> SupervisorSettings {
    let spawn = SpawnOptions::new().process_group(ProcessGroup::Own);
    SupervisorSettings::new(workers).primary(Settings { spawn, ..Settings::default() })
}

/// Every command with up to three faults, and workers in groups.
#[test]
fn groups_hold_with_faults() {
    for command in MOVES {
        for seed in 0..30 {
            let faults = Faults::only(&FAULTS).limit(1 + u8::try_from(seed % 3).expect("small"));
            run(SupervisedServer::new(2, 3, command).world_with(grouped(2)).with_faults(faults), seed);
        }
    }
}

/// A worker starts a child and dies: the primary closes the retained channel after a time, and the group of
/// the worker gets a signal.
#[test]
fn retained_channels_are_given_up() {
    for command in [SupervisorMove::Serve, SupervisorMove::Reload, SupervisorMove::Shutdown] {
        for seed in 0..30 {
            for settings in [SupervisorSettings::new(2), grouped(2)] {
                run(SupervisedServer::new(2, 1, command).leaving_child().world_with(settings), seed);
            }
        }
    }
}

/// A reload with successors that never listen is abandoned. A server that cannot start gives up.
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

/// With the default settings, a program that never listens leads to an end, even if each start takes its
/// whole time to fail.
#[test]
fn silent_program_gives_up() {
    for seed in 0..30 {
        for command in [SupervisorMove::Serve, SupervisorMove::Reload] {
            let server = SupervisedServer::new(2, 1, command).broken_from(WorkerId(1));
            run(server.world_with(SupervisorSettings::new(2)), seed);
        }
    }
}

fn watched(workers: u32) -> World<SupervisedServer> {
    let settings = SupervisorSettings::new(workers);
    let settings = settings.heartbeat(Duration::from_secs(5), Duration::from_secs(2));
    SupervisedServer::new(workers, 1, SupervisorMove::ServeOnce).world_with(settings).with_patient_timers()
}

/// After a worker was ready, a program that is missing for a moment does not end the service: a worker is
/// killed, and the start of another worker fails.
#[test]
fn missing_program_ends_no_ready_service() {
    let mut struck = 0;
    for seed in 0..2000 {
        let faults = Faults::only(&[Fault::Kill, Fault::ExecFailure]).limit(2);
        let world = SupervisedServer::new(2, 3, SupervisorMove::Serve).world().with_faults(faults);
        let mut world = world.on(Schedule::seed(seed));
        world.run().expect("every check holds");
        struck += usize::from(world.schedule().struck() == [Fault::Kill, Fault::ExecFailure]);
    }
    assert!(struck > 5, "{struck} runs with both faults");
}

/// Every command with re-execs and no other fault, also by priorities. A re-exec changes nothing that a
/// client or a worker observes.
#[test]
fn reexecs_are_invisible() {
    let mut struck = 0;
    for command in MOVES {
        for seed in 0..30 {
            for schedule in [Schedule::seed(seed), Schedule::pct(seed, 3)] {
                // Patient timers, because by priorities every start might be late.
                let world = SupervisedServer::new(2, 3, command).world().with_patient_timers().on(schedule);
                let [mut plain, mut replaced] =
                    [world.clone(), world.with_faults(Faults::only(&[Fault::Reexec]))];
                plain.run().expect("every check holds");
                replaced.run().expect("every check holds");
                assert!(plain.observations().eq(replaced.observations()), "seed {seed}");
                struck += replaced.schedule().struck().len();
            }
        }
    }
    assert!(struck > 20, "{struck} re-execs");
}

/// Up to two workers stop forever. Their processes end by the time to become ready, by heartbeats, and by the
/// phases of the shutdown.
#[test]
fn stopped_workers_end_by_deadlines() {
    let faults = Faults::only(&[Fault::StopForever, Fault::ShortWrite, Fault::PartialRead]);
    for seed in 0..200 {
        let mut world = watched(2).with_faults(faults.limit(2)).on(Schedule::seed(seed));
        world.run().expect("every check holds");
        assert!(world.running().eq([Actor::Primary]), "seed {seed}: a worker runs at the end");
    }
}

/// Every command, with a worker that stops forever and with other faults, without heartbeats.
#[test]
fn commands_end_with_stopped_workers() {
    for command in MOVES {
        for seed in 0..60 {
            let others = if seed % 2 == 0 { Faults::none() } else { Faults::only(&FAULTS) };
            let faults = others.and(Fault::StopForever).limit(1 + u8::try_from(seed % 3).expect("small"));
            run(SupervisedServer::new(2, 3, command).world().with_faults(faults), seed);
        }
    }
}

/// Small worlds in which a command races with a death.
fn small_worlds() -> [(&'static str, World<SupervisedServer>); 14] {
    let reexec = Faults::only(&[Fault::Reexec]);
    let kill_and_reexec = reexec.and(Fault::Kill).limit(1);
    let kill = Faults::only(&[Fault::Kill]).limit(1);
    let stop = Faults::only(&[Fault::StopForever]).limit(1);
    let world = |slots, command| SupervisedServer::new(slots, 0, command).world();
    [
        ("one slot serves", world(1, SupervisorMove::Serve)),
        ("one slot, one kill at any call", world(1, SupervisorMove::Serve).with_faults(kill)),
        ("two slots, one kill at any call", world(2, SupervisorMove::Serve).with_faults(kill)),
        ("reload of one slot", world(1, SupervisorMove::Reload)),
        ("reload of two slots", world(2, SupervisorMove::Reload)),
        ("reload raced with a shutdown", world(2, SupervisorMove::ReloadAndShutdown)),
        ("reload abandoned on request", world(1, SupervisorMove::ReloadAndAbandon)),
        ("scale down raced with a death", world(2, SupervisorMove::ScaleDown).with_faults(kill)),
        ("two slots, a shutdown and one stop", world(2, SupervisorMove::Shutdown).with_faults(stop)),
        ("reload of one slot and one stop", world(1, SupervisorMove::Reload).with_faults(stop)),
        ("one slot, heartbeats and one stop", watched(1).with_faults(stop)),
        ("reload of one slot, re-execs", world(1, SupervisorMove::Reload).with_faults(reexec)),
        ("reload of two slots, re-execs", world(2, SupervisorMove::Reload).with_faults(reexec)),
        ("two slots, one kill, re-execs", world(2, SupervisorMove::Serve).with_faults(kill_and_reexec)),
    ]
}

/// A timer may fire at any moment, so a start may always be late, and no search completes.
#[test]
fn small_worlds_hold_within_bounds() {
    for (name, world) in small_worlds() {
        let budget = if cfg!(debug_assertions) { 20_000 } else { 3_000_000 };
        let coverage = exhaustive(&world, budget).expect("every check holds");
        println!("{name}: {coverage}");
    }
}

/// With patient timers.
#[test]
fn patient_worlds_hold() {
    for (name, world) in small_worlds() {
        let coverage = exhaustive(&world.with_patient_timers(), 100_000).expect("every check holds");
        println!("{name}: {coverage}");
        assert!(coverage.is_complete(), "{name}: {coverage}");
    }
}
