//! The process model of Node.js's `cluster`, for Rust: a *primary* process forks *workers* that share its server ports,
//! hands them connections, talks to them over a channel, and hears about their lives. It speaks Node's own protocol, so a
//! Rust primary can run Node.js workers and a Rust worker can serve under a Node.js primary.
//!
//! ```no_run
#![doc = include_str!("../examples/server.rs")]
//! ```
//!
//! Without axum a worker accepts by itself, and stops to accept when it is asked to exit:
//!
//! ```no_run
//! # async fn serve(_connection: cluster::Connection) {}
//! # async fn program() -> Result<(), Box<dyn std::error::Error>> {
//! let worker = cluster::Worker::join()?;
//! let mut listener = worker.listen("127.0.0.1:8000").await?;
//! loop {
//!     // When the last connection of an exiting worker has ended, its process ends here.
//!     let connection = listener.accept().await?;
//!     tokio::spawn(serve(connection));
//! }
//! # }
//! ```
//!
//! # Runtime
//!
//! Everything runs inside a tokio runtime with IO and time enabled; it has two tasks of its own in a worker process, and none in
//! a primary, which moves only while [`Primary::next`] is awaited.
//!
//! # Messages
//!
//! A [`Message`] holds the bytes that its sender wrote, and is passed on as it is: `primary.send(other, &message)?`. It is
//! made from a `serde_json::Value`, a text, whatever can be serialized ([`Message::new`]) or a [`Structured`] value, and
//! read as any type of the program's: `message.to::<Job>()?`. A message that is too deep for that type, or has no form in
//! it, is a
//! [`MessageError`] with the place; the channel remains open.
//!
//! # TLS
//!
//! TLS belongs to the application. Node.js workers resume the sessions of one another, as under Node: the primary passes the ticket
//! keys of the first worker to the others. A TLS library in Rust workers needs common ticket keys from the program.
//!
//! # Feature `axum`
//!
//! [`serve`] serves an axum application so that a worker that exits loses no request, and [`Listener`] can be given to
//! `axum::serve`. Off by default.
//!
//! This crate holds the face and the real operating system. What a cluster *does* is decided in the crate
//! `cluster-core`, whose values are repeated here.

#[cfg(not(unix))]
compile_error!("a cluster needs Unix sockets that carry descriptors");

mod connection;
mod driver;
mod inbox;
mod listener;
mod listener_handle;
mod listeners;
mod primary;
mod received;
mod remote;
mod role;
#[cfg(feature = "axum")]
mod serve;
mod socket;
mod told;
mod transport;
mod udp;
mod unix;
mod worker;

/// What `tests/loom.rs` replaces to try every interleaving.
mod sync {
    pub(crate) use std::sync::{Mutex, MutexGuard};
}

pub use cluster_core::{
    AddressType, BigInt, ChannelError, Errno, Event, ExitStatus, FieldKind, ForkError, HandleType,
    IncomingHandle, JsError, JsString, Limits, ListenAddress, ListenError as BindError, ListenOptions,
    ListeningAddress, Message, MessageError, OsBytes, OutOfRange, PolicyFrozen, RegExp, SchedulingPolicy,
    SendError, Sent, Serialization, Settings, Signal, SpawnOptions, Stdio, Structured, ViewKind, Violation,
    WorkerError, WorkerId, WorkerInfo, WorkerState,
};

pub use connection::Connection;
pub use listener::Listener;
pub use primary::{NoRuntime, Primary, PrimaryError};
pub use received::{CountGuard, Received};
pub use remote::{Remote, RemoteError};
pub use role::{Role, RoleError, clear_cluster_env, role};
#[cfg(feature = "axum")]
pub use serve::{Serve, serve};
pub use socket::{NotSent, Socket};
pub use transport::Transport;
pub use udp::UdpSocket;
pub use unix::Pipe;
pub use worker::{Hold, JoinError, ListenError, Worker, WorkerEvent};

#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
