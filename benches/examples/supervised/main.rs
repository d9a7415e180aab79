//! A supervised server under load: the requests lost during reloads, during failing reloads and while workers
//! are killed; the pause after a crash; and the memory of the primary.
//!
//! `cargo run --release -p cluster-benches --example supervised -- reload` needs `wrk` (Debian:
//! `apt-get install wrk`).

mod measurement;
mod restart;
mod server;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cluster::Role;
use cluster_benches::load::Amount;

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
    /// Reload with a new program that exits at its start, under load.
    Abandoned(Amount),
    /// Kill a random worker every 200 ms, under load.
    Kill(Amount),
    /// Compare the pause after a crash with the start of the program by itself, and with the least pause
    /// without a cluster.
    Restart {
        /// Number of measurements of each kind.
        #[arg(long, default_value_t = 21)]
        rounds: usize,
    },
    /// Print the resident memory of a primary.
    Memory {
        #[arg(long, default_value_t = 64)]
        workers: u32,
    },
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
        Case::Abandoned(amount) => measurement::abandoned(amount).await,
        Case::Kill(amount) => measurement::kill(amount).await,
        Case::Restart { rounds } => restart::restart(rounds).await,
        Case::Memory { workers } => measurement::memory(workers).await,
    }
}
