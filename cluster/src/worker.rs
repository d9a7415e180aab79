//! A worker from the program's side: joining, messages, and the end. `worker/listening.rs` opens listeners,
//! and the task in `driver.rs` drives the worker.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cluster_core::{Errno, Limits, Message, SLOT_VARIABLE, SendError, Sent, SlotId, WorkerId};
use futures_core::Stream;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;

use crate::driver::{ExitRule, Inner, Phase};
use crate::error::{JoinError, NoRuntime, RequestError};
use crate::event::WorkerEvent;
use crate::role::origin;
#[cfg(feature = "simulated")]
use crate::simulated;
use crate::socket::{NotSent, Socket};
#[cfg(feature = "simulated")]
use crate::system::{Held, System};
use crate::unix::{Unix, signals};

mod listening;
mod serve_tasks;

/// A worker of a cluster. Node: `cluster.worker` in a worker process. Clones are cheap and denote the same
/// worker.
///
/// A task of the runtime drives the channel. On a current-thread runtime, the program reacts to an event, up
/// to the next `await`, before the next event is handled; on a multi-threaded runtime the two race.
///
/// # The end
///
/// **A worker ends when `main` returns**, so destructors run: logs, traces and pools are flushed. When the
/// primary, or a call of [`disconnect`](Worker::disconnect), asks the worker to disconnect, the listeners
/// take no new connection. When the last connection has ended, [`accept`](crate::Listener::accept) returns
/// `None` and `serve` returns; then `main` should return. The rest of the disconnect happens while the
/// runtime is dropped.
///
/// When the primary is *lost*, because the primary has died, or has closed the channel without a request,
/// `accept` and [`next`](Worker::next) return `None` at once. Only in this case the library ends the process:
/// if `main` has not returned five seconds later ([`set_exit_deadline`](Worker::set_exit_deadline)), the
/// process exits with code 1, without destructors. [`keep_running`](Worker::keep_running) turns this safety
/// net off.
///
/// Node's rule differs: a worker exits with code 0 as soon as the channel is closed.
/// [`join_as_node`](Worker::join_as_node) selects Node's rule.
///
/// Every message accepted by [`send`](Worker::send) is written before the end: when `main` returns, by
/// [`kill`](Worker::kill) and by [`exit`](Worker::exit). If the primary does not read, the end waits at most
/// [`set_linger`](Worker::set_linger). Messages without room in the kernel are lost if the process ends in
/// another way: by [`std::process::exit`], by a signal, by a panic that aborts, with a runtime that is never
/// dropped, or with [`Runtime::shutdown_background`](tokio::runtime::Runtime::shutdown_background) of a
/// multi-threaded runtime. Before such an end, call [`flush`](Worker::flush). A clone that remains after the
/// runtime, in a `static` or a thread, can still send: the call returns when the message is written.
#[derive(Debug, Clone)]
pub struct Worker {
    pub(crate) inner: Arc<Inner>,
}

impl Worker {
    /// Joins this process to the cluster. Node joins before the first line of a program.
    ///
    /// # Errors
    /// This process is not a worker, has joined before, or the caller is outside a tokio runtime.
    pub fn join() -> Result<Self, JoinError> {
        Worker::join_under(ExitRule::Return)
    }

    /// As [`join`](Worker::join), but the process ends by Node's rule: an exit with code 0 when the channel
    /// is closed, without destructors.
    ///
    /// * If the worker was *disconnected*: when the connections have ended, even if the primary dies
    ///   meanwhile.
    /// * If the primary is *lost*, at once.
    ///
    /// A program that takes events can react to [`WorkerEvent::Disconnect`]: the process exits when the
    /// program asks for the [`next`](Worker::next) event, or five seconds later. Calls without another result
    /// ([`accept`](crate::Listener::accept), [`listen`](Worker::listen)) wait for the exit in place of
    /// returning.
    ///
    /// # Errors
    /// As [`join`](Worker::join).
    pub fn join_as_node() -> Result<Self, JoinError> {
        Worker::join_under(ExitRule::Node)
    }

    fn join_under(rule: ExitRule) -> Result<Self, JoinError> {
        #[cfg(feature = "simulated")]
        if simulated::is_simulated() {
            let inner = join_simulated(rule)?;
            return Ok(Worker { inner });
        }
        let origin = origin().as_ref().map_err(|error| JoinError::Role(error.clone()))?;
        let runtime = Handle::try_current().map_err(|_| JoinError::Runtime(NoRuntime))?;
        let inheritance = origin.take()?;
        let unix = Unix::with_channel(inheritance.channel)
            .map_err(|error| JoinError::Channel(Errno(error.raw_os_error().unwrap_or_default())))?;
        let machine = cluster_core::Worker::new(inheritance.id, inheritance.serialization, Limits::default());
        let inner = Arc::new(Inner::new(machine, unix, runtime, rule));
        if rule == ExitRule::Return {
            inner.watch_primary();
        }
        inner.start();
        Ok(Worker { inner })
    }

