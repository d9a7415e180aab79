//! Counts the requests of all workers: each worker reports every request, and the primary adds up the
//! reports.
//!
//! `cargo run -p cluster --example count -- 10`, and then ten times `curl` with the printed address.
//!
//! The program ends when the total in the argument is reached, and fails if all workers exit before.

use std::collections::BTreeMap;
use std::env;

use anyhow::Context;
use cluster::{Event, Primary, Role, Settings, Worker, WorkerId};
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

const WORKERS: usize = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match cluster::role()? {
        Role::Primary => primary().await,
        Role::Worker => worker().await,
    }
}

async fn primary() -> anyhow::Result<()> {
    let total = env::args().nth(1).unwrap_or_else(|| "10".into());
    let total: u64 = total.parse().with_context(|| format!("`{total}` is not a number of requests"))?;
    let mut served: BTreeMap<WorkerId, u64> = BTreeMap::new();
    let mut listening = 0;
    let mut primary = Primary::new(Settings::default())?;
    for _ in 0..WORKERS {
        primary.fork()?;
    }
    while let Some(event) = primary.next().await {
        match event {
            Event::Listening { address, .. } => {
                listening += 1;
                if listening == WORKERS {
                    println!("{WORKERS} workers serve http://{address}/");
                }
            }
            Event::Message { worker, message, .. } if message == json!({ "served": 1 }) => {
                *served.entry(worker).or_default() += 1;
                if served.values().sum::<u64>() == total {
                    primary.disconnect_all();
                }
            }
            Event::AllDisconnected => println!("served {total} in all: {served:?}"),
            _ => {}
        }
    }
    anyhow::ensure!(served.values().sum::<u64>() >= total, "every worker has exited");
    Ok(())
}

async fn worker() -> anyhow::Result<()> {
    let worker = Worker::join()?;
    let mut listener = worker.listen("127.0.0.1:0").await?;
    while let Some(connection) = listener.accept().await? {
        let worker = worker.clone();
        tokio::spawn(async move {
            let mut connection = BufReader::new(connection);
            let mut line = String::new();
            while connection.read_line(&mut line).await? > "\r\n".len() {
                line.clear();
            }
            connection.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await?;
            worker.send(json!({ "served": 1 })).map_err(std::io::Error::other)
        });
    }
    Ok(())
}
