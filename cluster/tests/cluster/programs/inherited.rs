//! Workers that report what they have inherited.

use std::process::{self, Stdio};
use std::{env, fs, io};

use ::cluster::{Worker, WorkerEvent};
use serde_json::json;

use super::Ended;
use crate::cluster::node::is_absent;
use crate::cluster::support::output;

/// A primary that writes the script of its worker.
const CLUSTER: &str = "
    const [cluster, fs] = [require('cluster'), require('fs')];
    const path = `${require('os').tmpdir()}/${process.pid}.cjs`;
    fs.writeFileSync(path, 'process.send(require(\"cluster\").worker.id)');
    cluster.setupPrimary({ exec: path, execArgv: [] });
    cluster.fork().on('message', (id) => { console.log(id); cluster.disconnect(); });
    cluster.on('exit', () => fs.unlinkSync(path));
";

/// Sends the kind of each descriptor.
pub(super) async fn descriptors(worker: &Worker) -> Ended {
    let entries = fs::read_dir("/proc/self/fd")?.collect::<io::Result<Vec<_>>>()?;
    let links: Vec<_> = entries.iter().filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    worker.send(json!(links))?;
    std::future::pending().await
}

/// Starts three programs, and sends the role that each program prints: a Node.js program, a cluster in
/// Node.js, and this program.
pub(super) async fn others(worker: &Worker) -> Ended {
    let mut printed = Vec::new();
    if !is_absent() {
        for script in ["console.log(require('cluster').isPrimary, typeof process.send)", CLUSTER] {
            printed.push(output(process::Command::new("node").args(["-e", script]))?);
        }
    }
    let own = output(process::Command::new(env::current_exe()?).arg("--list"))?;
    printed.push(format!("{}\n", own.lines().any(|line| line.starts_with("role_leaves_no_trace"))));
    worker.send(json!(printed))?;
    std::future::pending().await
}

/// Answers each message with the signals that a started program ignores.
pub(super) async fn echo_ignoring(worker: Worker) -> Ended {
    worker.ignore_terminal_signals();
    worker.send(json!("ready"))?;
    while let Some(event) = worker.next().await {
        if matches!(event, WorkerEvent::Message { .. }) {
            worker.send(json!(ignored_by_children()?))?;
        }
    }
    Ok(())
}

/// The mask of ignored signals, as the kernel prints masks.
pub(super) fn ignored_by_children() -> io::Result<String> {
    let mut command = process::Command::new("grep");
    let output = command.args(["SigIgn", "/proc/self/status"]).stderr(Stdio::inherit()).output()?;
    String::from_utf8(output.stdout).map_err(io::Error::other)
}
