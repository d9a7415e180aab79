//! The seam between a machine and an operating system: every call and every event.
//!
//! All are plain values, so a trace is a list of these values, and a call can be delayed, failed or replayed.
//! The seam does not depend on Node's protocol, and never blocks: [`Os::perform`] answers at once or returns
//! nothing.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::time::Duration;

use serde::{Deserialize, Serialize};

pub use crate::errno::{Errno, Signal};
use crate::os_bytes::{Escaped, OsBytes};
use crate::spawn_options::SpawnOptions;

/// The id of a worker, in ascending order from 1. Not a process id, and never used twice. Serialized by serde
/// as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// One end of an IPC channel. Each process numbers its own ends: in a worker, 0 is the channel to the
/// primary; in a primary, `n` is the channel to worker `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

/// A socket of a process. The operating system numbers sockets in the order of their appearance, and uses no
/// number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SocketId(pub u64);

/// What a [`Call::Bind`] is for: a distribution object of the primary, or an exclusive server of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HandleId(pub u64);

/// A timer. The machine that sets the timer chooses the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TimerId(pub u64);

/// The socket that a [`Call::Bind`] creates.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum BindAddress {
    /// A TCP socket.
    Tcp {
        /// The host. `None`: every address, which is `::` with IPv4 if the system has IPv6, otherwise
        /// `0.0.0.0`.
        host: Option<IpAddr>,
        /// 0: the kernel chooses.
        port: u16,
        /// With an IPv6 host or without a host: exclude IPv4.
        ipv6_only: bool,
        /// Set `SO_REUSEPORT`: other sockets with this option may bind the same address, and the kernel
        /// spreads the clients.
        reuse_port: bool,
    },
    /// A Unix stream socket. The operating system binds a path of any length. The process that has bound the
    /// path removes the file when it closes the socket.
    Path {
        /// The path. If the path exists, it is not replaced: `EADDRINUSE`. An abstract name begins with NUL
        /// and makes no file, so `readable_all` and `writable_all` have no effect.
        path: String,
        /// Every user may read (mode bits 0444).
        readable_all: bool,
        /// Every user may write, and so connect (mode bits 0222).
        writable_all: bool,
    },
    /// A UDP socket; the backlog is ignored.
    Udp {
        /// The address. Its family is the family of the socket.
        host: IpAddr,
        /// 0: the kernel chooses.
        port: u16,
        /// With an IPv6 host: exclude IPv4.
        ipv6_only: bool,
        /// Set `SO_REUSEADDR`: bind even if another process has bound the address.
        reuse_address: bool,
        /// As for TCP. The kernel spreads the datagrams.
        reuse_port: bool,
    },
    /// A TCP or UDP socket at an IPv6 address in a zone.
    Zoned {
        host: Ipv6Addr,
        /// The name or the number of a network interface. An unknown interface counts as no zone, as in
        /// libuv.
        zone: String,
        /// 0: the kernel chooses.
        port: u16,
        /// UDP if true, otherwise TCP.
        datagrams: bool,
        /// Exclude IPv4.
        ipv6_only: bool,
        /// As for UDP. TCP always has the option.
        reuse_address: bool,
        /// As for TCP.
        reuse_port: bool,
    },
    /// A duplicate of an inherited descriptor.
    Descriptor {
        /// The number of the descriptor in this process.
        fd: u32,
        /// Whether the socket must be a datagram socket, and not a stream socket. A socket of the other type
        /// is `EINVAL`.
        datagrams: bool,
    },
}

/// The local address of a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LocalAddress {
    /// TCP or UDP, with the port chosen by the kernel.
    Ip(SocketAddr),
    /// TCP or UDP at a link-local IPv6 address, with the zone that the operating system has reported.
    Zoned {
        /// The address.
        host: Ipv6Addr,
        /// The name of the network interface.
        zone: String,
        /// The port that the kernel chose.
        port: u16,
    },
    /// The path of a Unix socket. Empty for an unnamed socket; an abstract name begins with NUL.
    Path(String),
}

impl LocalAddress {
    /// An address in a zone. The zone is the number or the name of the interface.
    pub(crate) fn in_zone(host: Ipv6Addr, zone: &str, port: u16) -> Self {
        match zone.parse() {
            Ok(number) => SocketAddr::from(SocketAddrV6::new(host, port, 0, number)).into(),
            Err(_) => LocalAddress::Zoned { host, zone: zone.into(), port },
        }
    }

