//! The figures of the command `cluster` with an unmodified Node.js server: requests lost in reloads, memory,
//! time to start, and throughput. The same run also measures PM2, Node's own cluster, or the program alone.
//!
//! `cargo build --release -p cluster-cli`, then
//! `cargo run --release -p cluster-benches --example command -- --help`. Needs `node`; for load `wrk`
//! (Debian: `apt-get install wrk`); and for PM2 `npm`. Each case prints a table in Markdown on standard
//! output, and progress on standard error.

mod memory;
mod pm2;
mod reload;
mod server;
mod start;
mod throughput;
mod upgrade;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cluster_benches::load::Amount;

/// Measures the command `cluster` with an unmodified Node.js server.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    case: Case,
    #[command(flatten)]
    programs: Programs,
}

/// The measured programs.
#[derive(Debug, clap::Args)]
struct Programs {
    /// The command, built by `cargo build --release -p cluster-cli`.
    #[arg(long, global = true, default_value = "target/release/cluster")]
    cluster: PathBuf,
    /// An executable of Node.js; repeat the option for several versions.
    #[arg(long, global = true, default_value = "node")]
    node: Vec<PathBuf>,
    /// Measure without PM2, which needs `npm` and a registry.
    #[arg(long, global = true)]
    without_pm2: bool,
}

#[derive(Subcommand)]
enum Case {
    /// Reload all the time under load, and count the requests without an answer: the command, then PM2. Fails
    /// if the command loses one.
    Reload(Amount),
    /// Upgrade all the time under load, and count the requests without an answer. Fails if a request is lost
    /// or refused.
    Upgrade(Amount),
    /// Print the memory of the command and of PM2's daemon after a load. Fails if the command has more than
    /// 10 MiB.
    Memory {
        #[arg(long, default_value_t = 4)]
        workers: u32,
    },
    /// Compare the time from the start to the first listening worker with the program alone.
    Start {
        /// Starts of each kind, in turn.
        #[arg(long, default_value_t = 41)]
        rounds: usize,
    },
    /// Compare the requests per second, and the processor time per request, with Node's own cluster.
    Throughput(throughput::Amount),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<ExitCode> {
    let Arguments { case, programs } = Arguments::parse();
    match case {
        Case::Reload(amount) => reload::reload(&amount, &programs).await,
        Case::Upgrade(amount) => upgrade::upgrade(&amount, &programs).await,
        Case::Memory { workers } => memory::memory(workers, &programs).await,
        Case::Start { rounds } => start::start(rounds, &programs).await,
        Case::Throughput(amount) => throughput::throughput(&amount, &programs).await,
    }
}
