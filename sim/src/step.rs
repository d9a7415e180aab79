//! The steps of a world. A step is one thing that the kernel, a process or a client does at once.

use std::fmt;

use cluster_core::{ChannelId, Signal, SocketId, WorkerId};

use crate::event::{Actor, ClientId};

/// A process: 0 is the primary, `n` is worker `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pid(pub(crate) u32);

impl Pid {
    pub(crate) const PRIMARY: Pid = Pid(0);
    /// The owner of the driver's timer. No process has the number.
    pub(crate) const DRIVER: Pid = Pid(u32::MAX);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// The worker id of this process. For the primary, the result is the id of no worker.
    pub(crate) fn worker(self) -> WorkerId {
        WorkerId(self.0.into())
    }

    /// The id of this worker's channel in the primary.
    pub(crate) fn channel(self) -> ChannelId {
        ChannelId::from(self.worker())
    }
}

impl From<WorkerId> for Pid {
    fn from(worker: WorkerId) -> Self {
        // A run starts fewer than 2^32 processes, so no process has the last number.
        Pid(u32::try_from(worker.0).unwrap_or(u32::MAX))
    }
}

impl From<ChannelId> for Pid {
    fn from(channel: ChannelId) -> Self {
        Pid::from(WorkerId(channel.0))
    }
}

impl From<Pid> for Actor {
    fn from(pid: Pid) -> Self {
        if pid == Pid::PRIMARY { Actor::Primary } else { Actor::Worker(pid.worker()) }
    }
}

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
    /// Whether the step may be enabled again as soon as it was taken.
    pub(crate) fn recurs(self) -> bool {
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

/// The text in the report of a failure.
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
