//! The events of the primary and of a worker. Values only; the machines decide when to emit an event.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::address::ListeningAddress;
use crate::advice::{Advice, Failed, Reason};
use crate::listen::ListenAddress;
use crate::os::{Errno, ExitStatus, LocalAddress, SocketId, WorkerId};
use crate::os_bytes::{Escaped, OsBytes};
use crate::passing::IncomingHandle;
use crate::spawn_options::SpawnOptions;
use crate::user_message::Message;
use crate::violation::Violation;

/// The output of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Output<E> {
    /// An event for the program.
    Event(E),
    /// A call for the operating system.
    Call(crate::os::Call),
}

/// The events of a primary. Node: the events of `cluster`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum Event {
    /// Spawn options were applied, by `setup` or by a fork. Node: `'setup'`, one tick later.
    Setup {
        /// The options of later forks.
        options: SpawnOptions,
    },
    /// A worker was forked. Node: `'fork'`, one tick after `cluster.fork()`.
    Fork { worker: WorkerId },
    /// The worker's process runs and has sent its first message. Node: `'online'`.
    Online { worker: WorkerId },
    /// A server of the worker listens. Node: `'listening'`.
    Listening { worker: WorkerId, address: ListeningAddress },
    /// The worker has sent a message. Node: `'message'`.
    Message {
        worker: WorkerId,
        #[serde(with = "crate::user_message::whole")]
        message: Message,
        /// The socket that was sent with the message.
        handle: Option<IncomingHandle>,
    },
    /// The worker's channel is closed. Node: `'disconnect'`. Usually precedes [`Event::Exit`], but the order
    /// is not guaranteed. If the process does not exit afterwards, [`WorkerError::Lingers`] follows.
    Disconnect { worker: WorkerId },
    /// The worker's process has exited. Node: `'exit'`. If the start has failed, the worker has no process
    /// and no exit: its last event is [`Event::Disconnect`], as in Node.
    Exit {
        worker: WorkerId,
        status: ExitStatus,
        /// Whether the worker was asked to exit, by the primary or by its own program. A program that
        /// supervises its workers replaces only workers for which this is false. Node:
        /// `worker.exitedAfterDisconnect`.
        exited_after_disconnect: bool,
    },
    /// An operation on the worker failed. Node: `'error'` on the worker.
    Error { worker: WorkerId, error: WorkerError },
    /// A listening socket of the primary has failed to accept. The socket accepts again after a pause. Node
    /// ignores the failure.
    AcceptFailed {
        /// The error. For `EMFILE` and `ENFILE`, raise the limit on open descriptors.
        errno: Errno,
    },
    /// [`Primary::disconnect_all`](crate::Primary::disconnect_all) is complete: every worker has exited, and
    /// the events were emitted. Node: the callback of `cluster.disconnect()`, which runs when the *first*
    /// worker has exited, contrary to Node's documentation.
    AllDisconnected,
}

impl Event {
    /// The worker of the event, if any.
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

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Setup { .. } => f.write_str("the spawn options are set"),
            Event::Fork { worker } => write!(f, "worker {worker} was forked"),
            Event::Online { worker } => write!(f, "worker {worker} is online"),
            Event::Listening { worker, address } => write!(f, "worker {worker} listens on {address}"),
            Event::Message { worker, .. } => write!(f, "worker {worker} has sent a message"),
            Event::Disconnect { worker } => write!(f, "worker {worker} is disconnected"),
            Event::Exit { worker, status, .. } => write!(f, "worker {worker} has exited: {status}"),
            Event::Error { worker, error } => write!(f, "worker {worker}: {error}"),
            Event::AcceptFailed { errno } => write!(f, "cannot accept a connection: {}", Reason(*errno)),
            Event::AllDisconnected => f.write_str("every worker is disconnected"),
        }
    }
}

