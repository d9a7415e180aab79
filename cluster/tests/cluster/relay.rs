//! Forwarded messages, in both serializations. Between two Node workers, a Rust primary delivers the same
//! values as a Node primary. Under a Node primary, a Rust worker returns equal values. `relay.cjs` has the
//! values. Ignored without `node`.

use std::time::Duration;

use ::cluster::{Event, Primary, SchedulingPolicy, Serialization, SpawnOptions, Structured, ViewKind};
use libtest_mimic::{Failed, Trial};
use tokio::time::timeout;

use super::node::{is_absent, leading, lines, script};
use super::support::{TestResult, asynchronous, rest, trial};

const SCRIPT: &str = include_str!("relay.cjs");

/// The values include a hundred thousand doubles and three megabytes, which take long in a debug build.
const LONG: Duration = Duration::from_secs(30);

pub(crate) fn trials() -> Vec<Trial> {
    let trials = [
        asynchronous("relay_in_json_matches_node", || relay(Serialization::Json, "json")),
        asynchronous("relay_in_advanced_matches_node", || relay(Serialization::Advanced, "advanced")),
        asynchronous("large_bytes_of_node_arrive", large),
        trial("echo_in_json_is_lossless", || echo("json")),
        trial("echo_in_advanced_is_lossless", || echo("advanced")),
    ];
    trials.into_iter().map(|trial| trial.with_ignored_flag(is_absent())).collect()
}

/// A worker sends every value, and the primary forwards the messages to a second worker. The second worker
/// reports the values.
async fn relay(serialization: Serialization, name: &str) -> TestResult {
    let ours = reported(serialization).await?;
    let nodes = lines(SCRIPT, &["relay".as_ref(), name.as_ref()])?;
    let nodes: Vec<String> = nodes
        .iter()
        .map(|line| serde_json::from_str(line))
        .collect::<Result<_, _>>()
        .map_err(|it| it.to_string())?;
    let differences: Vec<_> = nodes.iter().zip(&ours).filter(|(node, our)| node != our).collect();
    if !differences.is_empty() || nodes.len() < 59 {
        return Err(format!("{} of {} differ: {differences:#?}", differences.len(), nodes.len()).into());
    }
    assert_eq!(ours.len(), nodes.len());
    Ok(())
}

async fn reported(serialization: Serialization) -> Result<Vec<String>, Failed> {
    let script = script(SCRIPT)?;
    let mut primary = leading(&script, &[], SchedulingPolicy::default())?;
    primary.setup(SpawnOptions::new().serialization(serialization));
    let [a, b] = ["a", "b"].map(|role| primary.fork_with_env([("ROLE", role)]));
    let (a, b) = (a?, b?);
    let mut online = 0;
    loop {
        match next(&mut primary).await? {
            Event::Online { .. } if online == 1 => drop(primary.send(a, "go")?),
            Event::Online { .. } => online += 1,
            Event::Message { worker, message, .. } if worker == a => drop(primary.send(b, &message)?),
            Event::Message { message, .. } => {
                primary.disconnect_all();
                rest(&mut primary).await?;
                return Ok(message.to()?);
            }
            Event::Error { error, .. } => return Err(error.to_string().into()),
            _ => {}
        }
    }
}

async fn next(primary: &mut Primary) -> Result<Event, Failed> {
    let event = timeout(LONG, primary.next()).await.map_err(|_| "nothing happened for long")?;
    Ok(event.ok_or("no worker is left")?)
}

/// A Rust worker returns every value.
fn echo(serialization: &str) -> TestResult {
    let lines = lines(SCRIPT, &["echo".as_ref(), serialization.as_ref()])?;
    assert_eq!(lines, vec!["exit 0".to_owned()]);
    Ok(())
}

/// Long binary values arrive with the serialization 'advanced', and the worker continues.
async fn large() -> TestResult {
    const WORKER: &str = "
        process.on('message', () => {
            process.send(new Uint8Array(12 << 20).fill(7));
            process.send(Buffer.alloc(14 << 20, 7));
            process.send(Buffer.alloc(60 << 20, 7));
        });
    ";
    let script = script(WORKER)?;
    let mut primary = leading(&script, &[], SchedulingPolicy::default())?;
    primary.setup(SpawnOptions::new().serialization(Serialization::Advanced));
    let worker = primary.fork()?;
    let mut received = Vec::new();
    while received.len() < 3 {
        match next(&mut primary).await? {
            Event::Online { .. } => drop(primary.send(worker, "go")?),
            Event::Message { message, .. } => match message.structured()? {
                Structured::View(kind, bytes) if bytes.iter().all(|byte| *byte == 7) => {
                    received.push((kind, bytes.len() >> 20));
                }
                _ => return Err(format!("{message:?}").into()),
            },
            Event::Error { error, .. } => return Err(error.to_string().into()),
            _ => {}
        }
    }
    primary.disconnect_all();
    rest(&mut primary).await?;
    assert_eq!(received, vec![(ViewKind::Uint8Array, 12), (ViewKind::Buffer, 14), (ViewKind::Buffer, 60)]);
    Ok(())
}
