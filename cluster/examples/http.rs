//! An HTTP server on every core: replaces workers that exit, and reloads all workers without losing a request.
//!
//! `cargo run -p cluster --example http -- 127.0.0.1:8000`, and then: `curl http://127.0.0.1:8000/`
//!
//! Each argument is an address, optionally followed by `=FILE`: workers answer with the contents that FILE had at their start.
//! Without an argument the kernel chooses a port. The addresses are printed when every worker is ready.
//!
//! * A worker that exits is replaced, after a pause that grows if the worker was young.
//! * SIGHUP reloads: a successor is started for one worker after another, and the predecessor is disconnected when the
//!   successor listens on every address. A successor that is not ready within `READY_SECONDS` (10) is killed. A successor
//!   that is killed or dies ends the reload; the remaining workers continue.
//! * SIGTERM or ctrl-c ends the service when all requests are answered, a second signal at once.
//! * With `RECYCLE` a worker that has answered this number of requests disconnects.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;
use std::{env, fs, process};

use axum::Router;
use axum::routing::get;
use cluster::{
    Event, ListeningAddress, Primary, Role, Settings, Signal, SpawnOptions, Worker, WorkerError, WorkerId,
};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// A worker that has run for less is young: its replacement starts after a pause.
const YOUNG: Duration = Duration::from_secs(5);
/// The shortest and the longest pause.
const PAUSES: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(30)];

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match cluster::role()? {
        Role::Primary => primary().await,
        Role::Worker => worker().await,
    }
}

