//! The cases to measure.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use anyhow::{Context, bail};
use cluster::{
    Event, HandleError, SlotState, SpawnOptions, Supervisor, SupervisorEvent, SupervisorHandle,
    SupervisorSettings, WorkerId,
};
use cluster_benches::load::{Amount, under_load};
use nix::sys::signal::{Signal, kill as send_signal};
use nix::unistd::Pid;
use procfs::net::TcpState;
use procfs::process::{FDTarget, ProcState, Process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::server;

/// A cluster with a worker for each core. A task drives the cluster.
struct Cluster {
    handle: SupervisorHandle,
    events: mpsc::UnboundedReceiver<(Instant, SupervisorEvent)>,
    processes: BTreeMap<WorkerId, Pid>,
    url: Option<String>,
}

impl Cluster {
    /// Starts a cluster, and returns when every slot is ready.
    async fn start(settings: SupervisorSettings, workers: u32) -> anyhow::Result<Self> {
        let mut supervisor = Supervisor::new(settings)?;
        let (sender, events) = mpsc::unbounded_channel();
        let handle = supervisor.handle();
        tokio::spawn(supervisor.run_with(move |_, event| drop(sender.send((Instant::now(), event.clone())))));
        let mut cluster = Cluster { handle, events, processes: BTreeMap::new(), url: None };
        for _ in 0..workers {
            cluster.next_ready().await?;
        }
        Ok(cluster)
    }

    /// The next event, after an update of the tables.
    async fn next(&mut self) -> anyhow::Result<(Instant, SupervisorEvent)> {
        let (time, event) = self.events.recv().await.context("the supervisor has ended")?;
        self.note(&event);
        Ok((time, event))
    }

    fn note(&mut self, event: &SupervisorEvent) {
        match event {
            SupervisorEvent::Primary(Event::Message { worker, message, .. }) => {
                self.processes.extend(message.to().ok().map(|number| (*worker, Pid::from_raw(number))));
            }
            SupervisorEvent::Primary(Event::Listening { address, .. }) => {
                self.url = Some(format!("http://{address}/"));
            }
            SupervisorEvent::Primary(Event::Exit { worker, .. }) => drop(self.processes.remove(worker)),
            _ => {}
        }
    }

    /// The instant at which the next worker is ready.
    async fn next_ready(&mut self) -> anyhow::Result<Instant> {
        loop {
            if let (time, SupervisorEvent::SlotReady { .. }) = self.next().await? {
                return Ok(time);
            }
        }
    }

    /// A random ready worker, by process.
    async fn random(&mut self) -> anyhow::Result<Option<Pid>> {
        let slots = self.handle.status().await?;
        while let Ok((_, event)) = self.events.try_recv() {
            self.note(&event);
        }
        let ready = slots.iter().filter(|slot| slot.state == SlotState::Ready);
        let processes: Vec<Pid> =
            ready.filter_map(|slot| self.processes.get(&slot.worker?).copied()).collect();
        Ok(fastrand::choice(processes))
    }

    fn url(&self) -> anyhow::Result<String> {
        self.url.clone().context("no worker listens")
    }
}

/// Reloads all the time. No request may fail.
pub(crate) async fn reload(amount: Amount) -> anyhow::Result<ExitCode> {
    let cluster = Cluster::start(SupervisorSettings::new(cluster::cores()), cluster::cores()).await?;
    let reloads = Cell::new(0);
    let disturbance = async {
        loop {
            cluster.handle.reload().await?;
            reloads.set(reloads.get() + 1);
        }
    };
    let counts = under_load(&cluster.url()?, &amount, &reloads, disturbance).await?;
    Ok(counts.verdict("reloads", reloads.get(), 0))
}

/// Reloads with a failing program: each new worker exits at its start. No request may fail.
pub(crate) async fn abandoned(amount: Amount) -> anyhow::Result<ExitCode> {
    let directory = tempfile::tempdir()?;
    let crash = directory.path().join("crash");
    let spawn = SpawnOptions::new().args([server::CRASH.into(), crash.clone().into_os_string()]);
    let settings = SupervisorSettings::new(cluster::cores())
        .map_primary(|primary| cluster::Settings { spawn, ..primary });
    let cluster = Cluster::start(settings, cluster::cores()).await?;
    fs::write(&crash, "")?;
    let reloads = Cell::new(0);
    let disturbance = async {
        loop {
            match cluster.handle.reload().await {
                Err(HandleError::Abandoned(_)) => reloads.set(reloads.get() + 1),
                Ok(()) => bail!("a reload has replaced the workers although the new program exits"),
                Err(error) => return Err(error.into()),
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    let counts = under_load(&cluster.url()?, &amount, &reloads, disturbance).await?;
    Ok(counts.verdict("abandoned reloads", reloads.get(), 0))
}

/// Kills a random worker every 200 ms. Only requests on connections that a killed worker had accepted may
/// fail.
pub(crate) async fn kill(amount: Amount) -> anyhow::Result<ExitCode> {
    let mut cluster = Cluster::start(impatient(cluster::cores()), cluster::cores()).await?;
    let url = cluster.url()?;
    let port = url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
    let port = port.context("the address has no port")?;
    let (kills, accepted) = (Cell::new(0), Cell::new(0));
    let disturbance = async {
        loop {
            sleep(Duration::from_millis(200)).await;
            if let Some(worker) = cluster.random().await? {
                accepted.set(accepted.get() + kill_and_count(worker, port).await?);
                kills.set(kills.get() + 1);
            }
        }
    };
    let counts = under_load(&url, &amount, &kills, disturbance).await?;
    Ok(counts.verdict("kills", kills.get(), accepted.get()))
}

/// Settings with which the next worker starts at once, and the supervisor never gives up.
fn impatient(workers: u32) -> SupervisorSettings {
    let instant = Duration::from_millis(1);
    SupervisorSettings::new(workers)
        .min_uptime(instant)
        .backoff(instant, instant)
        .intensity(u32::MAX, Duration::from_secs(1))
}

/// Stops a worker, counts the connections that the worker has accepted, and kills the worker.
async fn kill_and_count(worker: Pid, port: u16) -> anyhow::Result<u64> {
    send_signal(worker, Signal::SIGSTOP)?;
    let process = Process::new(worker.as_raw())?;
    while process.stat()?.state()? != ProcState::Stopped {
        sleep(Duration::from_micros(100)).await;
    }
    let connections: Vec<u64> = procfs::net::tcp()?
        .into_iter()
        .filter(|entry| entry.local_address.port() == port && entry.state != TcpState::Listen)
        .map(|entry| entry.inode)
        .collect();
    let mut accepted = 0;
    for descriptor in process.fd()? {
        if let FDTarget::Socket(inode) = descriptor?.target {
            accepted += u64::from(connections.contains(&inode));
        }
    }
    send_signal(worker, Signal::SIGKILL)?;
    Ok(accepted)
}

/// Compares the pause after a crash with the time of a start without a cluster, in turn: for the server of
/// this program, and for a server in Node.js. The standard library starts the server alone by `posix_spawn`,
/// and with a user by `fork`, as the supervisor starts a worker.
pub(crate) async fn restart(rounds: usize) -> anyhow::Result<ExitCode> {
    let node = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/supervised/server.cjs");
    println!(
        "| | start by itself | the same by `fork` | crash to the exit | to the next worker that listens | ratio |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, server) in [("Rust", None), ("Node.js", Some(node))] {
        let spawn =
            server.map_or_else(SpawnOptions::new, |script| SpawnOptions::new().exec("node").args([script]));
        let settings = impatient(1).map_primary(|primary| cluster::Settings { spawn, ..primary });
        let mut cluster = Cluster::start(settings, 1).await?;
        let mut times = [const { Vec::new() }; 4];
        for _ in 0..rounds {
            let starts = [start_alone(server, false).await?, start_alone(server, true).await?];
            // Longer than `min_uptime`, so that the next restart is immediate.
            sleep(Duration::from_millis(20)).await;
            let pauses = crash(&mut cluster).await?;
            times.iter_mut().zip(starts.into_iter().chain(pauses)).for_each(|(times, time)| times.push(time));
        }
        let [alone, forked, exit, pause] = times.map(median);
        let ratio = pause.as_secs_f64() / alone.as_secs_f64();
        println!("| {name} | {alone:.2?} | {forked:.2?} | {exit:.2?} | {pause:.2?} | {ratio:.2} |");
        cluster.handle.shutdown().await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Kills the worker, and returns the time until the exit is reported, and the time until the successor
/// listens.
async fn crash(cluster: &mut Cluster) -> anyhow::Result<[Duration; 2]> {
    let worker = cluster.random().await?.context("no worker is ready")?;
    let begin = Instant::now();
    send_signal(worker, Signal::SIGKILL)?;
    let exit = loop {
        if let (time, SupervisorEvent::Primary(Event::Exit { .. })) = cluster.next().await? {
            break time;
        }
    };
    Ok([exit - begin, cluster.next_ready().await? - begin])
}

/// The time from the start of a server until the server listens: of this program, or of a script of Node.js.
async fn start_alone(script: Option<&str>, forks: bool) -> anyhow::Result<Duration> {
    let user = Process::myself()?.uid()?;
    let begin = Instant::now();
    let mut command = match script {
        None => Command::new(env::current_exe()?),
        Some(script) => {
            let mut node = Command::new("node");
            node.arg(script);
            node
        }
    };
    if forks {
        command.uid(user);
    }
    let mut server = command.env(server::ALONE, "1").stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let output = server.stdout.take().context("the server has no output")?;
    BufReader::new(output).lines().next_line().await?.context("the server does not listen")?;
    let time = begin.elapsed();
    server.kill().await?;
    Ok(time)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Prints the resident memory of the primary while the workers serve.
pub(crate) async fn memory(workers: u32) -> anyhow::Result<ExitCode> {
    let _cluster = Cluster::start(SupervisorSettings::new(workers), workers).await?;
    let status = Process::myself()?.status()?;
    let resident = status.vmrss.context("the kernel reports no memory")?;
    println!("| workers | resident memory of the primary |\n|---|---|\n| {workers} | {resident} KiB |");
    Ok(ExitCode::SUCCESS)
}
