//! A WebSocket server on every core, which returns each message to the sender. Before a worker exits, every
//! client receives a close frame and can reconnect to another worker.
//!
//! `cargo run -p cluster-services --bin websocket -- 127.0.0.1:8000`

use std::env;

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::{Router, routing::any};
use cluster::{Role, Supervisor, SupervisorSettings, Worker};
use tokio_util::task::TaskTracker;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match cluster::role()? {
        Role::Primary => Ok(Supervisor::new(SupervisorSettings::new(cluster::cores()))?.run().await?),
        Role::Worker => worker().await,
    }
}

async fn worker() -> anyhow::Result<()> {
    let worker = Worker::join()?;
    let listener = worker.listen(env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into())).await?;
    println!("worker {} serves ws://{}/", worker.id(), listener.local_addr());
    let (sockets, sender) = (TaskTracker::new(), worker.clone());
    let tracker = sockets.clone();
    let upgrade = async move |upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(move |socket| tracker.track_future(echo(socket, sender)))
    };
    cluster::serve(&worker, listener, Router::new().route("/", any(upgrade))).await?;
    sockets.close();
    sockets.wait().await;
    Ok(())
}

/// Returns each message. Closes the connection when the worker becomes a lame duck.
async fn echo(mut socket: WebSocket, worker: Worker) {
    let going_away = CloseFrame { code: close_code::AWAY, reason: "the server restarts".into() };
    loop {
        tokio::select! {
            received = socket.recv() => match received {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                    if socket.send(message).await.is_err() {
                        return;
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            () = worker.became_lame_duck() => break,
        }
    }
    // The client answers with a close frame. Messages before the close frame are still returned.
    if socket.send(Message::Close(Some(going_away))).await.is_ok() {
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Close(_)) {
                return;
            }
        }
    }
}
