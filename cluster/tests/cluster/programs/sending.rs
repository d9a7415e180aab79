//! Workers that send many bytes and then end, each in another way.

use std::net::TcpStream;
use std::time::Duration;
use std::{env, io, process};

use ::cluster::{ListenError, Message, Primary, Settings, Worker, WorkerEvent};
use serde_json::json;

use super::{Ended, accept};

/// The number of pieces: more than a channel and a queue hold.
pub(crate) const PIECES: usize = 18;

/// A piece, in bytes.
pub(crate) const PIECE: usize = 1 << 20;

/// Waits until the primary accepts the connection. The worker reads nothing meanwhile.
fn wait_for_primary() -> io::Result<TcpStream> {
    TcpStream::connect(env::var("ADDRESS").map_err(io::Error::other)?)
}

/// Sends more than the kernel takes, and ends while the primary reads nothing.
pub(super) async fn and_end(worker: Worker) -> Ended {
    if env::var("WHAT")? == "one" {
        worker.send("x".repeat(PIECE))?;
    } else {
        for number in 0..5000 {
            worker.send(json!({ "number": number, "filling": "x".repeat(90) }))?;
        }
    }
    let how = env::var("HOW")?;
    if how == "flush" {
        let flushed = worker.flush();
        wait_for_primary()?;
        flushed.await?;
        process::exit(0);
    }
    wait_for_primary()?;
    match how.as_str() {
        "exit" => worker.exit(0),
        "kill" => worker.kill(),
        "disconnect" => worker.disconnect(),
        "return" => return Ok(()),
        other => return Err(format!("nothing ends by {other}").into()),
    }
    std::future::pending().await
}

/// Counts the messages until the primary has exited, and sends the count over another connection.
pub(super) async fn counted(worker: Worker) -> Ended {
    let mut count = 0;
    while let Some(event) = worker.next().await {
        match event {
            WorkerEvent::Message { .. } => count += 1,
            WorkerEvent::Error(error) => return Err(error.into()),
            WorkerEvent::Disconnect => {
                io::Write::write_all(&mut wait_for_primary()?, format!("{count}").as_bytes())?;
            }
            other => return Err(format!("{other:?}").into()),
        }
    }
    Ok(())
}

/// Starts a worker, sends many bytes to it, and returns.
pub(super) fn lead() -> Ended {
    let mut primary = Primary::new(Settings::default())?;
    let worker = primary.fork_with_env([("PROGRAM", "count all")])?;
    primary.send(worker, "x".repeat(PIECE))?;
    for number in 0..4999 {
        primary.send(worker, json!({ "number": number, "filling": "x".repeat(90) }))?;
    }
    Ok(())
}

/// Sends more than fits, while the primary does the same, and receives only afterwards.
pub(super) async fn flood(worker: Worker) -> Ended {
    let piece = Message::from("x".repeat(PIECE));
    for _ in 0..PIECES {
        worker.send_when_room(piece.clone()).await?;
    }
    let mut got = 0;
    while got < PIECES {
        match worker.next().await {
            Some(WorkerEvent::Message { .. }) => got += 1,
            other => return Err(format!("{other:?}").into()),
        }
    }
    worker.send(json!({ "got": got }))?;
    while worker.next().await.is_some() {}
    Ok(())
}

/// Calls `listen` after the close of the channel.
pub(super) async fn listen_late(worker: Worker) -> Ended {
    worker.keep_running();
    worker.disconnected().await;
    let late = worker.listen("127.0.0.1:0").await;
    let is_error = matches!(late, Err(ListenError::Disconnected));
    let alone = worker.listen_with(exclusive()).await;
    io::Write::write_all(&mut wait_for_primary()?, format!("{is_error}, {}", alone.is_ok()).as_bytes())?;
    Ok(())
}

fn exclusive() -> ::cluster::ListenOptions {
    ::cluster::ListenOptions { exclusive: true, ..::cluster::ListenOptions::default() }
}

/// Sends a report after the end of the last connection.
pub(super) async fn report(worker: Worker) -> Ended {
    let hold = worker.hold();
    let mut listener = worker.listen("127.0.0.1:0").await?;
    let connection = accept(&mut listener).await?;
    worker.send("accepted")?;
    worker.disconnecting().await;
    drop(connection);
    listener.close().await;
    // Without the guard, the channel would close before this statement.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    worker.send("last report")?;
    drop(hold);
    std::future::pending().await
}

/// Exits without waiting for a primary that does not read.
pub(super) fn exit_in_vain(worker: &Worker) -> Ended {
    worker.set_linger(Duration::from_millis(10));
    worker.send("x".repeat(PIECE))?;
    worker.exit(5)
}
