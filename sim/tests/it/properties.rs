//! Properties of the machines over random programs, schedules and faults, with every check. A failure prints
//! the shrunk run and the replay line; the scenario name in the line defines the program.

use std::time::Duration;

use cluster_core::SchedulingPolicy;
use cluster_sim::prop::check;
use cluster_sim::scenarios::{PrimaryMove, RandomProgram, ReplyServer, Scenario, WorkerMove};
use cluster_sim::{Fault, Faults, Program, Schedule, World};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

const POLICIES: [SchedulingPolicy; 7] = [
    SchedulingPolicy::RoundRobin,
    SchedulingPolicy::Shared,
    SchedulingPolicy::Sticky,
    SchedulingPolicy::LeastConnections,
    SchedulingPolicy::PowerOfTwo,
    SchedulingPolicy::Custom,
    SchedulingPolicy::Weighted { slow_start: Duration::from_secs(1) },
];

fn primary_moves() -> impl Strategy<Value = Vec<PrimaryMove>> {
    let next_move = prop_oneof![
        8 => Just(PrimaryMove::Nothing),
        2 => Just(PrimaryMove::Fork),
        2 => (1..4_u8).prop_map(PrimaryMove::Send),
        2 => (1..4_u8).prop_map(PrimaryMove::Disconnect),
        1 => Just(PrimaryMove::DisconnectAll),
        2 => (1..4_u8).prop_map(PrimaryMove::Kill),
        1 => Just(PrimaryMove::Exit),
    ];
    vec(next_move, 0..16)
}

fn worker_moves() -> impl Strategy<Value = Vec<WorkerMove>> {
    let next_move = prop_oneof![
        6 => Just(WorkerMove::Nothing),
        2 => Just(WorkerMove::Listen),
        2 => Just(WorkerMove::Close),
        2 => Just(WorkerMove::Send),
        1 => Just(WorkerMove::Disconnect),
        1 => Just(WorkerMove::Kill),
        1 => Just(WorkerMove::Exit),
        1 => Just(WorkerMove::Die),
    ];
    vec(next_move, 0..8)
}

fn programs() -> impl Strategy<Value = RandomProgram> {
    (1..4_u32, 0..4_u32, primary_moves(), worker_moves())
        .prop_map(|(workers, clients, primary, worker)| RandomProgram::new(workers, clients, primary, worker))
}

/// Random programs with every policy and setting.
fn scenarios() -> impl Strategy<Value = Scenario<RandomProgram>> {
    (programs(), select(POLICIES.to_vec()), any::<bool>()).prop_map(|(program, policy, keep_listening)| {
        Scenario { policy, keep_listening, ..Scenario::new(program) }
    })
}

fn faults() -> impl Strategy<Value = Faults> {
    (subsequence(Fault::ALL.to_vec(), 0..=Fault::ALL.len()), 0..6_u8)
        .prop_map(|(armed, limit)| Faults::only(&armed).limit(limit))
}

/// The usual capacity of a channel, and a capacity below the length of a message.
fn channel_bytes() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![Just(None), (1..300_usize).prop_map(Some)]
}

#[track_caller]
fn every_check_holds<P: Program>(worlds: impl Strategy<Value = World<P>>) {
    let broken = check(worlds, |_| Ok(())).map_or_else(|broken| broken.to_string(), |()| String::new());
    assert!(broken.is_empty(), "{broken}");
}

/// Every accepted connection is in one place, also when workers die before or after the acknowledgement.
#[test]
fn ledger() {
    let kinds = [Fault::Kill, Fault::LostDescriptor, Fault::AcceptFailure];
    let parts = (1..9_u32, 0..4_u8, any::<bool>());
    every_check_holds(parts.prop_map(|(clients, limit, keep_listening)| {
        let scenario = Scenario { keep_listening, ..Scenario::new(ReplyServer::new(3, clients)) };
        scenario.world().with_faults(Faults::only(&kinds).limit(limit))
    }));
}

/// Connections of a client address reach the same worker, under every fault, also when workers are replaced.
#[test]
fn stickiness() {
    let parts = (1..4_u32, 1..9_u32, faults(), channel_bytes());
    every_check_holds(parts.prop_map(|(workers, clients, faults, channel_bytes)| {
        let scenario = Scenario::new(ReplyServer::new(workers, clients));
        Scenario { policy: SchedulingPolicy::Sticky, channel_bytes, ..scenario }.world().with_faults(faults)
    }));
}

/// Every choice of a program keeps every promise of the primary, under every fault.
#[test]
fn choices_of_the_program() {
    let parts = (2..4_u32, 1..12_u32, faults(), channel_bytes());
    every_check_holds(parts.prop_map(|(workers, clients, faults, channel_bytes)| {
        let scenario = Scenario::new(ReplyServer::new(workers, clients));
        Scenario { policy: SchedulingPolicy::Custom, channel_bytes, ..scenario }.world().with_faults(faults)
    }));
}

