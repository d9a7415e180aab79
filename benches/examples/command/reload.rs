//! Reloads under load.

use std::cell::Cell;
use std::path::Path;
use std::process::ExitCode;

use cluster_benches::load::{Amount, Counts, under_load};

use crate::Programs;
use crate::server::{Policy, Runner, Server, version};

/// The workers of a service.
const WORKERS: u32 = 2;

/// Reloads all the time: the command first, then PM2. No request may fail under the command.
pub(crate) async fn reload(amount: &Amount, programs: &Programs) -> anyhow::Result<ExitCode> {
    let cluster = programs.cluster.as_path();
    let command = Runner::Command { cluster, policy: Policy::RoundRobin, has_preload: true };
    let mut failed = 0;
    let mut rows = Vec::new();
    for node in &programs.node {
        let version = version(node).await?;
        eprintln!("`cluster run` with Node.js {version}");
        let (counts, reloads) = under_reloads(command, node, cluster, amount).await?;
        failed += counts.failed();
        rows.push(row("the command", &version, reloads, counts));
        if !programs.without_pm2 {
            eprintln!("PM2 with Node.js {version}");
            let (counts, reloads) = under_reloads(Runner::Pm2, node, cluster, amount).await?;
            rows.push(row("PM2", &version, reloads, counts));
        }
    }
    println!("| | Node.js | reloads | requests answered | failed | failed per reload | of them refused |");
    println!("|---|---|---|---|---|---|---|");
    println!("{}", rows.join("\n"));
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn under_reloads(
    runner: Runner<'_>,
    node: &Path,
    cluster: &Path,
    amount: &Amount,
) -> anyhow::Result<(Counts, u64)> {
    let mut server = Server::start(runner, node, WORKERS).await?;
    let url = server.url(WORKERS).await?;
    let reloads = Cell::new(0);
    let disturbance = async {
        loop {
            server.reload(cluster).await?;
            reloads.set(reloads.get() + 1);
        }
    };
    let counts = under_load(&url, amount, &reloads, disturbance).await?;
    server.stop().await?;
    Ok((counts, reloads.get()))
}

#[allow(clippy::cast_precision_loss, reason = "both counts are far below 2^52")]
fn row(name: &str, version: &str, reloads: u64, counts: Counts) -> String {
    let (failed, answered, refused) = (counts.failed(), counts.answered, counts.refused);
    let per_reload = failed as f64 / reloads as f64;
    format!("| {name} | {version} | {reloads} | {answered} | {failed} | {per_reload:.1} | {refused} |")
}
