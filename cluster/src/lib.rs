//! The process model of Node.js's `cluster`, for Rust: a *primary* process forks *workers* that share server
//! ports, hands connections to the workers, exchanges messages, and observes starts and exits. The protocol
//! is Node's own: a Rust primary runs Node.js workers, and a Rust worker serves under a Node.js primary.
//!
//! ```no_run
#![doc = include_str!("../examples/hello.rs")]
//! ```
//!
//! Without axum a worker accepts connections in a loop. The loop ends when the worker is disconnected and the
//! last connection has ended:
//!
//! ```no_run
//! # async fn serve(_connection: cluster::Connection) {}
//! # async fn program() -> Result<(), Box<dyn std::error::Error>> {
//! let worker = cluster::Worker::join()?;
//! let mut listener = worker.listen("127.0.0.1:8000").await?;
//! while let Some(connection) = listener.accept().await? {
//!     tokio::spawn(serve(connection));
//! }
//! // Now `main` returns: the end of the worker.
//! # Ok(()) }
//! ```
//!
//! # Where to begin
//!
//! * [`role()`] decides whether the process has a [`Primary`] or is a [`Worker`].
//! * [`Primary::fork`], [`Primary::next`] and [`Event`] run a cluster; [`Settings`] has every option,
//!   [`Remote`] commands the primary from other tasks.
//! * [`Worker::listen`] and [`Listener::accept`] serve; a worker [ends](Worker#the-end) when `main`
//!   returns.
//! * [`Supervisor`] keeps workers running: [`run`](Supervisor::run) is a whole primary,
//!   [`Supervisor::handle`] commands the supervisor.
//! * [`Pool`] runs tasks in worker processes: [`Pool::run`] in the primary, [`Worker::serve_blocking_tasks`]
//!   in a worker.
//! * The folder `examples` of the package has whole programs: `hello` (above), `http` (prints events, several
//!   addresses), `tasks` (a pool), `graceful` (shutdown with a deadline, without a supervisor), `node`
//!   (Node.js workers), `count`, `flood` and `two_programs`.
//! * In the repository, README.md has an overview, ARCHITECTURE.md the rooms and the glossary, `docs/node.md`
//!   Node's semantics, CHANGELOG.md the changes, CONTRIBUTING.md the rules.
//! * `cluster-core` contains the machines with all decisions, without IO. `cluster-sim` runs the same
//!   machines, together with a program's own decisions, under random or all schedules and faults. The
//!   `conformance` program compares the machines with live Node.js.
//!
//! # Runtime
//!
//! Everything runs inside a tokio runtime with IO and time enabled. A worker has two tasks. A primary has
//! none, and advances only while [`Primary::next`] is awaited. A [`Pool`] has one task, which drives the
//! supervisor of the pool.
//!
//! # Messages
//!
//! A [`Message`] contains the bytes of the sender, and can be forwarded unchanged:
//! `primary.send(other, &message)?`. To make a message, convert a `serde_json::Value`, a text or a
//! [`Structured`] value, or call [`Message::new`] with any serializable value. To read a message, name a
//! type: `message.to::<Job>()?`. If the message is nested too deep or does not fit the type, the call returns
//! a [`MessageError`] with the position, and the channel remains open.
//!
//! A message that needs an answer is a request: [`Worker::request`], [`Primary::request`],
//! [`Remote::request`] and [`SupervisorHandle::request`] wait for the reply. [`IncomingRequest`] documents
//! the form of the messages, and the answer of a Node.js process.
//!
//! # TLS
//!
//! TLS belongs to the application. Node.js workers resume each other's sessions, as under Node: the primary
//! passes the ticket keys of the first worker to the others. In Rust workers the program must share the
//! ticket keys, by the TLS library.
//!
//! # Feature `axum`
//!
//! Off by default. [`serve()`] serves an axum application, and an exiting worker loses no request.
//! [`Listener`] is also a listener of `axum::serve`, with [`ClientAddr`] for `ConnectInfo`. The feature
//! `http2` adds HTTP/2 to `serve`. [`serve_connection()`] drains a connection of hyper, for a server that
//! accepts by itself, with TLS for example. A server without hyper awaits [`Worker::became_lame_duck`] and
//! [`lame_duck_ended()`], and then closes connections.
//!
//! # Feature `simulated`
//!
//! Off by default, and enabled by `cluster-sim`: a program runs in a simulated world. [`TcpStream`] is then a
//! stream of either system.

