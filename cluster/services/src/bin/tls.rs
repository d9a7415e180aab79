//! HTTPS on every core. The workers have the key; the primary hands off connections without reading a byte. A
//! hand-written loop replaces `cluster::serve`.
//!
//! `cargo run -p cluster-services --bin tls -- 127.0.0.1:8443 certificate.pem key.pem`, and then:
//! `curl --cacert certificate.pem https://localhost:8443/`. To make both files:
//! `openssl req -x509 -newkey ed25519 -nodes -keyout key.pem -out certificate.pem -subj /CN=localhost -addext subjectAltName=DNS:localhost`

use std::env;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use axum::{Router, middleware, routing::get};
use cluster::{Connection, Role, Supervisor, SupervisorSettings, Worker};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::{conn::auto, graceful::GracefulShutdown};
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto::ring};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// The longest TLS handshake of a client.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The time between the first answer with `Connection: close` and the close of idle connections.
const CLOSE_IDLE_AFTER: Duration = Duration::from_secs(1);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match cluster::role()? {
        Role::Primary => Ok(Supervisor::new(SupervisorSettings::new(cluster::cores()))?.run().await?),
        Role::Worker => worker().await,
    }
}

async fn worker() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let mut argument = || arguments.next().context("the arguments are an address, a certificate and a key");
    let (address, acceptor) = (argument()?, acceptor(&argument()?, &argument()?)?);
    let worker = Worker::join()?;
    let mut listener = worker.listen(address).await?;
    println!("worker {} serves https://{}/", worker.id(), listener.local_addr());
    let (connections, app) = (GracefulShutdown::new(), app(&worker));
    let lame_duck = async {
        worker.became_lame_duck().await;
        sleep(CLOSE_IDLE_AFTER).await;
    };
    tokio::pin!(lame_duck);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(Some(connection)) => serve(acceptor.clone(), connection, app.clone(), &connections),
                Ok(None) => break,
                Err(error) => eprintln!("a connection is lost: {error}"),
            },
            () = &mut lame_duck => break,
        }
    }
    // Idle connections are closed, HTTP/2 connections receive GOAWAY, open requests are answered.
    connections.shutdown().await;
    Ok(())
}

fn app(worker: &Worker) -> Router {
    Router::new()
        .route("/", get(async || "hello\n"))
        .layer(middleware::map_response_with_state(worker.clone(), close_connection))
}

/// A lame duck asks clients to reconnect. HTTP/2 has no header for the request, and hyper removes the header from
/// HTTP/2 answers.
async fn close_connection(State(worker): State<Worker>, mut response: Response) -> Response {
    if worker.is_lame_duck() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Serves one connection in a task.
fn serve(acceptor: TlsAcceptor, connection: Connection, app: Router, connections: &GracefulShutdown) {
    let watcher = connections.watcher();
    tokio::spawn(async move {
        let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(connection)).await else { return };
        let builder = auto::Builder::new(TokioExecutor::new());
        let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
        if let Err(error) = watcher.watch(served).await {
            eprintln!("a connection has ended: {error}");
        }
    });
}

fn acceptor(certificate: &str, key: &str) -> anyhow::Result<TlsAcceptor> {
    let certificates = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("`{certificate}` holds no certificate"))?;
    let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("`{key}` holds no key"))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".into(), b"http/1.1".into()];
    Ok(Arc::new(config).into())
}
