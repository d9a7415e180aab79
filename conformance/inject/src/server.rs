//! The cluster under test: a supervised primary with two workers. A worker answers a line of each connection
//! with the id of the worker.
//!
//! Every process writes lines to standard output, as in scenarios, and the log and errors to standard error.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use clap::ValueEnum;
use cluster::{
    Connection, ListenError, Listener, Role, SchedulingPolicy, Supervisor, SupervisorEvent,
    SupervisorSettings, Transport, Worker,
};
use cluster_conformance::arm::translate;
use cluster_conformance::observation::{Line, Observation, Observer};
use cluster_conformance::vocabulary::{self, ServerAddress};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// The number of workers.
pub(crate) const WORKERS: u32 = 2;

/// The way of the connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(crate) enum Cluster {
    /// TCP, round robin
    Tcp,
    /// A Unix socket, round robin
    Path,
    /// TCP, the workers accept
    Shared,
    /// TCP, round robin, with a reload between the clients
    Reload,
    /// TCP, round robin, workers that end by Node's rule
    Node,
}

impl Cluster {
    pub(crate) const ALL: [Cluster; 5] =
        [Cluster::Tcp, Cluster::Path, Cluster::Shared, Cluster::Reload, Cluster::Node];

    /// The workers of an undisturbed run.
    pub(crate) fn workers(self) -> u32 {
        if self == Cluster::Reload { 2 * WORKERS } else { WORKERS }
    }

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Cluster::Tcp => "tcp",
            Cluster::Path => "path",
            Cluster::Shared => "shared",
            Cluster::Reload => "reload",
            Cluster::Node => "node",
        }
    }
}

/// The line of the primary after a reload; no line of scenarios.
pub(crate) const RELOADED: &str = "reloaded";

/// The Unix socket, in the working directory.
pub(crate) const SOCKET: &str = "socket";

/// Runs the primary, or a worker in a process forked by a primary.
pub(crate) fn serve(cluster: Cluster) -> anyhow::Result<()> {
    let role = cluster::role()?;
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    let runtime = Builder::new_current_thread().enable_all().build().context("the runtime")?;
    match role {
        Role::Primary => primary(&runtime, cluster),
        Role::Worker => worker(&runtime, cluster),
    }
}

/// Short times: every failure leads to an end before the deadline of a run.
pub(crate) fn settings(cluster: Cluster) -> SupervisorSettings {
    const SHORT: Duration = Duration::from_millis(1);
    let policy =
        if cluster == Cluster::Shared { SchedulingPolicy::Shared } else { SchedulingPolicy::RoundRobin };
    SupervisorSettings::new(WORKERS)
        .map_primary(|primary| cluster::Settings { policy, ..primary })
        .backoff(SHORT, 10 * SHORT)
        .lame_duck(10 * SHORT)
        .ready_timeout(Duration::from_secs(2))
        .drain(Duration::from_secs(1))
        .term(Duration::from_secs(1))
        .shutdown(Duration::from_secs(2))
        .retained_channel_timeout(Duration::from_secs(1))
}

fn primary(runtime: &Runtime, cluster: Cluster) -> anyhow::Result<()> {
    runtime.block_on(async {
        write(Observer::Primary, &vocabulary::start());
        let place = std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned();
        let supervisor = Supervisor::new(settings(cluster))?;
        let ended = supervisor.run_with(|supervisor, event| {
            if let SupervisorEvent::Primary(event) = event {
                let known = |worker| supervisor.worker(worker);
                let seen = translate::event(event, &place, 0, known, &mut |_, _| "nothing");
                if let Some(seen) = seen {
                    write(Observer::Primary, &seen);
                }
            }
            if let SupervisorEvent::ReloadFinished { .. } | SupervisorEvent::ReloadAbandoned { .. } = event {
                write(Observer::Primary, &Observation::new(RELOADED));
            }
        });
        Ok(ended.await?)
    })
}

fn worker(runtime: &Runtime, cluster: Cluster) -> anyhow::Result<()> {
    runtime.block_on(async {
        let worker = if cluster == Cluster::Node { Worker::join_as_node() } else { Worker::join() }?;
        write(Observer::Worker(worker.id().0), &vocabulary::start());
        let served = serve_clients(&worker, cluster).await;
        // A shutdown during the start is no error.
        match served.as_ref().err().and_then(|error| error.downcast_ref()) {
            Some(ListenError::Disconnected | ListenError::Closed) => Ok(()),
            _ => served,
        }
    })
}

async fn serve_clients(worker: &Worker, cluster: Cluster) -> anyhow::Result<()> {
    match cluster {
        Cluster::Tcp | Cluster::Shared | Cluster::Reload | Cluster::Node => {
            let listener = worker.listen("127.0.0.1:0").await?;
            let address = ServerAddress::Port(listener.local_addr().port());
            accept(worker, listener, &address).await
        }
        Cluster::Path => {
            let listener = worker.listen_path(Path::new(SOCKET)).await?;
            accept(worker, listener, &ServerAddress::path(SOCKET)).await
        }
    }
}

/// Serves until the worker is disconnected and the last connection has ended.
async fn accept<T: Transport>(
    worker: &Worker,
    mut listener: Listener<T>,
    address: &ServerAddress,
) -> anyhow::Result<()> {
    let id = worker.id().0;
    write(Observer::Worker(id), &vocabulary::listening("web", address));
    let mut answers = JoinSet::new();
    loop {
        match listener.accept().await {
            Ok(None) => break,
            Ok(Some(connection)) => {
                // The supervisor counts messages of a worker as signs of life only.
                let _ = worker.send("accepted");
                answers.spawn(answer(connection, id));
            }
            // The connection is closed; the next call returns the next connection.
            Err(error) => eprintln!("cannot accept: {error}"),
        }
    }
    answers.join_all().await;
    Ok(())
}

/// Reads a line, and writes the id of the worker.
async fn answer<T: Transport>(mut connection: Connection<T>, id: u64) {
    let answered = async {
        let mut byte = [0];
        while connection.read(&mut byte).await? > 0 && byte != [b'\n'] {}
        connection.write_all(format!("{id}\n").as_bytes()).await?;
        connection.shutdown().await
    };
    let answered: io::Result<()> = answered.await;
    if let Err(error) = answered {
        eprintln!("cannot answer: {error}");
    }
}

/// Writes a line with a single call. No error is injected there.
fn write(observer: Observer, seen: &Observation) {
    let line = format!("{}\n", Line { observer, observation: seen.clone() });
    nix::unistd::write(io::stdout(), line.as_bytes()).unwrap_or_default();
}
