//! Each rule on the queue of a handle.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::super::weighted::Weighted;
use super::*;

const ONE: WorkerId = WorkerId(1);
const TWO: WorkerId = WorkerId(2);
const THREE: WorkerId = WorkerId(3);

/// The open connections by worker.
#[derive(Default)]
struct Open(BTreeMap<WorkerId, u64>);

impl Loads for Open {
    fn open(&self, worker: WorkerId) -> Option<u64> {
        self.0.get(&worker).copied()
    }
}

/// A handle with 4 workers of one place each.
fn four(choice: Choice) -> Central {
    let mut handle = Central::new(choice);
    for worker in (1..=4).map(WorkerId) {
        handle.add(worker, Seat::of_worker(worker), 1);
    }
    handle
}

/// The number of connections that each worker receives, of 10,000. `open` returns the loads after each
/// handoff, and the worker answers at once.
fn counts(handle: &mut Central, open: impl Fn(&BTreeMap<WorkerId, u64>) -> Open) -> Vec<u64> {
    let mut counts: BTreeMap<WorkerId, u64> = (1..=4).map(|worker| (WorkerId(worker), 0)).collect();
    for connection in 0..10_000 {
        handle.push(SocketId(connection), None);
        let handoff = handle.next(&open(&counts)).expect("a free worker");
        *counts.entry(handoff.worker).or_default() += 1;
        handle.answered(handoff.worker);
    }
    counts.into_values().collect()
}

fn with(workers: &[WorkerId], places: u32) -> Central {
    let mut handle = Central::new(Choice::RoundRobin);
    for worker in workers {
        handle.add(*worker, Seat::of_worker(*worker), places);
    }
    handle
}

fn distribute(handle: &mut Central, connection: u64) -> Option<(u64, u64)> {
    handle.push(SocketId(connection), None);
    given(handle)
}

fn answer(handle: &mut Central, worker: WorkerId) -> Option<(u64, u64)> {
    handle.answered(worker);
    given(handle)
}

fn given(handle: &mut Central) -> Option<(u64, u64)> {
    let given = handle.next(&Open::default()).map(|handoff| (handoff.worker.0, handoff.connection.0));
    assert_eq!(handle.next(&Open::default()), None, "one change causes one handoff at most");
    given
}

/// Connections that arrive one after another rotate through the workers, in the order in which the
/// workers became ready.
#[test]
fn sequential_connections_rotate() {
    let mut handle = with(&[ONE, TWO], 1);
    for (connection, worker) in [(1, ONE), (2, TWO), (3, ONE), (4, TWO)] {
        assert_eq!(distribute(&mut handle, connection), Some((worker.0, connection)));
        assert_eq!(answer(&mut handle, worker), None);
    }
}

/// A worker gets its next connection only after its answer for the last.
#[test]
fn next_connection_waits_for_answer() {
    let mut handle = with(&[ONE], 1);
    assert_eq!(distribute(&mut handle, 1), Some((1, 1)));
    assert_eq!(distribute(&mut handle, 2), None);
    assert_eq!(answer(&mut handle, ONE), Some((1, 2)));
}

/// A removed worker receives nothing. A busy worker added again receives nothing before the answer.
#[test]
fn removed_worker_gets_nothing() {
    let mut handle = with(&[ONE], 1);
    assert_eq!(distribute(&mut handle, 1), Some((1, 1)));
    handle.remove(ONE);
    assert!(handle.is_unused());
    handle.add(ONE, Seat::of_worker(ONE), 1);
    assert_eq!(given(&mut handle), None);
    assert_eq!(distribute(&mut handle, 2), None);
    assert_eq!(answer(&mut handle, ONE), Some((1, 2)));
}

/// A paused worker receives nothing until the pause ends; the other workers receive the connections.
#[test]
fn passed_over_worker_waits() {
    let mut handle = with(&[ONE, TWO], 1);
    handle.pass_over(ONE);
    assert_eq!(distribute(&mut handle, 1), Some((2, 1)));
    assert_eq!(distribute(&mut handle, 2), None, "one pauses, the other is busy");
    assert_eq!(answer(&mut handle, ONE), Some((1, 2)));
    // A worker that no longer listens is not added.
    handle.remove(TWO);
    handle.pass_over(TWO);
    assert_eq!(answer(&mut handle, TWO), None);
}

/// With two places, a worker receives a second connection only if every worker has an unanswered one.
#[test]
fn second_place_follows_every_first() {
    let mut handle = with(&[ONE, TWO], 2);
    for (connection, worker) in [(1, ONE), (2, TWO), (3, ONE)] {
        assert_eq!(distribute(&mut handle, connection), Some((worker.0, connection)));
    }
    assert_eq!(answer(&mut handle, ONE), None);
    assert_eq!(answer(&mut handle, ONE), None);
    assert_eq!(
        distribute(&mut handle, 4),
        Some((1, 4)),
        "worker 1 has no unanswered connection, worker 2 one"
    );
}

