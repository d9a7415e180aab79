//! The rare things do happen: a suite in which they never did would prove nothing.

use cluster_sim::scenarios::{self, ReplyServer, Scenario};
use cluster_sim::{Fault, Faults, Schedule, World};

const SEEDS: u64 = 3000;

fn world(seed: u64) -> World<ReplyServer> {
    scenarios::standard_world().with_faults(Faults::swarm(seed)).on(Schedule::seed(seed))
}

#[test]
fn every_fault_strikes_in_some_run() {
    let mut unseen = Fault::ALL.to_vec();
    for seed in 0..SEEDS {
        let mut world = world(seed);
        world.run().expect("every check holds");
        unseen.retain(|&fault| !world.schedule().struck().contains(&fault));
    }
    assert_eq!(unseen, []);
}

/// What a trace shows when something rare has happened.
const RARE: [(&str, &str); 12] = [
    ("a descriptor did not arrive, and the sender was told", "NODE_HANDLE_NACK"),
    ("a write was not taken whole", "bytes left"),
    ("a write was continued", "Writable"),
    ("a socket could not be bound", "BindFailed"),
    ("a connection could not be accepted", "AcceptFailed"),
    ("a client was gone before it was accepted", "ECONNABORTED"),
    ("it was tried again later", "Timer"),
    ("a worker could not be started", "SpawnFailed"),
    ("a worker wrote to a primary that is gone", "EPIPE"),
    ("a worker broke the protocol, and its channel was closed", "Protocol("),
    ("a worker was replaced", "spawn 3"),
    ("a client was reset", "Reset"),
];

#[test]
fn every_rare_thing_happens_in_some_run() {
    let mut unseen = RARE.to_vec();
    for seed in 0..SEEDS {
        let mut world = world(seed).traced();
        world.run().expect("every check holds");
        let trace = world.trace().expect("it was asked for");
        let text = format!("{trace}{:?}", trace.rows());
        unseen.retain(|(_, sign)| !text.contains(sign));
    }
    assert_eq!(unseen, []);
}

/// A connection that a dying worker had not acknowledged is served by another.
#[test]
fn a_connection_is_handed_out_twice_and_served_once_in_some_run() {
    let is_again = |seed: u64| {
        let faults = Faults::only(&[Fault::Kill]).limit(1);
        let mut world = Scenario::new(ReplyServer::new(2, 1)).world();
        world = world.with_faults(faults).on(Schedule::seed(seed)).traced();
        world.run().expect("every check holds");
        let handoffs =
            world.trace().expect("it was asked for").to_string().matches(" + SocketId(1): ").count();
        let is_served = world.observations().any(|observation| observation.text.starts_with("worker"));
        handoffs >= 2 && is_served
    };
    assert!((0..SEEDS).any(is_again));
}

/// Both orders of a worker's two ends are possible.
#[test]
fn exit_comes_before_disconnect_in_some_run_and_after_it_in_another() {
    let order = |seed: u64| {
        let mut world = scenarios::standard_world().on(Schedule::seed(seed));
        world.run().expect("every check holds");
        let of = |text: &str| world.observations().position(|observation| observation.text == text);
        of("exit 1") < of("disconnect 1")
    };
    assert!((0..SEEDS).any(order) && !(0..SEEDS).all(order));
}
