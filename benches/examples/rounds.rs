//! Runs one workload of the benches a number of times, to count instructions. Unlike time, the number of
//! instructions does not depend on other programs on the machine:
//!
//! `valgrind --tool=callgrind target/release/examples/rounds handoff 5000`
//!
//! Count with two numbers of rounds. The difference of the counts, divided by the difference of the numbers
//! of rounds, is the cost of one round.

use clap::{Parser, ValueEnum};
use cluster_benches::InMemoryCluster;
use cluster_core::Settings;
use cluster_sim::explore;
use cluster_sim::scenarios::{self, PingPong, ReplyServer, Scenario};
use cluster_sim::{Failure, Schedule, World};
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Clone, Copy, ValueEnum)]
enum Workload {
    /// A handoff with 2 workers.
    Handoff,
    /// A start of a primary with 2 workers.
    Start,
    /// A simulated run of the standard scenario.
    Standard,
    /// A simulated run with 2 workers and 10 messages.
    Messages,
    /// A simulated run of the standard scenario with a swarm of faults.
    Faults,
    /// One state of an exhaustive search of `serve-2-1`.
    Search,
}

#[derive(Parser)]
struct Arguments {
    workload: Workload,
    rounds: u64,
}

fn main() -> Result<(), Box<Failure>> {
    let Arguments { workload, rounds } = Arguments::parse();
    if let Workload::Search = workload {
        let scenario: Scenario<ReplyServer> = "serve-2-1".parse().expect("the name is valid");
        let budget = usize::try_from(rounds).expect("fewer than 2^32 rounds");
        return explore::exhaustive(&scenario.world(), budget).map(drop);
    }
    let mut cluster = InMemoryCluster::new(2);
    for round in 1..=rounds {
        match workload {
            Workload::Handoff => cluster.hand_off(),
            Workload::Start => drop(InMemoryCluster::new(2)),
            Workload::Standard => drop(scenarios::run_standard(round)?),
            Workload::Faults => drop(scenarios::run_standard_with_faults(round)?),
            Workload::Messages => {
                World::new(PingPong::new(2, 10, 1), Settings::default()).on(Schedule::seed(round)).run()?;
            }
            Workload::Search => {}
        }
    }
    Ok(())
}
