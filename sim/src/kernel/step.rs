//! What a step is: one thing that the kernel, a process or a client does at once. Whether it can be taken is not known here.

use std::fmt;

use cluster_core::{ChannelId, Signal, SocketId};

use super::process_table::Pid;
use crate::program::ClientId;

/// One thing that can happen next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A process makes its next call, or hears its next event.
    Run(Pid),
    /// A process that was spawned begins.
    Start(Pid),
    /// Bytes, or their end, arrive at a channel.
    Read(Pid, ChannelId),
    /// There is room in a channel again.
    Writable(Pid, ChannelId),
    /// A connection is taken from a listener.
    Accept(Pid, SocketId),
    /// Something arrives at a connection or a UDP socket that a program has.
    Receive(Pid, SocketId),
    /// A signal reaches a process.
    Signal(Pid, Signal),
    /// The primary hears of an exit.
    Reap(Pid),
    /// What a dead process left behind closes the channel.
    CloseInherited(Pid),
    /// A process that was stopped goes on.
    Continue(Pid),
    /// A client does what it was told.
    ClientAction(ClientId),
    /// A client hears something.
    ClientEvent(ClientId),
    /// The driver hears an observation.
    DriverEvent,
    /// The next timer fires.
    Timer,
}

impl Step {
    /// Whether it can be taken again when it was taken, if there is more of what it is about.
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

/// For people.
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
            Step::CloseInherited(pid) => write!(f, "what {pid} left behind closes its channel"),
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
