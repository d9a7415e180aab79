//! The endpoints for machines, over HTTP: `/metrics`, `/healthz` and `/readyz`.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::accept::accept;
use crate::options::Options;
use crate::service::Service;

/// The interval of the memory samples for `max-rss`.
const SAMPLES: Duration = Duration::from_secs(1);

/// The largest number of open connections.
const CONNECTIONS: usize = 16;

/// How long a connection may take for the request and the answer.
const CONNECTION_TIME: Duration = Duration::from_secs(10);

/// The media type of Prometheus.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Starts the endpoints on a socket, and the samples of memory for `max-rss`. Both run until the process
/// ends.
pub(crate) fn start(socket: Option<TcpListener>, options: &Options, service: &Arc<Service>) {
    if let Some(socket) = socket {
        tokio::spawn(serve(socket, routes(service.clone())));
    }
    if options.max_rss.is_some() {
        tokio::spawn(sample(service.clone()));
    }
}

/// Binds the address for the endpoints.
///
/// # Errors
/// The address cannot be bound.
pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    let listener = bound.with_context(|| format!("cannot listen on {address} for `metrics`"))?;
    tracing::info!("metrics and health checks on http://{}/metrics", listener.local_addr()?);
    Ok(listener)
}

fn routes(service: Arc<Service>) -> Router {
    let routes = Router::new().route("/metrics", get(metrics));
    routes.route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(service)
}

/// Answers until the future is dropped. Beyond `CONNECTIONS` the oldest connection is closed: idle peers
/// cannot block a new peer.
async fn serve(listener: TcpListener, routes: Router) {
    let mut open = VecDeque::new();
    let start = |(stream, _)| {
        open.retain(|connection: &AbortHandle| !connection.is_finished());
        if open.len() >= CONNECTIONS
            && let Some(oldest) = open.pop_front()
        {
            oldest.abort();
        }
        open.push_back(tokio::spawn(answer(stream, routes.clone())).abort_handle());
    };
    accept("the address of metrics and health checks", |cx| listener.poll_accept(cx), start).await;
}

/// Answers a single request.
async fn answer(stream: TcpStream, routes: Router) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // Fails if the peer is slow, has disconnected, or has sent no HTTP.
    let _ = timeout(CONNECTION_TIME, connection).await;
}

async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    match service.metrics().await {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

/// An answer proves that the primary runs.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether a worker is ready. During a shutdown the answer is no: a load balancer then chooses another
/// service.
async fn readyz(State(service): State<Arc<Service>>) -> (StatusCode, &'static str) {
    if service.is_ready().await {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no worker is ready\n")
    }
}

/// Reports the memory of the workers to the supervisor, until the future is dropped.
async fn sample(service: Arc<Service>) {
    loop {
        tokio::time::sleep(SAMPLES).await;
        if service.report_memory().await.is_err() {
            return;
        }
    }
}
