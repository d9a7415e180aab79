//! The rates of the core and the simulator on one core, as a table in Markdown. The rates are medians of
//! rounds in turn, by processor time, because other programs on the machine disturb processor time least.
//!
//! `cargo run --profile bench -p cluster-benches --example rates`

use clap::Parser;
use cluster_benches::InMemoryCluster;
use cluster_benches::processes::{median, own_processor_time};
use cluster_core::Settings;
use cluster_sim::scenarios::{self, PingPong, ReplyServer, Scenario};
use cluster_sim::{Schedule, World, explore};
use mimalloc::MiMalloc;

/// The same allocator as in the command `conformance`.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Prints the rates of the core and the simulator on one core.
#[derive(Parser)]
struct Arguments {
    /// Measurements of each rate, in turn.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
}

/// Does the work, and returns the number of units done.
type Work = fn() -> u64;

const WORKS: [(&str, Work); 7] = [
    ("handoffs through the core alone, 2 workers", || handoffs(2)),
    ("handoffs through the core alone, 128 workers", || handoffs(128)),
    ("simulated runs: 2 workers, 10 messages, disconnect", messages),
    ("simulated runs: the standard scenario", || runs(2_000)),
    ("steps of a cluster with 2 workers and 2 clients", || steps(2, 200)),
    ("steps of a cluster with 128 workers and 128 clients", || steps(128, 2)),
    ("states of an exhaustive search of `serve-2-1`", search),
];

fn main() {
    let Arguments { rounds } = Arguments::parse();
    let mut rates = vec![Vec::new(); WORKS.len()];
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        for ((_, work), rates) in WORKS.iter().zip(&mut rates) {
            rates.push(rate(*work));
        }
    }
    println!("| | per second |\n|---|---|");
    for ((name, _), rates) in WORKS.iter().zip(&rates) {
        println!("| {name} | {:.0} |", median(rates.iter().copied()));
    }
    let ratios = rates[4].iter().zip(&rates[5]).map(|(few, many)| few / many);
    println!("\nA step with 128 workers takes {:.2} times a step with 2.", median(ratios));
}

#[allow(clippy::cast_precision_loss, reason = "the units of a second are far below 2^52")]
fn rate(work: Work) -> f64 {
    let before = own_processor_time();
    let units = work();
    units as f64 / (own_processor_time() - before)
}

fn handoffs(workers: u32) -> u64 {
    let mut cluster = InMemoryCluster::new(workers);
    (0..100_000).for_each(|_| cluster.hand_off());
    cluster.served()
}

fn messages() -> u64 {
    const RUNS: u64 = 10_000;
    for seed in 0..RUNS {
        let mut world = World::new(PingPong::new(2, 10, 1), Settings::default()).on(Schedule::seed(seed));
        world.run().expect("a check fails only on a defect");
    }
    RUNS
}

fn runs(seeds: u64) -> u64 {
    for seed in 0..seeds {
        scenarios::run_standard(seed).expect("a check fails only on a defect");
    }
    seeds
}

fn steps(workers: u32, seeds: u64) -> u64 {
    let steps = |seed| {
        let mut world =
            World::new(ReplyServer::new(workers, workers), Settings::default()).on(Schedule::seed(seed));
        world.run().expect("a check fails only on a defect");
        world.steps()
    };
    (0..seeds).map(steps).sum()
}

fn search() -> u64 {
    let scenario: Scenario<ReplyServer> = "serve-2-1".parse().expect("the name is valid");
    let coverage = explore::exhaustive(&scenario.world(), 100_000).expect("a check fails only on a defect");
    (coverage.worlds + coverage.ends) as u64
}
