//! What a user hears, in the primary and in a worker. Values only; who decides on them is in the machines.

use core::fmt;

use crate::address::ListeningAddress;
use crate::advice::{Advice, Failed, Reason};
use crate::listen::ListenAddress;
use crate::os::{Errno, ExitStatus, LocalAddress, SocketId, WorkerId};
use crate::os_bytes::OsBytes;
use crate::passing::IncomingHandle;
use crate::payload::Message;
use crate::spawn_options::SpawnOptions;
use crate::violation::Violation;

/// What a machine gives out: something for the user, or something for the operating system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output<E> {
    /// For the user.
    Event(E),
    /// For the operating system.
    Call(crate::os::Call),
}

/// What happens to workers, as the primary sees it. Node: the events of `cluster`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// Settings were decided: by a call of `setup`, or by a fork, which is one too. Node: `'setup'`, one tick later.
    Setup {
        /// What was decided.
        options: SpawnOptions,
    },
    /// A worker was forked. Node: `'fork'`, one tick after `cluster.fork()`.
    Fork {
        /// Which.
        worker: WorkerId,
    },
    /// Its process runs and speaks. Node: `'online'`.
    Online {
        /// Which.
        worker: WorkerId,
    },
    /// It serves an address. Node: `'listening'`.
    Listening {
        /// Which.
        worker: WorkerId,
        /// Where.
        address: ListeningAddress,
    },
    /// It sent a message. Node: `'message'`.
    Message {
        /// Which.
        worker: WorkerId,
        /// What.
        message: Message,
        /// A socket that came with it.
        handle: Option<IncomingHandle>,
    },
    /// Its channel is closed. Node: `'disconnect'`. Usually before [`Event::Exit`], but not by any promise. A process that does not
    /// exit then is reported by [`WorkerError::Lingers`].
    Disconnect {
        /// Which.
        worker: WorkerId,
    },
    /// Its process has ended. Node: `'exit'`. A worker that could not be started has no process and no exit: it ends
    /// with [`Event::Disconnect`].
    Exit {
        /// Which.
        worker: WorkerId,
        /// How.
        status: ExitStatus,
        /// Whether the worker was asked to exit, by the primary or by itself. A program that replaces workers replaces those that
        /// were not. Node: `worker.exitedAfterDisconnect`.
        exited_after_disconnect: bool,
    },
    /// Something went wrong with it. Node: `'error'` on the worker.
    Error {
        /// Which.
        worker: WorkerId,
        /// What.
        error: WorkerError,
    },
    /// A listening socket of the primary could not accept. It waits a little and tries again.
    /// Node: ignored.
    AcceptFailed {
        /// Why; `EMFILE` and `ENFILE` mean that the limit on open descriptors should be raised.
        errno: Errno,
    },
    /// All workers were asked to go and are gone, and everything was told of them. Node: the callback of
    /// `cluster.disconnect()`, which runs when the *first* worker is gone, though the documentation says the last.
    AllDisconnected,
}

impl Event {
    /// The worker that the event is about, if it is about one.
    pub fn worker(&self) -> Option<WorkerId> {
        match self {
            Event::Fork { worker }
            | Event::Online { worker }
            | Event::Listening { worker, .. }
            | Event::Message { worker, .. }
            | Event::Disconnect { worker }
            | Event::Exit { worker, .. }
            | Event::Error { worker, .. } => Some(*worker),
            Event::Setup { .. } | Event::AcceptFailed { .. } | Event::AllDisconnected => None,
        }
    }
}

/// What can go wrong with one worker. None of these harms another worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WorkerError {
    /// Its process could not be started. No [`Event::Exit`] follows.
    Spawn {
        /// The program: [`SpawnOptions::exec`], or the path of the primary's own. `None`: that path is unknown.
        program: Option<OsBytes>,
        /// [`SpawnOptions::cwd`], if the process could not change into it; else the program is what `errno` is about.
        directory: Option<OsBytes>,
        /// Why not.
        errno: Errno,
    },
    /// It could not be signalled.
    Kill(Errno),
    /// Messages to it that were accepted, or the wish that it disconnects, were lost: it can no longer be written to.
    /// Messages of the cluster itself are not counted.
    Write {
        /// Why.
        errno: Errno,
        /// How many.
        lost: u64,
    },
    /// The kernel does not take a message to it now, for want of memory or because too many descriptors of this user are in
    /// flight. Nothing is lost: messages are tried again in their order, and a connection is offered to other workers, too.
    /// Reported once until a write succeeds.
    Delayed(Errno),
    /// It refused the socket of a message four times: the message is lost, and the socket closed.
    /// Node: the warning `SentHandleNotReceivedWarning`.
    NotReceived,
    /// It broke the protocol, and its channel was closed.
    Protocol(Violation),
    /// Its process still runs ten seconds after its channel was closed, though it was not disconnected: it has closed the
    /// descriptor itself, is stopped, or hangs. The process serves no client, and no [`Event::Exit`] follows until it is
    /// killed. Node emits `'disconnect'` and nothing after it.
    Lingers,
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerError::Spawn { program, directory, errno } => {
                f.write_str("cannot start ")?;
                match program {
                    Some(program) => write!(f, "`{program}`")?,
                    None => f.write_str("the program of this process (path unknown)")?,
                }
                match directory {
                    Some(directory) => {
                        let advice = Advice(Failed::Directory, *errno);
                        write!(f, " in the directory `{directory}`: {}{advice}", Reason(*errno))
                    }
                    None => write!(f, ": {}{}", Reason(*errno), Advice(Failed::Spawn, *errno)),
                }
            }
            WorkerError::Kill(errno) => {
                let advice = Advice(Failed::Kill, *errno);
                write!(f, "cannot send a signal to the worker: {}{advice}", Reason(*errno))
            }
            WorkerError::Write { errno, lost } => {
                let advice = Advice(Failed::Write, *errno);
                write!(f, "{}: {}{advice}", Lost(*lost, "worker"), Reason(*errno))
            }
            WorkerError::Delayed(errno) => {
                let advice = Advice(Failed::Write, *errno);
                write!(f, "messages to the worker wait: {}{advice}", Reason(*errno))
            }
            WorkerError::NotReceived => f.write_str("a socket and its message did not reach the worker"),
            WorkerError::Lingers => f.write_str(
                "the worker's process runs on without its channel; send it SIGKILL, and replace it when it has exited",
            ),
            WorkerError::Protocol(violation) => write!(f, "the worker's channel was closed: {violation}"),
        }
    }
}

