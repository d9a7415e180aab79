//! The program of the workers: an axum server.

use std::process::ExitCode;
use std::{env, path::Path};

use axum::{Router, routing::get};
use cluster::Worker;
use tokio::net::TcpListener;

/// The variable that makes this program a server without a cluster.
pub(crate) const ALONE: &str = "SUPERVISED_ALONE";

/// The argument before a path. As long as a file exists at the path, a worker exits at its start.
pub(crate) const CRASH: &str = "--crash";

/// Whether this process is a server without a cluster.
pub(crate) fn runs_alone() -> bool {
    env::var_os(ALONE).is_some()
}

/// Serves without a cluster. Prints a line when the server listens.
pub(crate) async fn alone() -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    axum::serve(listener, app()).await?;
    Ok(ExitCode::SUCCESS)
}

/// Serves as a worker.
pub(crate) async fn worker() -> anyhow::Result<ExitCode> {
    let mut arguments = env::args_os();
    if arguments.any(|argument| argument == CRASH)
        && arguments.next().is_some_and(|path| Path::new(&path).exists())
    {
        return Ok(ExitCode::FAILURE);
    }
    let worker = Worker::join()?;
    let listener = worker.listen("127.0.0.1:0").await?;
    cluster::serve(&worker, listener, app()).await?;
    Ok(ExitCode::SUCCESS)
}

fn app() -> Router {
    Router::new().route("/", get(async || "hello"))
}