    /// The worker's number in the primary, from 1. Node: `cluster.worker.id`.
    pub fn id(&self) -> WorkerId {
        self.inner.with_machine(cluster_core::Worker::id)
    }

    /// The number of the worker's slot under a [`Supervisor`](crate::Supervisor), counted from 0; a successor
    /// has the same number. Read from the variable `CLUSTER_SLOT`. `None`: the primary is no supervisor.
    pub fn slot(&self) -> Option<SlotId> {
        #[cfg(feature = "simulated")]
        if simulated::is_simulated() {
            return simulated::slot();
        }
        std::env::var(SLOT_VARIABLE).ok()?.parse().ok().map(SlotId)
    }

    /// Sends a message to the primary. Node: `process.send(message)`.
    ///
    /// Before the call returns, the kernel takes as many bytes as fit. The rest is written before an
    /// [end](Worker#the-end) by the library; before [`std::process::exit`], wait for
    /// [`flush`](Worker::flush).
    ///
    /// # Errors
    /// The channel is closed or full, or the message is too long or internal to Node.
    pub fn send(&self, message: impl Into<Message>) -> Result<Sent, SendError> {
        self.inner.send(message)
    }

    /// Sends a message to the primary as soon as there is room. Waiting callers are served in the order of
    /// the calls. Dropping the future sends nothing.
    ///
    /// During the wait the worker reads messages of the primary even if the program takes none: otherwise two
    /// programs that both send and do not receive would wait for each other.
    ///
    /// # Errors
    /// As [`send`](Worker::send), except [`SendError::Full`].
    pub async fn send_when_room(&self, message: impl Into<Message>) -> Result<Sent, SendError> {
        self.inner.send_when_room(message.into()).await
    }

