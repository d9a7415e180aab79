//! Random schedules on several threads. The result is the smallest failing number, and does not depend on the
//! thread that finds a failure first.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use cluster_sim::Program;

use super::super::interrupt;
use super::target::{ExploreTarget, schedule};

/// The interval of progress reports, in runs.
const REPORT_EVERY: u64 = 64;

/// The result of a random search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SearchResult {
    /// The first failing number.
    pub(super) found: Option<u64>,
    /// The number of passing runs.
    pub(super) runs: u64,
    /// The steps of the passing runs.
    pub(super) steps: u64,
    /// The number of passing runs in which a fault struck.
    pub(super) struck: u64,
}

/// State shared by the threads.
#[derive(Debug)]
struct Shared {
    next: AtomicU64,
    found: AtomicU64,
    runs: AtomicU64,
    steps: AtomicU64,
    struck: AtomicU64,
}

/// Runs the schedules `0..seeds` until one fails, or the user interrupts the search.
pub(super) fn search<P: Program + Send + Sync>(
    target: &ExploreTarget<P>,
    seeds: u64,
    jobs: usize,
    reached: &(dyn Fn(u64) + Sync),
) -> SearchResult {
    let [next, runs, steps, struck] = [(); 4].map(|()| AtomicU64::new(0));
    let shared = Shared { next, found: AtomicU64::new(seeds), runs, steps, struck };
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| work(target, &shared, reached));
        }
    });
    let [found, runs, steps, struck] =
        [shared.found, shared.runs, shared.steps, shared.struck].map(AtomicU64::into_inner);
    SearchResult { found: Some(found).filter(|found| *found < seeds), runs, steps, struck }
}

fn work<P: Program>(target: &ExploreTarget<P>, shared: &Shared, reached: &(dyn Fn(u64) + Sync)) {
    while !interrupt::is_stopped() {
        let seed = shared.next.fetch_add(1, Ordering::Relaxed);
        // Another thread has found a failure with a number below all further numbers of this thread.
        if seed >= shared.found.load(Ordering::Relaxed) {
            break;
        }
        let world = target.world().clone().with_faults(target.armed(seed));
        let mut world = world.on(schedule(seed));
        let outcome = world.run();
        if target.finding(&world, &outcome).is_some() {
            shared.found.fetch_min(seed, Ordering::Relaxed);
            break;
        }
        shared.steps.fetch_add(world.steps(), Ordering::Relaxed);
        shared.struck.fetch_add(u64::from(!world.schedule().struck().is_empty()), Ordering::Relaxed);
        let runs = 1 + shared.runs.fetch_add(1, Ordering::Relaxed);
        if runs.is_multiple_of(REPORT_EVERY) {
            reached(runs);
        }
    }
}
