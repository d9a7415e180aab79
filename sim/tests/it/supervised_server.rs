//! A supervised axum server as an async program: requests are answered once, and the drain loses
//! none.

use std::collections::HashMap;
use std::time::Duration;

use axum::{Router, routing::get};
use cluster::{Primary, Settings, Signal, Supervisor, SupervisorSettings, Worker};
use cluster_sim::simulation::{Futures, Net, Simulation};
use cluster_sim::{Actor, Fault, Faults, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::info;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const ADDRESS: &str = "127.0.0.1:8000";

async fn primary() -> Outcome {
    Ok(Supervisor::new(SupervisorSettings::new(2))?.run().await?)
}

async fn worker() -> Outcome {
    let worker = Worker::join()?;
    let listener = worker.listen(ADDRESS).await?;
    let answer = || async {
        info!("request");
        "hello"
    };
    Ok(cluster::serve(&worker, listener, Router::new().route("/", get(answer))).await?)
}

/// The status line of the answer to a request, on a connection of its own. A server that does not listen yet
/// is tried again.
async fn request(net: &Net) -> std::io::Result<String> {
    let mut stream = loop {
        match net.connect(ADDRESS.parse().expect("an address")).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

/// Sends requests at the same time, and then shuts the server down.
async fn clients(net: Net) -> Outcome {
    let requests = (0..4).map(|_| {
        let net = net.clone();
        tokio::spawn(async move {
            let answer = request(&net).await;
            net.observe(if answer.is_ok_and(|line| line.ends_with("200 OK")) { "answered" } else { "lost" });
        })
    });
    for request in requests.collect::<Vec<_>>() {
        request.await?;
    }
    net.kill(Actor::Primary, Signal::SIGTERM);
    Ok(())
}

fn count(world: &World<Futures>, text: &str) -> usize {
    world.observations().filter(|observation| observation.text.ends_with(text)).count()
}

/// Every request is answered once by one worker, and the server ends after SIGTERM.
fn served(world: &World<Futures>) -> Result<(), String> {
    let counts = ["answered", "INFO request", "lost"].map(|text| count(world, text));
    let running: Vec<Actor> = world.running().collect();
    if counts == [4, 4, 0] && running.is_empty() { Ok(()) } else { Err(format!("{counts:?}, {running:?}")) }
}

#[test]
fn supervised_server_answers_once() {
    let simulation = Simulation::new(primary, worker).client(clients);
    simulation.check(served).expect("each request is answered once");
}

/// At most the requests of a killed worker are lost, and none is answered twice.
#[test]
fn kill_loses_own_requests_only() {
    let faults = Faults::only(&[Fault::Kill]).limit(1);
    let simulation = Simulation::new(primary, worker).client(clients).faults(faults);
    let property = |world: &World<Futures>| {
        let [answered, handled, lost] = ["answered", "INFO request", "lost"].map(|text| count(world, text));
        let is_ended = world.running().next().is_none();
        let has_struck = !world.schedule().struck().is_empty();
        match (handled <= 4, has_struck || lost == 0) {
            (true, true) if is_ended => Ok(()),
            _ => Err(format!("{answered} answered, {handled} handled, {lost} lost, ended: {is_ended}")),
        }
    };
    simulation.end(Duration::from_mins(10)).check(property).expect("the server ends");
}

/// Answers in the order of a hash map with random state.
async fn unstable_worker() -> Outcome {
    let worker = Worker::join()?;
    let letters: HashMap<char, u32> = ('a'..='p').zip(0..).collect();
    for letter in letters.keys() {
        info!("{letter}");
    }
    drop(worker);
    Ok(())
}

async fn plain_primary() -> Outcome {
    let mut primary = Primary::new(Settings::default())?;
    primary.fork()?;
    while primary.next().await.is_some() {}
    Ok(())
}

/// The order of a hash map is outside of the world: two runs differ, and the error names the place.
#[test]
fn hash_order_is_an_escape() {
    let found = Simulation::new(plain_primary, unstable_worker).check(|_| Ok(()));
    let found = found.expect_err("two runs part");
    assert!(found.what.contains("two runs on one schedule part at"), "{found}");
    assert!(found.what.contains("INFO"), "{found}");
}
