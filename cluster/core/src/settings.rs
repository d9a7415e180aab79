//! The settings of a primary: spawn options, scheduling policy, limits. Values only; nothing is read from the
//! environment.

use alloc::string::String;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::spawn_options::SpawnOptions;

/// How connections are assigned to workers. Node: `cluster.schedulingPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SchedulingPolicy {
    /// The primary accepts connections, and hands each to the worker that has waited longest. Node:
    /// `SCHED_RR`.
    #[default]
    RoundRobin,
    /// The workers share the listening socket and the kernel decides. Node: `SCHED_NONE`.
    ///
    /// On Linux a connection wakes one idle worker, and the workers take turns. If the woken worker does not
    /// accept (it was killed, or the runtime is busy), the connection waits at most 100 ms longer, as long as
    /// other workers wait. On other systems a connection wakes every idle worker, as in Node.
    Shared,
    /// The primary accepts connections, and hands all connections of a client address to the same worker. For
    /// servers that keep the state of a client in the process. A Node.js worker sees no difference from
    /// [`RoundRobin`](SchedulingPolicy::RoundRobin). Node has no such policy.
    ///
    /// Under a supervisor, an address belongs to a slot: a worker that replaces another in a slot has the
    /// same clients, and a change from `n` - 1 to `n` slots moves one of `n` clients. Without a supervisor,
    /// an address belongs to a worker id, so the clients of an exited worker move to the others. While the
    /// worker of an address does not listen, the next worker in the order of this address receives its
    /// connections.
    ///
    /// A connection waits for the worker of the address even while others are free. A worker that accepts
    /// nothing therefore delays its own clients, and as soon as [`Limits::queued_connections`] wait, all
    /// clients.
    ///
    /// The address is the peer of the TCP connection, without the port. Behind a proxy all clients have the
    /// address of the proxy and reach the same worker. Clients of a Unix socket have no address; round robin
    /// assigns their connections.
    ///
    /// The order of the slots for an address never changes. The hash is XXH64 of the 16 bytes of the address
    /// (IPv4 mapped to IPv6), with the number of the slot as the seed, or with 2^32 plus the worker id for a
    /// worker without a slot; the greatest hash is first.
    Sticky,
    /// The primary accepts connections, and hands each to the worker with the fewest open connections; among
    /// equals, to the worker that has waited longest. Node has no such policy.
    ///
    /// Workers report their open connections: a worker of this library in each acknowledgement, and after
    /// [`Settings::report_after`] when the number has changed since; a Node.js worker under the command
    /// `cluster` after this time. A connection acknowledged since the last report counts as open. A worker
    /// that never reports, such as a Node.js worker without the command, counts as a worker without open
    /// connections, so among such workers this policy is round robin. The connections of all sockets of a
    /// worker count.
    LeastConnections,
    /// The primary accepts connections, draws two workers for each, and hands the connection to the one with
    /// fewer open connections. Nearly as even as
    /// [`LeastConnections`](SchedulingPolicy::LeastConnections), but a worker with a low report, for example
    /// because its program accepts and closes at once, cannot attract every connection. Node has no such
    /// policy.
    ///
    /// The number of open connections is the same as for `LeastConnections`. The draw is a fixed function of
    /// the number of the connection, so a run can be repeated.
    PowerOfTwo,
    /// The primary accepts connections, and a function of the program chooses the worker of each among the
    /// workers that are ready: [`Call::Choose`](crate::Call::Choose), or `choose_by` of the crate `cluster`.
    /// Without a function, and if the function chooses no candidate, the longest waiting worker is chosen.
    /// Node has no such policy.
    ///
    /// The function receives the address of the client and, for each candidate, the slot, the open
    /// connections (as for `LeastConnections`) and the unanswered ones. A function has no serialized form, so
    /// it is no part of the settings: after an upgrade, the new program sets its own. If a single worker is
    /// ready, the function is not called.
    Custom,
    /// The primary accepts connections, and the workers take turns in proportion to their weights: 1 for a
    /// worker that has begun to listen, and 10 for a warm worker. For programs that are slow at first, while
    /// caches fill and code is compiled. Node has no such policy.
    ///
    /// When all workers are warm, they have equal shares. While a worker with the weight 1 is free, a warm
    /// worker receives at most 11 connections before the free worker receives one. A slot has no weight of
    /// its own, because the workers of a cluster run the same program.
    Weighted {
        /// How long a worker warms up. The weight rises in equal steps during this time.
        slow_start: Duration,
    },
}

