//! The time from the start to the first listening worker.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cluster_benches::processes::median;
use tokio::time::sleep;

use crate::Programs;
use crate::server::{Policy, Runner, Server, version};

/// The pause after each start, until the processes of the last start have ended.
const PAUSE: Duration = Duration::from_millis(50);

/// Compares the start with the start of the program alone, in turn.
pub(crate) async fn start(rounds: usize, programs: &Programs) -> anyhow::Result<ExitCode> {
    let cluster = programs.cluster.as_path();
    let command = |has_preload| Runner::Command { cluster, policy: Policy::RoundRobin, has_preload };
    let runners = [
        ("the program alone", Runner::Alone),
        ("`cluster run`", command(true)),
        ("`cluster run --no-preload`", command(false)),
        ("Node's own cluster", Runner::NodeCluster(Policy::RoundRobin)),
    ];
    println!("| | Node.js | start to listening | times the program alone |\n|---|---|---|---|");
    for node in &programs.node {
        let version = version(node).await?;
        let mut times = vec![Vec::new(); runners.len()];
        for round in 1..=rounds {
            eprintln!("round {round} of {rounds} with Node.js {version}");
            for ((_, runner), times) in runners.iter().zip(&mut times) {
                times.push(once(*runner, node).await?);
            }
        }
        for ((name, _), own) in runners.iter().zip(&times) {
            let milliseconds = median(own.iter().copied()) * 1_000.0;
            let ratio = median(own.iter().zip(&times[0]).map(|(own, alone)| own / alone));
            println!("| {name} | {version} | {milliseconds:.1} ms | {ratio:.2} |");
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The seconds of one start.
async fn once(runner: Runner<'_>, node: &Path) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let mut server = Server::start(runner, node, 1).await?;
    server.listening().await?;
    let time = begin.elapsed().as_secs_f64();
    server.stop().await?;
    sleep(PAUSE).await;
    Ok(time)
}
