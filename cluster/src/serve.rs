//! Serves an axum application in a worker without losing a request when the worker exits. Listeners are
//! opened elsewhere.

use std::convert::Infallible;
use std::future::{self, Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use std::{fmt, io};

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Version};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use cluster_core::SupervisorSettings;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::connection::Connection;
use crate::lame_duck::idle_time;
use crate::listener::Listener;
use crate::net::TcpStream;
use crate::serve_connection::serve_until;
use crate::transport::Transport;
use crate::worker::Worker;

/// Serves an application until the worker is disconnected. Returns without having lost a request.
///
/// A worker becomes a *lame duck* when the primary or the program ([`Worker::disconnect`]) requests the
/// disconnect, or when a supervisor announces the disconnect ([`Worker::became_lame_duck`]). A lame duck
/// accepts no new connection, and answers every request on an open connection with `Connection: close`, so
/// the clients reconnect to another worker. An HTTP/2 client receives GOAWAY; the open streams are answered,
/// and the connection is closed. After [`close_idle_after`](Serve::close_idle_after), idle connections are
/// closed. The future completes when the last request is answered, at most
/// [`drain_timeout`](Serve::drain_timeout) later. After the loss of the primary a worker drains in the same
/// way, within the [exit deadline](Worker::set_exit_deadline).
///
/// Under a supervisor, [`SupervisorSettings`] sets both times. A request that takes longer is cut off when
/// the process ends, and [`SupervisorEvent::Cut`](crate::SupervisorEvent::Cut) reports the number of open
/// connections.
///
/// As with every HTTP server, a client must repeat a request sent on an idle connection at the moment of the
/// close.
///
/// HTTP/2 is served with the feature `http2`.
///
/// Handlers can extract `ConnectInfo` with the address of the client: a [`SocketAddr`](std::net::SocketAddr)
/// for TCP.
///
/// ```no_run
/// # async fn program() -> Result<(), Box<dyn std::error::Error>> {
/// let worker = cluster::Worker::join()?;
/// let listener = worker.listen("127.0.0.1:8000").await?;
/// let app = axum::Router::new().route("/", axum::routing::get(|| async { "hello" }));
/// cluster::serve(&worker, listener, app).await?;
/// # Ok(()) }
/// ```
pub fn serve<T: Transport>(worker: &Worker, listener: Listener<T>, app: Router) -> Serve<T> {
    Serve { worker: worker.clone(), listener, app, close_idle_after: None, drain_timeout: None }
}

/// The future of [`serve`].
#[must_use = "nothing is served until the future is awaited"]
pub struct Serve<T: Transport = TcpStream> {
    worker: Worker,
    listener: Listener<T>,
    app: Router,
    close_idle_after: Option<Duration>,
    drain_timeout: Option<Duration>,
}

impl<T: Transport> Serve<T> {
    /// Sets the time between the start of the lame duck and the close of idle connections. By default, idle
    /// connections are closed when the supervisor disconnects the worker, but at the earliest after
    /// [`SupervisorSettings::LAME_DUCK`]. Choose a longer time than the pause of a busy client between two
    /// requests.
    pub fn close_idle_after(mut self, duration: Duration) -> Self {
        self.close_idle_after = Some(duration);
        self
    }

    /// Sets the time for open requests after the close of idle connections; a request that takes longer is
    /// cut off. Default: as long as the supervisor waits ([`SupervisorSettings::drain`] and
    /// [`SupervisorSettings::term`]); without a supervisor, [`SupervisorSettings::DRAIN`].
    pub fn drain_timeout(mut self, duration: Duration) -> Self {
        self.drain_timeout = Some(duration);
        self
    }

