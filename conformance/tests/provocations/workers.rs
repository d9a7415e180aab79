//! The programs of the workers.

use std::error::Error;
use std::io::IoSlice;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::{env, future, io};

use cluster::{Event, Listener, Primary, Settings, Signal, Worker, WorkerError};
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::{Uid, setuid};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{self, FdExhaustion, connect, fork, port, read_answer, until};

type Ended = Result<(), Box<dyn Error>>;

pub(crate) fn run() -> ExitCode {
    match support::runtime().map_err(Into::into).and_then(|runtime| runtime.block_on(program())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn program() -> Ended {
    let worker = Worker::join_as_node()?;
    match env::var("PROGRAM")?.as_str() {
        "serve" => serve(&worker, listen(&worker).await?).await,
        "exhaust descriptors, then serve" => exhaust_fds(&worker).await,
        "greet, and report the end" => greet(&worker).await,
        "start one process too many" => one_too_many(&worker).await,
        "hand off too much" => too_much(&worker).await,
        "kill a worker of another user" => forbidden_kill(&worker).await,
        other => Err(format!("there is no program {other:?}").into()),
    }
}

async fn listen(worker: &Worker) -> Result<Listener, Box<dyn Error>> {
    let address = env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:0".into());
    match worker.listen(address).await {
        Ok(listener) => Ok(listener),
        Err(error) => {
            worker.send(json!(error.to_string()))?;
            future::pending().await
        }
    }
}

/// Writes the worker's id, and closes.
async fn serve(worker: &Worker, mut listener: Listener) -> Ended {
    while let Some(mut connection) = listener.accept().await? {
        connection.write_all(worker.id().to_string().as_bytes()).await?;
    }
    Ok(())
}

async fn exhaust_fds(worker: &Worker) -> Ended {
    let listener = listen(worker).await?;
    let _exhaustion = FdExhaustion::new()?;
    worker.send(json!("exhausted"))?;
    serve(worker, listener).await
}

/// Greets each client, and reports the end of each connection to the primary.
async fn greet(worker: &Worker) -> Ended {
    let mut listener = listen(worker).await?;
    while let Some(mut connection) = listener.accept().await? {
        let ended = async {
            connection.write_all(b"hello").await?;
            worker.send(json!("greeted")).map_err(io::Error::other)?;
            connection.read_to_end(&mut Vec::new()).await
        };
        let end = ended.await.map_or_else(|error| format!("{:?}", error.kind()), |_| "end".to_owned());
        worker.send(json!(end))?;
    }
    Ok(())
}

/// Starts a cluster as a user with a limit of zero processes. Not as root, which has no limit.
async fn one_too_many(worker: &Worker) -> Ended {
    if Uid::effective().is_root() {
        setuid(Uid::from_raw(65_534))?;
    }
    setrlimit(Resource::RLIMIT_NPROC, 0, 0)?;
    let mut primary = Primary::new(Settings::default())?;
    primary.fork()?;
    while let Some(event) = primary.next().await {
        if let Event::Error { error, .. } = event {
            worker.send(json!(format!("{error:?}")))?;
        }
    }
    future::pending().await
}

/// The number of clients that wait as long as no descriptor can be sent.
pub(crate) const CLIENTS: usize = 8;

/// The limit of open descriptors of a process. The kernel applies the same limit to the descriptors that a
/// user has in flight.
const DESCRIPTORS: rlim_t = 100;

/// Starts a cluster as a user with too many descriptors in flight for a while. Not as root, which has no
/// limit.
async fn too_much(worker: &Worker) -> Ended {
    let mut primary = Primary::new(Settings::default())?;
    for _ in 0..2 {
        fork(&mut primary, "serve");
    }
    let mut number = 0;
    for _ in 0..2 {
        number = port(&mut primary).await.map_err(|_| "a worker does not listen")?;
    }
    if Uid::effective().is_root() {
        // No other process runs as this user.
        setuid(Uid::from_raw(54_321))?;
    }
    setrlimit(Resource::RLIMIT_NOFILE, DESCRIPTORS, DESCRIPTORS)?;
    let in_flight = UnixStream::pair()?;
    let many = vec![in_flight.0.as_raw_fd(); usize::try_from(DESCRIPTORS)? + 1];
    let control = [ControlMessage::ScmRights(&many)];
    sendmsg::<()>(in_flight.0.as_raw_fd(), &[IoSlice::new(b"x")], &control, MsgFlags::empty(), None)?;
    let clients = (0..CLIENTS).map(|_| connect(number)).collect::<Result<Vec<_>, _>>()?;
    let failed = until(&mut primary, |event| matches!(event, Event::Error { .. })).await;
    let failed = failed.map_err(|_| "no write has failed")?.pop();
    drop(in_flight);
    let mut served = 0;
    for client in clients {
        let answer = read_answer(&mut primary, client).await.map_err(|_| "a client was not served")?;
        served += usize::from(["1", "2"].contains(&answer.as_str()));
    }
    let error = match failed {
        Some(Event::Error { error: WorkerError::Delayed(errno), .. }) => errno.to_string(),
        other => format!("{other:?}"),
    };
    worker.send(json!([error, served]))?;
    future::pending().await
}

/// Starts a worker as root, kills the worker as another user, and reports the error and an answer of the
/// worker.
async fn forbidden_kill(worker: &Worker) -> Ended {
    let mut primary = Primary::new(Settings::default())?;
    let other = fork(&mut primary, "serve");
    let number = port(&mut primary).await.map_err(|_| "the worker does not listen")?;
    setuid(Uid::from_raw(65_534))?;
    primary.kill(other, Signal::SIGKILL);
    let failed = until(&mut primary, |event| matches!(event, Event::Error { .. })).await;
    let error = match failed.map_err(|_| "the signal was sent")?.pop() {
        Some(Event::Error { error, .. }) => format!("{error:?}"),
        other => format!("{other:?}"),
    };
    let answer =
        read_answer(&mut primary, connect(number)?).await.map_err(|_| "the client was not served")?;
    worker.send(json!([error, answer]))?;
    future::pending().await
}
