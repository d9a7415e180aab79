//! Takes every run of five kinds of small worlds, with all checks on every state. For each world, prints the
//! number of states, and *complete* or the bound at which the search ended.
//!
//! `cargo run --release -p cluster-sim --example proofs`. The command fails if a check fails. A search that
//! ended at a bound is marked, and proves nothing.

use std::process::ExitCode;

use clap::Parser;
use cluster_sim::explore::Budget;
use cluster_sim::scenarios::{PROOFS, Proof};

/// Takes every run of fourteen small worlds, with all checks on every state
#[derive(Debug, Parser)]
struct Arguments {
    /// Greatest number of states visited in each world
    #[arg(default_value_t = 20_000_000)]
    states: usize,
    /// Greatest amount of memory for the visited states, in MiB
    #[arg(default_value_t = 1024)]
    memory: usize,
    /// Only the worlds of this scenario
    #[arg(long, value_name = "SCENARIO")]
    only: Option<String>,
}

fn main() -> ExitCode {
    let Arguments { states, memory, only } = Arguments::parse();
    let is_meant = |proof: &Proof| only.as_ref().is_none_or(|only| only == proof.scenario);
    let proofs: Vec<Proof> = PROOFS.into_iter().filter(is_meant).collect();
    if proofs.is_empty() {
        let names: Vec<_> = PROOFS.iter().map(|proof| proof.scenario).collect();
        eprintln!("no proof has this scenario; the scenarios are: {}", names.join(", "));
        return ExitCode::from(2);
    }
    let mut complete = 0;
    for proof in &proofs {
        let kills = if proof.kills > 0 { " with a kill" } else { "" };
        print!("{}\n  {}{kills}: ", proof.description, proof.scenario);
        match proof.attempt(Budget::from(states).in_bytes(memory.saturating_mul(1 << 20))) {
            Ok(coverage) => {
                complete += usize::from(coverage.is_complete());
                println!("{coverage}");
            }
            Err(failure) => {
                println!("{failure}");
                return ExitCode::FAILURE;
            }
        }
    }
    println!("{complete} of {} are complete.", proofs.len());
    ExitCode::SUCCESS
}
