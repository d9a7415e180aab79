//! The cases to measure.

use std::cell::Cell;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use cluster::{
    Event, HandleError, SlotState, SpawnOptions, Supervisor, SupervisorEvent, SupervisorHandle,
    SupervisorSettings,
};
use cluster_benches::load::{Amount, under_load};
use nix::sys::signal::{Signal, kill as send_signal};
use nix::unistd::Pid;
use procfs::net::TcpState;
use procfs::process::{FDTarget, ProcState, Process};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::server;

/// A cluster with a worker for each core. A task drives the cluster.
pub(crate) struct Cluster {
    pub(crate) handle: SupervisorHandle,
    events: mpsc::UnboundedReceiver<(Instant, SupervisorEvent)>,
    url: Option<String>,
}

impl Cluster {
    /// Starts a cluster, and returns when every slot is ready.
    pub(crate) async fn start(settings: SupervisorSettings, workers: u32) -> anyhow::Result<Self> {
        let mut supervisor = Supervisor::new(settings)?;
        let (sender, events) = mpsc::unbounded_channel();
        let handle = supervisor.handle();
        tokio::spawn(supervisor.run_with(move |_, event| drop(sender.send((Instant::now(), event.clone())))));
        let mut cluster = Cluster { handle, events, url: None };
        for _ in 0..workers {
            cluster.next_ready().await?;
        }
        Ok(cluster)
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> anyhow::Result<(Instant, SupervisorEvent)> {
        let (time, event) = self.events.recv().await.context("the supervisor has ended")?;
        if let SupervisorEvent::Primary(Event::Listening { address, .. }) = &event {
            self.url = Some(format!("http://{address}/"));
        }
        Ok((time, event))
    }

    /// The instant at which the next worker is ready.
    pub(crate) async fn next_ready(&mut self) -> anyhow::Result<Instant> {
        loop {
            if let (time, SupervisorEvent::SlotReady { .. }) = self.next().await? {
                return Ok(time);
            }
        }
    }

    /// The process of a random ready worker.
    pub(crate) async fn random(&self) -> anyhow::Result<Option<Pid>> {
        let slots = self.handle.status().await?;
        let ready = slots.iter().filter(|slot| slot.state == SlotState::Ready);
        let processes: Vec<u32> = ready.filter_map(|slot| slot.pid).collect();
        Ok(fastrand::choice(processes).map(|process| Pid::from_raw(process.cast_signed())))
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
    let cluster = Cluster::start(impatient(cluster::cores()), cluster::cores()).await?;
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
pub(crate) fn impatient(workers: u32) -> SupervisorSettings {
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

/// Prints the resident memory of the primary while the workers serve.
pub(crate) async fn memory(workers: u32) -> anyhow::Result<ExitCode> {
    let _cluster = Cluster::start(SupervisorSettings::new(workers), workers).await?;
    let status = Process::myself()?.status()?;
    let resident = status.vmrss.context("the kernel reports no memory")?;
    println!("| workers | resident memory of the primary |\n|---|---|\n| {workers} | {resident} KiB |");
    Ok(ExitCode::SUCCESS)
}
