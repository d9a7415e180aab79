//! An HTTP server on every core. Workers that die are replaced; SIGTERM or ctrl-c ends it when its requests are answered.
//!
//! `cargo run -p cluster --example http -- 127.0.0.1:8000`, and then: `curl http://127.0.0.1:8000/`
//!
//! Without an address the kernel chooses a port; it is printed once every worker listens.

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
        primary.fork();
    }
    let mut listening = 0;
    loop {
        tokio::select! {
            event = primary.next() => match event {
                Some(Event::Listening { address, .. }) => {
                    listening += 1;
                    if listening == workers {
                        println!("{workers} workers serve port {}", address.port);
                    }
                }
                Some(Event::Exit { worker, status }) => {
                    println!("worker {worker} ended: {status:?}; starting another");
                    primary.fork();
                }
                Some(_) => {}
                None => break,
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
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let listener = worker.listen(address).await?;
    let text = format!("worker {}, process {}\n", worker.id(), process::id());
    let app = Router::new().route("/", get(|| async { text }));
    // Connections that are only kept alive are closed when the worker is told to go.
    axum::serve(listener, app).with_graceful_shutdown(worker.disconnecting()).await?;
    Ok(())
}
