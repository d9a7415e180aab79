//! Workers of a supervisor. The first argument selects the program.

use std::time::Duration;
use std::{env, fs, io, process};

use ::cluster::{Worker, WorkerEvent};
use axum::{Router, routing::post};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::{Ended, tasks};
use crate::cluster::support::output;

/// The argument that precedes the arguments of a worker.
pub(crate) const SUPERVISED: &str = "supervised";

pub(super) async fn run(worker: Worker) -> Ended {
    // The arguments of the test program itself are skipped.
    let arguments: Vec<String> = env::args().skip_while(|argument| argument != SUPERVISED).collect();
    match arguments[1].as_str() {
        "exit" => process::exit(3),
        "exit when ready" => {
            let _listener = worker.listen("127.0.0.1:0").await?;
            worker.exit(3)
        }
        "answer requests" => {
            let _listener = worker.listen("127.0.0.1:0").await?;
            return super::answering::answer(&worker).await;
        }
        "never listen" => return std::future::pending().await,
        "serve the slot" | "serve the name" | "serve with an orphan" => {}
        "serve unless broken" => {
            if fs::exists(&arguments[2])? {
                process::exit(3);
            }
        }
        "hold connections" => return hold(&worker).await,
        "serve streams" => return streams(&worker).await,
        "serve streams by hand" => return streams_by_hand(&worker).await,
        "serve blocking tasks" => return tasks::serve_blocking(&worker).await,
        "serve tasks with sockets" => return tasks::serve_with_sockets(&worker).await,
        "serve tasks" => return tasks::serve(&worker).await,
        other => return Err(format!("there is no program {other:?}").into()),
    }
    let events = worker.clone();
    tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if matches!(event, WorkerEvent::Message { .. }) {
                process::abort();
            }
        }
    });
    let text = match arguments[1].as_str() {
        "serve the name" => env::var("NAME").unwrap_or("first".to_owned()),
        "serve with an orphan" => orphan()?,
        _ => worker.slot().ok_or("no slot")?.to_string(),
    };
    let mut listener = worker.listen("127.0.0.1:0").await?;
    while let Some(mut connection) = listener.accept().await? {
        connection.write_all(text.as_bytes()).await?;
    }
    Ok(())
}

/// Starts a process and ends its parent, so the process is an orphan. Returns the process id.
fn orphan() -> io::Result<String> {
    output(process::Command::new("sh").args(["-c", "sleep 1000 > /dev/null 2>&1 & echo $!"]))
}

/// Writes to each connection, and keeps the connection open.
async fn hold(worker: &Worker) -> Ended {
    let mut listener = worker.listen("127.0.0.1:0").await?;
    let mut held = Vec::new();
    while let Some(mut connection) = listener.accept().await? {
        connection.write_all(b"!").await?;
        held.push(connection);
    }
    Ok(())
}

/// Answers with the id of the worker and the body of the request when the body is complete. Never closes idle
/// connections.
async fn streams(worker: &Worker) -> Ended {
    let id = worker.id();
    let app = Router::new().route("/", post(move |body: String| async move { format!("{id} {body}") }));
    let listener = worker.listen("127.0.0.1:0").await?;
    Ok(::cluster::serve(worker, listener, app).close_idle_after(Duration::from_hours(1)).await?)
}

/// `streams`, in a hand-written loop.
async fn streams_by_hand(worker: &Worker) -> Ended {
    let id = worker.id();
    let app = Router::new().route("/", post(move |body: String| async move { format!("{id} {body}") }));
    let mut listener = worker.listen("127.0.0.1:0").await?;
    let mut connections = JoinSet::new();
    while let Some(connection) = listener.accept().await? {
        let (worker, app) = (worker.clone(), TowerToHyperService::new(app.clone()));
        connections.spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let served = builder.serve_connection(TokioIo::new(connection), app).into_owned();
            ::cluster::serve_connection(&worker, served, true).await
        });
    }
    connections.join_all().await;
    Ok(())
}
