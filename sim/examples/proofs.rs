//! Every run of five kinds of small worlds: all checks on every state, how many there were, and *complete* or what cut it.
//!
//! `cargo run --release -p cluster-sim --example proofs`. It fails if a check fails. What is cut is no proof, and is said
//! to be none.

use std::process::ExitCode;

use clap::Parser;
use cluster_sim::explore::Budget;
use cluster_sim::standard::PROOFS;

/// Takes every run of fourteen small worlds, with all checks on every state
#[derive(Debug, Parser)]
struct Arguments {
    /// Worlds that are looked at for each, at most
    #[arg(default_value_t = 10_000_000)]
    states: usize,
    /// Memory for the worlds that were seen, in MiB, at most
    #[arg(default_value_t = 1024)]
    memory: usize,
}

fn main() -> ExitCode {
    let Arguments { states, memory } = Arguments::parse();
    let mut complete = 0;
    for proof in PROOFS {
        let kills = if proof.kills > 0 { " with a kill" } else { "" };
        print!("{}\n  {}{kills}: ", proof.story, proof.scenario);
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
    println!("{complete} of {} are complete.", PROOFS.len());
    ExitCode::SUCCESS
}
