//! Every run of small worlds: not a sample.

use cluster_core::SchedulingPolicy;
use cluster_sim::explore::every;
use cluster_sim::standard::{Scenario, Serve};
use cluster_sim::{Fault, Faults, Schedule};

/// Every interleaving of one worker that serves one connection, on a machine where nothing fails.
#[test]
fn one_worker_and_one_connection() {
    for policy in [SchedulingPolicy::RoundRobin, SchedulingPolicy::Shared] {
        let scenario = Scenario { policy, ..Scenario::new(Serve::new(1, 1)) };
        let coverage = every(&scenario.world(), 1_000_000);
        println!("{coverage:?}");
        assert!(coverage.expect("every check holds").complete);
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
    println!("{coverage:?}");
    assert!(coverage.complete && coverage.ends > 10, "{coverage:?}");
}
