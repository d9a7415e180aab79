//! A Rust primary keeps workers that run an unmodified Node.js server: `node.js` in this folder.
//!
//! `cargo run -p cluster --example node -- cluster/examples/node.js 8000`, and then:
//! `curl http://127.0.0.1:8000/`

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::{Event, Primary, Settings, Signal, SpawnOptions, WorkerError};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep_until, timeout};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let spawn = SpawnOptions::new()
        .exec("node")
        .args(std::env::args().skip(1)) // the script and the arguments
        .ignore_terminal_signals(true); // the primary reacts to ctrl-c and SIGTERM, and disconnects
    let settings = Settings { spawn, keep_listening: true, ..Settings::default() };
    let mut primary = Primary::new(settings)?;
    let wanted = std::thread::available_parallelism()?.get();
    let mut started = BTreeMap::new();
    let mut pause = Duration::ZERO;
    let mut next_fork = Instant::now();
    loop {
        tokio::select! {
            () = sleep_until(next_fork), if started.len() < wanted => {
                started.insert(primary.fork()?, Instant::now());
            }
            Some(event) = primary.next() => match event {
                Event::Listening { worker, address } => println!("worker {worker} serves http://{address}/"),
                Event::Disconnect { worker }
                | Event::Exit { worker, .. }
                | Event::Error { worker, error: WorkerError::Spawn { .. } } => {
                    println!("worker {worker}: {event:?}");
                    // The successor starts at once, or after a pause if the worker was young; every young
                    // worker in a row doubles the pause.
                    if let Some(start) = started.remove(&worker) {
                        if start.elapsed() > Duration::from_secs(5) {
                            pause = Duration::ZERO;
                        } else if start >= next_fork {
                            pause = (2 * pause).clamp(Duration::from_millis(100), Duration::from_secs(30));
                        }
                        next_fork = Instant::now() + pause;
                    }
                }
                Event::Error { worker, error } => eprintln!("worker {worker}: {error}"),
                _ => {}
            },
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
    }
    primary.disconnect_all();
    let end = async { while primary.next().await.is_some() {} };
    if timeout(Duration::from_mins(1), end).await.is_err() {
        for worker in primary.running_workers().collect::<Vec<_>>() {
            primary.kill(worker, Signal::SIGKILL);
        }
    }
    Ok(())
}
