//! Every run of five kinds of small worlds: all checks on every state, how many there were, and *complete* or what cut it.
//!
//! `cargo run --release -p cluster-sim --example proofs [STATES [MIB]]`: at most so many states and so much memory for
//! each. It fails if a check fails. What is cut is no proof, and is said to be none.
#![expect(clippy::disallowed_methods, reason = "it is outside of what is simulated")]

use std::error::Error;
use std::process::ExitCode;

use cluster_sim::explore::Budget;
use cluster_sim::standard::PROOFS;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |text| text.parse());
    let (states, memory) = (number(10_000_000)?, number(1024)?);
    let mut complete = 0;
    for proof in PROOFS {
        let kills = if proof.kills > 0 { " with a kill" } else { "" };
        print!("{}\n  {}{kills}: ", proof.story, proof.scenario);
        match proof.attempt(Budget { states, bytes: memory.saturating_mul(1 << 20) }) {
            Ok(coverage) => {
                complete += usize::from(coverage.is_complete());
                println!("{coverage}");
            }
            Err(failure) => {
                println!("{failure}");
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    println!("{complete} of {} are complete.", PROOFS.len());
    Ok(ExitCode::SUCCESS)
}
