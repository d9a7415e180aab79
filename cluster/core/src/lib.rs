//! The machines of a cluster: what its processes do, without any operating system.
//!
//! ```text
//!       OsEvent                                          command (fork, disconnect, send, ...)
//!          |  from the real system or a simulated one       |  from the user
//!          v                                                v
//!    Machine::handle                                   Primary::fork ...   takes effect at once
//!          |                                                |  its steps go before what is still queued
//!          +--------------> one ordered queue <-------------+
//!                                 | Machine::poll
//!                   +-------------+-------------+
//!             Output::Event                Output::Call
//!                   |                           |
//!            the user's reaction       Os::perform(call) -> Option<OsEvent>
//! ```
//!
//! One input, drain, next input: that is the whole discipline, and [`pump`](pump()) is the only loop. Everything that
//! crosses an arrow is a plain value, so a run is a list of crossings, and a machine can be cloned, compared and hashed.
//!
//! There is no IO here, no clock, no thread, no random number and no hash map: the crate is `no_std` and forbids
//! `unsafe`. The real operating system is in the crate `cluster`, the simulated one in `cluster-sim`.
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod address;
mod advice;
mod backoff;
mod channel;
mod errno;
mod event;
mod handle;
mod ledger;
mod listen;
mod message;
mod os;
mod os_bytes;
mod passing;
mod payload;
mod pending;
mod primary;
mod pump;
mod send;
mod settings;
mod spawn_options;
#[cfg(feature = "std")]
mod std_types;
mod steps;
mod structured;
mod told;
mod violation;
mod worker;

pub use address::{AddressType, ListeningAddress};
pub use event::{ChannelError, Event, ListenError, ListenerId, Output, WorkerError, WorkerEvent};
pub use ledger::{CloseReason, ConnectionState, Ledger};
pub use listen::{ListenAddress, ListenOptions};
pub use message::HandleType;
pub use os::{
    BindAddress, Call, ChannelId, Errno, ExitStatus, HandleId, LocalAddress, Os, OsEvent, Signal, SocketId,
    TimerId, WorkerId,
};
pub use os_bytes::OsBytes;
pub use passing::{IncomingHandle, OutgoingHandle};
pub use payload::{Message, MessageError};
pub use primary::{ForkError, PolicyFrozen, Primary, WorkerInfo, WorkerState};
pub use pump::{Machine, flush, pump};
pub use send::{SendError, Sent};
pub use settings::{Limits, SchedulingPolicy, Serialization, Settings, Stdio};
pub use spawn_options::SpawnOptions;
pub use structured::{BigInt, JsError, JsString, OutOfRange, RegExp, Structured, ViewKind};
pub use violation::{FieldKind, Violation};
pub use worker::Worker;
