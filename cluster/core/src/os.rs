//! The seam: everything a machine asks of an operating system, and everything it is told.
//!
//! Plain values only, so that a trace is a list of crossings and a call can be held back, failed or replayed.
//! It does not know Node's protocol, and it never blocks: [`Os::perform`] answers at once or not at all.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

pub use crate::errno::{Errno, Signal};
use crate::settings::Command;

/// A worker of this primary, ascending from 1; never a process id and never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u32);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One end of an IPC channel, as its process names it: 0 leads to the primary, `n` to worker `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u32);

impl ChannelId {
    /// A worker's channel to its primary.
    pub const PRIMARY: ChannelId = ChannelId(0);
}

impl From<WorkerId> for ChannelId {
    fn from(worker: WorkerId) -> Self {
        ChannelId(worker.0)
    }
}

/// A socket of this process, numbered by the operating system in the order they appear; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SocketId(pub u32);

/// A distribution object of the primary: what a [`Call::Bind`] is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(pub u32);

/// A timer, numbered by the machine that sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u32);

/// Where to bind a TCP socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BindAddress {
    /// `None`: every address, IPv6 with IPv4 where there is IPv6 (`::`), else `0.0.0.0`.
    pub host: Option<IpAddr>,
    /// 0: the kernel chooses.
    pub port: u16,
    /// With an IPv6 host: leave IPv4 alone.
    pub ipv6_only: bool,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(Signal),
}

/// What a machine asks of the operating system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Call {
    /// Start a worker process with a channel. Answers [`OsEvent::Spawned`] or [`OsEvent::SpawnFailed`].
    Spawn {
        /// Whose process it is; its channel has the same number.
        worker: WorkerId,
        /// What to execute.
        command: Arc<Command>,
        /// Laid over the inherited environment. The backend adds the variables that name the channel.
        env: Vec<(String, String)>,
    },
    /// Send a signal. No answer, or [`OsEvent::KillFailed`]; a process that is gone is no failure.
    Kill {
        /// Whom.
        worker: WorkerId,
        /// Which.
        signal: Signal,
    },
    /// Write to a channel. Answers [`OsEvent::Wrote`] or [`OsEvent::WriteFailed`].
    Write {
        /// Where to.
        channel: ChannelId,
        /// Never empty.
        bytes: Vec<u8>,
        /// Travels with the first byte. The sender keeps its own copy.
        socket: Option<SocketId>,
    },
    /// Deliver no more [`OsEvent::Read`] from this channel until told.
    PauseRead {
        /// Which.
        channel: ChannelId,
    },
    /// Deliver again.
    ResumeRead {
        /// Which.
        channel: ChannelId,
    },
    /// Close our end. No [`OsEvent::ChannelClosed`] follows.
    CloseChannel {
        /// Which.
        channel: ChannelId,
    },
    /// Make a TCP socket and bind it. Answers [`OsEvent::Bound`] or [`OsEvent::BindFailed`].
    Bind {
        /// What it is for; comes back in the answer.
        handle: HandleId,
        /// Where.
        address: BindAddress,
        /// `Some`: listen too. `None`: leave listening to the workers that will share it.
        backlog: Option<u32>,
    },
    /// Listen on a bound socket that was received. Answers [`OsEvent::Listening`] or [`OsEvent::ListenFailed`].
    Listen {
        /// Which.
        socket: SocketId,
        /// How many connections the kernel may hold.
        backlog: u32,
    },
    /// Deliver no more [`OsEvent::Accepted`] from this listening socket until told. A new listener is paused.
    PauseAccept {
        /// Which.
        socket: SocketId,
    },
    /// Deliver again.
    ResumeAccept {
        /// Which.
        socket: SocketId,
    },
    /// Close this process's copy of a socket.
    Close {
        /// Which.
        socket: SocketId,
    },
    /// Deliver [`OsEvent::Timer`] once, later.
    SetTimer {
        /// Which; comes back in the event.
        timer: TimerId,
        /// How much later, in milliseconds.
        after_ms: u64,
    },
    /// End this process.
    Exit {
        /// With this code.
        code: i32,
    },
}

/// What the operating system tells a machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum OsEvent {
    /// The process exists and its channel is open.
    Spawned {
        /// Whose.
        worker: WorkerId,
        /// Its process id, for people; the machines never use it.
        pid: u32,
    },
    /// There is no process and no channel.
    SpawnFailed {
        /// Whose.
        worker: WorkerId,
        /// Why.
        errno: Errno,
    },
    /// The signal could not be sent.
    KillFailed {
        /// To whom.
        worker: WorkerId,
        /// Why.
        errno: Errno,
    },
    /// The process has ended and was reaped. Every byte it wrote to its channel was delivered before, paused or not.
    Exited {
        /// Whose.
        worker: WorkerId,
        /// How.
        status: ExitStatus,
    },
    /// Bytes arrived, cut anywhere.
    Read {
        /// From where.
        channel: ChannelId,
        /// Never empty.
        bytes: Vec<u8>,
        /// A descriptor that came with them: nothing in `bytes` is newer than the message it belongs to.
        socket: Option<SocketId>,
    },
    /// A write was taken, perhaps in part. If `rest` is not empty, [`OsEvent::Writable`] follows once there is room.
    Wrote {
        /// Where to.
        channel: ChannelId,
        /// What was not taken. The descriptor has gone if at least one byte was.
        rest: Vec<u8>,
    },
    /// There is room again after a partial write.
    Writable {
        /// Where.
        channel: ChannelId,
    },
    /// The peer can no longer be written to. What it wrote before may still be read.
    WriteFailed {
        /// Where.
        channel: ChannelId,
        /// Why.
        errno: Errno,
    },
    /// The peer's end is closed and everything it wrote was delivered. Our end is closed too.
    ChannelClosed {
        /// Which.
        channel: ChannelId,
    },
    /// A socket is bound (and listens, if that was asked).
    Bound {
        /// What was asked.
        handle: HandleId,
        /// The new socket.
        socket: SocketId,
        /// Where it is, with the port the kernel chose.
        address: SocketAddr,
    },
    /// Nothing was bound.
    BindFailed {
        /// What was asked.
        handle: HandleId,
        /// Why.
        errno: Errno,
    },
    /// A received socket listens.
    Listening {
        /// Which.
        socket: SocketId,
        /// Where it is.
        address: SocketAddr,
    },
    /// A received socket does not listen.
    ListenFailed {
        /// Which.
        socket: SocketId,
        /// Why.
        errno: Errno,
    },
    /// A connection was accepted.
    Accepted {
        /// By which listening socket.
        listener: SocketId,
        /// The connection.
        socket: SocketId,
    },
    /// Accepting failed; the listener is still there, and is tried again, after a while if that is what it takes.
    AcceptFailed {
        /// Which.
        listener: SocketId,
        /// Why.
        errno: Errno,
    },
    /// A timer fired.
    Timer {
        /// Which.
        timer: TimerId,
    },
}

/// An operating system: the real one or the simulated one.
pub trait Os {
    /// Does what is asked without blocking. The answer, where a call has one, is part of the call:
    /// it must be handled before the next call is made.
    fn perform(&mut self, call: Call) -> Option<OsEvent>;
}
