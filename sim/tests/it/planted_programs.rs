//! Async programs with planted mistakes: each is found, and the run shrinks to a short table.

use std::collections::BTreeMap;
use std::time::Duration;

use cluster::{Event, Primary, Settings, Signal, Worker, WorkerId};
use cluster_sim::prop::Counterexample;
use cluster_sim::simulation::{Futures, Net, Simulation};
use cluster_sim::{Actor, Fault, Faults, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tracing::info;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const ADDRESS: &str = "127.0.0.1:8000";
const SECOND: Duration = Duration::from_secs(1);

fn is_observed(world: &World<Futures>, text: &str) -> bool {
    world.observations().any(|observation| observation.text.ends_with(text))
}

/// The mistake is found, and the table has at most 40 rows. A long text continues below its row.
pub(super) fn assert_short(found: &Counterexample<Futures>, what: &str) {
    assert_eq!(found.what, what, "{found}");
    let table = found.run.as_ref().expect("there is a run").to_string();
    let has_step =
        |line: &&str| line.split('|').next().is_some_and(|step| step.trim().parse::<u64>().is_ok());
    let rows = table.lines().filter(has_step).count();
    assert!(rows <= 40, "{rows} rows\n{found}");
}

/// Ends the service when a worker asks for the end.
async fn ending_primary() -> Outcome {
    let mut primary = Primary::new(Settings::default())?;
    primary.fork()?;
    while let Some(event) = primary.next().await {
        if let Event::Message { .. } = event {
            primary.disconnect_all();
        }
    }
    Ok(())
}

/// Takes a second for the end of a connection when the worker drains, as a chat server does.
async fn chat(mut connection: cluster::Connection, worker: Worker) -> std::io::Result<()> {
    worker.disconnecting().await;
    tokio::time::sleep(SECOND).await;
    connection.write_all(b"goodbye").await
}

/// The mistake of `waits: false`: the worker ends without its long connections.
async fn chat_worker(waits: bool) -> Outcome {
    let worker = Worker::join()?;
    let mut listener = worker.listen(ADDRESS).await?;
    let mut chats = tokio::task::JoinSet::new();
    loop {
        let connection = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = worker.disconnecting() => None,
        };
        let Some(connection) = connection else { break };
        chats.spawn(chat(connection, worker.clone()));
        worker.send("end")?;
    }
    while waits && chats.join_next().await.is_some() {}
    Ok(())
}

/// Keeps a connection open while the service ends.
async fn chat_client(net: Net) -> Outcome {
    tokio::time::sleep(SECOND).await;
    let mut goodbye = String::new();
    let read = net.connect(ADDRESS.parse()?).await?.read_to_string(&mut goodbye).await;
    net.observe(if read.is_ok() && goodbye == "goodbye" { "goodbye" } else { "cut off" });
    Ok(())
}

fn chats(waits: bool) -> Result<(), Box<Counterexample<Futures>>> {
    let simulation = Simulation::new(ending_primary, move || chat_worker(waits)).client(chat_client);
    simulation.check(|world| if is_observed(world, "goodbye") { Ok(()) } else { Err("cut off".to_owned()) })
}

/// A drain that forgets long connections.
#[test]
fn forgotten_connection_is_found() {
    chats(true).expect("the worker waits for its connections");
    assert_short(&chats(false).expect_err("a connection is cut off"), "cut off");
}

/// Replaces the first worker when the worker asks for a reload. The mistake of `waits: false`: the old worker
/// is disconnected before the successor listens.
async fn reloading_primary(waits: bool) -> Outcome {
    let mut primary = Primary::new(Settings::default())?;
    let old = primary.fork()?;
    while let Some(event) = primary.next().await {
        match event {
            Event::Message { worker, .. } if worker == old => {
                primary.fork()?;
                if !waits {
                    primary.disconnect_worker(old);
                }
            }
            Event::Listening { worker, .. } if worker != old => primary.disconnect_worker(old),
            _ => {}
        }
    }
    Ok(())
}

