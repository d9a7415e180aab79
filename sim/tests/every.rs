//! Every run of small worlds: not a sample.

use cluster_core::SchedulingPolicy;
use cluster_sim::explore::{Bound, Budget, every};
use cluster_sim::standard::{Scenario, Serve};
use cluster_sim::{Fault, Faults, Schedule};

/// Every interleaving of one worker that serves one connection, on a machine where nothing fails.
#[test]
fn one_worker_and_one_connection() {
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let scenario = Scenario { policy, ..Scenario::new(Serve::new(1, 1)) };
        let coverage = every(&scenario.world(), 1_000_000).expect("every check holds");
        println!("{scenario}: {coverage}");
        assert!(coverage.is_complete());
    }
}

/// The same, with one kill, at any call of the primary or of the worker.
#[test]
fn one_worker_and_one_connection_with_one_kill() {
    let faults = Faults::only(&[Fault::Kill]).limit(1);
    let mut serve = Serve::new(1, 1);
    serve.replacements = 0;
    let world = Scenario::new(serve).world().on(Schedule::quiet().with_faults(faults));
    let coverage = every(&world, 1_000_000).expect("every check holds");
    println!("{coverage}");
    assert!(coverage.is_complete() && coverage.ends > 10, "{coverage:?}");
}

/// A search that outgrows its memory stops, and says so.
#[test]
fn a_search_that_outgrows_its_budget_says_that_it_is_bounded() {
    let world = Scenario::new(Serve::new(1, 2)).world();
    for (budget, cut) in [
        (Budget { states: 5000, bytes: usize::MAX }, Bound::States),
        (Budget { states: usize::MAX, bytes: 300_000 }, Bound::Memory),
    ] {
        let coverage = every(&world, budget).expect("every check holds");
        assert_eq!(coverage.cut, Some(cut));
        assert!(coverage.worlds >= 5000 && coverage.to_string().contains("bounded"), "{coverage}");
    }
}
