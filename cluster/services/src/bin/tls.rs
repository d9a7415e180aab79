//! HTTPS on every core. Only the workers have the key: the primary hands off connections without reading a
//! byte. A hand-written loop replaces `cluster::serve`.
//!
//! `cargo run -p cluster-services --bin tls -- 127.0.0.1:8443 certificate.pem key.pem`, and then: `curl
//! --cacert certificate.pem https://localhost:8443/`.
//!
//! To make both files: `openssl req -x509 -newkey ed25519 -nodes -keyout key.pem -out certificate.pem -subj
//! /CN=localhost -addext subjectAltName=DNS:localhost`

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
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, crypto::ring};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

/// The longest time for the TLS handshake of a client.
const HANDSHAKE: Duration = Duration::from_secs(10);

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
    let (app, connections) = (app(&worker), TaskTracker::new());
    loop {
        match listener.accept().await {
            Ok(Some(connection)) => {
                connections.spawn(serve(worker.clone(), acceptor.clone(), connection, app.clone()));
            }
            Ok(None) => break,
            Err(error) => eprintln!("a connection is lost: {error}"),
        }
    }
    connections.close();
    connections.wait().await;
    Ok(())
}

fn app(worker: &Worker) -> Router {
    Router::new()
        .route("/", get(async || "hello\n").post(async |body: String| body))
        .layer(middleware::map_response_with_state(worker.clone(), close_connection))
}

/// Asks clients to reconnect while the worker is a lame duck. The header `Connection` does not exist in
/// HTTP/2, and hyper removes it from HTTP/2 answers.
async fn close_connection(State(worker): State<Worker>, mut response: Response) -> Response {
    if worker.is_lame_duck() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Serves one connection. When the lame duck starts, an HTTP/2 client receives GOAWAY, and open streams are
/// still answered. Idle HTTP/1 connections are closed later.
async fn serve(worker: Worker, acceptor: TlsAcceptor, connection: Connection, app: Router) {
    let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(connection)).await else { return };
    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let builder = auto::Builder::new(TokioExecutor::new());
    let served = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(app));
    if let Err(error) = cluster::serve_connection(&worker, served, is_http2).await {
        eprintln!("a connection has ended: {error}");
    }
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
