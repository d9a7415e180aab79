//! A supervised axum server as an async program: requests are answered once, the drain loses none, and
//! mistakes of programs are found.

use std::collections::HashMap;
use std::time::Duration;

use axum::{Router, routing::get};
use cluster::{Event, Primary, Settings, Signal, Supervisor, SupervisorSettings, Worker};
use cluster_sim::simulation::{Futures, Net, Simulation};
use cluster_sim::{Actor, Fault, Faults, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::info;

use crate::planted_programs::assert_short;

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

/// Replaces a worker only after the first exit: the count of a second exit is lost.
async fn forgetful_primary() -> Outcome {
    let mut primary = Primary::new(Settings::default())?;
    let _remote = primary.remote();
    primary.fork()?;
    let mut has_replaced = false;
    while let Some(event) = primary.next().await {
        if let Event::Exit { .. } = event
            && !std::mem::replace(&mut has_replaced, true)
        {
            primary.fork()?;
        }
    }
    Ok(())
}

/// A respawn loop that loses its count is found with two kills, and shrunk.
#[test]
fn lost_count_is_found() {
    let faults = Faults::only(&[Fault::Kill]).limit(2);
    let simulation = Simulation::new(forgetful_primary, worker).faults(faults);
    let found = simulation.check(|world| {
        let actors: Vec<Actor> = world.running().collect();
        if actors == [Actor::Primary] { Err("the primary is alone".to_owned()) } else { Ok(()) }
    });
    let found = found.expect_err("the second worker has no successor");
    let run = found.run.as_ref().expect("there is a run");
    assert_eq!((run.faults(), run.switches()), (2, 0), "{found}");
    assert_short(&found, "the primary is alone");
}

/// Hands work to a worker, and waits for the reply of a worker that may be dead.
async fn waiting_primary() -> Outcome {
    let mut primary = Primary::new(Settings::default())?;
    let asked = primary.fork()?;
    while let Some(event) = primary.next().await {
        match event {
            Event::Online { worker } => {
                primary.send(worker, "work")?;
            }
            Event::Message { .. } => {
                info!("done");
                primary.disconnect_worker(asked);
            }
            Event::Exit { .. } => {
                // The mistake: the reply never arrives, and nothing ends the wait.
                let remote = primary.remote();
                std::future::pending::<()>().await;
                drop(remote);
            }
            _ => {}
        }
    }
    Ok(())
}

async fn working_worker() -> Outcome {
    let worker = Worker::join()?;
    while let Some(event) = worker.next().await {
        if let cluster::WorkerEvent::Message { .. } = event {
            worker.send("done")?;
        }
    }
    Ok(())
}

/// A request to a worker that waits for a dead worker is found with one kill.
#[test]
fn wait_for_dead_worker_is_found() {
    let faults = Faults::only(&[Fault::Kill]).limit(1);
    let found = Simulation::new(waiting_primary, working_worker).faults(faults).check(|world| {
        let is_waiting = world.running().any(|actor| actor == Actor::Primary);
        if is_waiting && count(world, "INFO done") == 0 { Err("no reply".to_owned()) } else { Ok(()) }
    });
    let found = found.expect_err("the primary waits");
    let run = found.run.as_ref().expect("there is a run");
    assert_eq!((run.faults(), run.switches()), (1, 0), "{found}");
    assert_short(&found, "no reply");
}
