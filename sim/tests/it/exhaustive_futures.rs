//! Every run of short async programs: the coverage of right programs is complete, and mistakes are found.

use std::time::Duration;

use cluster::{Event, Primary, Settings, Worker};
use cluster_sim::simulation::{Futures, Net, Simulation};
use cluster_sim::{Actor, Fault, Faults, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const ADDRESS: &str = "127.0.0.1:8000";

/// Keeps a worker running. The mistake: no worker follows a worker that exits before it listens.
async fn primary(is_right: bool) -> Outcome {
    let mut primary = Primary::new(Settings::default())?;
    let _remote = primary.remote();
    primary.fork()?;
    let mut is_listening = false;
    while let Some(event) = primary.next().await {
        match event {
            Event::Listening { .. } => is_listening = true,
            Event::Exit { .. } if is_right || is_listening => drop(primary.fork()?),
            _ => {}
        }
    }
    Ok(())
}

/// Answers one request.
async fn worker() -> Outcome {
    let worker = Worker::join()?;
    let mut listener = worker.listen(ADDRESS).await?;
    while let Some(mut connection) = listener.accept().await? {
        connection.write_all(b"pong").await?;
    }
    Ok(())
}

/// Reads an answer on one connection.
async fn client(net: Net) -> Outcome {
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answer = match net.connect(ADDRESS.parse()?).await {
        Ok(mut stream) => {
            let mut answer = String::new();
            let is_read = stream.read_to_string(&mut answer).await.is_ok();
            if is_read && answer == "pong" { "answered" } else { "cut off" }
        }
        Err(_) => "refused",
    };
    net.observe(answer);
    Ok(())
}

/// A client is refused only after the death of the primary.
fn is_served(world: &World<Futures>) -> Result<(), String> {
    let is_refused = world.observations().any(|observation| observation.text == "refused");
    if is_refused && !world.is_killed(Actor::Primary) { Err("refused".to_owned()) } else { Ok(()) }
}

fn simulation(is_right: bool) -> Simulation {
    let kill = Faults::only(&[Fault::Kill]).limit(1);
    Simulation::new(move || primary(is_right), worker).client(client).faults(kill).end(Duration::from_secs(2))
}

/// A primary, a worker, a client and a kill at any call: every order is covered.
#[test]
fn right_program_is_complete() {
    let coverage = simulation(true).exhaustive(100_000, is_served).expect("no client is refused");
    println!("{coverage}");
    assert!(coverage.is_complete(), "{coverage}");
    assert_eq!((coverage.worlds, coverage.ends), (4752, 61));
}

/// A bound that is too small is named.
#[test]
fn small_bound_is_named() {
    let coverage = simulation(true).exhaustive(50, is_served).expect("no client is refused");
    assert!(coverage.to_string().ends_with("bounded by the number of states"), "{coverage}");
}

/// A mistake in one state of the primary is found, and the run shrinks.
#[test]
fn mistake_is_found() {
    let found = simulation(false).exhaustive(100_000, is_served).expect_err("the mistake is planted");
    let run = found.run.as_ref().expect("there is a run");
    assert_eq!((found.what.as_str(), run.faults(), run.switches()), ("refused", 1, 0), "{found}");
}