async fn primary() -> anyhow::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut service = Service::new()?;
    loop {
        let due = service.due();
        tokio::select! {
            Some(event) = service.primary.next() => service.react(event)?,
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => service.act()?,
            _ = hangup.recv() => service.reload(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    let primary = &mut service.primary;
    primary.disconnect_all();
    loop {
        tokio::select! {
            event = primary.next() => if event.is_none() { return Ok(()) },
            _ = terminate.recv() => kill_all(primary),
            _ = interrupt.recv() => kill_all(primary),
        }
    }
}

/// A draining worker would outlive the primary.
fn kill_all(primary: &mut Primary) {
    for worker in primary.running_workers().collect::<Vec<_>>() {
        primary.kill(worker, Signal::SIGKILL);
    }
}

/// A worker that was not asked to exit.
struct Started {
    at: Instant,
    addresses: Vec<ListeningAddress>,
}

impl Started {
    /// Whether the worker listens on every address, as its predecessor does.
    fn is_ready(&self) -> bool {
        self.addresses.len() >= places().len()
    }
}

/// The addresses to serve: the arguments.
fn places() -> Vec<String> {
    let places: Vec<String> = env::args().skip(1).collect();
    if places.is_empty() { vec!["127.0.0.1:0".into()] } else { places }
}

/// The workers, and their replacement.
struct Service {
    primary: Primary,
    wanted: usize,
    ready_within: Duration,
    workers: BTreeMap<WorkerId, Started>,
    /// The workers that the reload has still to replace. While there are any, an additional worker is wanted.
    old: VecDeque<WorkerId>,
    /// Another reload was requested.
    again: bool,
    pause: Duration,
    next_fork: Instant,
    is_announced: bool,
}

impl Service {
    fn new() -> anyhow::Result<Self> {
        // A terminal and a service manager signal the whole process group; the workers finish their requests.
        let spawn = SpawnOptions::new().ignore_terminal_signals(true);
        let settings = Settings { spawn, keep_listening: true, ..Settings::default() };
        let seconds = env::var("READY_SECONDS").map_or(Ok(10), |seconds| seconds.parse())?;
        Ok(Service {
            primary: Primary::new(settings)?,
            wanted: available_parallelism()?.get(),
            ready_within: Duration::from_secs(seconds),
            workers: BTreeMap::new(),
            old: VecDeque::new(),
            again: false,
            pause: Duration::ZERO,
            next_fork: Instant::now(),
            is_announced: false,
        })
    }

    fn is_short_of_workers(&self) -> bool {
        self.workers.len() < self.wanted + usize::from(!self.old.is_empty())
    }

    /// The time of the next action, if any.
    fn due(&self) -> Option<Instant> {
        let late = |started: &Started| (!started.is_ready()).then_some(started.at + self.ready_within);
        let fork = self.is_short_of_workers().then_some(self.next_fork);
        self.workers.values().filter_map(late).chain(fork).min()
    }

    fn act(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        let is_late = |started: &Started| !started.is_ready() && started.at + self.ready_within <= now;
        let late: Vec<_> = self.workers.iter().filter(|(_, it)| is_late(it)).map(|(id, _)| *id).collect();
        for worker in late {
            println!("worker {worker} is not ready after {:?}: killed", self.ready_within);
            self.primary.kill(worker, Signal::SIGKILL);
            self.ended(worker);
        }
        if self.is_short_of_workers() && self.next_fork <= now {
            let started = Started { at: now, addresses: Vec::new() };
            self.workers.insert(self.primary.fork()?, started);
        }
        Ok(())
    }

    fn react(&mut self, event: Event) -> anyhow::Result<()> {
        match event {
            Event::Listening { worker, address } => self.listens(worker, address),
            Event::Exit { worker, status, .. } => {
                println!("worker {worker} has exited: {status:?}");
                self.ended(worker);
            }
            // The worker has disconnected itself.
            Event::Disconnect { worker } => self.ended(worker),
            Event::Error { worker, error } => {
                println!("worker {worker}: {error}");
                if let WorkerError::Spawn { .. } = error {
                    self.ended(worker);
                }
            }
            _ => {}
        }
        if !self.is_announced && self.workers.is_empty() {
            anyhow::bail!("every worker has exited before all of them were ready");
        }
        Ok(())
    }

    fn listens(&mut self, worker: WorkerId, address: ListeningAddress) {
        let Some(started) = self.workers.get_mut(&worker) else { return };
        started.addresses.push(address);
        let ready = self.workers.values().filter(|started| started.is_ready()).count();
        if ready == self.wanted && !self.is_announced {
            self.is_announced = true;
            let addresses = self.workers[&worker].addresses.iter();
            let places: Vec<_> = addresses.map(|address| format!("http://{address}/")).collect();
            println!("{ready} workers serve {}", places.join(" "));
        }
        if ready > self.wanted
            && let Some(old) = self.old.pop_front()
        {
            self.workers.remove(&old);
            self.primary.disconnect_worker(old);
            self.reload_again();
        }
    }

    /// A worker has exited, or will.
    fn ended(&mut self, worker: WorkerId) {
        // A worker that was asked to exit is not replaced.
        let Some(started) = self.workers.remove(&worker) else { return };
        if started.is_ready() && started.at.elapsed() > YOUNG {
            self.pause = Duration::ZERO;
        } else if started.at >= self.next_fork {
            // Only the first of several workers that die together doubles the pause.
            self.pause = (2 * self.pause).clamp(PAUSES[0], PAUSES[1]);
        }
        self.next_fork = Instant::now() + self.pause;
        self.old.retain(|old| *old != worker);
        if !started.is_ready() && !self.old.is_empty() {
            println!("worker {worker} did not become ready: the reload is abandoned");
            self.old.clear();
        }
        self.reload_again();
    }

    fn reload(&mut self) {
        self.again = true;
        self.reload_again();
    }

    /// Begins a requested reload when no other is in progress.
    fn reload_again(&mut self) {
        if self.old.is_empty() && std::mem::take(&mut self.again) {
            self.old = self.workers.keys().copied().collect();
        }
    }
}

async fn worker() -> anyhow::Result<()> {
    let worker = Worker::join()?;
    let recycle = env::var("RECYCLE").map_or(Ok(u64::MAX), |requests| requests.parse())?;
    let answered = Arc::new(AtomicU64::new(0));
    let mut servers = JoinSet::new();
    for place in places() {
        let (address, file) =
            place.split_once('=').map_or((&*place, None), |(address, file)| (address, Some(file)));
        let own = format!("worker {}, process {}\n", worker.id(), process::id());
        let text = file.map_or(Ok(own), fs::read_to_string)?;
        let listener = worker.listen(address).await?;
        let (answered, leaving) = (answered.clone(), worker.clone());
        let answer = move || async move {
            if answered.fetch_add(1, Ordering::Relaxed) + 1 == recycle {
                leaving.disconnect();
            }
            text
        };
        let app = Router::new().route("/", get(answer));
        servers.spawn(cluster::serve(&worker, listener, app).into_future());
    }
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}
