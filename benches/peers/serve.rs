//! The servers in Rust. Each reads, answers and closes, except for the servers with axum.

use std::io::stdin;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::{env, iter};

use anyhow::{Context, bail};
use axum::{Router, routing::get};
use cluster::{Primary, Role, SchedulingPolicy, Settings, Worker};
use cluster_benches::policies;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Builder;

use super::{HOST, PORT};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello";

/// Runs the server with this name, a policy or one of the names below, until the process is killed.
pub(crate) fn serve(name: &str, workers: u32) -> anyhow::Result<()> {
    let port = env::var(PORT).context("no port")?.parse()?;
    let threads = match name {
        "threads" => Builder::new_multi_thread().worker_threads(workers as usize).enable_all().build()?,
        _ => Builder::new_current_thread().enable_all().build()?,
    };
    threads.block_on(run(name, workers, port))
}

async fn run(name: &str, workers: u32, port: u16) -> anyhow::Result<()> {
    match name {
        "single" | "threads" => accept(TcpListener::bind((HOST, port)).await?).await,
        "axum" => Ok(axum::serve(TcpListener::bind((HOST, port)).await?, app()).await?),
        "by-hand" => by_hand(workers, port),
        "by-hand-worker" => {
            let listener = std::net::TcpListener::from(stdin().as_fd().try_clone_to_owned()?);
            accept(TcpListener::from_std(listener)?).await
        }
        "reuseport" => reuseport(workers),
        "reuseport-worker" => accept(reusable(port)?.listen(1024)?).await,
        "axum-round-robin" => cluster(SchedulingPolicy::RoundRobin, workers, port, true).await,
        name => match policies::named(name) {
            Some(policy) => cluster(policy.setting, workers, port, false).await,
            None => bail!("no server has the name {name}"),
        },
    }
}

async fn accept(listener: TcpListener) -> anyhow::Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        tokio::spawn(async move { answer(&mut stream).await });
    }
}

/// Serves one client. Ignores the errors of the connection.
async fn answer(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    let mut request = [0; 1024];
    if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
        let _ = stream.write_all(ANSWER).await;
        let _ = stream.shutdown().await;
    }
}

fn app() -> Router {
    Router::new().route("/", get(async || "hello"))
}

// ---- this library

async fn cluster(policy: SchedulingPolicy, workers: u32, port: u16, has_axum: bool) -> anyhow::Result<()> {
    if cluster::role()? == Role::Primary {
        let mut primary = Primary::new(Settings { policy, ..Settings::default() })?;
        for _ in 0..workers {
            primary.fork()?;
        }
        while primary.next().await.is_some() {}
        return Ok(());
    }
    let worker = Worker::join()?;
    let mut listener = worker.listen((HOST, port)).await?;
    if has_axum {
        return Ok(cluster::serve(&worker, listener, app()).await?);
    }
    while let Some(mut connection) = listener.accept().await? {
        tokio::spawn(async move { answer(&mut connection).await });
    }
    Ok(())
}

// ---- processes by hand

/// Binds, and starts processes with the socket as their standard input.
fn by_hand(workers: u32, port: u16) -> anyhow::Result<()> {
    let listener = std::net::TcpListener::bind((HOST, port))?;
    listener.set_nonblocking(true)?;
    let start = || fork("by-hand-worker", Stdio::from(listener.as_fd().try_clone_to_owned()?));
    wait(iter::repeat_with(start).take(workers as usize).collect())
}

/// Starts processes that bind the same port with `SO_REUSEPORT`.
fn reuseport(workers: u32) -> anyhow::Result<()> {
    let start = || fork("reuseport-worker", Stdio::null());
    wait(iter::repeat_with(start).take(workers as usize).collect())
}

fn reusable(port: u16) -> anyhow::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind((HOST, port).into())?;
    Ok(socket)
}

fn fork(name: &str, input: Stdio) -> anyhow::Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    Ok(command.args(["peers", "--serve", name]).stdin(input).spawn()?)
}

fn wait(workers: anyhow::Result<Vec<Child>>) -> anyhow::Result<()> {
    for mut worker in workers? {
        worker.wait()?;
    }
    Ok(())
}
