//! Round robin on the queue of a handle.

use super::*;

const ONE: WorkerId = WorkerId(1);
const TWO: WorkerId = WorkerId(2);

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
    let given = handle.next().map(|handoff| (handoff.worker.0, handoff.connection.0));
    assert_eq!(handle.next(), None, "one change causes one handoff at most");
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
