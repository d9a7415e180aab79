//! The steps: one thing that the kernel, a process or a client does at once.

use std::fmt;

use cluster_core::{ChannelId, Signal, SocketId};

use super::process_table::Pid;
use crate::program::ClientId;

/// A possible next step of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A process makes its next call, or its program receives the next event.
    Run(Pid),
    /// A spawned process starts.
    Start(Pid),
    /// Bytes or an end of file arrive at a channel.
    Read(Pid, ChannelId),
    /// A channel has room for a blocked write.
    Writable(Pid, ChannelId),
    /// A process accepts a connection.
    Accept(Pid, SocketId),
    /// Bytes, an end or a datagram arrive at a socket of a program.
    Receive(Pid, SocketId),
    /// A signal kills a process.
    Signal(Pid, Signal),
    /// The primary receives the exit of a worker.
    Reap(Pid),
    /// The child of a dead worker closes the inherited channel.
    CloseInherited(Pid),
    /// A stopped process continues.
    Continue(Pid),
    /// A client performs its next action.
    ClientAction(ClientId),
    /// A client receives an event.
    ClientEvent(ClientId),
    /// The driver receives a line of the log.
    DriverEvent,
    /// The next timer fires.
    Timer,
}

impl Step {
    /// Whether the step may be enabled again at once after it was taken.
    pub(super) fn recurs(self) -> bool {
        match self {
            Step::Read(..)
            | Step::Accept(..)
            | Step::Receive(..)
            | Step::ClientAction(_)
            | Step::ClientEvent(_) => true,
            Step::Run(_)
            | Step::Start(_)
            | Step::Writable(..)
            | Step::Signal(..)
            | Step::Reap(_)
            | Step::CloseInherited(_)
            | Step::Continue(_)
            | Step::DriverEvent
            | Step::Timer => false,
        }
    }
}

/// For readers of a failure.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Run(pid) => write!(f, "{pid} acts"),
            Step::Start(pid) => write!(f, "{pid} starts"),
            Step::Read(Pid::PRIMARY, ChannelId(worker)) => {
                write!(f, "the primary reads from worker {worker}")
            }
            Step::Read(pid, _) => write!(f, "{pid} reads from the primary"),
            Step::Writable(Pid::PRIMARY, ChannelId(worker)) => {
                write!(f, "the primary can write to worker {worker} again")
            }
            Step::Writable(pid, _) => write!(f, "{pid} can write to the primary again"),
            Step::Accept(pid, _) => write!(f, "{pid} accepts a connection"),
            Step::Receive(pid, _) => write!(f, "{pid} receives from a socket"),
            Step::Signal(pid, signal) => write!(f, "{pid} is killed by {signal}"),
            Step::Reap(pid) => write!(f, "{pid} is reaped"),
            Step::CloseInherited(pid) => write!(f, "a child of {pid} closes the inherited channel"),
            Step::Continue(pid) => write!(f, "{pid} continues"),
            Step::ClientAction(ClientId(client)) => write!(f, "client {client} acts"),
            Step::ClientEvent(ClientId(client)) => write!(f, "client {client} receives"),
            Step::DriverEvent => f.write_str("the driver reads the log"),
            Step::Timer => f.write_str("a timer fires"),
        }
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Pid::PRIMARY => f.write_str("the primary"),
            Pid(worker) => write!(f, "worker {worker}"),
        }
    }
}
