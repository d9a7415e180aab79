//! Requests per second, and processor time per request, beside Node's own cluster.
#![allow(clippy::cast_precision_loss, reason = "the counts of a few seconds are far below 2^52")]

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use cluster_benches::load::Clients;
use cluster_benches::processes::{median, processor_time};

use crate::Programs;
use crate::server::{Policy, Runner, Server, version};

/// The amount of load.
#[derive(Debug, clap::Args)]
pub(crate) struct Amount {
    /// Measurements of each kind, in turn.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Seconds of load for each measurement.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    #[arg(long, default_value_t = 2)]
    workers: u32,
    /// Concurrent clients.
    #[arg(long, default_value_t = 64)]
    clients: u32,
}

/// The figures of one load. Times are microseconds of processor time per request.
#[derive(Debug, Clone, Copy)]
struct Sample {
    per_second: f64,
    primary: f64,
    workers: f64,
}

/// The figures of both runners under one kind of load, by round.
type Pairs = Vec<[Sample; 2]>;

/// Compares the command with Node's own cluster, in turn.
pub(crate) async fn throughput(amount: &Amount, programs: &Programs) -> anyhow::Result<ExitCode> {
    println!(
        "| | Node.js | requests/s: the command | Node's cluster | ratio | µs of a primary per request | µs of workers per request | ratio of all |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for node in &programs.node {
        let version = version(node).await?;
        for policy in [Policy::RoundRobin, Policy::Shared] {
            let cluster = programs.cluster.as_path();
            let command = Runner::Command { cluster, policy, has_preload: true };
            let runners = [command, Runner::NodeCluster(policy)];
            let mut kinds: [Pairs; 2] = Default::default();
            for round in 1..=amount.rounds {
                eprintln!("round {round} of {} with Node.js {version}, {}", amount.rounds, policy.name());
                // The order alternates, because the first runner of a round finds the machine in another
                // state than the second.
                let mut samples = Vec::new();
                for turn in [round % 2, (round + 1) % 2] {
                    samples.push((turn, sample(runners[turn], node, amount).await?));
                }
                samples.sort_by_key(|(turn, _)| *turn);
                for (kind, pairs) in kinds.iter_mut().enumerate() {
                    pairs.push([samples[0].1[kind], samples[1].1[kind]]);
                }
            }
            for (kind, pairs) in ["lasting connections", "a connection per request"].iter().zip(&kinds) {
                println!("| {}, {kind} | {version} | {} |", policy.name(), row(pairs));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Starts a server, and loads the server first with lasting connections, then with a connection for each
/// request.
async fn sample(runner: Runner<'_>, node: &Path, amount: &Amount) -> anyhow::Result<[Sample; 2]> {
    let mut server = Server::start(runner, node, amount.workers).await?;
    let url = server.url(amount.workers).await?;
    let (primary, workers) = ([server.pid()?], server.workers()?);
    let mut samples = Vec::new();
    for is_fresh in [false, true] {
        let clients = Clients { number: amount.clients, is_fresh, seconds: amount.seconds };
        Clients { seconds: 1, ..clients }.load(&url).await?;
        let before = [processor_time(&primary)?, processor_time(&workers)?];
        let begin = Instant::now();
        let answered = clients.load(&url).await?.answered as f64;
        let seconds = begin.elapsed().as_secs_f64();
        let after = [processor_time(&primary)?, processor_time(&workers)?];
        let [primary, workers] = [0, 1].map(|of| (after[of] - before[of]) / answered * 1_000_000.0);
        samples.push(Sample { per_second: answered / seconds, primary, workers });
    }
    server.stop().await?;
    Ok([samples[0], samples[1]])
}

fn row(pairs: &Pairs) -> String {
    let of = |side: usize, value: fn(&Sample) -> f64| median(pairs.iter().map(|pair| value(&pair[side])));
    let ratio = |value: fn(&Sample) -> f64| median(pairs.iter().map(|[own, node]| value(own) / value(node)));
    let rate = |sample: &Sample| sample.per_second;
    let primary = |sample: &Sample| sample.primary;
    let workers = |sample: &Sample| sample.workers;
    format!(
        "{:.0} | {:.0} | {:.2} | {:.1}, {:.1} | {:.1}, {:.1} | {:.2}",
        of(0, rate),
        of(1, rate),
        ratio(rate),
        of(0, primary),
        of(1, primary),
        of(0, workers),
        of(1, workers),
        ratio(|sample| sample.primary + sample.workers)
    )
}
