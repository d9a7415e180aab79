//! A primary and a worker send a number of MiB at once, in both directions, each from a task that waits for
//! room.
//!
//! `cargo run --release -p cluster --example flood -- 256` prints the throughput, and the peak memory of both
//! processes.

use std::time::Instant;
use std::{env, fs};

use anyhow::Context;
use cluster::{Event, Message, Primary, RemoteError, Role, SendError, Settings, Worker, WorkerEvent};
use serde_json::{Value, json};

/// The number of MiB to send each way: the argument, or 64.
fn pieces() -> anyhow::Result<u32> {
    let argument = env::args().nth(1).unwrap_or_else(|| "64".into());
    argument.parse().with_context(|| format!("`{argument}` is not a number of MiB; usage: flood [MEBIBYTES]"))
}

fn piece() -> Message {
    Message::from("x".repeat(1 << 20))
}

/// The peak resident memory of this process, from `/proc`.
fn peak() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.map_or_else(|| "unknown".into(), |peak| peak.trim().into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let pieces = pieces()?;
    match cluster::role()? {
        Role::Primary => primary(pieces).await,
        Role::Worker => worker(Worker::join()?, pieces).await,
    }
}

async fn primary(pieces: u32) -> anyhow::Result<()> {
    let mut primary = Primary::new(Settings::default())?;
    let worker = primary.fork()?;
    while !matches!(primary.next().await, Some(Event::Online { .. }) | None) {}
    let begin = Instant::now();
    let (remote, piece) = (primary.remote(), piece());
    let sending = tokio::spawn(async move {
        for _ in 0..pieces {
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
            None => anyhow::bail!("the worker has exited"),
        }
    }
    sending.await??;
    let seconds = begin.elapsed().as_secs_f64();
    let speed = 2.0 * f64::from(pieces) / seconds;
    println!("{pieces} MiB each way in {seconds:.2} s: {speed:.0} MiB/s");
    println!("peak memory: {} in the primary, {peak_of_worker} in the worker", peak());
    primary.disconnect_all();
    while primary.next().await.is_some() {}
    Ok(())
}

async fn worker(worker: Worker, pieces: u32) -> anyhow::Result<()> {
    let (sender, piece) = (worker.clone(), piece());
    let sending = tokio::spawn(async move {
        for _ in 0..pieces {
            sender.send_when_room(piece.clone()).await?;
        }
        Ok::<_, SendError>(())
    });
    for _ in 0..pieces {
        let Some(WorkerEvent::Message { .. }) = worker.next().await else {
            anyhow::bail!("the primary is lost");
        };
    }
    sending.await??;
    worker.send_when_room(json!({ "peak": peak() })).await?;
    while worker.next().await.is_some() {}
    Ok(())
}
