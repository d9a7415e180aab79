//! Prints how many runs a second an async server takes under simulation: a supervisor with two workers of
//! axum, 20 requests on 20 connections of four clients, and one worker that is killed after the tenth answer.
//!
//! `cargo run --release -p cluster-sim --example served -- 5000` runs 5,000 random schedules on one core. A
//! run in which a request has no answer is an error.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the measurement is not simulated")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::{Router, routing::get};
use cluster::{Signal, Supervisor, SupervisorSettings, Worker, WorkerId};
use cluster_sim::simulation::{Net, Simulation};
use cluster_sim::{Actor, Schedule};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const ADDRESS: &str = "127.0.0.1:8000";
const CLIENTS: usize = 4;
const REQUESTS: usize = 20;

async fn primary() -> Outcome {
    Ok(Supervisor::new(SupervisorSettings::new(2))?.run().await?)
}

async fn worker() -> Outcome {
    let worker = Worker::join()?;
    let listener = worker.listen(ADDRESS).await?;
    Ok(cluster::serve(&worker, listener, Router::new().route("/", get(async || "hello"))).await?)
}

/// Whether a request on a new connection has its answer.
async fn is_answered(net: &Net) -> std::io::Result<bool> {
    let mut stream = net.connect(([127, 0, 0, 1], 8000).into()).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// Sends the requests of one client in turn. A request without an answer is sent again.
async fn client(net: Net, answers: Arc<AtomicUsize>) {
    for _ in 0..REQUESTS / CLIENTS {
        while !is_answered(&net).await.unwrap_or(false) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        net.observe("answered");
        if answers.fetch_add(1, Ordering::Relaxed) + 1 == REQUESTS / 2 {
            net.kill(Actor::Worker(WorkerId(1)), Signal::SIGKILL);
        }
    }
}

/// Runs the clients at the same time, and then shuts the server down.
async fn clients(net: Net) -> Outcome {
    let answers = Arc::<AtomicUsize>::default();
    let clients = (0..CLIENTS).map(|_| tokio::spawn(client(net.clone(), answers.clone())));
    for client in clients.collect::<Vec<_>>() {
        client.await?;
    }
    net.kill(Actor::Primary, Signal::SIGTERM);
    Ok(())
}

fn main() -> Outcome {
    let runs = std::env::args().nth(1).map_or(Ok(1000), |runs| runs.parse::<u32>())?;
    let world = Simulation::new(primary, worker).client(clients).world();
    let begin = Instant::now();
    let mut steps = 0;
    for seed in 0..runs {
        let mut world = world.clone().on(Schedule::seed(seed.into()));
        world.run()?;
        let answers = world.observations().filter(|observation| observation.text == "answered").count();
        if answers != REQUESTS {
            return Err(format!("seed {seed}: expected {REQUESTS} answers, found {answers}").into());
        }
        steps += world.steps();
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("{:.0} runs/s, {} steps in a run", f64::from(runs) / seconds, steps / u64::from(runs.max(1)));
    Ok(())
}