/// The bounds of every queue and buffer.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Limits {
    /// The longest message accepted from a peer, in bytes. A longer message ends the channel of the peer.
    /// Default: 64 MiB.
    pub message_bytes: usize,
    /// The number of unsent bytes of a channel from which `send` reports congestion. Default: 131,072, as in
    /// Node.
    pub congested_bytes: usize,
    /// The number of unsent bytes of a channel from which `send` fails. Reading from the peer continues. A
    /// short message takes more memory than its bytes; therefore `send` also fails from one unsent message
    /// per 64 of these bytes. Default: 16 MiB.
    pub unsent_bytes: usize,
    /// The number of unsent bytes of answers to a worker (replies and acknowledgements) above which the
    /// primary stops reading from this worker, until half of the answers are written. A worker always reads
    /// from the primary. Default: 16 MiB.
    pub answer_bytes: usize,
    /// The number of listening sockets that a worker may have the primary open. Above this number, the
    /// worker's `listen` fails with `EMFILE`. Default: `usize::MAX`, as in Node. Whatever the limit, `listen`
    /// also fails with `EMFILE` when seven eighths of the primary's descriptors (`ulimit -n`) are in use; the
    /// rest is reserved for connections, channels and further workers.
    pub sockets_per_worker: usize,
    /// The number of connections queued in the primary for each listening socket. When the queue is full, the
    /// primary stops accepting, and the kernel's backlog holds further connections. Default: 512.
    pub queued_connections: usize,
    /// The number of bytes that the primary reads ahead from each of a worker's pipes, and keeps for the
    /// program. The kernel holds about 200 KiB more, or much less if the lines are short. When both are full,
    /// a write blocks the worker. Default: 1 MiB; Node keeps 64 KiB.
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settings {
    /// The options of later forks. [`Primary::setup`](crate::Primary::setup) changes them.
    pub spawn: SpawnOptions,
    /// How connections are assigned to workers.
    pub policy: SchedulingPolicy,
    /// Whether to keep a listening socket and the queued connections when the last worker stops listening,
    /// until [`Primary::disconnect_all`](crate::Primary::disconnect_all) closes the socket. Default: false,
    /// as in Node: the socket closes with the last worker, and queued clients are refused.
    pub keep_listening: bool,
    /// How long another process may hold the channel of an exited worker open: for example a child of the
    /// worker that has inherited descriptor 3. Then
    /// [`WorkerError::RetainedChannel`](crate::WorkerError::RetainedChannel) is emitted, and the channel is
    /// closed. Default: `None`, no limit, as in Node. Under a supervisor,
    /// [`SupervisorSettings::retained_channel_timeout`](crate::SupervisorSettings::retained_channel_timeout)
    /// decides.
    pub retained_channel_timeout: Option<Duration>,
    /// How long a worker may be silent after a change of the number of its open connections, under a policy
    /// that reads this number. Then the worker reports the number in a message. A shorter time costs
    /// messages; with a longer time, the policy decides by older numbers. Rounded down to milliseconds, at
    /// least 1 ms. Default: 50 ms.
    pub report_after: Duration,
    /// The `NODE_OPTIONS` that workers inherit. If they start an inspector, each worker gets an inspector
    /// port. `None`: the crate `cluster` fills in the variable of this process; the machine itself reads no
    /// environment.
    pub node_options: Option<String>,
    /// The bounds of every queue and buffer.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            spawn: SpawnOptions::default(),
            policy: SchedulingPolicy::default(),
            keep_listening: false,
            retained_channel_timeout: None,
            report_after: Duration::from_millis(50),
            node_options: None,
            limits: Limits::default(),
        }
    }
}
