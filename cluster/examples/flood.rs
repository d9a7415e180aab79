//! A primary and a worker send each other a number of MiB at once, each from a task that waits for room.
//!
//! `cargo run --release -p cluster --example flood -- 256` prints the throughput, and the peak memory of both processes.

use std::error::Error;
use std::time::Instant;
use std::{env, fs};

use cluster::{Event, Message, Primary, RemoteError, Role, SendError, Settings, Worker, WorkerEvent};
use serde_json::{Value, json};

type Outcome = Result<(), Box<dyn Error>>;

fn pieces() -> usize {
    env::args().nth(1).and_then(|mebibytes| mebibytes.parse().ok()).unwrap_or(64)
}

fn piece() -> Message {
    Message::from("x".repeat(1 << 20))
}

/// The peak resident memory of this process, as Linux reports it.
fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or_else(|| "unknown".into(), |peak| peak.trim().into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    match cluster::role()? {
        Role::Primary => primary().await,
        Role::Worker => worker(Worker::join()?).await,
    }
}

async fn primary() -> Outcome {
    let mut primary = Primary::new(Settings::default())?;
    let worker = primary.fork()?;
    while !matches!(primary.next().await, Some(Event::Online { .. }) | None) {}
    let begin = Instant::now();
    let (remote, piece) = (primary.remote(), piece());
    let sending = tokio::spawn(async move {
        for _ in 0..pieces() {
            remote.send_when_room(worker, piece.clone()).await?;
        }
        Ok::<_, RemoteError>(())
    });
    let mut peak_of_worker = Value::Null;
    while peak_of_worker.is_null() {
        match primary.next().await {
            Some(Event::Message { message, .. }) => {
                let message: Value = message.json()?;
                peak_of_worker = message["peak"].clone();
            }
            Some(_) => {}
            None => return Err("the worker has exited".into()),
        }
    }
    sending.await??;
    let seconds = begin.elapsed().as_secs_f64();
    let speed = 2.0 * f64::from(u32::try_from(pieces())?) / seconds;
    println!("{} MiB each way in {seconds:.2} s: {speed:.0} MiB/s", pieces());
    println!("peak memory: {} in the primary, {peak_of_worker} in the worker", peak());
    primary.disconnect_all();
    while primary.next().await.is_some() {}
    Ok(())
}

async fn worker(worker: Worker) -> Outcome {
    let (sender, piece) = (worker.clone(), piece());
    let sending = tokio::spawn(async move {
        for _ in 0..pieces() {
            sender.send_when_room(piece.clone()).await?;
        }
        Ok::<_, SendError>(())
    });
    for _ in 0..pieces() {
        let Some(WorkerEvent::Message { .. }) = worker.next().await else {
            return Err("the primary is lost".into());
        };
    }
    sending.await??;
    worker.send_when_room(json!({ "peak": peak() })).await?;
    while worker.next().await.is_some() {}
    Ok(())
}