    /// Sends a request to the primary, and waits for the reply. The primary receives an
    /// [`IncomingRequest`](crate::IncomingRequest), where the form of the messages is documented. Several
    /// requests can wait at the same time: a number connects each reply to the request. The time includes the
    /// wait for room in the channel. If the future is dropped, the request is abandoned, and a late reply is
    /// dropped.
    ///
    /// ```no_run
    /// # async fn program() -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = cluster::Worker::join()?;
    /// let users: Vec<String> = worker.request("users", std::time::Duration::from_secs(1)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request<Q: Serialize + ?Sized, A: DeserializeOwned>(
        &self,
        question: &Q,
        timeout: Duration,
    ) -> Result<A, RequestError> {
        self.inner.request(question, timeout).await
    }

    /// Waits until the kernel has every message accepted before the call. From then on, the messages survive
    /// any end of this process: a primary of this library reads the messages before the report of the exit.
    /// The primary may not have read any yet.
    ///
    /// # Errors
    /// [`SendError::Closed`]: a message was lost, because the primary has closed the channel.
    pub async fn flush(&self) -> Result<(), SendError> {
        self.inner.flush().await
    }

    /// Sends a message and a socket to the primary. Node: `process.send(message, handle)`.
    ///
    /// The socket is closed in this process once the primary has received the socket; to keep a copy open,
    /// send a [`Socket::duplicate`]. Later messages wait until then.
    ///
    /// # Errors
    /// As [`send`](Worker::send); the error returns the socket. If the primary cannot receive the socket,
    /// [`ChannelError::NotReceived`](crate::ChannelError) is emitted later.
    pub fn send_with(&self, message: impl Into<Message>, socket: impl Into<Socket>) -> Result<Sent, NotSent> {
        self.inner.send_with(message.into(), socket.into())
    }

    /// The next event, or `None` after the last event, [`WorkerEvent::Disconnect`]. Dropping the future loses
    /// nothing. If several tasks wait, each event is returned to a single task.
    ///
    /// Events are kept until taken by a call. After the first call, the worker stops reading the channel
    /// while 1,024 events are kept. The primary then observes a full channel, and the worker still observes
    /// the death of the primary within a second. Before the first call, messages beyond 1,024 are dropped.
    /// (Node drops a message without a listener.)
    ///
    /// After [`join_as_node`](Worker::join_as_node) the call never returns `None`: the process exits.
    pub async fn next(&self) -> Option<WorkerEvent> {
        self.inner.next().await
    }

    /// The events of [`next`](Worker::next) as a [`Stream`].
    pub fn events(&self) -> WorkerEvents {
        WorkerEvents { inner: self.inner.clone(), ticket: None }
    }

    /// Holds the channel open until the guard is dropped, for a last report: even when the last connection of
    /// a disconnecting worker has ended. Without a guard the channel closes then, as in Node, and a later
    /// [`send`](Worker::send) fails. [`kill`](Worker::kill) and [`exit`](Worker::exit) do not wait for
    /// guards.
    ///
    /// ```no_run
    /// # async fn program() -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = cluster::Worker::join()?;
    /// let _hold = worker.hold();
    /// let mut listener = worker.listen("127.0.0.1:8000").await?;
    /// let mut served = 0;
    /// while let Some(connection) = listener.accept().await? {
    ///     drop(connection);
    ///     served += 1;
    /// }
    /// worker.send(format!("served {served}"))?;
    /// # Ok(()) }
    /// ```
    pub fn hold(&self) -> Hold {
        self.inner.hold();
        Hold { inner: self.inner.clone() }
    }

    /// Closes every listener, waits until the connections have ended, and then closes the channel. The call
    /// returns at once. Node: `worker.disconnect()`.
    pub fn disconnect(&self) {
        self.inner.command(cluster_core::Worker::disconnect);
    }

    /// Waits until the worker is asked to disconnect, or the channel is lost. This is the time to end
    /// keep-alive connections. An axum application should use `serve` of feature `axum`, because more is
    /// needed to lose no request.
    ///
    /// The future completes only after the pending [`accept`](crate::Listener::accept) has returned every
    /// acknowledged connection, so a caller that waits for both may then drop the listener. In a `select!`,
    /// list `accept` first and write `biased`; if an `accept` is dropped, the next call returns the
    /// connection. Poll or drop a pending `accept`: a never polled `accept` delays this future.
    pub fn disconnecting(&self) -> impl Future<Output = ()> + Send + use<> {
        self.inner.wait_for_phase(Phase::Disconnecting)
    }

    /// Waits until the worker is a *lame duck*: a supervisor announces the disconnect, or the disconnect
    /// begins (see [`disconnecting`](Worker::disconnecting)). From then on, answer with `Connection: close`.
    /// A program that takes events receives the announcement as [`WorkerEvent::LameDuck`].
    pub fn became_lame_duck(&self) -> impl Future<Output = ()> + Send + use<> {
        self.inner.wait_for_phase(Phase::LameDuck)
    }

    /// Whether the worker is a lame duck: see [`became_lame_duck`](Worker::became_lame_duck). A server
    /// without `serve` of feature `axum` reads the state before each answer. With hyper:
    ///
    /// ```no_run
    /// use std::convert::Infallible;
    ///
    /// use hyper::header::{CONNECTION, HeaderValue};
    /// use hyper::{Request, Response, body::Incoming, service::service_fn};
    /// use hyper_util::rt::{TokioExecutor, TokioIo};
    /// use hyper_util::server::conn::auto;
    /// use tokio::task::JoinSet;
    ///
    /// # async fn program() -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = cluster::Worker::join()?;
    /// let mut listener = worker.listen("127.0.0.1:8000").await?;
    /// let mut connections = JoinSet::new();
    /// while let Some(connection) = listener.accept().await? {
    ///     let worker = worker.clone();
    ///     connections.spawn(async move {
    ///         let answering = worker.clone();
    ///         let answer = service_fn(move |_: Request<Incoming>| {
    ///             let mut response = Response::new("hello".to_owned());
    ///             if answering.is_lame_duck() {
    ///                 // The client reconnects to another worker.
    ///                 response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    ///             }
    ///             std::future::ready(Ok::<_, Infallible>(response))
    ///         });
    ///         let builder = auto::Builder::new(TokioExecutor::new());
    ///         let served = builder.serve_connection(TokioIo::new(connection), answer);
    ///         // Closes the connection when idle, at the end of the lame duck. `false`: the version is unknown.
    ///         // After a TLS handshake the version is known: see the service `tls`.
    ///         # #[cfg(feature = "axum")]
    ///         cluster::serve_connection(&worker, served, false).await
    ///     });
    /// }
    /// connections.join_all().await;
    /// # Ok(()) }
    /// ```
    pub fn is_lame_duck(&self) -> bool {
        self.inner.has_reached(Phase::LameDuck)
    }

    /// Waits until the channel is closed. After [`join_as_node`](Worker::join_as_node), a call implies
    /// [`keep_running`](Worker::keep_running), because the process would exit before the future completes.
    pub fn disconnected(&self) -> impl Future<Output = ()> + Send + use<> {
        self.inner.keep_running_as_node();
        self.inner.wait_for_phase(Phase::Disconnected)
    }

    /// Whether messages can be sent. Node: `worker.isConnected()`.
    pub fn is_connected(&self) -> bool {
        self.inner.with_machine(cluster_core::Worker::is_connected)
    }

    /// Whether the worker was asked to disconnect, by the primary or by the program. Node:
    /// `worker.exitedAfterDisconnect`.
    pub fn exited_after_disconnect(&self) -> bool {
        self.inner.with_machine(cluster_core::Worker::exited_after_disconnect)
    }

    /// From now on the library never ends this process, and every call returns: see
    /// [the end](Worker#the-end).
    pub fn keep_running(&self) {
        self.inner.keep_running();
    }

    /// Sets how long `main` may take to return after the loss of the primary: see [the end](Worker#the-end).
    /// Default: 5 s. A change has no effect after the loss.
    pub fn set_exit_deadline(&self, deadline: Duration) {
        self.inner.set_exit_deadline(deadline);
    }

    /// Sets how long an [end](Worker#the-end) of this process waits for a primary that does not read.
    /// Default: 5 s. Zero: no wait.
    pub fn set_linger(&self, linger: Duration) {
        self.inner.set_linger(linger);
    }

    /// Disconnects without waiting for connections. Exits with code 0 when the primary has read the messages
    /// and has answered, at the latest after the time of [`set_linger`](Worker::set_linger). Destructors do
    /// not run. Node: `worker.kill()` in a worker, where the wait has no bound.
    pub fn kill(&self) {
        self.inner.kill();
    }

    /// Exits with a code when the primary has read every accepted message. Destructors do not run. If the
    /// primary does not read, the call waits at most the time of [`set_linger`](Worker::set_linger); for the
    /// read of the end of the channel, the call waits at most a second. In the primary,
    /// `exited_after_disconnect` of the exit is false.
    ///
    /// Node: `process.exit(code)` in a worker, which loses messages that the kernel has no room for.
    /// [`std::process::exit`] loses the same messages. A busy Node primary may reap the process before
    /// reading the last messages.
    pub fn exit(&self, code: i32) -> ! {
        self.inner.exit(code)
    }

    /// From now on, ignores SIGHUP, SIGINT, SIGTERM, SIGTTIN and SIGTTOU where the program has no handler,
    /// because the primary decides about these signals.
    ///
    /// Call this in a worker of a primary without such an option, for instance a Node.js primary. A primary
    /// of this library has the option
    /// [`SpawnOptions::ignore_terminal_signals`](crate::SpawnOptions::ignore_terminal_signals), with the same
    /// effect on every worker from the start. Programs started by this process are not affected, except by
    /// the inherited SIGTTIN and SIGTTOU, which stay ignored.
    pub fn ignore_terminal_signals(&self) {
        signals::ignore();
    }
}

