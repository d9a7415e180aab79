//! The state machines of a cluster: a primary process that forks workers, shares listening sockets with them
//! and exchanges messages with them, and the worker's side of the same protocol. The crate makes no system
//! call.
//!
//! ```text
//!       OsEvent                                          command (fork, disconnect, send, ...)
//!          |  from the real system or a simulated one       |  from the user
//!          v                                                v
//!    Machine::handle                                   Primary::fork ...   takes effect at once
//!          |                                                |  its steps run before the queued ones
//!          +--------------> one ordered queue <-------------+
//!                                 | Machine::poll
//!                   +-------------+-------------+
//!             Output::Event                Output::Call
//!                   |                           |
//!            the user's reaction       Os::perform(call) -> Option<OsEvent>
//! ```
//!
//! The rule is: one input, drain, next input. [`pump`](pump()) is the only loop. Every value that crosses an
//! arrow is plain data, so a run is a list of these values, and a machine can be cloned, compared and hashed.
//!
//! The crate has no IO, clock, thread, random number or hash map; it is `no_std` and forbids `unsafe`. The
//! crate `cluster` implements [`Os`] on Unix and has the async interface for programs; `cluster-sim`
//! implements [`Os`] as a deterministic simulator.
//!
//! The feature `testing` adds the module `testing`, a cluster in memory. It also lets a test set the counters
//! of a machine, as if the machine had run for long.
//!
//! # Where to start
//!
//! * A program uses the crate `cluster` instead of this crate.
//! * [`Supervisor`] is the machine above a [`Primary`]. It keeps a number of workers running and ready.
//! * [`Pool`] sends tasks to the workers of a [`Supervisor`], and returns the outcomes.
//! * [`Primary`] and [`Worker`] are the machines of one process each. [`Machine`] is the common interface.
//!   The commands of a machine are methods.
//! * [`Event`] and [`WorkerEvent`] are the outputs of the machines to the program, [`Call`] is their output
//!   to the operating system, and [`OsEvent`] is their input.
//! * [`Settings`], [`SpawnOptions`] and [`Limits`] configure a primary; [`ListenOptions`] configures a server
//!   of a worker.
//! * [`Message`] is the payload of a user's message, in either serialization of Node; [`Structured`] is the
//!   data model of [`Serialization::Advanced`].
//! * [`Ledger`] accounts for every connection that the primary has accepted.
//!
//! One fork, driven by hand:
//!
//! ```
//! use cluster_core::{Call, Event, Machine, OsEvent, Output, Primary, Settings};
//!
//! let mut primary = Primary::new(Settings::default());
//! let worker = primary.fork()?;
//! let mut events = Vec::new();
//! while let Some(output) = primary.poll() {
//!     match output {
//!         // A real operating system would start a process.
//!         Output::Call(Call::Spawn { worker, .. }) => primary.handle(OsEvent::Spawned { worker, pid: 7 }),
//!         Output::Call(call) => panic!("{call:?}"),
//!         Output::Event(event) => events.push(event),
//!     }
//! }
//! assert!(matches!(events[0], Event::Setup { .. }));
//! assert_eq!(events[1], Event::Fork { worker });
//! # Ok::<(), cluster_core::ForkError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::wildcard_enum_match_arm)]

extern crate alloc;

mod address;
mod advice;
mod ascending_map;
mod backoff;
mod byte_form;
mod channel;
mod claims;
mod errno;
mod event;
mod handle;
mod ledger;
mod listen;
mod message;
mod message_error;
mod os;
mod os_bytes;
mod passing;
mod pending;
mod pool;
mod primary;
mod pump;
mod send;
mod serialization;
mod settings;
mod spawn_options;
mod state;
#[cfg(feature = "std")]
mod std_types;
mod steps;
mod structured;
mod supervisor;
#[cfg(feature = "testing")]
pub mod testing;
mod user_message;
mod violation;
mod worker;

pub use address::{AddressType, ListeningAddress};
pub use ascending_map::AscendingMap;
pub use event::{ChannelError, Event, ListenError, ListenerId, Output, WorkerError, WorkerEvent};
pub use ledger::{CloseReason, ConnectionState, Ledger};
pub use listen::{ListenAddress, ListenOptions};
pub use message::HandleType;
pub use message_error::MessageError;
pub use os::{
    BindAddress, Call, Candidate, ChannelId, Errno, ExitStatus, HandleId, LocalAddress, Os, OsEvent, Signal,
    SocketId, TimerId, WorkerId,
};
pub use os_bytes::{Escaped, OsBytes};
pub use passing::{IncomingHandle, OutgoingHandle};
pub use pool::{
    CancelRunning, ClosePolicy, Delivery, KillReason, NotAccepted, Pool, PoolEvent, PoolOutput, PoolSettings,
    PoolSettingsError, TASKS_READY, TaskError, TaskId, TaskReply, TaskRequest,
};
pub use primary::{ForkError, PolicyFrozen, Primary, WorkerInfo, WorkerState};
pub use pump::{Machine, flush, pump};
pub use send::{SendError, Sent};
pub use serialization::Serialization;
pub use settings::{Limits, SchedulingPolicy, Settings};
pub use spawn_options::{ProcessGroup, SIGNAL_UNTIL_MAIN_VARIABLE, SpawnFields, SpawnOptions, Stdio};
pub use state::{StateError, SupervisorState};
pub use structured::{BigInt, JsError, JsString, OutOfRange, RegExp, Structured, ViewKind};
pub use supervisor::{
    AbandonReason, GiveUp, GiveUpReason, Readiness, RecycleReason, ReloadId, ReloadScope, RestartPolicy,
    RestartReason, SLOT_VARIABLE, SettingsError, SlotId, SlotInfo, SlotState, StartFailure, Supervisor,
    SupervisorEvent, SupervisorSettings,
};
pub use user_message::Message;
pub use violation::{FieldKind, Violation};
pub use worker::Worker;
