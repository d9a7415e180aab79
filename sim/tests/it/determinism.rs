//! The same input gives the same run, byte for byte. A replay line repeats its run.

use std::collections::BTreeSet;

use cluster_sim::replay::Line;
use cluster_sim::scenarios::{self, ReplyServer, Scenario};
use cluster_sim::{Faults, Schedule, World};

fn traced(world: World<ReplyServer>) -> (u64, String) {
    let mut world = world.traced();
    world.run().expect("every check holds");
    (world.trace_hash(), world.trace().expect("the trace is recorded").to_string())
}

fn seeded(seed: u64) -> World<ReplyServer> {
    scenarios::standard_world().with_faults(Faults::swarm(seed)).on(Schedule::seed(seed))
}

#[test]
fn seed_determines_the_trace() {
    let mut different = BTreeSet::new();
    for seed in 0..100 {
        assert_eq!(traced(seeded(seed)), traced(seeded(seed)));
        different.insert(traced(seeded(seed)).0);
    }
    assert!(different.len() > 80, "{}", different.len());
}

#[test]
fn trace_does_not_change_the_run() {
    for seed in 0..100 {
        let mut world = seeded(seed);
        world.run().expect("every check holds");
        assert_eq!(world.trace_hash(), traced(seeded(seed)).0);
    }
}

#[test]
fn clone_of_a_world_ends_alike() {
    let mut world = seeded(5);
    for _ in 0..40 {
        world.step().expect("every check holds");
    }
    let mut clone = world.clone();
    clone.run().expect("every check holds");
    world.run().expect("every check holds");
    assert_eq!(clone.trace_hash(), world.trace_hash());
}

#[test]
fn line_replays_its_run() {
    for seed in 0..100 {
        let mut world = seeded(seed);
        world.run().expect("every check holds");
        let line: Line = world.replay_line().parse().expect("a valid line");
        assert_eq!(line.scenario(), "standard");
        let replayed = line.replay(scenarios::standard_world());
        assert_eq!((replayed.left, replayed.world.trace_hash()), (None, world.trace_hash()));
    }
}

/// Schedules by priorities and by bytes also have lines that replay them.
#[test]
fn every_kind_of_schedule_replays() {
    for seed in 0..100_u64 {
        let bytes: Vec<u8> = (1..200).map(|n| seed.wrapping_mul(n * n).to_le_bytes()[1]).collect();
        for schedule in [Schedule::pct(seed, 3), Schedule::bytes(&bytes)] {
            let mut world = scenarios::standard_world().with_faults(Faults::swarm(seed)).on(schedule);
            world.run().expect("every check holds");
            let line: Line = world.replay_line().parse().expect("a valid line");
            let replayed = line.replay(scenarios::standard_world());
            assert_eq!((replayed.left, replayed.world.trace_hash()), (None, world.trace_hash()));
        }
    }
}

#[test]
fn replay_locates_a_divergence() {
    let mut world = scenarios::standard_world().on(Schedule::seed(3));
    world.run().expect("every check holds");
    let line: Line = world.replay_line().parse().expect("a valid line");
    let other = line.replay(Scenario::new(ReplyServer::new(2, 3)).world());
    let left = other.left.expect("a third client connects");
    assert!(*left.start() > 1 && *left.end() < 200, "{left:?}");
}

#[test]
fn zeros_are_the_quiet_run() {
    let (quiet, trace) = traced(scenarios::standard_world());
    assert_eq!(traced(scenarios::standard_world().on(Schedule::replay(vec![0; 1000]))).0, quiet);
    let place = |text: &str| trace.find(text).unwrap_or_else(|| unreachable!("{text} is in the trace"));
    assert!(place("* Disconnect { worker: WorkerId(2) }") < place("* Exit { worker: WorkerId(2)"));
}