/// A worker that has not taken a connection receives no further one before the end of the pause, even if a
/// place is free.
#[test]
fn declining_worker_pauses() {
    let mut handle = with(&[ONE], 2);
    assert_eq!(distribute(&mut handle, 1), Some((1, 1)));
    handle.requeue(ONE, SocketId(1));
    assert_eq!(given(&mut handle), None);
    assert_eq!(answer(&mut handle, ONE), Some((1, 1)));
}

/// The worker of a single connection under these loads.
fn chosen(mut handle: Central, loads: &[(WorkerId, u64)], connection: u64) -> u64 {
    handle.push(SocketId(connection), None);
    handle.next(&Open(loads.iter().copied().collect())).expect("a free worker").worker.0
}

/// Round robin on free workers: of 10,000 connections each of 4 workers receives 2,500.
#[test]
fn round_robin_is_exact() {
    assert_eq!(counts(&mut four(Choice::RoundRobin), |_| Open::default()), [2_500; 4]);
}

/// The worker with the fewest open connections is chosen, and among equals the longest waiting.
#[test]
fn least_connections_chooses_fewest() {
    let handle = four(Choice::LeastConnections);
    let loads = [(ONE, 3), (TWO, 1), (THREE, 1), (WorkerId(4), 2)];
    assert_eq!(chosen(handle.clone(), &loads, 1), 2);
    assert_eq!(chosen(handle.clone(), &loads[..2], 1), 3, "no report counts as no connection");
    assert_eq!(chosen(handle, &[(ONE, u64::MAX), (TWO, 0)], 1), 2);
}

/// A connection without an answer counts as open.
#[test]
fn unanswered_connection_is_a_load() {
    let mut handle = Central::new(Choice::LeastConnections);
    for worker in [ONE, TWO] {
        handle.add(worker, Seat::of_worker(worker), 2);
    }
    let loads = || Open([(ONE, u64::MAX), (TWO, u64::MAX - 1)].into());
    for (connection, worker) in [(1, TWO), (2, ONE), (3, TWO)] {
        handle.push(SocketId(connection), None);
        assert_eq!(handle.next(&loads()).map(|handoff| handoff.worker), Some(worker));
    }
}

/// Lasting connections: least connections is exact, and two choices differ by a few.
#[test]
fn lasting_connections_are_even() {
    let lasting = |counts: &BTreeMap<WorkerId, u64>| Open(counts.clone());
    assert_eq!(counts(&mut four(Choice::LeastConnections), lasting), [2_500; 4]);
    let two = counts(&mut four(Choice::PowerOfTwo), lasting);
    assert!(two.iter().all(|count| (2_495..=2_505).contains(count)), "{two:?}");
}

/// The worker with the most connections is never chosen, and every other worker is.
#[test]
fn power_of_two_avoids_fullest() {
    let handle = four(Choice::PowerOfTwo);
    let loads = [(ONE, 9), (TWO, 5), (THREE, 1), (WorkerId(4), 5)];
    let mut chosen: Vec<u64> = (0..100).map(|n| chosen(handle.clone(), &loads, n)).collect();
    chosen.sort_unstable();
    chosen.dedup();
    assert_eq!(chosen, [2, 3, 4]);
}

/// Warm workers take turns.
#[test]
fn warm_workers_share_evenly() {
    let weighted = Choice::Weighted(Weighted::new(Duration::ZERO));
    assert_eq!(counts(&mut four(weighted), |_| Open::default()), [2_500; 4]);
}

/// A new worker receives a tenth of the share of a warm worker, and more after each step.
#[test]
fn warming_worker_receives_less() {
    let mut handle = four(Choice::Weighted(Weighted::new(Duration::from_secs(10))));
    for worker in [TWO, THREE, WorkerId(4)] {
        for _ in 1..10 {
            assert_eq!(handle.warming_ms(worker), Some(1_000));
            handle.warm(worker);
        }
        assert_eq!(handle.warming_ms(worker), None);
    }
    for weight in 1..=10 {
        let counts = counts(&mut handle, |_| Open::default());
        let expected = 10_000 * weight / (30 + weight);
        assert!(counts[0].abs_diff(expected) <= 3, "weight {weight}: {counts:?}");
        handle.warm(ONE);
    }
    assert_eq!((handle.warming_ms(ONE), handle.warming_ms(WorkerId(5))), (None, None));
}

/// A worker that was busy for long has no credit: it receives its share from now on.
#[test]
fn busy_worker_gains_no_credit() {
    let mut handle = four(Choice::Weighted(Weighted::new(Duration::ZERO)));
    handle.pass_over(ONE);
    let busy = counts(&mut handle, |_| Open::default());
    assert_eq!(busy[0], 0);
    handle.answered(ONE);
    let counts = counts(&mut handle, |_| Open::default());
    assert!(counts.iter().all(|count| count.abs_diff(2_500) <= 1), "{counts:?}");
}