    /// The IP address and the port; `None` for a path. The name of a zone is left out, because only the
    /// operating system can find its number.
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
            LocalAddress::Zoned { host, zone, port } => write!(f, "[{host}%{}]:{port}", Escaped(zone)),
            LocalAddress::Path(path) => fmt_path(path, f),
        }
    }
}

/// Writes a path, or `@` and the abstract name, as Linux tools do.
pub(crate) fn fmt_path(path: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match path.strip_prefix('\0') {
        Some(name) => write!(f, "@{}", Escaped(name)),
        None => write!(f, "{}", Escaped(path)),
    }
}

/// The end of a process: a code or a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ExitStatus {
    /// The process exited with this code.
    Code(i32),
    /// The process was killed by this signal.
    Signal(Signal),
    /// Unknown: another part of the primary's process has reaped the worker (a loop around `waitpid(-1)`, for
    /// example), or has set SIGCHLD to ignore after the fork.
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

/// A request of a machine to the operating system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum Call {
    /// Start a worker process with a channel. Answer: [`OsEvent::Spawned`] or [`OsEvent::SpawnFailed`].
    Spawn {
        /// The worker. The channel of the process has the same number.
        worker: WorkerId,
        options: SpawnOptions,
        /// Variables that override the inherited environment. The operating system adds the variables that
        /// describe the channel.
        env: Vec<(OsBytes, OsBytes)>,
    },
    /// Send a signal to a worker, or to the whole group if the worker has its own process group. There is no
    /// answer, or [`OsEvent::KillFailed`]; if the process has exited, the call succeeds. After the exit of
    /// the worker, a signal reaches the remaining processes of the group, and always succeeds; after SIGKILL,
    /// no further signal reaches them.
    Kill { worker: WorkerId, signal: Signal },
    /// Write to a channel. Answer: [`OsEvent::Wrote`] or [`OsEvent::WriteFailed`].
    Write {
        channel: ChannelId,
        /// The bytes, never empty.
        #[serde(with = "crate::byte_form")]
        bytes: Vec<u8>,
        /// A socket to send with the first byte. The sender keeps its copy.
        socket: Option<SocketId>,
    },
    /// Deliver no [`OsEvent::Read`] of this channel until [`Call::ResumeRead`].
    PauseRead { channel: ChannelId },
    /// Ends [`Call::PauseRead`].
    ResumeRead { channel: ChannelId },
    /// Close this end of the channel. No [`OsEvent::ChannelClosed`] follows.
    CloseChannel { channel: ChannelId },
    /// Create a socket and bind it. Answer: [`OsEvent::Bound`] or [`OsEvent::BindFailed`].
    Bind {
        /// What the socket is for, repeated in the answer. In a worker: the number of the exclusive server.
        handle: HandleId,
        address: BindAddress,
        /// `Some`: a stream socket also listens, with this backlog. `None`: the workers that share the socket
        /// listen.
        backlog: Option<u32>,
    },
    /// Listen on a received, bound socket. Answer: [`OsEvent::Listening`] or [`OsEvent::ListenFailed`]. A UDP
    /// socket does not change, and the answer reports its address.
    Listen {
        socket: SocketId,
        /// The length of the kernel's queue of connections.
        backlog: u32,
    },
    /// Deliver no [`OsEvent::Accepted`] of this listening socket until [`Call::ResumeAccept`]. A new
    /// listening socket is paused.
    PauseAccept { socket: SocketId },
    /// Ends [`Call::PauseAccept`].
    ResumeAccept { socket: SocketId },
    /// Choose the worker of a connection, under
    /// [`SchedulingPolicy::Custom`](crate::SchedulingPolicy::Custom). Answer: [`OsEvent::Chosen`].
    Choose {
        /// Repeated in the answer.
        handle: HandleId,
        /// Repeated in the answer.
        connection: SocketId,
        /// The address of the client. `None`: the socket is a Unix socket.
        client: Option<IpAddr>,
        /// At least one; the worker that has waited longest is first.
        candidates: Vec<Candidate>,
    },
    /// Close this process's copy of a socket.
    Close { socket: SocketId },
    /// Deliver [`OsEvent::Timer`] once, after `after_ms` milliseconds.
    SetTimer { timer: TimerId, after_ms: u64 },
    /// End this process.
    Exit { code: i32 },
}

