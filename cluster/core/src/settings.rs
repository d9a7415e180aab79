//! The settings of a primary: spawn options, scheduling policy, limits. Values only; nothing is read from the
//! environment.

use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::spawn_options::SpawnOptions;

/// The assignment of connections to workers. Node: `cluster.schedulingPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SchedulingPolicy {
    /// The primary accepts, and hands each connection to the worker that has waited longest. Node: `SCHED_RR`.
    #[default]
    RoundRobin,
    /// The workers share the listening socket and the kernel decides. Node: `SCHED_NONE`.
    ///
    /// On Linux a connection wakes one idle worker, and the workers take turns. A worker that is woken and does not accept (it was
    /// killed, or its runtime is busy) delays that connection by 100 ms at most while others wait. Elsewhere a connection wakes
    /// every idle worker, as in Node.
    Shared,
    /// The primary accepts, and hands the connections of a client address to the same worker, for servers that keep the state of
    /// a client in a process. A Node.js worker sees no difference from [`RoundRobin`](SchedulingPolicy::RoundRobin). Node has no
    /// such policy.
    ///
    /// Under a supervisor an address belongs to a slot: a worker that replaces another in a slot has the clients of the slot, and a
    /// change from `n` - 1 to `n` slots moves one client of `n`. Without a supervisor an address belongs to a worker id, so the clients of
    /// an exited worker move to the others. While the worker of an address does not listen, the next worker in the order of the address
    /// has its connections.
    ///
    /// A connection waits for the worker of the address, also while others are free. A worker that accepts nothing delays its clients,
    /// and when [`Limits::queued_connections`] wait, all clients.
    ///
    /// The address is the peer of the TCP connection, without the port. Behind a proxy all clients have the address of the proxy and
    /// reach the same worker. Clients of a Unix socket have no address; round robin assigns their connections.
    ///
    /// The order of the slots for an address is fixed: the greater XXH64 hash of the 16 bytes of the address (IPv4 mapped to IPv6)
    /// is first, with the number of the slot as the seed; the seed of a worker without a slot is 2^32 plus the worker id.
    Sticky,
}

/// The bounds of every queue and buffer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// The longest message accepted from a peer, in bytes. A longer message ends the peer's channel. Default: 64 MiB.
    pub message_bytes: usize,
    /// Unsent bytes of a channel from which `send` reports congestion. Default: 131,072, as in Node.
    pub congested_bytes: usize,
    /// Unsent bytes of a channel from which `send` fails; the peer is still read from. `send` also fails with one
    /// unsent message per 64 of these bytes, because a short message takes more memory than its bytes. Default: 16
    /// MiB.
    pub unsent_bytes: usize,
    /// Unsent bytes of answers to a worker (replies and acknowledgements) beyond which the primary stops reading from
    /// the worker, until half of the answers are written. A worker always reads from its primary. Default: 16 MiB.
    pub answer_bytes: usize,
    /// Listening sockets that one worker may have the primary open; beyond the limit, the worker's `listen` fails
    /// with `EMFILE`. Default: `usize::MAX`, as in Node. Independently of the limit, `listen` fails with `EMFILE`
    /// when seven eighths of the primary's descriptors (`ulimit -n`) are in use; the rest is reserved for
    /// connections, channels and further workers.
    pub sockets_per_worker: usize,
    /// Connections queued in the primary per listening socket. With a full queue, the primary stops accepting, and
    /// the kernel's backlog holds further connections. Default: 512.
    pub queued_connections: usize,
    /// Bytes that the primary reads ahead from a worker's pipe and keeps for the program, per pipe. The kernel holds about
    /// 200 KiB more, far less if the lines are short; then a write of the worker blocks. Default: 1 MiB; Node keeps 64 KiB.
    pub unread_output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_bytes: 64 << 20,
            congested_bytes: 131_072,
            unsent_bytes: 16 << 20,
            answer_bytes: 16 << 20,
            sockets_per_worker: usize::MAX,
            queued_connections: 512,
            unread_output_bytes: 1 << 20,
        }
    }
}

/// The settings of a primary. Node: `cluster.settings`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Settings {
    /// The options of later forks; [`Primary::setup`](crate::Primary::setup) changes these options.
    pub spawn: SpawnOptions,
    /// The assignment of connections to workers.
    pub policy: SchedulingPolicy,
    /// Keeps a listening socket and its queued connections when the last worker stops listening, until
    /// [`Primary::disconnect_all`](crate::Primary::disconnect_all) closes the socket. Default: false, as in Node: the
    /// socket closes with its last worker, and queued clients are refused.
    pub keep_listening: bool,
    /// The time after the exit of a worker's process for which another process may hold the worker's channel open, as a
    /// child of the worker does that has inherited descriptor 3. Then
    /// [`WorkerError::RetainedChannel`](crate::WorkerError::RetainedChannel) is emitted and the channel is closed. Default: `None`, no
    /// limit, as in Node; under a supervisor, [`SupervisorSettings::retained_channel_timeout`](crate::SupervisorSettings::retained_channel_timeout).
    pub retained_channel_timeout: Option<Duration>,
    /// The `NODE_OPTIONS` that workers inherit. If the options start an inspector, each worker gets an inspector
    /// port. `None`: the crate `cluster` fills in the variable of this process; the machine reads no environment.
    pub node_options: Option<String>,
    /// The bounds of every queue and buffer.
    pub limits: Limits,
}