/// A free worker is passed by a few connections at most, while workers warm up and under every fault.
#[test]
fn weights() {
    let parts = (2..4_u32, 1..30_u32, 0..2_000_u64, faults(), channel_bytes());
    every_check_holds(parts.prop_map(|(workers, clients, slow_start, faults, channel_bytes)| {
        let policy = SchedulingPolicy::Weighted { slow_start: Duration::from_millis(slow_start) };
        let scenario = Scenario::new(ReplyServer::new(workers, clients));
        Scenario { policy, channel_bytes, ..scenario }.world().with_faults(faults)
    }));
}

/// Workers with fewer open connections receive the next connections, under every fault.
#[test]
fn loads() {
    let policies = [SchedulingPolicy::LeastConnections, SchedulingPolicy::PowerOfTwo];
    let parts = (2..4_u32, 1..12_u32, select(policies.to_vec()), faults(), channel_bytes());
    every_check_holds(parts.prop_map(|(workers, clients, policy, faults, channel_bytes)| {
        let scenario = Scenario::new(ReplyServer::new(workers, clients));
        Scenario { policy, channel_bytes, ..scenario }.world().with_faults(faults)
    }));
}

/// The events of a worker are in order, whatever the programs do.
#[test]
fn order() {
    every_check_holds(programs().prop_map(|program| Scenario::new(program).world()));
}

/// No descriptor stays open without a use, under every policy, when clients disconnect and processes die.
#[test]
fn descriptors() {
    let faults = [Fault::Kill, Fault::ClientReset, Fault::LostDescriptor, Fault::Grandchild];
    every_check_holds(scenarios().prop_map(|scenario| scenario.world().with_faults(Faults::only(&faults))));
}

/// The last worker dies while connections are queued and the listener waits for a free descriptor. In seed
/// 661, the release of a queued connection's descriptor once resumed the closed listener.
#[test]
fn starved_listener_closes_with_its_queue() {
    let start = Scenario::new(ReplyServer::new(2, 10)).world().with_faults(Faults::all());
    for seed in 0..1000 {
        let outcome = start.clone().on(Schedule::seed(seed)).run();
        assert_eq!(outcome.map_err(|failure| (seed, failure.to_string())), Ok(()));
    }
}

/// Writes fail with every error. Messages are lost only with a broken channel, and every process exits.
#[test]
fn writes_that_fail() {
    let others = subsequence(vec![Fault::Kill, Fault::ShortWrite, Fault::LostDescriptor], 0..=3);
    let parts = (scenarios(), others, 0..9_u8, channel_bytes());
    every_check_holds(parts.prop_map(|(scenario, others, limit, channel_bytes)| {
        let faults = Faults::only(&others).and(Fault::WriteFailure).limit(limit);
        Scenario { channel_bytes, ..scenario }.world().with_faults(faults)
    }));
}

/// The same for servers, which must serve every client.
#[test]
fn handoffs_with_failed_writes() {
    let parts = (1..4_u32, 1..9_u32, 1..9_u8, channel_bytes());
    every_check_holds(parts.prop_map(|(workers, clients, limit, channel_bytes)| {
        let faults = Faults::only(&[Fault::WriteFailure]).limit(limit);
        Scenario { channel_bytes, ..Scenario::new(ReplyServer::new(workers, clients)) }
            .world()
            .with_faults(faults)
    }));
}

/// Writes fail although the peer is alive: every client is served, with and without other faults.
#[test]
fn channels_that_half_close() {
    let others = vec![Fault::Kill, Fault::ShortWrite, Fault::LostDescriptor, Fault::Stop, Fault::Grandchild];
    let parts = (scenarios(), subsequence(others, 0..=5), 0..9_u8, channel_bytes());
    every_check_holds(parts.prop_map(|(scenario, others, limit, channel_bytes)| {
        let faults = Faults::only(&others).and(Fault::HalfClose).limit(limit);
        Scenario { channel_bytes, ..scenario }.world().with_faults(faults)
    }));
    let parts = (1..4_u32, 1..9_u32, 1..9_u8, channel_bytes());
    every_check_holds(parts.prop_map(|(workers, clients, limit, channel_bytes)| {
        let faults = Faults::only(&[Fault::HalfClose]).limit(limit);
        Scenario { channel_bytes, ..Scenario::new(ReplyServer::new(workers, clients)) }
            .world()
            .with_faults(faults)
    }));
}

/// Workers stop forever, with and without other faults. Everything else completes.
#[test]
fn workers_that_stop() {
    let others = subsequence(vec![Fault::Kill, Fault::ShortWrite, Fault::LostDescriptor], 0..=3);
    let parts = (scenarios(), others, 1..4_u8, channel_bytes());
    every_check_holds(parts.prop_map(|(scenario, others, limit, channel_bytes)| {
        let faults = Faults::only(&others).and(Fault::StopForever).limit(limit);
        Scenario { channel_bytes, ..scenario }.world().with_faults(faults)
    }));
}

/// After the last fault everything completes, with buffers of any size.
#[test]
fn liveness() {
    let parts = (scenarios(), faults(), channel_bytes());
    every_check_holds(parts.prop_map(|(scenario, faults, channel_bytes)| {
        Scenario { channel_bytes, ..scenario }.world().with_faults(faults)
    }));
}
