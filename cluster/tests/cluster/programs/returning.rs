//! Workers that end when `main` returns. Each worker first connects to ADDRESS. A destructor writes to this
//! connection.

use std::env;
use std::future::{pending, ready};
use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use ::cluster::{ClientAddr, Worker, WorkerEvent};
use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::map_request;
use axum::routing::get;
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use super::Ended;

/// The destructor writes `dropped`.
struct Witness(TcpStream);

impl Drop for Witness {
    fn drop(&mut self) {
        self.0.write_all(b"dropped").expect("the test reads");
    }
}

pub(super) async fn run(worker: Worker, program: &str) -> Ended {
    let _witness = Witness(TcpStream::connect(env::var("ADDRESS")?)?);
    match program {
        "serve" => serve(&worker).await,
        "serve and report" => {
            let _hold = worker.hold();
            serve(&worker).await?;
            worker.send(json!("last report"))?;
            Ok(())
        }
        "disconnect and serve" => {
            worker.disconnect();
            serve(&worker).await
        }
        "take events" => {
            while let Some(event) = worker.next().await {
                drop(event);
            }
            Ok(())
        }
        "take events of the stream" => stream(&worker).await,
        "receive datagrams" => {
            let socket = worker.bind_udp("127.0.0.1:0").await?;
            worker.send(json!("bound"))?;
            while socket.recv_from(&mut [0]).await?.is_some() {}
            Ok(())
        }
        "serve an application" => serve_application(&worker).await,
        "serve with times" => serve_with_times(&worker).await,
        "never return" => {
            worker.set_exit_deadline(Duration::from_millis(10));
            worker.send(json!("ready"))?;
            pending().await
        }
        "block the runtime" => {
            worker.set_exit_deadline(Duration::from_millis(10));
            worker.send(json!("ready"))?;
            worker.disconnected().await;
            thread::park();
            Ok(())
        }
        "block the runtime at once" => {
            worker.set_exit_deadline(Duration::from_millis(10));
            worker.send(json!("ready"))?;
            thread::park();
            Ok(())
        }
        "keep running" => {
            worker.set_exit_deadline(Duration::ZERO);
            worker.keep_running();
            worker.send(json!("ready"))?;
            worker.disconnected().await;
            // Gives a wrong exit enough time to happen.
            thread::sleep(Duration::from_millis(50));
            Ok(())
        }
        other => Err(format!("there is no program {other:?}").into()),
    }
}

async fn serve(worker: &Worker) -> Ended {
    match worker.listen("127.0.0.1:0").await {
        Ok(mut listener) => {
            while let Some(mut connection) = listener.accept().await? {
                connection.write_all(worker.id().to_string().as_bytes()).await?;
            }
            Ok(())
        }
        Err(::cluster::ListenError::Disconnected) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn stream(worker: &Worker) -> Ended {
    use futures_core::Stream;
    let mut events = std::pin::pin!(worker.events());
    while let Some(event) = std::future::poll_fn(|cx| events.as_mut().poll_next(cx)).await {
        if let WorkerEvent::Message { message, .. } = event {
            worker.send(&message)?;
        }
    }
    Ok(())
}

/// Answers with the address of the client, with `axum::serve` itself.
async fn serve_application(worker: &Worker) -> Ended {
    let client = |ConnectInfo(ClientAddr(client)): ConnectInfo<ClientAddr>| async move { client.to_string() };
    let app = Router::new().route("/", get(client)).into_make_service_with_connect_info::<ClientAddr>();
    let listener = worker.listen("127.0.0.1:0").await?;
    Ok(axum::serve(listener, app).with_graceful_shutdown(worker.disconnecting()).await?)
}

/// Serves with a clock that advances automatically. Reports the seconds from the start of the lame duck to
/// the end.
async fn serve_with_times(worker: &Worker) -> Ended {
    let _hold = worker.hold();
    let reporting = worker.clone();
    let app = Router::new().route("/", get(async || ())).route("/pending", get(pending::<()>));
    let app = app.layer(map_request(move |request: Request| {
        ready(reporting.send(json!("requested")).map(|_| request).map_err(|error| error.to_string()))
    }));
    let listener = worker.listen("127.0.0.1:0").await?;
    tokio::time::pause();
    let lame = worker.became_lame_duck();
    let start = tokio::spawn(async move {
        lame.await;
        Instant::now()
    });
    assert!(!worker.is_lame_duck());
    let (idle, open) = (Duration::from_secs(5), Duration::from_secs(7));
    ::cluster::serve(worker, listener, app).close_idle_after(idle).drain_timeout(open).await?;
    assert!(worker.is_lame_duck());
    worker.send(json!(start.await?.elapsed().as_secs()))?;
    Ok(())
}
