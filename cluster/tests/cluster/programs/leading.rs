//! Workers that are also the primary of another cluster, and report the starts and exits in that cluster.

use std::sync::mpsc;
use std::thread;

use ::cluster::{
    Event, ExitStatus, Primary, Settings, Signal, SpawnOptions, Worker, WorkerEvent, WorkerInfo,
};
use nix::sys::wait::wait;
use serde_json::json;

use super::Ended;

pub(super) const NAMES: [&str; 5] = [
    "lead with options",
    "start again",
    "lose a status",
    "lead a program",
    "lead a program with a death signal",
];

pub(super) async fn run(worker: &Worker, name: &str) -> Ended {
    match name {
        "lead with options" => with_options(worker).await,
        "start again" => again(worker).await,
        "lose a status" => reaped(worker).await,
        _ => program(worker, name).await,
    }
}

/// For each message, forks this program, which exits with code 3. Reports the exit or the error.
async fn again(worker: &Worker) -> Ended {
    let mut primary = Primary::new(Settings::default())?;
    worker.send(json!("ready"))?;
    while let Some(event) = worker.next().await {
        if matches!(event, WorkerEvent::Message { .. }) {
            primary.fork_with_env([("PROGRAM", "exit")])?;
            worker.send(json!(end(&mut primary).await))?;
        }
    }
    Ok(())
}

/// Waits for the exit of the only worker, or for the error of the start.
async fn end(primary: &mut Primary) -> String {
    let mut end = String::new();
    while let Some(event) = primary.next().await {
        match event {
            Event::Exit { status, .. } => end = format!("{status:?}"),
            Event::Error { error, .. } => end = error.to_string(),
            _ => {}
        }
    }
    end
}

/// Another thread reaps every child before the primary asks for the exit status.
async fn reaped(worker: &Worker) -> Ended {
    let mut primary = Primary::new(Settings::default())?;
    primary.fork_with_env([("PROGRAM", "exit")])?;
    let (reaped, is_reaped) = mpsc::channel();
    thread::spawn(move || reaped.send(wait().is_ok()));
    assert!(is_reaped.recv()?, "there is one child");
    let end = end(&mut primary).await;
    assert_eq!(end, format!("{:?}", ExitStatus::ReapedElsewhere));
    worker.send(json!(end))?;
    std::future::pending().await
}

/// Reports the inherited options for Node.js, with and without options in the settings.
async fn with_options(worker: &Worker) -> Ended {
    let inherited = Primary::new(Settings::default())?;
    let explicit = Primary::new(Settings { node_options: Some("--inspect".into()), ..Settings::default() })?;
    let options =
        [&inherited, &explicit].map(|primary| Vec::from_iter(primary.settings().node_options.clone()));
    worker.send(json!(options))?;
    std::future::pending().await
}

/// Starts a program without a channel, and reports the process id.
async fn program(worker: &Worker, name: &str) -> Ended {
    let mut options = SpawnOptions::new();
    if name.ends_with("with a death signal") {
        options = options.parent_death_signal(Signal::SIGKILL);
    }
    let spawn = options.exec("sleep").args(["1000"]);
    let mut primary = Primary::new(Settings { spawn, ..Settings::default() })?;
    let program = primary.fork()?;
    worker.send(json!(primary.worker(program).and_then(WorkerInfo::pid)))?;
    while primary.next().await.is_some() {}
    Ok(())
}
