//! Commands from another task to a primary, and the texts of the errors.

use std::error::Error;
use std::net::TcpListener;

use ::cluster::{Event, ExitStatus, ForkError, RemoteError, SendError, Signal, SpawnOptions, WorkerId};
use libtest_mimic::Trial;
use serde_json::json;

use super::support::{TestResult, asynchronous, connect, fork, port, primary, until};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("remote_sets_up_and_disconnects_all", disconnected),
        asynchronous("remote_kills_and_counts", killed),
        asynchronous("errors_of_commands_have_texts", texts),
    ]
}

async fn disconnected() -> TestResult {
    let mut primary = primary()?;
    let remote = primary.remote();
    let task = tokio::spawn(async move {
        remote.setup(SpawnOptions::new().args(["from another task"])).await?;
        remote.fork_with_env(vec![("PROGRAM".into(), "echo".into())]).await?;
        remote.disconnect_all().await
    });
    let seen = until(&mut primary, |event| matches!(event, Event::AllDisconnected)).await?;
    let set_up = seen.iter().filter(|event| matches!(event, Event::Setup { .. })).count();
    assert!(set_up >= 1);
    let arguments = primary.settings().spawn.args.as_deref().unwrap_or_default();
    assert_eq!(arguments, [::cluster::OsBytes::from("from another task")]);
    Ok(task.await??)
}

/// A remote returns the counts of the primary, and sends a signal that ends the worker.
async fn killed() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "serve");
    let _client = connect(port(&mut primary).await?)?;
    let remote = primary.remote();
    let task = tokio::spawn(async move {
        while remote.connections().await?.accepted == 0 {
            tokio::task::yield_now().await;
        }
        remote.kill(worker, Signal::SIGKILL).await
    });
    let is_exit = |event: &Event| matches!(event, Event::Exit { .. });
    let seen = until(&mut primary, is_exit).await?;
    let by_signal =
        |event: &Event| matches!(event, Event::Exit { status: ExitStatus::Signal(Signal::SIGKILL), .. });
    assert!(seen.last().is_some_and(by_signal));
    Ok(task.await??)
}

async fn texts() -> TestResult {
    let mut primary = primary()?;
    let errors = [
        RemoteError::PrimaryDropped,
        RemoteError::Fork(ForkError::NoChannel),
        RemoteError::Send(SendError::Closed),
    ];
    let mut texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let error = primary.send_with(WorkerId(99), json!(1), socket).err().ok_or("there is no such worker")?;
    assert_eq!(error.source().map(ToString::to_string), Some(SendError::UnknownWorker.to_string()));
    texts.extend([error.to_string(), format!("{:?}", primary.remote())]);
    assert!(texts.iter().all(|text| !text.is_empty()));
    let count = texts.len();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), count);
    Ok(())
}
