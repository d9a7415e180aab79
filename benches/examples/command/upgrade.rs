//! Upgrades of the command under load.

use std::cell::Cell;
use std::process::ExitCode;

use cluster_benches::load::{Amount, under_load};

use crate::Programs;
use crate::server::{Policy, Runner, Server, version};

/// The number of workers of a service.
const WORKERS: u32 = 2;

/// Upgrades all the time. No request may fail.
pub(crate) async fn upgrade(amount: &Amount, programs: &Programs) -> anyhow::Result<ExitCode> {
    let cluster = programs.cluster.as_path();
    let command = Runner::Command { cluster, policy: Policy::RoundRobin, has_preload: true };
    let mut failed = 0;
    println!("| Node.js | upgrades | requests answered | failed | of them refused |");
    println!("|---|---|---|---|---|");
    for node in &programs.node {
        let version = version(node).await?;
        eprintln!("`cluster run` with Node.js {version}");
        let mut server = Server::start(command, node, WORKERS).await?;
        let url = server.url(WORKERS).await?;
        let upgrades = Cell::new(0);
        let disturbance = async {
            loop {
                server.order(cluster, "upgrade").await?;
                upgrades.set(upgrades.get() + 1);
            }
        };
        let counts = under_load(&url, amount, &upgrades, disturbance).await?;
        server.stop().await?;
        failed += counts.failed();
        let (upgrades, answered, refused) = (upgrades.get(), counts.answered, counts.refused);
        println!("| {version} | {upgrades} | {answered} | {} | {refused} |", counts.failed());
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
