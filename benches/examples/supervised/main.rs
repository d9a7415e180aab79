//! A supervised server under load: what the load generator loses during reloads, during reloads that fail and while workers are
//! killed; the pause after a crash; and the memory of the primary.
//!
//! `cargo run --release -p cluster-benches --example supervised -- reload` needs `wrk` (Debian: `apt-get install wrk`).

mod command;
mod load;
mod measurement;
mod server;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cluster::Role;

/// Measures a supervised server.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    case: Case,
}

#[derive(Subcommand)]
enum Case {
    /// Reload all the time, under load.
    Reload(Amount),
    /// Reload an unmodified Node.js server under the command `cluster` all the time, under load.
    Command {
        #[command(flatten)]
        amount: Amount,
        #[command(flatten)]
        programs: command::Programs,
    },
    /// Reload with a new program that exits at its start, under load.
    Abandoned(Amount),
    /// Kill a random worker every 200 ms, under load.
    Kill(Amount),
    /// Compare the pause after a crash with the time that the program needs to start by itself.
    Restart {
        /// Number of crashes, and of starts.
        #[arg(long, default_value_t = 21)]
        rounds: usize,
    },
    /// Print the resident memory of a primary.
    Memory {
        #[arg(long, default_value_t = 64)]
        workers: u32,
    },
}

/// The amount of load of a case: the case ends when both numbers are reached.
#[derive(clap::Args)]
struct Amount {
    /// Requests at least.
    #[arg(long, default_value_t = 1_000_000)]
    requests: u64,
    /// Reloads, or kills, at least.
    #[arg(long, default_value_t = 40)]
    times: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    if server::runs_alone() {
        return server::alone().await;
    }
    if cluster::role()? == Role::Worker {
        return server::worker().await;
    }
    match Arguments::parse().case {
        Case::Reload(amount) => measurement::reload(amount).await,
        Case::Command { amount, programs } => command::reload(amount, programs).await,
        Case::Abandoned(amount) => measurement::abandoned(amount).await,
        Case::Kill(amount) => measurement::kill(amount).await,
        Case::Restart { rounds } => measurement::restart(rounds).await,
        Case::Memory { workers } => measurement::memory(workers).await,
    }
}