    async fn run(self) -> io::Result<()> {
        let Serve { worker, listener, app, close_idle_after, drain_timeout } = self;
        let is_lame = Arc::new(AtomicBool::new(false));
        let (drain, drains) = watch::channel(Drain::NotStarted);
        let app = close_when(app, is_lame.clone());
        let bound = async {
            worker.became_lame_duck().await;
            is_lame.store(true, Ordering::Relaxed);
            drain.send_replace(Drain::LameDuck);
            idle_time(&worker, close_idle_after).await;
            drain.send_replace(Drain::CloseIdle);
            match drain_timeout {
                Some(timeout) => sleep(timeout).await,
                None if worker.inner.is_announced() => future::pending().await,
                None => sleep(SupervisorSettings::DRAIN).await,
            }
        };
        let served = async {
            accept_all(listener, app, drains).await;
            // Each connection holds a receiver, so the sender is closed when the last connection has ended.
            drain.closed().await;
            Ok(())
        };
        within(served, bound).await
    }
}

/// The stages of the drain. Every connection observes each stage.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Drain {
    NotStarted,
    LameDuck,
    CloseIdle,
}

/// Waits until the drain has reached a stage. The drop of [`Serve`] counts as the last stage.
async fn reached(drain: &mut watch::Receiver<Drain>, stage: Drain) {
    let _ = drain.wait_for(|now| *now >= stage).await;
}

/// Accepts connections until the listener ends or idle connections are closed.
async fn accept_all<T: Transport>(mut listener: Listener<T>, app: Router, drain: watch::Receiver<Drain>) {
    let mut closing = drain.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept_with_client() => accepted,
            () = reached(&mut closing, Drain::CloseIdle) => None,
        };
        let Some((connection, client)) = accepted else { return };
        tokio::spawn(serve_connection(connection, client, app.clone(), drain.clone()));
    }
}

/// Serves a connection. A graceful shutdown of an idle HTTP/1 connection may lose a request sent at the same
/// moment, so the shutdown begins only with the close of idle connections. The shutdown of an HTTP/2
/// connection loses no request, and begins with the lame duck. The version is unknown before the first
/// request.
async fn serve_connection<T: Transport>(
    connection: Connection<T>,
    client: T::Client,
    app: Router,
    mut drain: watch::Receiver<Drain>,
) {
    let is_http2 = Arc::new(Notify::new());
    let service = with_client(app, client, is_http2.clone());
    let builder = builder();
    let served = builder.serve_connection_with_upgrades(TokioIo::new(connection), service);
    let close = async {
        reached(&mut drain, Drain::LameDuck).await;
        tokio::select! {
            () = is_http2.notified() => {}
            () = reached(&mut drain, Drain::CloseIdle) => {}
        }
    };
    if let Err(error) = serve_until(close, served, auto::UpgradeableConnection::graceful_shutdown).await {
        debug!(%error, "a connection has failed");
    }
}

/// Serves HTTP/1, and HTTP/2 if a feature of axum enables HTTP/2.
fn builder() -> auto::Builder<TokioExecutor> {
    #[cfg_attr(
        not(any(feature = "http2", feature = "simulated")),
        expect(unused_mut, reason = "only HTTP/2 has a setting")
    )]
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The date is that of the wall clock, which no simulated world has.
    #[cfg(feature = "simulated")]
    if crate::simulated::is_simulated() {
        builder.http1().auto_date_header(false);
    }
    // As in `axum::serve`: WebSocket over HTTP/2 needs the method CONNECT.
    #[cfg(feature = "http2")]
    builder.http2().enable_connect_protocol();
    builder
}

/// The application of one connection, with the address of the client for `ConnectInfo`. Each HTTP/2 request
/// notifies `is_http2`.
fn with_client<C: Clone + Send + Sync + 'static>(
    app: Router,
    client: C,
    is_http2: Arc<Notify>,
) -> impl Service<hyper::Request<Incoming>, Response = Response, Error = Infallible, Future: Send> {
    let app = TowerToHyperService::new(app);
    service_fn(move |mut request: hyper::Request<Incoming>| {
        if request.version() == Version::HTTP_2 {
            is_http2.notify_one();
        }
        request.extensions_mut().insert(ConnectInfo(client.clone()));
        app.call(request)
    })
}

