//! The seam: everything a machine asks of an operating system, and everything it is told.
//!
//! Plain values only, so that a trace is a list of crossings and a call can be held back, failed or replayed.
//! It does not know Node's protocol, and it never blocks: [`Os::perform`] answers at once or not at all.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

pub use crate::errno::{Errno, Signal};
use crate::os_bytes::OsBytes;
use crate::spawn_options::SpawnOptions;

/// A worker of this primary, ascending from 1; never a process id and never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<WorkerId> for u64 {
    fn from(worker: WorkerId) -> Self {
        worker.0
    }
}

/// One end of an IPC channel, as its process names it: 0 leads to the primary, `n` to worker `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);

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
pub struct SocketId(pub u64);

/// What a [`Call::Bind`] is for: a distribution object of the primary, or a worker's server that shares with nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HandleId(pub u64);

/// A timer, numbered by the machine that sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId(pub u64);

/// Where to bind a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BindAddress {
    /// A TCP socket.
    Tcp {
        /// `None`: every address, IPv6 with IPv4 where there is IPv6 (`::`), else `0.0.0.0`.
        host: Option<IpAddr>,
        /// 0: the kernel chooses.
        port: u16,
        /// With an IPv6 host, or without one: leave IPv4 alone.
        ipv6_only: bool,
        /// Let other sockets that ask for the same bind here too; the kernel spreads the clients. `SO_REUSEPORT`.
        reuse_port: bool,
    },
    /// A Unix stream socket. The operating system binds it however long its path is, and removes the path when the
    /// process that bound it closes it.
    Path {
        /// Where. A path that is there already is not taken: `EADDRINUSE`. An abstract name, with the NUL before it, makes
        /// no file: nothing is removed, and there is no mode.
        path: String,
        /// Let everybody read it (mode bits 0444).
        readable_all: bool,
        /// Let everybody write to it, and so connect (mode bits 0222).
        writable_all: bool,
    },
    /// A UDP socket: it is never listened on, and a backlog means nothing.
    Udp {
        /// The address; its kind is the socket's.
        host: IpAddr,
        /// 0: the kernel chooses.
        port: u16,
        /// With an IPv6 host: leave IPv4 alone.
        ipv6_only: bool,
        /// Bind though another process may have bound it before. `SO_REUSEADDR`.
        reuse_address: bool,
        /// As for TCP; the kernel spreads the datagrams.
        reuse_port: bool,
    },
    /// A TCP or UDP socket at an IPv6 address in a zone.
    Zoned {
        /// The address.
        host: Ipv6Addr,
        /// The name of a network interface, or its number. One that is not there is no zone, as for libuv.
        zone: String,
        /// 0: the kernel chooses.
        port: u16,
        /// Whether it is for datagrams.
        datagrams: bool,
        /// Leave IPv4 alone.
        ipv6_only: bool,
        /// As for UDP. A TCP address is always bound again.
        reuse_address: bool,
        /// As for TCP.
        reuse_port: bool,
    },
    /// A socket that this process has already, by the number the kernel knows it by. A duplicate of it is taken.
    Descriptor {
        /// Its number.
        fd: u32,
        /// Whether it must be a datagram socket; else it must be a stream socket. `EINVAL` if it is not.
        datagrams: bool,
    },
}

/// Where a socket is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LocalAddress {
    /// TCP or UDP, with the port the kernel chose.
    Ip(SocketAddr),
    /// TCP or UDP at an IPv6 address in a zone that the operating system reports with the address: a link-local one.
    Zoned {
        /// The address.
        host: Ipv6Addr,
        /// The name of the network interface.
        zone: String,
        /// The port the kernel chose.
        port: u16,
    },
    /// A Unix socket; empty if it has no path; an abstract name with the NUL before it.
    Path(String),
}

impl LocalAddress {
    /// An address in a zone, by the number or the name of its interface.
    pub(crate) fn in_zone(host: Ipv6Addr, zone: &str, port: u16) -> Self {
        match zone.parse() {
            Ok(number) => SocketAddr::from(SocketAddrV6::new(host, port, 0, number)).into(),
            Err(_) => LocalAddress::Zoned { host, zone: zone.into(), port },
        }
    }

