//! An HTTP server on every core. Workers that die are replaced, unless they never came to serve. SIGHUP replaces them all, one
//! as soon as another serves in its place: no new connection is lost. SIGTERM or ctrl-c ends it when its requests are answered, and
//! a second one at once.
//!
//! `cargo run -p cluster --example http -- 127.0.0.1:8000`, and then: `curl http://127.0.0.1:8000/`
//!
//! Without an address the kernel chooses a port; it is printed once every worker listens.

#![expect(clippy::wildcard_enum_match_arm, reason = "a program cares for some events only")]

use std::collections::{BTreeSet, VecDeque};
use std::env;
use std::error::Error;
use std::process;
use std::thread::available_parallelism;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cluster::{Event, Life, Primary, Role, Settings, Signal, Worker, WorkerError, WorkerId};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

/// How long a client that has just connected has to begin its request.
const MOMENT: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    match cluster::role()? {
        Role::Primary => primary().await,
        Role::Worker => worker().await,
    }
}

/// Who serves, and who is to go for each that comes to serve.
#[derive(Default)]
struct Serving {
    workers: BTreeSet<WorkerId>,
    old: VecDeque<WorkerId>,
    is_announced: bool,
}

async fn primary() -> Result<(), Box<dyn Error>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut primary = Primary::new(Settings::default())?;
    for _ in 0..available_parallelism()?.get() {
        primary.fork()?;
    }
    let mut serving = Serving::default();
    loop {
        tokio::select! {
            event = primary.next() => match event {
                Some(event) => serving.hear(&mut primary, event)?,
                None => return Err("no worker is left".into()),
            },
            _ = hangup.recv() => serving.replace_all(&mut primary)?,
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    primary.disconnect();
    loop {
        tokio::select! {
            event = primary.next() => if event.is_none() { return Ok(()) },
            _ = terminate.recv() => kill_all(&mut primary),
            _ = interrupt.recv() => kill_all(&mut primary),
        }
    }
}

/// Who was asked to go and serves its last requests would outlive even its primary.
fn kill_all(primary: &mut Primary) {
    for worker in primary.living().collect::<Vec<_>>() {
        primary.kill(worker, Signal::SIGKILL);
    }
}

impl Serving {
    fn hear(&mut self, primary: &mut Primary, event: Event) -> Result<(), Box<dyn Error>> {
        match event {
            Event::Listening { worker, address } => {
                self.workers.insert(worker);
                if let Some(old) = self.old.pop_front() {
                    self.workers.remove(&old);
                    primary.disconnect_worker(old);
                }
                if !self.is_announced && self.workers.len() == primary.workers().count() {
                    self.is_announced = true;
                    println!("{} workers serve http://{address}/", self.workers.len());
                }
            }
            // It was asked to go, and another serves in its place.
            Event::Exit { worker, .. }
                if primary.worker(worker).and_then(Life::exited_after_disconnect) == Some(true) =>
            {
                println!("worker {worker} has gone");
            }
            Event::Exit { worker, status } if self.workers.remove(&worker) => {
                println!("worker {worker} ended: {status:?}; starting another");
                if let Some(at) = self.old.iter().position(|old| *old == worker) {
                    // Another is on its way already.
                    self.old.remove(at);
                } else {
                    primary.fork()?;
                }
            }
            // Another would end as this one did; so who was to go for it stays.
            Event::Exit { worker, status } => {
                println!("worker {worker} never served: {status:?}");
                self.old.pop_back();
            }
            Event::Error { worker, error } => {
                println!("worker {worker}: {error}");
                // It will never serve; so who was to go for it stays.
                if let WorkerError::Spawn { .. } = error {
                    self.old.pop_back();
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A reload. Who is to go already is not asked for again.
    fn replace_all(&mut self, primary: &mut Primary) -> Result<(), Box<dyn Error>> {
        for &worker in &self.workers {
            if !self.old.contains(&worker) {
                primary.fork()?;
                self.old.push_back(worker);
            }
        }
        Ok(())
    }
}

async fn worker() -> Result<(), Box<dyn Error>> {
    let worker = Worker::join()?;
    // A terminal sends ctrl-c to every process; what it means for the workers is the primary's to say.
    let _interrupt = signal(SignalKind::interrupt())?;
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = worker.listen(address).await?;
    let text = format!("worker {}, process {}\n", worker.id(), process::id());
    let app = Router::new().route("/", get(|| async { text }));
    // When the worker is told to go, connections are closed that are only kept alive. For axum that is also one whose
    // request has not begun to arrive; so whoever has just connected is given a moment.
    let closing = async move {
        worker.disconnecting().await;
        sleep(MOMENT).await;
    };
    axum::serve(listener, app).with_graceful_shutdown(closing).await?;
    Ok(())
}
