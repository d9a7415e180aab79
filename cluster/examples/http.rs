//! An HTTP server on every core. The primary prints the events of the workers.
//!
//! `cargo run -p cluster --example http -- 127.0.0.1:8000`, and then: `curl http://127.0.0.1:8000/`
//!
//! Each argument is an address. Environment variables: `TEXT`, a file with the text of the answers, read at
//! the start of each worker; `RECYCLE`, the number of requests after which a worker disconnects;
//! `READY_SECONDS` (default 10), the time of a new worker to listen. SIGHUP reloads. SIGTERM and ctrl-c end
//! the service when all requests are answered; a third signal ends the service at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fs, process, time::Duration};

use axum::{Router, routing::get};
use cluster::{Role, Supervisor, SupervisorSettings, Worker};
use tokio::task::JoinSet;

static ANSWERED: AtomicU64 = AtomicU64::new(0);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match cluster::role()? {
        Role::Primary => primary().await,
        Role::Worker => worker().await,
    }
}

async fn primary() -> anyhow::Result<()> {
    let seconds = env::var("READY_SECONDS").map_or(Ok(10), |seconds| seconds.parse())?;
    let settings = SupervisorSettings::new(cluster::cores()).ready_timeout(Duration::from_secs(seconds));
    Ok(Supervisor::new(settings)?.run_with(|_, event| println!("{event}")).await?)
}

async fn worker() -> anyhow::Result<()> {
    let (worker, mut servers) = (Worker::join()?, JoinSet::new());
    let recycle = env::var("RECYCLE").map_or(Ok(u64::MAX), |requests| requests.parse())?;
    for address in env::args().skip(1) {
        let (listener, leaving) = (worker.listen(address).await?, worker.clone());
        let own = format!("worker {}, process {}\n", worker.id(), process::id());
        let text = env::var("TEXT").map_or(Ok(own), fs::read_to_string)?;
        println!("worker {} serves http://{}/", worker.id(), listener.local_addr());
        let answer = move || async move {
            if ANSWERED.fetch_add(1, Ordering::Relaxed) + 1 == recycle {
                leaving.disconnect();
            }
            text
        };
        servers.spawn(cluster::serve(&worker, listener, Router::new().route("/", get(answer))).into_future());
    }
    while let Some(ended) = servers.join_next().await {
        ended??;
    }
    Ok(())
}