/// A worker that can receive a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Candidate {
    /// The worker.
    pub worker: WorkerId,
    /// The number of the slot under a supervisor.
    pub slot: Option<u32>,
    /// The number of open connections, from the last report of the worker. `None`: the worker has never
    /// reported.
    pub open_connections: Option<u64>,
    /// The number of connections that the worker has been offered and has not answered.
    pub unanswered: u32,
}

/// The `after_ms` of [`Call::SetTimer`]. Rounded up, so a timer never fires early.
pub(crate) fn timer_ms(after: Duration) -> u64 {
    u64::try_from(after.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// An event that the operating system reports to a machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum OsEvent {
    /// The process exists and its channel is open.
    Spawned {
        worker: WorkerId,
        /// The process id, for display; a machine only stores it.
        pid: u32,
    },
    /// No process was started and no channel exists.
    SpawnFailed {
        worker: WorkerId,
        /// The path of the primary's own program, if the options name no program and the operating system
        /// knows the path.
        program: Option<OsBytes>,
        /// Whether the directory of the options is the reason, rather than the program.
        directory: bool,
        errno: Errno,
    },
    /// The signal was not sent.
    KillFailed { worker: WorkerId, errno: Errno },
    /// The process has exited and was reaped. All bytes that the process has written to its channel were
    /// delivered before, even if the channel is paused.
    Exited { worker: WorkerId, status: ExitStatus },
    /// The process still runs some time after the channel was closed, whether or not the worker was asked to
    /// exit. Reported once per process.
    Lingers { worker: WorkerId },
    /// Bytes have arrived. The stream may be split at any position.
    Read {
        channel: ChannelId,
        /// The bytes, never empty.
        bytes: Vec<u8>,
        /// A socket that has arrived with the bytes. Its message does not end before these bytes. If a
        /// received descriptor is not a socket, the operating system closes it and delivers no socket.
        socket: Option<SocketId>,
    },
    /// The kernel has accepted a write, perhaps only a part. Unless `rest` is empty, [`OsEvent::Writable`]
    /// follows when there is room.
    Wrote {
        channel: ChannelId,
        /// The bytes that were not accepted. The descriptor was sent if at least one byte was accepted.
        rest: Vec<u8>,
    },
    /// The channel has room again after a partial write.
    Writable { channel: ChannelId },
    /// The kernel has accepted no byte of a write, and has not sent the descriptor. No [`OsEvent::Writable`]
    /// follows. Earlier bytes of the peer may still be readable.
    WriteFailed {
        channel: ChannelId,
        /// `EPIPE` and similar errors: the channel can no longer be written to. `ETOOMANYREFS` and similar
        /// errors: only this write has failed.
        errno: Errno,
    },
    /// The peer has closed its end, and every byte was delivered. This end is closed as well.
    ChannelClosed { channel: ChannelId },
    /// A socket is bound, and listens if the call had a backlog.
    Bound {
        handle: HandleId,
        socket: SocketId,
        /// The address, with the port chosen by the kernel.
        address: LocalAddress,
    },
    /// No socket was bound.
    BindFailed { handle: HandleId, errno: Errno },
    /// A received socket listens.
    Listening { socket: SocketId, address: LocalAddress },
    /// A received socket cannot listen.
    ListenFailed { socket: SocketId, errno: Errno },
    /// A connection was accepted.
    Accepted {
        /// The listening socket.
        listener: SocketId,
        socket: SocketId,
        /// The address of the client. `None`: the socket is a Unix socket.
        client: Option<IpAddr>,
    },
    /// The chosen worker. If the worker is no candidate, or not any longer, the connection is handed to the
    /// longest waiting worker.
    Chosen { handle: HandleId, connection: SocketId, worker: WorkerId },
    /// An accept has failed. The listening socket remains open, and accepts again, if necessary after a
    /// pause.
    AcceptFailed { listener: SocketId, errno: Errno },
    /// A timer fired.
    Timer { timer: TimerId },
}

/// An operating system, real or simulated.
pub trait Os {
    /// Performs a call without blocking. The machine must handle the answer, if any, before the next call.
    fn perform(&mut self, call: Call) -> Option<OsEvent>;
}
