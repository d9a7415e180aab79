//! A running server: alone, under the command, under Node's own cluster, or under PM2.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use cluster_benches::processes;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::pm2::Pm2;

/// The longest wait for a listening worker.
const START: Duration = Duration::from_secs(30);

/// What runs the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner<'a> {
    /// Node.js, without a cluster.
    Alone,
    /// `cluster run` of this executable.
    Command {
        cluster: &'a Path,
        policy: Policy,
        has_preload: bool,
    },
    /// Node's own cluster.
    NodeCluster(Policy),
    Pm2,
}

/// The distribution of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    RoundRobin,
    Shared,
}

impl Policy {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Policy::RoundRobin => "round-robin",
            Policy::Shared => "shared",
        }
    }
}

/// A running server. Dropping the value kills the processes.
pub(crate) struct Server {
    parent: Parent,
    reports: Reports,
}

/// The parent of the workers.
enum Parent {
    Child(Child),
    Pm2(Pm2),
}

impl Server {
    /// Starts a server, and returns before the workers listen.
    pub(crate) async fn start(runner: Runner<'_>, node: &Path, workers: u32) -> anyhow::Result<Self> {
        let reports = Reports::new()?;
        let script = script("server.cjs");
        let mut command = match runner {
            Runner::Alone => {
                let mut command = Command::new(node);
                command.arg(script);
                command
            }
            Runner::Command { cluster, policy, has_preload } => {
                let mut command = Command::new(cluster);
                command.args(["run", "--workers", &workers.to_string(), "--policy", policy.name()]);
                command.args((!has_preload).then_some("--no-preload"));
                command.arg("--node").arg(node).arg(script);
                command
            }
            Runner::NodeCluster(policy) => {
                let mut command = Command::new(node);
                command.arg(self::script("primary.cjs")).args([policy.name(), &workers.to_string()]);
                command
            }
            Runner::Pm2 => {
                let pm2 = Pm2::start(node, &script, workers, &reports.path()).await?;
                return Ok(Server { parent: Parent::Pm2(pm2), reports });
            }
        };
        command.env("REPORT", reports.path()).env("XDG_RUNTIME_DIR", reports.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = command.spawn();
        let program = command.as_std().get_program().display();
        let child = child.with_context(|| format!("cannot start {program}"))?;
        Ok(Server { parent: Parent::Child(child), reports })
    }

    /// Waits for the next listening worker, and returns the port.
    pub(crate) async fn listening(&mut self) -> anyhow::Result<u16> {
        let line = timeout(START, self.reports.lines.next_line()).await;
        Ok(line.context("no worker listens within 30 seconds")??.context("the pipe has ended")?.parse()?)
    }

    /// Waits until all workers listen, and returns the address.
    pub(crate) async fn url(&mut self, workers: u32) -> anyhow::Result<String> {
        let mut port = 0;
        for _ in 0..workers {
            port = self.listening().await?;
        }
        Ok(format!("http://127.0.0.1:{port}/"))
    }

    /// Replaces every worker: with `pm2 reload`, or with the command `reload` of this executable.
    pub(crate) async fn reload(&self, cluster: &Path) -> anyhow::Result<()> {
        self.order(cluster, "reload").await
    }

    /// Runs the command `name` of the executable `cluster`. Under PM2, `name` is ignored: PM2 reloads.
    pub(crate) async fn order(&self, cluster: &Path, name: &str) -> anyhow::Result<()> {
        let status = match &self.parent {
            Parent::Pm2(pm2) => pm2.reload().await?,
            Parent::Child(_) => {
                let mut command = Command::new(cluster);
                command.arg(name).env("XDG_RUNTIME_DIR", self.reports.directory.path());
                command.stdout(Stdio::null()).kill_on_drop(true).status().await?
            }
        };
        ensure!(status.success(), "`{name}` has failed: {status}");
        Ok(())
    }

    /// The process id of the parent of the workers.
    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        match &self.parent {
            Parent::Child(child) => Ok(child.id().context("the server has ended")?.cast_signed()),
            Parent::Pm2(pm2) => pm2.pid(),
        }
    }

    /// The workers. A server without a cluster has none.
    pub(crate) fn workers(&self) -> anyhow::Result<Vec<i32>> {
        processes::children(self.pid()?)
    }

    /// Kills the server. The workers exit.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        match self.parent {
            Parent::Child(mut child) => child.kill().await?,
            Parent::Pm2(pm2) => pm2.stop().await?,
        }
        Ok(())
    }
}

/// The ports of the workers, written to a named pipe.
struct Reports {
    directory: TempDir,
    lines: Lines<BufReader<Receiver>>,
}

impl Reports {
    fn new() -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join(Reports::NAME);
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // Also opened for writing, so the pipe does not end with the last worker.
        let receiver = OpenOptions::new().read_write(true).open_receiver(path)?;
        Ok(Reports { directory, lines: BufReader::new(receiver).lines() })
    }

    const NAME: &str = "reports";

    fn path(&self) -> PathBuf {
        self.directory.path().join(Reports::NAME)
    }
}

/// A script of this measurement.
fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/command").join(name)
}

/// The version of an executable of Node.js.
pub(crate) async fn version(node: &Path) -> anyhow::Result<String> {
    let output = Command::new(node).arg("--version").output().await;
    let output = output.with_context(|| format!("cannot start {}", node.display()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().trim_start_matches('v').to_owned())
}
