//! The memory of the parent of the workers.

use std::process::ExitCode;

use cluster_benches::load::Clients;
use cluster_benches::processes;

use crate::Programs;
use crate::server::{Policy, Runner, Server, version};

/// The largest memory allowed for the command, in bytes.
const LIMIT: u64 = 10 << 20;

/// Prints the memory of the command, of Node's own cluster and of PM2's daemon, after a load on all workers.
pub(crate) async fn memory(workers: u32, programs: &Programs) -> anyhow::Result<ExitCode> {
    let cluster = programs.cluster.as_path();
    let mut runners = vec![
        ("`cluster run`", Runner::Command { cluster, policy: Policy::RoundRobin, has_preload: true }),
        ("primary of Node's own cluster", Runner::NodeCluster(Policy::RoundRobin)),
    ];
    if !programs.without_pm2 {
        runners.push(("PM2's daemon", Runner::Pm2));
    }
    let mut is_within = true;
    let mut rows = Vec::new();
    for node in &programs.node {
        let version = version(node).await?;
        for (name, runner) in &runners {
            eprintln!("{name} with Node.js {version}");
            let mut server = Server::start(*runner, node, workers).await?;
            let url = server.url(workers).await?;
            Clients { number: 64, is_fresh: true, seconds: 3 }.load(&url).await?;
            let memory = processes::memory(server.pid()?)?;
            is_within &= !matches!(runner, Runner::Command { .. }) || memory.resident <= LIMIT;
            rows.push(format!(
                "| {name} | {version} | {:.1} MiB | {:.1} MiB |",
                mebibytes(memory.resident),
                mebibytes(memory.proportional)
            ));
            server.stop().await?;
        }
    }
    println!("| with {workers} workers | Node.js | resident (RSS) | proportional (PSS) |\n|---|---|---|---|");
    println!("{}", rows.join("\n"));
    Ok(if is_within { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

#[allow(clippy::cast_precision_loss, reason = "a size far below 2^52")]
fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
