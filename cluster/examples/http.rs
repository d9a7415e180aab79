//! An HTTP server on every core. Workers that die are replaced, unless they never came to serve. SIGHUP replaces them all, each
//! as soon as another serves in its place: no new connection is lost. SIGTERM or ctrl-c ends it when its requests are
//! answered, and a second one at once. Whom a request that does not end keeps, stays; `graceful` shows a deadline.
//!
//! `cargo run -p cluster --example http -- 127.0.0.1:8000`, and then: `curl http://127.0.0.1:8000/`
//!
//! Without an address the kernel chooses a port; it is printed once every worker listens.

#![expect(clippy::wildcard_enum_match_arm, reason = "a program cares for some events only")]

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::error::Error;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::Duration;

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use axum::middleware::map_response;
use axum::response::Response;
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
            _ = hangup.recv() => serving.reload(&mut primary)?,
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

/// Who serves, and who comes in whose place.
#[derive(Default)]
struct Serving {
    workers: BTreeSet<WorkerId>,
    /// The new and the old.
    replacing: BTreeMap<WorkerId, WorkerId>,
    /// Another reload is wanted, when this one is over.
    again: bool,
    is_announced: bool,
}

impl Serving {
    fn hear(&mut self, primary: &mut Primary, event: Event) -> Result<(), Box<dyn Error>> {
        match event {
            Event::Listening { worker, address } => {
                self.workers.insert(worker);
                if let Some(old) = self.replacing.remove(&worker).filter(|old| self.workers.remove(old)) {
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
                if !self.replacing.values().any(|old| *old == worker) {
                    primary.fork()?;
                }
            }
            // Another would end as this one did; so who was to go for it stays.
            Event::Exit { worker, status } => {
                println!("worker {worker} never served: {status:?}");
                self.replacing.remove(&worker);
            }
            Event::Error { worker, error } => {
                println!("worker {worker}: {error}");
                if let WorkerError::Spawn { .. } = error {
                    self.replacing.remove(&worker);
                }
            }
            _ => {}
        }
        if self.replacing.is_empty() && std::mem::take(&mut self.again) {
            self.reload(primary)?;
        }
        Ok(())
    }

    fn reload(&mut self, primary: &mut Primary) -> Result<(), Box<dyn Error>> {
        if !self.replacing.is_empty() {
            self.again = true;
            return Ok(());
        }
        for &worker in &self.workers {
            self.replacing.insert(primary.fork()?, worker);
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
    let is_leaving = Arc::new(AtomicBool::new(false));
    let told = is_leaving.clone();
    let app = Router::new().route("/", get(|| async { text })).layer(map_response(
        move |mut response: Response| {
            // Whoever keeps a connection alive hears with its next answer that it should make another.
            if told.load(Ordering::Relaxed) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            async { response }
        },
    ));
    // When the worker is told to go, connections are closed that are only kept alive. For axum that is also one whose
    // request has not begun to arrive; so whoever has just connected is given a moment.
    let closing = async move {
        worker.disconnecting().await;
        is_leaving.store(true, Ordering::Relaxed);
        sleep(MOMENT).await;
    };
    axum::serve(listener, app).with_graceful_shutdown(closing).await?;
    Ok(())
}
