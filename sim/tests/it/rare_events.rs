//! Every rare event happens in some run. A check proves nothing about an event that never happens.

use cluster_sim::scenarios::{self, ReplyServer, Scenario, SupervisedServer, SupervisorMove};
use cluster_sim::{Fault, Faults, Schedule, World};

const SEEDS: u64 = 3000;

fn world(seed: u64) -> World<ReplyServer> {
    scenarios::standard_world().with_faults(Faults::swarm(seed)).on(Schedule::seed(seed))
}

#[test]
fn every_fault_strikes() {
    let mut unseen = Fault::ALL.to_vec();
    for seed in 0..SEEDS {
        let mut world = world(seed);
        world.run().expect("every check holds");
        unseen.retain(|&fault| !world.schedule().struck().contains(&fault));
    }
    // Only a supervisor sends signals to a worker that does not exit, so these faults need supervised worlds.
    let faults = Faults::only(&[Fault::StopForever, Fault::KillFailure]);
    for seed in 0..SEEDS / 10 {
        let server = SupervisedServer::new(2, 1, SupervisorMove::Shutdown);
        let mut world = server.world().with_faults(faults).on(Schedule::seed(seed));
        world.run().expect("every check holds");
        unseen.retain(|&fault| !world.schedule().struck().contains(&fault));
    }
    assert_eq!(unseen, []);
}

/// The rare events, each with a text that the trace then contains.
const RARE: [(&str, &str); 12] = [
    ("a descriptor was lost, and the receiver rejected it", "NODE_HANDLE_NACK"),
    ("a write was incomplete", "bytes left"),
    ("a write was continued", "Writable"),
    ("a socket could not be bound", "BindFailed"),
    ("a connection could not be accepted", "AcceptFailed"),
    ("a client disconnected before it was accepted", "ECONNABORTED"),
    ("accepting was retried later", "Timer"),
    ("a worker could not be started", "SpawnFailed"),
    ("a worker wrote to a dead primary", "EPIPE"),
    ("a worker broke the protocol, and its channel was closed", "Protocol("),
    ("a worker was replaced", "spawn 3"),
    ("a client was reset", "Reset"),
];

#[test]
fn every_rare_event_happens() {
    let mut unseen = RARE.to_vec();
    for seed in 0..SEEDS {
        let mut world = world(seed).traced();
        world.run().expect("every check holds");
        let trace = world.trace().expect("the trace is recorded");
        let text = format!("{trace}{:?}", trace.rows());
        unseen.retain(|(_, sign)| !text.contains(sign));
    }
    assert_eq!(unseen, []);
}

/// Another worker serves the connection that a dying worker has not acknowledged.
#[test]
fn dead_workers_connection_is_served() {
    let is_again = |seed: u64| {
        let faults = Faults::only(&[Fault::Kill]).limit(1);
        let mut world = Scenario::new(ReplyServer::new(2, 1)).world();
        world = world.with_faults(faults).on(Schedule::seed(seed)).traced();
        world.run().expect("every check holds");
        let handoffs =
            world.trace().expect("the trace is recorded").to_string().matches(" + SocketId(1): ").count();
        let is_served = world.observations().any(|observation| observation.text.starts_with("worker"));
        handoffs >= 2 && is_served
    };
    assert!((0..SEEDS).any(is_again));
}

/// `exit` and `disconnect` of a worker occur in both orders.
#[test]
fn exit_and_disconnect_in_both_orders() {
    let order = |seed: u64| {
        let mut world = scenarios::standard_world().on(Schedule::seed(seed));
        world.run().expect("every check holds");
        let of = |text: &str| world.observations().position(|observation| observation.text == text);
        of("exit 1") < of("disconnect 1")
    };
    assert!((0..SEEDS).any(order) && !(0..SEEDS).all(order));
}
