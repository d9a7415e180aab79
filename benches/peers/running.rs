//! A running subject: its processes, their processor time, and the load.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cluster_benches::load::{Clients, Counts};
use cluster_benches::processes;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::HOST;
use super::subject::{Subject, nginx, variables};

/// The longest wait for the first answer.
const START: Duration = Duration::from_secs(10);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// The figures of one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) per_second: f64,
    /// The processor time of all processes for each connection, in microseconds.
    pub(crate) microseconds: f64,
    pub(crate) failed: u64,
}

pub(crate) struct Running {
    child: Child,
    /// The root of the processes.
    pid: i32,
    address: SocketAddr,
    /// Files of the subject, removed after the end.
    _directory: TempDir,
}

impl Running {
    /// Starts a subject, and returns after some thousand answers.
    pub(crate) async fn start(subject: &Subject, workers: u32) -> anyhow::Result<Self> {
        let directory = tempfile::tempdir()?;
        let address = SocketAddr::new(HOST.into(), free_port().await?);
        fs::write(directory.path().join("nginx.conf"), nginx(workers, address.port()))?;
        let replace = |word: &std::ffi::OsString| {
            let word = word.to_string_lossy().replace("{workers}", &workers.to_string());
            let word = word.replace("{port}", &address.port().to_string());
            word.replace("{directory}", &directory.path().to_string_lossy())
        };
        let words: Vec<String> = subject.command.iter().map(replace).collect();
        let errors = directory.path().join("errors");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).envs(variables(workers, address.port(), directory.path()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&errors)?).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", words[0]))?;
        let mut pid = child.id().context("the process has ended")?.cast_signed();
        if let Some(file) = subject.daemon {
            let status = child.wait().await?;
            ensure!(status.success(), "the start has failed: {status}");
            pid = fs::read_to_string(directory.path().join(file))?.trim().parse()?;
        }
        let mut running = Running { child, pid, address, _directory: directory };
        if let Err(error) = running.warm_up(subject.daemon.is_none()).await {
            running.stop().await?;
            let text = fs::read_to_string(errors).unwrap_or_default();
            let reason = text.lines().find(|line| line.to_lowercase().contains("error")).unwrap_or_default();
            bail!("{error} {reason}");
        }
        Ok(running)
    }

    /// Waits for the first answer, and sends requests from 32 clients for half a second.
    async fn warm_up(&mut self, has_child: bool) -> anyhow::Result<()> {
        let begin = Instant::now();
        while !request(self.address).await {
            if has_child && let Some(status) = self.child.try_wait()? {
                bail!("the server has ended: {status}");
            }
            ensure!(begin.elapsed() < START, "no answer within {} s", START.as_secs());
            sleep(Duration::from_millis(20)).await;
        }
        let (address, end) = (self.address, Instant::now() + Duration::from_millis(500));
        let mut clients = JoinSet::new();
        for _ in 0..32 {
            clients.spawn(async move { while Instant::now() < end && request(address).await {} });
        }
        clients.join_all().await;
        Ok(())
    }

    /// Measures one round.
    #[allow(clippy::cast_precision_loss, reason = "the counts of some seconds are far below 2^52")]
    pub(crate) async fn sample(&self, clients: u32, seconds: u32) -> anyhow::Result<Sample> {
        let tree = processes::tree(self.pid)?;
        let before = processes::processor_time(&tree)?;
        let begin = Instant::now();
        let clients = Clients { number: clients, is_fresh: true, seconds };
        let counts: Counts = clients.load(&format!("http://{}/", self.address)).await?;
        let elapsed = begin.elapsed().as_secs_f64();
        let spent = processes::processor_time(&tree)? - before;
        ensure!(counts.answered > 0, "no request was answered");
        let answered = counts.answered as f64;
        Ok(Sample {
            per_second: answered / elapsed,
            microseconds: spent / answered * 1e6,
            failed: counts.failed(),
        })
    }

    /// Ends every process of the subject.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        let tree = processes::tree(self.pid).unwrap_or_default();
        send(self.pid, Signal::SIGTERM)?;
        for _ in 0..20 {
            if self.child.try_wait()?.is_some() && tree.iter().all(|pid| processes::tree(*pid).is_err()) {
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        for pid in tree {
            send(pid, Signal::SIGKILL)?;
        }
        self.child.wait().await?;
        Ok(())
    }
}

/// Sends a signal, unless the process has ended.
fn send(pid: i32, signal: Signal) -> anyhow::Result<()> {
    match kill(Pid::from_raw(pid), signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn free_port() -> anyhow::Result<u16> {
    Ok(tokio::net::TcpListener::bind((HOST, 0)).await?.local_addr()?.port())
}

/// Whether a request on a new connection is answered.
async fn request(address: SocketAddr) -> bool {
    let answer = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(REQUEST).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    answer.await.is_ok_and(|answer| answer.starts_with(b"HTTP/1.1 200"))
}
