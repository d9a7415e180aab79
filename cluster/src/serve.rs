//! An axum application in a worker, served so that a worker that exits loses no request. It opens no listener.

use std::future::{self, Future, IntoFuture};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use std::{fmt, io};

use axum::Router;
use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, Version};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::serve::ListenerExt;
use tokio::net::TcpStream;
use tokio::time::sleep;
use tracing::warn;

use crate::listener::Listener;
use crate::transport::Transport;
use crate::worker::Worker;

/// How long an exiting worker answers with `Connection: close` before it closes idle connections.
const LAME_DUCK: Duration = Duration::from_secs(1);

/// How long a request may take after that.
const DRAIN: Duration = Duration::from_secs(30);

/// Serves an application until the worker is asked to exit, or [disconnects](Worker::disconnect) itself, and then loses no
/// request: the worker becomes a *lame duck*, which gets no new connection and answers every request on an open one with
/// `Connection: close`, so that its clients reconnect to another worker. After [`lame_duck`](Serve::lame_duck) it closes idle
/// connections, and completes when the last request is answered, at most [`drain`](Serve::drain) later.
///
/// A client that is idle for longer than `lame_duck` and sends a request in the moment in which its connection closes has
/// to repeat it, as with every HTTP server.
///
/// Handlers can extract `ConnectInfo` with the client's address: a [`SocketAddr`](std::net::SocketAddr) for TCP.
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
    Serve { worker: worker.clone(), listener, app, lame_duck: LAME_DUCK, drain: DRAIN }
}

/// What [`serve`] returns: it serves while it is awaited.
#[must_use = "nothing is served until it is awaited"]
pub struct Serve<T: Transport = TcpStream> {
    worker: Worker,
    listener: Listener<T>,
    app: Router,
    lame_duck: Duration,
    drain: Duration,
}

impl<T: Transport> Serve<T> {
    /// How long the worker answers with `Connection: close` before it closes idle connections. 1 s unless it is set: longer
    /// than busy clients pause between two requests.
    pub fn lame_duck(mut self, duration: Duration) -> Self {
        self.lame_duck = duration;
        self
    }

    /// How long requests may take after that; those that take longer are cut off. 30 s unless it is set.
    pub fn drain(mut self, duration: Duration) -> Self {
        self.drain = duration;
        self
    }

    async fn run(self) -> io::Result<()> {
        let Serve { worker, listener, app, lame_duck, drain } = self;
        let is_lame = Arc::new(AtomicBool::new(false));
        let app = close_when(app, is_lame.clone()).into_make_service_with_connect_info::<T::Client>();
        let disconnecting = worker.disconnecting();
        let closing = async move {
            disconnecting.await;
            is_lame.store(true, Ordering::Relaxed);
            sleep(lame_duck).await;
        };
        let bound = async move {
            worker.disconnecting().await;
            sleep(lame_duck.saturating_add(drain)).await;
        };
        // Only through `tap_io` does axum pass an application the client of another crate's listener.
        let served = axum::serve(listener.tap_io(|_| ()), app).with_graceful_shutdown(closing);
        within(served.into_future(), bound).await
    }
}

/// Adds `Connection: close` to each answer once the worker is a lame duck. HTTP/2 has no such header.
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

/// Waits for an end of serving, and no longer than the bound.
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
            warn!("requests were cut off: they took longer than the drain of an exiting worker");
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
        let Serve { worker: _, listener, app: _, lame_duck, drain } = self;
        let place = listener.place();
        f.debug_struct("Serve")
            .field("listener", place)
            .field("lame_duck", lame_duck)
            .field("drain", drain)
            .finish()
    }
}
