//! An HTTP server on every core. Workers that die are replaced, unless they never came to serve; SIGTERM or ctrl-c ends it
//! when its requests are answered.
//!
//! `cargo run -p cluster --example http -- 127.0.0.1:8000`, and then: `curl http://127.0.0.1:8000/`
//!
//! Without an address the kernel chooses a port; it is printed once every worker listens.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::process;
use std::thread::available_parallelism;

use axum::Router;
use axum::routing::get;
use cluster::{Event, Primary, Role, Settings, Worker};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    match cluster::role()? {
        Role::Primary => primary().await,
        Role::Worker => worker().await,
    }
}

async fn primary() -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut primary = Primary::new(Settings::default())?;
    let workers = available_parallelism()?.get();
    for _ in 0..workers {
        primary.fork()?;
    }
    let mut serving = BTreeSet::new();
    let mut announced = false;
    loop {
        tokio::select! {
            event = primary.next() => match event {
                Some(Event::Listening { worker, address }) => {
                    serving.insert(worker);
                    if serving.len() == workers && !std::mem::replace(&mut announced, true) {
                        println!("{workers} workers serve port {}", address.port);
                    }
                }
                Some(Event::Exit { worker, status }) if serving.remove(&worker) => {
                    println!("worker {worker} ended: {status:?}; starting another");
                    primary.fork()?;
                }
                // Another would end as this one did.
                Some(Event::Exit { worker, status }) => println!("worker {worker} never served: {status:?}"),
                Some(Event::Error { worker, error }) => println!("worker {worker}: {error}"),
                Some(_) => {}
                None => return Err("no worker is left".into()),
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    primary.disconnect();
    while primary.next().await.is_some() {}
    Ok(())
}

async fn worker() -> Result<(), Box<dyn Error>> {
    let worker = Worker::join()?;
    // A terminal sends ctrl-c to every process; what it means for the workers is the primary's to say.
    let _interrupt = signal(SignalKind::interrupt())?;
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = worker.listen(address).await?;
    let text = format!("worker {}, process {}\n", worker.id(), process::id());
    let app = Router::new().route("/", get(|| async { text }));
    // Connections that are only kept alive are closed when the worker is told to go.
    axum::serve(listener, app).with_graceful_shutdown(worker.disconnecting()).await?;
    Ok(())
}