/// A failure of one worker. No other worker is affected.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum WorkerError {
    /// The worker's process could not be started. No [`Event::Exit`] follows.
    Spawn {
        /// [`SpawnOptions::exec`], or the path of the primary's own program. `None`: the path is unknown.
        program: Option<OsBytes>,
        /// [`SpawnOptions::cwd`], if the process could not change into this directory. Otherwise `errno` is
        /// about the program.
        directory: Option<OsBytes>,
        errno: Errno,
    },
    /// A signal could not be sent to the worker.
    Kill(Errno),
    /// Accepted messages, or the request to disconnect, were lost, because the channel can no longer be
    /// written to. Messages of the cluster protocol are not counted.
    Write {
        errno: Errno,
        /// The number of lost messages.
        lost: u64,
    },
    /// The kernel accepts no message to the worker at present, because memory is short or too many
    /// descriptors of the user are in flight. Nothing is lost: messages are retried in order, and connections
    /// are offered to other workers as well. Reported once, until a write succeeds.
    Delayed(Errno),
    /// The worker has rejected the socket of a message four times. The message is lost, and the socket is
    /// closed. Node: the warning `SentHandleNotReceivedWarning`.
    NotReceived,
    /// The worker has violated the protocol, and the channel was closed.
    Protocol(Violation),
    /// The worker's process still runs ten seconds after the channel was closed: `main` of a disconnected
    /// worker has not returned, or the process has closed the descriptor itself, is stopped, or hangs. The
    /// process receives no further connection from the primary. [`Event::Exit`] follows when the process
    /// ends, perhaps only after a kill. Node emits `'disconnect'` and nothing else.
    Lingers,
    /// The worker's process has exited, but another process has held the worker's channel open for
    /// [`Settings::retained_channel_timeout`](crate::Settings::retained_channel_timeout). The channel is
    /// closed now; a later message of that process is lost. [`Event::Disconnect`] follows.
    RetainedChannel,
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerError::Spawn { program, directory, errno } => {
                f.write_str("cannot start ")?;
                match program {
                    Some(program) => write!(f, "`{}`", Escaped(&program.to_string_lossy()))?,
                    None => f.write_str("the program of this process (path unknown)")?,
                }
                match directory {
                    Some(directory) => {
                        let advice = Advice(Failed::Directory, *errno);
                        let directory = directory.to_string_lossy();
                        write!(f, " in the directory `{}`: {}{advice}", Escaped(&directory), Reason(*errno))
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
                "the process of the worker still runs ten seconds after its channel was closed; send SIGKILL, unless the process finishes its work",
            ),
            WorkerError::RetainedChannel => f.write_str(
                "the channel was closed: another process held the channel open after the exit of the worker; start that process \
                 without descriptor 3, or give the worker a process group of its own",
            ),
            WorkerError::Protocol(violation) => write!(f, "the worker's channel was closed: {violation}"),
        }
    }
}

impl core::error::Error for WorkerError {}

/// The number of lost messages, and the name of the peer, for error texts.
struct Lost(u64, &'static str);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => write!(f, "a message to the {} is lost", self.1),
            lost => write!(f, "{lost} messages to the {} are lost", self.1),
        }
    }
}

/// A server of a worker, as returned by [`Worker::listen`](crate::Worker::listen).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerId(pub u64);

/// The events of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum WorkerEvent {
    /// A server listens. Node: `'listening'` on the server.
    Listening {
        listener: ListenerId,
        /// The address, with the port chosen by the kernel.
        address: LocalAddress,
        /// The socket of a UDP server. The application uses the socket until
        /// [`Worker::close`](crate::Worker::close).
        socket: Option<SocketId>,
    },
    /// A server cannot listen. Node: `'error'` on the server.
    ListenFailed { listener: ListenerId, error: ListenError },
    /// The worker owns a connection: its acknowledgement is written, and no other worker receives the
    /// connection. Node: `'connection'`.
    Connection {
        listener: ListenerId,
        /// Valid until [`Worker::release`](crate::Worker::release).
        connection: SocketId,
    },
    /// The last connection of a closed server has ended. Node: `'close'` on the server.
    Closed { listener: ListenerId },
    /// The primary has sent a message. Node: `'message'`.
    Message {
        message: Message,
        /// The socket that was sent with the message.
        handle: Option<IncomingHandle>,
    },
    /// A supervisor will disconnect this worker soon, and sends no further connection. Answer requests on
    /// open connections in a way that makes the clients connect to another worker (HTTP/1.1:
    /// `Connection: close`). Node has no such event.
    LameDuck,
    /// The channel is closed. Node: `'disconnect'`. The process exits right afterwards, unless the worker was
    /// asked to exit before.
    Disconnect,
    /// An operation on the channel failed.
    Error { error: ChannelError },
}

/// The reason why a server does not listen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ListenError {
    /// The kernel's error number. `ENOTCONN`: the worker is shutting down, so the primary does not answer.
    pub errno: Errno,
    /// The requested address.
    pub address: ListenAddress,
    /// Whether the worker itself, and not the primary, has tried to bind the address.
    pub exclusive: bool,
}

impl fmt::Display for ListenError {
    /// Uses Node's verbs: a primary binds, an exclusive server listens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.exclusive { "listen on" } else { "bind" };
        let failed = match self.address {
            ListenAddress::Tcp { host: Some(host), .. } if host.is_multicast() => Failed::BindMulticast,
            ListenAddress::Zoned { host, udp: false, .. } if host.is_multicast() => Failed::BindMulticast,
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

/// A failure of the channel to the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum ChannelError {
    /// Accepted messages were lost, because the channel can no longer be written to.
    Write {
        errno: Errno,
        /// The number of lost messages.
        lost: u64,
    },
    /// The kernel accepts no message at present; see [`WorkerError::Delayed`].
    Delayed(Errno),
    /// The primary has rejected the socket of a message four times. The message is lost, and the socket is
    /// closed. Node: the warning `SentHandleNotReceivedWarning`.
    NotReceived,
    /// The primary has violated the protocol, and the channel was closed.
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
