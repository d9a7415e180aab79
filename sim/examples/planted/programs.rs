//! Five async programs, each with a right form and a form with a planted mistake.

use std::collections::BTreeMap;
use std::future::pending;
use std::mem::replace;
use std::time::Duration;

use cluster::{Event, Message, Primary, Settings, Signal, Worker, WorkerEvent, WorkerId};
use cluster_sim::prop::Counterexample;
use cluster_sim::simulation::{Futures, Net, Simulation};
use cluster_sim::{Actor, Fault, Faults, World};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tracing::info;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const ADDRESS: &str = "127.0.0.1:8000";
const SECOND: Duration = Duration::from_secs(1);

/// A planted mistake.
pub(crate) struct Planted {
    pub(crate) mistake: &'static str,
    /// The violation of a run with the mistake.
    pub(crate) violation: &'static str,
    /// The program, in its right form or with the mistake.
    pub(crate) program: fn(is_right: bool) -> Simulation,
    pub(crate) property: fn(&World<Futures>) -> Result<(), String>,
}

/// Every planted mistake.
pub(crate) const PLANTED: [Planted; 5] = [
    Planted {
        mistake: "a respawn loop loses its count",
        violation: "the primary is alone",
        program: respawns,
        property: has_worker,
    },
    Planted {
        mistake: "a drain forgets a long connection",
        violation: "cut off",
        program: chats,
        property: ends_with_goodbye,
    },
    Planted {
        mistake: "a reload disconnects before the successor listens",
        violation: "refused",
        program: reloads,
        property: refuses_no_client,
    },
    Planted {
        mistake: "a request waits for a dead worker",
        violation: "no reply",
        program: requests,
        property: ends_or_is_answered,
    },
    Planted {
        mistake: "a map of clients leaks",
        violation: "a client stays",
        program: sticky,
        property: map_is_empty,
    },
];

/// The number of rows in the table of a failed run. A long text continues below its row.
pub(crate) fn rows(found: &Counterexample<Futures>) -> usize {
    let table = found.run.as_ref().map(ToString::to_string).unwrap_or_default();
    let has_step =
        |line: &&str| line.split('|').next().is_some_and(|step| step.trim().parse::<u64>().is_ok());
    table.lines().filter(has_step).count()
}

fn is_observed(world: &World<Futures>, text: &str) -> bool {
    world.observations().any(|observation| observation.text.ends_with(text))
}

fn has_primary(world: &World<Futures>) -> bool {
    world.running().any(|actor| actor == Actor::Primary)
}

fn fails(is_failure: bool, violation: &str) -> Result<(), String> {
    if is_failure { Err(violation.to_owned()) } else { Ok(()) }
}

// ---- a respawn loop

/// Replaces exited workers. The mistake: only the first exit has a successor.
async fn respawning_primary(is_right: bool) -> Outcome {
    let mut primary = Primary::new(Settings::default())?;
    // The primary does not exit with its last worker.
    let _remote = primary.remote();
    primary.fork()?;
    let mut has_replaced = false;
    while let Some(event) = primary.next().await {
        if let Event::Exit { .. } = event
            && (!replace(&mut has_replaced, true) || is_right)
        {
            primary.fork()?;
        }
    }
    Ok(())
}

async fn listening_worker() -> Outcome {
    let worker = Worker::join()?;
    let mut listener = worker.listen(ADDRESS).await?;
    while listener.accept().await?.is_some() {}
    Ok(())
}

fn respawns(is_right: bool) -> Simulation {
    let kills = Faults::only(&[Fault::Kill]).limit(2);
    Simulation::new(move || respawning_primary(is_right), listening_worker).faults(kills)
}

fn has_worker(world: &World<Futures>) -> Result<(), String> {
    fails(world.running().eq([Actor::Primary]), "the primary is alone")
}

// ---- a drain with long connections

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

/// The mistake: the worker ends without its long connections.
async fn chat_worker(is_right: bool) -> Outcome {
    let worker = Worker::join()?;
    let mut listener = worker.listen(ADDRESS).await?;
    let mut chats = JoinSet::new();
    loop {
        let connection = tokio::select! {
            accepted = listener.accept() => accepted?,
            () = worker.disconnecting() => None,
        };
        let Some(connection) = connection else { break };
        chats.spawn(chat(connection, worker.clone()));
        worker.send("end")?;
    }
    while is_right && chats.join_next().await.is_some() {}
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

fn chats(is_right: bool) -> Simulation {
    Simulation::new(ending_primary, move || chat_worker(is_right)).client(chat_client)
}

fn ends_with_goodbye(world: &World<Futures>) -> Result<(), String> {
    fails(!is_observed(world, "goodbye"), "cut off")
}

// ---- a reload

/// Replaces the first worker when the worker asks for a reload. The mistake: the old worker is disconnected
/// before the successor listens.
async fn reloading_primary(is_right: bool) -> Outcome {
    let mut primary = Primary::new(Settings::default())?;
    let old = primary.fork()?;
    while let Some(event) = primary.next().await {
        match event {
            Event::Message { worker, .. } if worker == old => {
                primary.fork()?;
                if !is_right {
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

fn reloads(is_right: bool) -> Simulation {
    Simulation::new(move || reloading_primary(is_right), reloaded_worker).client(returning_client)
}

fn refuses_no_client(world: &World<Futures>) -> Result<(), String> {
    fails(is_observed(world, "refused"), "refused")
}

// ---- a request to a worker

/// Sends work to a worker, and waits for the reply. The mistake: the wait continues after the death of the
/// worker.
async fn requesting_primary(is_right: bool) -> Outcome {
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
            Event::Exit { .. } if !is_right => {
                let remote = primary.remote();
                pending::<()>().await;
                drop(remote);
            }
            _ => {}
        }
    }
    Ok(())
}

async fn replying_worker() -> Outcome {
    let worker = Worker::join()?;
    while let Some(event) = worker.next().await {
        if let WorkerEvent::Message { .. } = event {
            worker.send("done")?;
        }
    }
    Ok(())
}

fn requests(is_right: bool) -> Simulation {
    let kill = Faults::only(&[Fault::Kill]).limit(1);
    Simulation::new(move || requesting_primary(is_right), replying_worker).faults(kill)
}

fn ends_or_is_answered(world: &World<Futures>) -> Result<(), String> {
    fails(has_primary(world) && !is_observed(world, "INFO done"), "no reply")
}

// ---- a map of clients

/// Records which worker serves a client, until the client disconnects. The mistake: the clients of a killed
/// worker remain in the map.
async fn sticky_primary(is_right: bool) -> Outcome {
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
                clients.retain(|_, owner| !is_right || *owner != worker);
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
        worker.send(Message::new(&(client, true))?)?;
        connection.read_to_end(&mut Vec::new()).await?;
        worker.send(Message::new(&(client, false))?)?;
    }
    Ok(())
}

async fn brief_client(net: Net) -> Outcome {
    tokio::time::sleep(SECOND).await;
    drop(net.connect(ADDRESS.parse()?).await?);
    Ok(())
}

fn sticky(is_right: bool) -> Simulation {
    let kill = Faults::only(&[Fault::Kill]).limit(1);
    let simulation = Simulation::new(move || sticky_primary(is_right), sticky_worker);
    simulation.client(brief_client).faults(kill).end(10 * SECOND)
}

fn map_is_empty(world: &World<Futures>) -> Result<(), String> {
    let last = world.observations().filter(|observation| observation.text.contains("clients: ")).last();
    let is_left = last.is_some_and(|last| !last.text.ends_with(": 0"));
    fails(has_primary(world) && is_left, "a client stays")
}
