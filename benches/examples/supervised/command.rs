//! The case of the command `cluster`: an unmodified Node.js server, reloaded all the time under load.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::sleep;

use crate::Amount;
use crate::measurement::{under_load, verdict};

/// The command and the executable of Node.js.
#[derive(clap::Args)]
pub(crate) struct Programs {
    /// The command, built by `cargo build --release -p cluster-cli`.
    #[arg(long, default_value = "target/release/cluster")]
    cluster: PathBuf,
    /// The executable of Node.js.
    #[arg(long, default_value = "node")]
    node: PathBuf,
}

/// Runs a service, and reloads all the time. No request may fail.
pub(crate) async fn reload(amount: Amount, programs: Programs) -> anyhow::Result<ExitCode> {
    let Programs { cluster, node } = programs;
    let directory = tempfile::tempdir()?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/supervised/server.cjs");
    let mut run = command(&cluster, &directory);
    run.args(["run", "--node"]).arg(node).arg(script).stdout(Stdio::null()).stderr(Stdio::null());
    let mut service = run.spawn().with_context(|| format!("cannot start {}", cluster.display()))?;
    let url = url(&cluster, &directory).await?;
    let reloads = Cell::new(0);
    let disturbance = async {
        loop {
            let status = command(&cluster, &directory).arg("reload").stdout(Stdio::null()).status().await?;
            ensure!(status.success(), "`cluster reload` has failed");
            reloads.set(reloads.get() + 1);
        }
    };
    let counts = under_load(&url, &amount, &reloads, disturbance).await?;
    command(&cluster, &directory).arg("stop").stdout(Stdio::null()).status().await?;
    service.wait().await?;
    Ok(verdict("reloads", reloads.get(), counts, 0))
}

/// The command, with the runtime directory of this measurement.
fn command(cluster: &Path, directory: &TempDir) -> Command {
    let mut command = Command::new(cluster);
    command.env("XDG_RUNTIME_DIR", directory.path()).kill_on_drop(true);
    command
}

/// The address of the service when every slot is ready.
async fn url(cluster: &Path, directory: &TempDir) -> anyhow::Result<String> {
    for _ in 0..600 {
        sleep(Duration::from_millis(50)).await;
        let output = command(cluster, directory).args(["status", "--json"]).output().await?;
        let status: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let is_ready =
            status["slots"].as_array().is_some_and(|slots| slots.iter().all(|slot| slot["state"] == "ready"));
        if let (true, Some(address)) = (is_ready, status["addresses"][0].as_str()) {
            return Ok(format!("http://{address}/"));
        }
    }
    anyhow::bail!("the service was not ready within 30 seconds")
}