// Examples and integration tests are exempt: their programs react to some events only.
#![deny(clippy::wildcard_enum_match_arm)]

#[cfg(not(unix))]
compile_error!("`cluster` needs Unix sockets that carry descriptors");

#[cfg(feature = "axum")]
mod axum_listener;
mod command_queue;
mod command_sender;
mod connection;
mod driver;
mod error;
mod event;
mod inbox;
mod inputs;
mod lame_duck;
mod listener;
mod listener_handle;
mod listeners;
mod net;
mod pool;
mod primary;
mod received;
mod remote;
mod requests;
mod role;
#[cfg(feature = "axum")]
mod serve;
#[cfg(feature = "axum")]
mod serve_connection;
#[cfg(feature = "simulated")]
pub mod simulated;
mod socket;
mod supervisor;
mod system;
mod transport;
mod udp;
mod unix;
mod worker;

/// The locks of `inbox`. `tests/it` compiles `inbox` with other locks.
mod sync {
    pub(crate) use std::sync::{Mutex, MutexGuard};
}

pub use cluster_core::{
    AbandonReason, AddressType, BigInt, CancelRunning, Candidate, ChannelError, ClosePolicy, Delivery, Errno,
    Event, ExitStatus, FieldKind, ForkError, GiveUp, GiveUpReason, HandleType, IncomingHandle, JsError,
    JsString, Limits, ListenAddress, ListenOptions, ListeningAddress, Message, MessageError, OsBytes,
    OutOfRange, PolicyFrozen, PoolSettings, PoolSettingsError, ProcessGroup, Readiness, RecycleReason,
    RegExp, ReloadId, ReloadScope, RestartPolicy, RestartReason, SIGNAL_UNTIL_MAIN_VARIABLE,
    SchedulingPolicy, SendError, Sent, Serialization, Settings, SettingsError, Signal, SlotId, SlotInfo,
    SlotState, SpawnFields, SpawnOptions, StartFailure, Stdio, Structured, SupervisorEvent,
    SupervisorSettings, TaskError, ViewKind, Violation, WorkerError, WorkerId, WorkerInfo, WorkerState,
};

#[cfg(feature = "axum")]
pub use axum_listener::ClientAddr;
pub use connection::Connection;
pub use error::{JoinError, ListenError, NoRuntime, PrimaryError, RemoteError, RequestError, RoleError};
pub use event::WorkerEvent;
pub use lame_duck::lame_duck_ended;
pub use listener::Listener;
pub use net::TcpStream;
pub use pool::{PendingTask, Pool, PoolError, PoolStartError, TryRunError};
pub use primary::{ConnectionCounts, Primary};
pub use received::{CountGuard, Received};
pub use remote::Remote;
pub use requests::IncomingRequest;
pub use role::{Role, clear_cluster_env, role};
#[cfg(feature = "axum")]
pub use serve::{Serve, serve};
#[cfg(feature = "axum")]
pub use serve_connection::serve_connection;
pub use socket::{NotSent, Socket};
pub use supervisor::{
    HandleError, Kept, Predecessor, RequestedReload, RestartReasons, RunError, Supervisor, SupervisorError,
    SupervisorHandle, Upgrade, UpgradeError, cores,
};
pub use transport::Transport;
pub use udp::UdpSocket;
pub use unix::{Pipe, raise_descriptor_limit};
pub use worker::{Hold, Worker, WorkerEvents};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