/// Asks for a reload with each connection.
async fn reloaded_worker() -> Outcome {
    let worker = Worker::join()?;
    let mut listener = worker.listen(ADDRESS).await?;
    while let Some(connection) = listener.accept().await? {
        drop(connection);
        worker.send("reload")?;
    }
    Ok(())
}

/// Connects again after the end of the first connection. The run ends with a refusal.
async fn returning_client(net: Net) -> Outcome {
    tokio::time::sleep(SECOND).await;
    net.connect(ADDRESS.parse()?).await?.read_to_end(&mut Vec::new()).await?;
    if net.connect(ADDRESS.parse()?).await.is_err() {
        net.observe("refused");
        net.kill(Actor::Primary, Signal::SIGKILL);
    }
    Ok(())
}

fn reloads(waits: bool) -> Result<(), Box<Counterexample<Futures>>> {
    let simulation =
        Simulation::new(move || reloading_primary(waits), reloaded_worker).client(returning_client);
    simulation.check(|world| if is_observed(world, "refused") { Err("refused".to_owned()) } else { Ok(()) })
}

/// A reload that disconnects before the successor listens.
#[test]
fn hasty_reload_is_found() {
    reloads(true).expect("the successor listens first");
    assert_short(&reloads(false).expect_err("a client is refused"), "refused");
}

/// Notes which worker serves a client, until the client leaves. The mistake of `forgets: false`: the clients
/// of a killed worker stay.
async fn sticky_primary(forgets: bool) -> Outcome {
    let mut primary = Primary::new(Settings::default())?;
    // The primary does not exit with its last worker.
    let _remote = primary.remote();
    primary.fork()?;
    let mut clients: BTreeMap<u32, WorkerId> = BTreeMap::new();
    while let Some(event) = primary.next().await {
        match event {
            Event::Message { worker, message, .. } => match message.to::<(u32, bool)>()? {
                (client, true) => drop(clients.insert(client, worker)),
                (client, false) => drop(clients.remove(&client)),
            },
            Event::Exit { worker, .. } => {
                clients.retain(|_, owner| !forgets || *owner != worker);
                info!("clients: {}", clients.len());
            }
            _ => {}
        }
    }
    Ok(())
}

async fn sticky_worker() -> Outcome {
    let worker = Worker::join()?;
    let mut listener = worker.listen(ADDRESS).await?;
    let mut client = 0;
    while let Some(mut connection) = listener.accept().await? {
        client += 1;
        worker.send(cluster::Message::new(&(client, true))?)?;
        connection.read_to_end(&mut Vec::new()).await?;
        worker.send(cluster::Message::new(&(client, false))?)?;
    }
    Ok(())
}

async fn brief_client(net: Net) -> Outcome {
    tokio::time::sleep(SECOND).await;
    drop(net.connect(ADDRESS.parse()?).await?);
    Ok(())
}

fn sticky(forgets: bool) -> Result<(), Box<Counterexample<Futures>>> {
    let kill = Faults::only(&[Fault::Kill]).limit(1);
    let simulation = Simulation::new(move || sticky_primary(forgets), sticky_worker);
    let simulation = simulation.client(brief_client).faults(kill).end(10 * SECOND);
    simulation.check(|world| {
        let counts = world.observations().filter(|observation| observation.text.contains("clients: "));
        let has_primary = world.running().any(|actor| actor == Actor::Primary);
        match counts.last() {
            Some(last) if has_primary && !last.text.ends_with(": 0") => Err("a client stays".to_owned()),
            _ => Ok(()),
        }
    })
}

/// A map of clients that leaks when a worker is killed.
#[test]
fn leaking_map_is_found() {
    sticky(true).expect("the map is empty at the end");
    assert_short(&sticky(false).expect_err("an entry stays"), "a client stays");
}