/// Adds `Connection: close` to each answer once the worker is a lame duck, except in HTTP/2, where the header
/// does not exist.
fn close_when(app: Router, is_lame: Arc<AtomicBool>) -> Router {
    app.layer(from_fn(move |request: Request, next: Next| {
        let is_lame = is_lame.clone();
        async move {
            let has_header = request.version() < Version::HTTP_2;
            let mut response: Response = next.run(request).await;
            if has_header && is_lame.load(Ordering::Relaxed) {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }))
}

/// Waits until `served` or `bound` completes.
async fn within(
    served: impl Future<Output = io::Result<()>>,
    bound: impl Future<Output = ()>,
) -> io::Result<()> {
    let (mut served, mut bound) = (pin!(served), pin!(bound));
    future::poll_fn(|cx| {
        if let Poll::Ready(result) = served.as_mut().poll(cx) {
            return Poll::Ready(result);
        }
        bound.as_mut().poll(cx).map(|()| {
            warn!("requests were cut off: they took longer than the drain of this worker");
            Ok(())
        })
    })
    .await
}

impl<T: Transport> IntoFuture for Serve<T> {
    type Output = io::Result<()>;
    type IntoFuture = Pin<Box<dyn Future<Output = io::Result<()>> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<T: Transport> fmt::Debug for Serve<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Serve { worker: _, listener, app: _, close_idle_after, drain_timeout } = self;
        let local = listener.local();
        f.debug_struct("Serve")
            .field("listener", local)
            .field("close_idle_after", close_idle_after)
            .field("drain_timeout", drain_timeout)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Write};
    use std::net::SocketAddr;

    /// The head of the answer to a request on a new connection.
    fn head(address: SocketAddr) -> io::Result<String> {
        let mut client = std::net::TcpStream::connect(address)?;
        client.set_read_timeout(Some(Duration::from_secs(10)))?;
        client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")?;
        let lines = BufReader::new(client).lines().map_while(Result::ok);
        Ok(lines.take_while(|line| !line.is_empty()).map(|line| line.to_lowercase() + "\n").collect())
    }

    /// Only a lame duck closes connections after the answer.
    #[tokio::test]
    async fn lame_duck_closes_connections() {
        let is_lame = Arc::new(AtomicBool::new(false));
        let app = close_when(Router::new(), is_lame.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(axum::serve(listener, app).into_future());
        for lame in [false, true] {
            is_lame.store(lame, Ordering::Relaxed);
            let head = tokio::task::spawn_blocking(move || head(address)).await.expect("no panic");
            let head = head.expect("an answer");
            assert_eq!(head.contains("\nconnection: close\n"), lame, "{head}");
        }
        server.abort();
    }

    /// HTTP/2 does not have the header. Here a layer sets the version of each request to HTTP/2.
    #[tokio::test]
    async fn lame_duck_spares_http2() {
        let app = close_when(Router::new(), Arc::new(AtomicBool::new(true)));
        let app = app.layer(axum::middleware::map_request(async |mut request: Request| {
            *request.version_mut() = Version::HTTP_2;
            request
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let server = tokio::spawn(axum::serve(listener, app).into_future());
        let head = tokio::task::spawn_blocking(move || head(address)).await.expect("no panic");
        let head = head.expect("an answer");
        assert!(head.contains(" 404 ") && !head.contains("\nconnection:"), "{head}");
        server.abort();
    }

    /// The wait ends with the result of the server, or at the bound.
    #[tokio::test]
    async fn drain_bounds_served_requests() {
        let result = within(future::ready(Err(io::ErrorKind::Other.into())), future::pending()).await;
        assert_eq!(result.map_err(|error| error.kind()), Err(io::ErrorKind::Other));
        assert!(within(future::pending(), future::ready(())).await.is_ok());
    }
}
