//! PM2, with a folder and a daemon of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, ensure};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::Command;

/// The name of the measured service.
const NAME: &str = "measured";

/// A daemon of PM2 with one service. Dropping the value kills the daemon, and the workers exit.
pub(crate) struct Pm2 {
    node: PathBuf,
    binary: PathBuf,
    home: TempDir,
    report: PathBuf,
}

impl Pm2 {
    /// Starts a daemon with workers of a script. The script writes to `report`.
    pub(crate) async fn start(
        node: &Path,
        script: &Path,
        workers: u32,
        report: &Path,
    ) -> anyhow::Result<Self> {
        let (node, report) = (node.to_owned(), report.to_owned());
        let pm2 = Pm2 { node, binary: install().await?, home: tempfile::tempdir()?, report };
        let mut start = pm2.command("start");
        start.arg(script).args(["--name", NAME, "--instances", &workers.to_string()]);
        let status = start.status().await?;
        ensure!(status.success(), "`pm2 start` has failed: {status}");
        Ok(pm2)
    }

    /// Replaces every worker, one after the other.
    pub(crate) async fn reload(&self) -> anyhow::Result<ExitStatus> {
        Ok(self.command("reload").arg(NAME).status().await?)
    }

    /// The daemon.
    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        let text = fs::read_to_string(self.home.path().join("pm2.pid")).context("PM2 has no daemon")?;
        Ok(text.trim().parse()?)
    }

    /// Ends the daemon and the workers.
    pub(crate) async fn stop(&self) -> anyhow::Result<()> {
        let status = self.command("kill").status().await?;
        ensure!(status.success(), "`pm2 kill` has failed: {status}");
        Ok(())
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.node);
        command.arg(&self.binary).arg(name).env("PM2_HOME", self.home.path()).env("REPORT", &self.report);
        command.env("PM2_DISABLE_VERSION_CHECK", "true");
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command
    }
}

impl Drop for Pm2 {
    fn drop(&mut self) {
        let Ok(daemon) = self.pid() else { return };
        match kill(Pid::from_raw(daemon), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => eprintln!("cannot kill the daemon {daemon} of PM2: {error}"),
        }
    }
}

/// Installs the package in `target/pm2`, unless installed before, and returns the path of the binary.
async fn install() -> anyhow::Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = own.join("../target/pm2");
    let lock = fs::read(own.join("pm2/package-lock.json"))?;
    if !fs::read(folder.join("installed")).is_ok_and(|installed| installed == lock) {
        eprintln!("`npm ci` installs PM2 in target/pm2");
        fs::create_dir_all(&folder)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(own.join("pm2").join(file), folder.join(file))?;
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
        let status = npm.stdout(Stdio::null()).status().await.context("cannot start `npm`")?;
        ensure!(status.success(), "`npm ci` has failed: {status}; `--without-pm2` measures without PM2");
        fs::write(folder.join("installed"), lock)?;
    }
    Ok(folder.join("node_modules/pm2/bin/pm2"))
}