impl core::error::Error for WorkerError {}

/// How many messages were lost, and to which peer.
struct Lost(u64, &'static str);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => write!(f, "a message to the {} is lost", self.1),
            lost => write!(f, "{lost} messages to the {} are lost", self.1),
        }
    }
}

/// A server of a worker: what `Worker::listen` returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u64);

/// What happens in a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum WorkerEvent {
    /// A server serves. Node: `'listening'` on the server.
    Listening {
        /// Which.
        listener: ListenerId,
        /// Where, with the port the kernel chose.
        address: LocalAddress,
        /// A UDP server's socket: the application reads and writes it, and `Worker::close` ends it.
        socket: Option<SocketId>,
    },
    /// A server does not serve. Node: `'error'` on the server.
    ListenFailed {
        /// Which.
        listener: ListenerId,
        /// Why.
        error: ListenError,
    },
    /// A connection is ours: acknowledged, and nobody else will get it. Node: `'connection'`.
    Connection {
        /// Which server's.
        listener: ListenerId,
        /// The connection, until `Worker::release`.
        connection: SocketId,
    },
    /// A closed server's last connection has ended. Node: `'close'` on the server.
    Closed {
        /// Which.
        listener: ListenerId,
    },
    /// The primary sent a message. Node: `'message'`.
    Message {
        /// What.
        message: Message,
        /// A socket that came with it.
        handle: Option<IncomingHandle>,
    },
    /// The channel is closed. Node: `'disconnect'`. Unless the worker was asked to go, its process ends right after.
    Disconnect,
    /// Something went wrong with the channel.
    Error {
        /// What.
        error: ChannelError,
    },
}

/// Why a server does not serve.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListenError {
    /// The error, as the kernel gave it to who was to bind. `ENOTCONN`: the worker is leaving, and nobody will answer.
    pub errno: Errno,
    /// What was asked for.
    pub address: ListenAddress,
    /// Whether the worker was to bind it itself; else the primary was.
    pub exclusive: bool,
}

impl fmt::Display for ListenError {
    /// As Node: the primary binds, an exclusive server listens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.exclusive { "listen on" } else { "bind" };
        let failed = match self.address {
            ListenAddress::Tcp { .. } | ListenAddress::Udp { .. } => Failed::BindAddress,
            ListenAddress::Zoned { .. } => Failed::BindZone,
            ListenAddress::Path { .. } => Failed::BindPath,
            ListenAddress::Descriptor { .. } => Failed::Bind,
        };
        let advice = Advice(failed, self.errno);
        write!(f, "cannot {what} {}: {}{advice}", self.address, Reason(self.errno))
    }
}

impl core::error::Error for ListenError {}

/// What can go wrong with the channel to the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChannelError {
    /// Messages that were accepted were lost: the primary can no longer be written to.
    Write {
        /// Why.
        errno: Errno,
        /// How many.
        lost: u64,
    },
    /// The kernel does not take a message now: see [`WorkerError::Delayed`].
    Delayed(Errno),
    /// It refused the socket of a message four times: the message is lost, and the socket closed.
    /// Node: the warning `SentHandleNotReceivedWarning`.
    NotReceived,
    /// The primary broke the protocol, and the channel was closed.
    Protocol(Violation),
}

impl fmt::Display for ChannelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ChannelError::Write { errno, lost } => {
                let advice = Advice(Failed::Write, *errno);
                write!(f, "{}: {}{advice}", Lost(*lost, "primary"), Reason(*errno))
            }
            ChannelError::Delayed(errno) => {
                let advice = Advice(Failed::Write, *errno);
                write!(f, "messages to the primary wait: {}{advice}", Reason(*errno))
            }
            ChannelError::NotReceived => f.write_str("a socket and its message did not reach the primary"),
            ChannelError::Protocol(violation) => {
                write!(f, "the channel to the primary was closed: {violation}")
            }
        }
    }
}

impl core::error::Error for ChannelError {}
