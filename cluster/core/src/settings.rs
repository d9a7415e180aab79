//! What a primary is told before it forks: which program, how connections are shared, which limits hold.
//! It holds values only; nothing here is read from the environment.

use alloc::string::String;

use crate::spawn_options::SpawnOptions;

/// How connections find their worker. Node: `cluster.schedulingPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SchedulingPolicy {
    /// The primary accepts and gives each connection to the worker that has waited longest. Node: `SCHED_RR`.
    #[default]
    RoundRobin,
    /// The workers share the listening socket and the kernel decides. Node: `SCHED_NONE`.
    ///
    /// On Linux a connection wakes one idle worker, and the workers take turns. A worker that is woken and does not accept (it was
    /// killed, or its runtime is busy) delays that connection by 100 ms at most while others wait. Elsewhere a connection wakes
    /// every idle worker, as in Node.
    Shared,
}

/// How messages are written on a channel. Node: the `serialization` of `cluster.settings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Serialization {
    /// A line of JSON each. Node: `'json'`.
    #[default]
    Json,
    /// V8's structured clone, each with its length before it. Node: `'advanced'`. A [`Message`](crate::Message)
    /// keeps every type of JavaScript; [`Structured`](crate::Structured) has them all.
    Advanced,
}

/// What a worker has as one of its first descriptors. Node: an element of `stdio`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stdio {
    /// The primary's of the same number. Node: `'inherit'`.
    Inherit,
    /// Nothing: `/dev/null`. Node: `'ignore'`.
    Ignore,
    /// A pipe whose other end the primary has. Node: `'pipe'`.
    Pipe,
    /// The channel. Node: `'ipc'`.
    Channel,
    /// This descriptor of the primary. Node: its number.
    Descriptor(u32),
}

/// The bounds of everything that could otherwise grow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The longest message a peer may send, in bytes. A longer one ends its channel. Default: 64 MiB.
    pub message_bytes: usize,
    /// With this much unsent on a channel, in bytes, `send` reports congestion. Default: 131,072, as in Node.
    pub congested_bytes: usize,
    /// With this much unsent, in bytes, or with one unsent message for each 64 of these bytes, `send` fails; the peer is still
    /// read from. A short message takes more memory than its bytes. Default: 16 MiB.
    pub unsent_bytes: usize,
    /// With more than this much unsent, in bytes, of what a worker's own messages have caused (answers to its questions,
    /// acknowledgements), the worker is not read from until it has read half of it. A worker always reads its primary.
    /// Default: 16 MiB.
    pub answer_bytes: usize,
    /// Listening sockets that one worker may have the primary open; with more, its `listen` fails with `EMFILE`. The
    /// default is `usize::MAX`, as in Node: the bound is the primary's own number of descriptors (`ulimit -n`), of which
    /// an eighth is kept for connections, channels and further workers; beyond that, too, a `listen` fails with `EMFILE`.
    pub sockets_per_worker: usize,
    /// Connections that wait in the primary for a worker, for each listening socket.
    /// With so many the primary stops accepting and the kernel's backlog holds the rest. Default: 512.
    pub queued_connections: usize,
    /// How many bytes of a pipe that the program has not taken the primary reads and keeps. A worker that writes more waits,
    /// with some 200 KiB in the kernel, short lines counted as much more. Default: 1 MiB a pipe; Node keeps 64 KiB.
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

/// How a primary forks and serves. Node: `cluster.settings`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Settings {
    /// How workers are started.
    pub spawn: SpawnOptions,
    /// How connections find their worker.
    pub policy: SchedulingPolicy,
    /// Keep the listening socket and the clients that wait at it when its last worker leaves, until
    /// [`Primary::disconnect_all`](crate::Primary::disconnect_all): after it no worker follows, and the socket closes at once.
    /// Off, as in Node: the socket closes with its last worker, and the clients that wait are refused.
    pub keep_listening: bool,
    /// `NODE_OPTIONS` in the environment that workers inherit: where it starts an inspector, each worker gets a port of its own.
    /// `None`: the value in the environment of this process, which the face reads; the machine reads no environment.
    pub node_options: Option<String>,
    /// The bounds.
    pub limits: Limits,
}