    /// The address, unless it is a path. A zone that has a name is not in it: only the operating system knows its number.
    pub fn ip(&self) -> Option<SocketAddr> {
        match self {
            LocalAddress::Ip(address) => Some(*address),
            LocalAddress::Zoned { host, port, .. } => Some(SocketAddr::new((*host).into(), *port)),
            LocalAddress::Path(_) => None,
        }
    }

    /// The port; 0 for a path.
    pub fn port(&self) -> u16 {
        self.ip().map_or(0, |address| address.port())
    }
}

impl From<SocketAddr> for LocalAddress {
    fn from(address: SocketAddr) -> Self {
        LocalAddress::Ip(address)
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LocalAddress::Ip(address) => address.fmt(f),
            LocalAddress::Zoned { host, zone, port } => write!(f, "[{host}%{zone}]:{port}"),
            LocalAddress::Path(path) => fmt_path(path, f),
        }
    }
}

/// A path, or `@` and an abstract name, as Linux tools write it.
pub(crate) fn fmt_path(path: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match path.strip_prefix('\0') {
        Some(name) => write!(f, "@{name}"),
        None => f.write_str(path),
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(Signal),
    /// Unknown: something else in the primary's process has waited for it and taken its status, a loop around `waitpid(-1)` for
    /// instance, or has ignored SIGCHLD after the worker was forked.
    ReapedElsewhere,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit status: {code}"),
            ExitStatus::Signal(signal) => write!(f, "signal: {signal}"),
            ExitStatus::ReapedElsewhere => {
                f.write_str("exit status: unknown (the process was reaped elsewhere)")
            }
        }
    }
}

/// What a machine asks of the operating system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Call {
    /// Start a worker process with a channel. Answers [`OsEvent::Spawned`] or [`OsEvent::SpawnFailed`].
    Spawn {
        /// Whose process it is; its channel has the same number.
        worker: WorkerId,
        /// What to execute, and how.
        options: SpawnOptions,
        /// Laid over the inherited environment. The backend adds the variables that name the channel.
        env: Vec<(OsBytes, OsBytes)>,
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
    /// Make a socket and bind it. Answers [`OsEvent::Bound`] or [`OsEvent::BindFailed`].
    Bind {
        /// What it is for; comes back in the answer. In a worker: the number of the server that is to have the socket to
        /// itself.
        handle: HandleId,
        /// Where.
        address: BindAddress,
        /// `Some`: listen too, if it is a stream socket. `None`: leave listening to the workers that will share it.
        backlog: Option<u32>,
    },
    /// Listen on a bound socket that was received. Answers [`OsEvent::Listening`] or [`OsEvent::ListenFailed`]. A UDP
    /// socket does not listen: the answer only says where it is.
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
        /// The path of the program where the command names none, if the backend knows it.
        program: Option<OsBytes>,
        /// Whether the directory of the command is what failed.
        directory: bool,
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
    /// The process runs on though its channel has been closed for a while; once a process. A worker exits with its
    /// channel, so this one is stopped, hung, or has closed the descriptor itself.
    Lingers {
        /// The worker of the process.
        worker: WorkerId,
    },
    /// Bytes arrived, cut anywhere.
    Read {
        /// From where.
        channel: ChannelId,
        /// Never empty.
        bytes: Vec<u8>,
        /// A socket of any kind that came with them: nothing in `bytes` is newer than the message it belongs to. A
        /// descriptor that is no socket is closed and not told: to the machine it has not arrived.
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
    /// Nothing of a write was taken, and its descriptor was not sent. No [`OsEvent::Writable`] follows. What the peer wrote
    /// before may still be read.
    WriteFailed {
        /// Where.
        channel: ChannelId,
        /// Why: `EPIPE` and the like if the peer can no longer be written to, `ETOOMANYREFS` and the like if only this write
        /// could not be done now.
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
        address: LocalAddress,
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
        address: LocalAddress,
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