#[cfg(feature = "simulated")]
fn join_simulated(rule: ExitRule) -> Result<Arc<Inner>, JoinError> {
    let runtime = Handle::try_current().map_err(|_| JoinError::Runtime(NoRuntime))?;
    if !simulated::join() {
        return Err(if simulated::is_forked() { JoinError::Joined } else { JoinError::NotAWorker });
    }
    let inner = Arc::new(Inner::new(Held::lent(), System::Simulated, runtime, rule));
    inner.start();
    Ok(inner)
}

/// The events of a worker as a stream: see [`Worker::events`].
#[derive(Debug)]
#[must_use = "a stream does nothing unless it is polled"]
pub struct WorkerEvents {
    inner: Arc<Inner>,
    /// The place of the stream among the waiting callers.
    ticket: Option<u64>,
}

impl Stream for WorkerEvents {
    type Item = WorkerEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WorkerEvent>> {
        let WorkerEvents { inner, ticket } = &mut *self;
        inner.poll_next(ticket, cx)
    }
}

impl Drop for WorkerEvents {
    fn drop(&mut self) {
        self.inner.stop_waiting(self.ticket);
    }
}

/// Holds the channel of a worker open: see [`Worker::hold`].
#[derive(Debug)]
#[must_use = "dropping the guard lets the channel close"]
pub struct Hold {
    inner: Arc<Inner>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.inner.release_hold();
    }
}

#[cfg(test)]
mod tests;
