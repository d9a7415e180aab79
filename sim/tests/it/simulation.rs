//! Async programs on the face of `cluster`, under every schedule: the functions are those of production.

use std::time::Duration;

use cluster::{Event, Primary, Settings, Worker};
use cluster_sim::simulation::{Futures, Net, Simulation};
use cluster_sim::{Actor, Fault, Faults, Schedule, World, prop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Ends the repetitions of a client without a server.
const SHORT: Duration = Duration::from_millis(300);

const ADDRESS: &str = "127.0.0.1:8000";

/// Keeps two workers running.
async fn primary() -> Outcome {
    let mut primary = Primary::new(Settings::default())?;
    primary.fork()?;
    primary.fork()?;
    while let Some(event) = primary.next().await {
        if let Event::Exit { .. } = event {
            primary.fork()?;
        }
    }
    Ok(())
}

/// Answers each request of four bytes.
async fn worker() -> Outcome {
    let worker = Worker::join()?;
    let mut listener = worker.listen(ADDRESS).await?;
    while let Some(mut connection) = listener.accept().await? {
        tokio::spawn(async move {
            let mut request = [0; 4];
            connection.read_exact(&mut request).await?;
            connection.write_all(b"pong").await
        });
    }
    Ok(())
}

/// Sends a request until there is an answer.
async fn client(net: Net) -> Outcome {
    loop {
        if let Ok(mut stream) = net.connect(ADDRESS.parse()?).await {
            stream.write_all(b"ping").await?;
            let mut answer = String::new();
            let read = stream.read_to_string(&mut answer).await;
            if read.is_ok() && answer == "pong" {
                net.observe("answered");
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn answers(world: &World<Futures>) -> usize {
    world.observations().filter(|observation| observation.text == "answered").count()
}

fn once(world: &World<Futures>) -> Result<(), String> {
    match answers(world) {
        1 => Ok(()),
        answers => Err(format!("{answers} answers")),
    }
}

/// A request is answered on every schedule.
#[test]
fn request_is_answered() {
    let simulation = Simulation::new(primary, worker).client(client);
    simulation.check(once).expect("the client is answered");
}

/// With a kill at any call of any process the client is answered by another worker, unless the primary is
/// killed.
#[test]
fn killed_worker_is_replaced() {
    let faults = Faults::only(&[Fault::Kill, Fault::ShortWrite, Fault::PartialRead]).limit(1);
    let simulation = Simulation::new(primary, worker).client(client).faults(faults).end(SHORT);
    let property = |world: &World<Futures>| {
        let has_primary = world.running().any(|process| process == Actor::Primary);
        if has_primary { once(world) } else { Ok(()) }
    };
    simulation.check(property).expect("the client is answered");
}

/// Does not replace a worker.
async fn careless_primary() -> Outcome {
    let mut primary = Primary::new(Settings::default())?;
    // `next` waits for commands, and the primary does not exit.
    let _remote = primary.remote();
    primary.fork()?;
    while primary.next().await.is_some() {}
    Ok(())
}

fn careless() -> World<Futures> {
    let kill = Faults::only(&[Fault::Kill]).limit(1);
    Simulation::new(careless_primary, worker)
        .client(client)
        .faults(kill)
        .end(Duration::from_millis(20))
        .world()
}

/// A primary that does not replace a killed worker fails after one kill, and the line replays the failure.
#[test]
fn careless_primary_is_found() {
    let property = |world: &World<Futures>| {
        let has_primary = world.running().any(|process| process == Actor::Primary);
        if answers(world) == 0 && has_primary { Err("no answer".to_owned()) } else { Ok(()) }
    };
    let found = prop::check(proptest::strategy::Just(careless()), property);
    let found = found.expect_err("the killed worker has no successor");
    let run = found.run.as_ref().expect("there is a run");
    assert_eq!((run.faults(), run.switches()), (1, 0), "{found}");
    assert!(run.to_string().lines().count() < 60, "{found}");
    let again = prop::replay(&run.line(), careless(), property);
    assert_eq!(again.expect_err("the same failure").what, "no answer");
}

/// A copy of a world in the middle of a run has the same future: its processes run their inputs again.
#[test]
fn copy_has_the_same_future() {
    let simulation = Simulation::new(primary, worker).client(client);
    let mut world = simulation.world().on(Schedule::seed(1));
    let mut copies = Vec::new();
    while world.step().expect("every check holds") {
        if world.steps() % 3 == 0 {
            copies.push(world.clone());
        }
    }
    assert!(copies.len() > 3, "{}", copies.len());
    for mut copy in copies {
        copy.run().expect("every check holds");
        assert_eq!(copy.trace_hash(), world.trace_hash());
    }
}

/// Answers after an hour, and exits then.
async fn slow_worker() -> Outcome {
    let worker = Worker::join()?;
    let mut listener = worker.listen(ADDRESS).await?;
    let mut connection = listener.accept().await?.ok_or("no connection")?;
    tokio::time::sleep(Duration::from_hours(1)).await;
    connection.write_all(b"pong").await?;
    Ok(())
}

/// Waits for the answer within two hours, and in vain within a second.
async fn patient_client(net: Net) -> Outcome {
    let mut stream = loop {
        match net.connect(ADDRESS.parse()?).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let begin = tokio::time::Instant::now();
    let mut answer = [0; 4];
    let early = tokio::time::timeout(Duration::from_secs(1), stream.read_exact(&mut answer)).await;
    assert!(early.is_err(), "an answer within a second");
    stream.read_exact(&mut answer).await?;
    net.observe(format!("answered after {} s", begin.elapsed().as_secs()));
    Ok(())
}

/// Time passes only in the simulated world: the timers of all processes fire in the order of their times.
#[test]
fn time_passes_in_the_world() {
    let simulation = Simulation::new(careless_primary, slow_worker).client(patient_client);
    let mut world = simulation.end(Duration::from_secs(10_000)).world();
    world.run().expect("every check holds");
    let last = world.observations().last().map(|observation| observation.text.to_string());
    assert_eq!(last.as_deref(), Some("answered after 3600 s"));
    assert_eq!(world.running().count(), 1, "the worker has returned");
}

/// Reads into no buffer before the request, and is answered.
async fn empty_reader(net: Net) -> Outcome {
    let mut stream = loop {
        match net.connect(ADDRESS.parse()?).await {
            Ok(stream) => break stream,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    assert_eq!(stream.read(&mut []).await?, 0);
    stream.write_all(b"ping").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    net.observe("answered");
    Ok(())
}

/// As with a socket of the kernel, a read into an empty buffer never waits.
#[test]
fn empty_read_is_ready() {
    let mut world = Simulation::new(primary, worker).client(empty_reader).end(SHORT).world();
    world.run().expect("every check holds");
    assert_eq!(answers(&world), 1);
}
