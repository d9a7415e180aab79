//! What a primary is told before it forks: which program, how connections are shared, which limits hold.
//! It holds values only; nothing here is read from the environment.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// How connections find their worker. Node: `cluster.schedulingPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum SchedulingPolicy {
    /// The primary accepts and gives each connection to the worker that has waited longest. Node: `SCHED_RR`.
    #[default]
    RoundRobin,
    /// The workers share the listening socket and the kernel decides. Node: `SCHED_NONE`.
    Shared,
}

/// A program to execute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Command {
    /// The executable, searched in `PATH` if it has no slash. `None`: this very program with its own arguments.
    pub exec: Option<String>,
    /// Its arguments, without the name of the program. With `exec: None`, added to this program's own.
    pub args: Vec<String>,
    /// Its working directory. `None`: the primary's.
    pub cwd: Option<String>,
    /// Give it no standard input, output or error. Node's `silent` pipes them to the primary instead.
    pub silent: bool,
}

/// The bounds of everything that could otherwise grow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The longest message a peer may send, in bytes. A longer one ends its channel.
    pub message_bytes: usize,
    /// With this much unsent on a channel, in bytes, `send` reports congestion. Node: 131,072.
    pub congested_bytes: usize,
    /// With this much unsent, `send` fails, and a peer whose own messages cause it is not read from.
    pub unsent_bytes: usize,
    /// Listening sockets that one worker may have the primary open; with more, its `listen` fails with `EMFILE`.
    pub sockets_per_worker: usize,
    /// Connections that wait in the primary for a worker, for each listening socket.
    /// With so many the primary stops accepting and the kernel's backlog holds the rest.
    pub queued_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            message_bytes: 64 << 20,
            congested_bytes: 131_072,
            unsent_bytes: 16 << 20,
            sockets_per_worker: 128,
            queued_connections: 512,
        }
    }
}

/// How a primary forks and serves. Node: `cluster.settings`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Settings {
    /// What workers execute.
    pub command: Arc<Command>,
    /// How connections find their worker.
    pub policy: SchedulingPolicy,
    /// Keep the listening socket, and who waits at it, when its last worker leaves.
    /// Off, as in Node: the socket is closed and who waits is refused.
    pub keep_listening: bool,
    /// The bounds.
    pub limits: Limits,
}
