//! The errors of the crate. An error text names the failed operation and the value; `source` returns the
//! cause.

use std::time::Duration;
use std::{error, fmt, io};

use cluster_core::{Errno, ForkError, ListenAddress, MessageError, SendError};

/// The variables of a worker are set, but to values that no primary sets.
///
/// The environment was changed, or was inherited from a worker without a removal of the variables: see
/// [`role`](crate::role()).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoleError {
    /// `NODE_UNIQUE_ID` is not an integer from 1.
    Id {
        /// The value of the variable.
        value: String,
    },
    /// `NODE_UNIQUE_ID` is set, `NODE_CHANNEL_FD` is not.
    NoChannel,
    /// `NODE_CHANNEL_FD` is not an integer from 3.
    ChannelNumber {
        /// The value of the variable.
        value: String,
    },
    /// The descriptor in `NODE_CHANNEL_FD` is not an inherited Unix stream socket.
    Channel {
        /// The descriptor.
        number: i32,
        /// EBADF: no descriptor has the number. ENOTSOCK, EPROTO: the descriptor is no channel.
        errno: Errno,
    },
    /// `NODE_CHANNEL_SERIALIZATION_MODE` is neither `json` nor `advanced`.
    Serialization {
        /// The value of the variable.
        value: String,
    },
}

impl fmt::Display for RoleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RoleError::Id { value } => write!(f, "NODE_UNIQUE_ID is {value:?}, expected an integer from 1"),
            RoleError::NoChannel => f.write_str("NODE_UNIQUE_ID is set, but NODE_CHANNEL_FD is not"),
            RoleError::ChannelNumber { value } => {
                write!(f, "NODE_CHANNEL_FD is {value:?}, expected an integer from 3")
            }
            RoleError::Channel { number, errno } => {
                write!(f, "NODE_CHANNEL_FD is {number}, which is not an inherited channel: {errno}")
            }
            RoleError::Serialization { value } => {
                let expected = "expected \"json\" or \"advanced\"";
                write!(f, "NODE_CHANNEL_SERIALIZATION_MODE is {value:?}, {expected}")
            }
        }?;
        let advice = "to start a primary, or let a primary start this program";
        write!(f, "; unset NODE_UNIQUE_ID and NODE_CHANNEL_FD {advice}")
    }
}

impl error::Error for RoleError {}

/// The caller is outside a tokio runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoRuntime;

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no tokio runtime is running here: call from a task, or inside `Runtime::block_on`")
    }
}

impl error::Error for NoRuntime {}

/// The error of [`Primary::new`](crate::Primary::new).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PrimaryError {
    /// A primary has started this process as a worker, and the process has not joined the cluster.
    IsWorker,
    /// The environment is broken.
    Role(RoleError),
    /// The caller is outside a tokio runtime.
    Runtime(NoRuntime),
}

impl fmt::Display for PrimaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PrimaryError::IsWorker => {
                "a primary has started this process as its worker: call `cluster::role()` first, and join"
            }
            PrimaryError::Role(_) => "cannot create a primary: the environment of this process is broken",
            PrimaryError::Runtime(_) => "cannot create a primary",
        })
    }
}

impl error::Error for PrimaryError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            PrimaryError::IsWorker => None,
            PrimaryError::Role(error) => Some(error),
            PrimaryError::Runtime(error) => Some(error),
        }
    }
}

/// The error of [`Worker::join`](crate::Worker::join).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum JoinError {
    /// No primary started this process.
    NotAWorker,
    /// This process has joined before.
    Joined,
    /// The environment is broken.
    Role(RoleError),
    /// The caller is outside a tokio runtime.
    Runtime(NoRuntime),
    /// The runtime cannot poll the channel.
    Channel(Errno),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::NotAWorker => {
                f.write_str("no primary started this process: call `cluster::role()` before joining")
            }
            JoinError::Joined => {
                f.write_str("this process has joined its cluster before: clone the first `Worker`")
            }
            JoinError::Role(_) => {
                f.write_str("cannot join a cluster: the environment of this process is broken")
            }
            JoinError::Runtime(_) => f.write_str("cannot join a cluster"),
            JoinError::Channel(errno) => write!(f, "cannot poll the channel to the primary: {errno}"),
        }
    }
}

impl error::Error for JoinError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            JoinError::NotAWorker | JoinError::Joined | JoinError::Channel(_) => None,
            JoinError::Role(error) => Some(error),
            JoinError::Runtime(error) => Some(error),
        }
    }
}

/// The reason why a worker does not listen on an address.
///
/// Converts to [`io::Error`], with the kind of the kernel's error number, if any.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// The lookup of the name failed, or returned no address.
    Resolve {
        /// The `Debug` text of the caller's address.
        address: String,
        /// The error of the lookup.
        error: io::Error,
    },
    /// The called method does not serve addresses of this kind, or no message can carry the address.
    Unsuitable {
        /// The reason, and the remedy.
        reason: &'static str,
    },
    /// The path is relative, and the working directory cannot be read: a removed directory, for instance.
    WorkingDirectory(io::Error),
    /// The kernel refused to bind or to listen on the address.
    Bind {
        /// The address.
        address: ListenAddress,
        /// The kernel's error: EADDRINUSE, EACCES, EADDRNOTAVAIL and so on.
        errno: Errno,
        /// Whether the worker itself, and not the primary, has tried to bind the address: see
        /// [`ListenOptions::exclusive`](crate::ListenOptions::exclusive).
        exclusive: bool,
    },
    /// The runtime cannot use the socket from the primary.
    Socket(io::Error),
    /// The worker is disconnecting, or the channel is closed: the primary shares no socket.
    Disconnected,
    /// The primary has bound the address, but the worker was disconnected before the call returned, and the
    /// disconnect closed the listener. Node: `'close'` on a server without a `'listening'` before.
    Closed,
}

impl From<cluster_core::ListenError> for ListenError {
    fn from(error: cluster_core::ListenError) -> Self {
        let cluster_core::ListenError { address, errno, exclusive } = error;
        ListenError::Bind { address, errno, exclusive }
    }
}

impl From<ListenError> for io::Error {
    fn from(error: ListenError) -> Self {
        let kind = match &error {
            ListenError::Resolve { error, .. }
            | ListenError::WorkingDirectory(error)
            | ListenError::Socket(error) => error.kind(),
            ListenError::Unsuitable { .. } => io::ErrorKind::InvalidInput,
            ListenError::Bind { errno, .. } => io::Error::from_raw_os_error(errno.0).kind(),
            ListenError::Disconnected | ListenError::Closed => io::ErrorKind::NotConnected,
        };
        io::Error::new(kind, error)
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Resolve { address, .. } if address.contains('/') => {
                write!(f, "cannot resolve {address}; a path of a Unix socket needs `listen_path`, and an address is HOST:PORT")
            }
            ListenError::Resolve { address, .. } => {
                write!(f, "cannot resolve {address}; write HOST:PORT with a known name or an IP address, and a port up to 65535")
            }
            ListenError::Unsuitable { reason } => write!(f, "unsuitable address: {reason}"),
            ListenError::WorkingDirectory(_) => f.write_str(
                "cannot read the working directory, where a relative path begins; use an absolute path, or change the directory",
            ),
            ListenError::Bind { address, errno, exclusive } => {
                let (address, errno, exclusive) = (address.clone(), *errno, *exclusive);
                cluster_core::ListenError { errno, address, exclusive }.fmt(f)
            }
            ListenError::Socket(_) => f.write_str("cannot use the socket that the primary sent"),
            ListenError::Disconnected | ListenError::Closed => {
                f.write_str("not listening: this worker was asked to exit, or its primary has exited")
            }
        }
    }
}

impl error::Error for ListenError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            ListenError::Resolve { error, .. }
            | ListenError::WorkingDirectory(error)
            | ListenError::Socket(error) => Some(error),
            ListenError::Unsuitable { .. }
            | ListenError::Bind { .. }
            | ListenError::Disconnected
            | ListenError::Closed => None,
        }
    }
}

/// The error of a command of a [`Remote`](crate::Remote).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteError {
    /// The primary was dropped.
    PrimaryDropped,
    /// The primary cannot fork a worker with the present settings.
    Fork(ForkError),
    /// The primary cannot send the message.
    Send(SendError),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            RemoteError::PrimaryDropped => "the primary of this remote was dropped",
            RemoteError::Fork(_) => "the primary cannot fork a worker",
            RemoteError::Send(_) => "the primary cannot send the message",
        })
    }
}

impl error::Error for RemoteError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            RemoteError::PrimaryDropped => None,
            RemoteError::Fork(error) => Some(error),
            RemoteError::Send(error) => Some(error),
        }
    }
}

/// The reason why a request has no reply: see [`Worker::request`](crate::Worker::request).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// No reply has arrived within the time of the call. A late reply is dropped.
    Timeout(Duration),
    /// The channel of the peer closed before the reply: the peer may have handled the request before.
    Disconnected,
    /// The peer has refused the request with this text.
    Refused(String),
    /// The request was not sent.
    Send(SendError),
    /// The question has no JSON form, or the reply has another type than the caller asks for.
    Message(MessageError),
    /// The reply contains a socket, and a request cannot return a socket. The program receives the reply as
    /// an event, with the socket.
    Socket,
    /// [`Primary::request`](crate::Primary::request) has waited while 1,024 events were queued: the program
    /// must first take events with [`next`](crate::Primary::next). A late reply is dropped.
    TooManyEvents,
    /// The primary or the supervisor was dropped.
    Dropped,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestError::Timeout(time) => write!(f, "no reply within {time:?}"),
            RequestError::Disconnected => f.write_str("the peer exited or disconnected before the reply"),
            RequestError::Refused(text) => write!(f, "the peer refused the request: {text}"),
            RequestError::Send(_) => f.write_str("the request was not sent"),
            RequestError::Message(_) => f.write_str("the question or the reply has another type"),
            RequestError::Socket => f.write_str(
                "the reply has a socket, which a request cannot return; send the socket with another message",
            ),
            RequestError::TooManyEvents => f.write_str(
                "the wait for the reply ended, because too many events wait; take them with `next`, or request through a `Remote`",
            ),
            RequestError::Dropped => f.write_str("the primary or the supervisor was dropped"),
        }
    }
}

impl error::Error for RequestError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            RequestError::Send(error) => Some(error),
            RequestError::Message(error) => Some(error),
            RequestError::Timeout(_)
            | RequestError::Disconnected
            | RequestError::Refused(_)
            | RequestError::Socket
            | RequestError::TooManyEvents
            | RequestError::Dropped => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;
    use crate::{NotSent, Socket};

    fn broken() -> RoleError {
        RoleError::Channel { number: 3, errno: Errno::ENOTSOCK }
    }

    fn io() -> io::Error {
        io::Error::from_raw_os_error(Errno::ENOENT.0)
    }

    /// The text of an error does not repeat the text of the source.
    #[test]
    fn errors_show_their_sources_once() {
        let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let errors: [Box<dyn Error>; 10] = [
            Box::new(PrimaryError::Role(broken())),
            Box::new(PrimaryError::Runtime(NoRuntime)),
            Box::new(JoinError::Role(broken())),
            Box::new(JoinError::Runtime(NoRuntime)),
            Box::new(RemoteError::Fork(ForkError::NoChannel)),
            Box::new(RemoteError::Send(SendError::Closed)),
            Box::new(NotSent { error: SendError::Full, socket: Socket::from(socket) }),
            Box::new(ListenError::Resolve { address: "nowhere:80".into(), error: io() }),
            Box::new(ListenError::WorkingDirectory(io())),
            Box::new(ListenError::Socket(io())),
        ];
        for error in errors {
            let source = error.source().expect("a source");
            let (own, cause) = (error.to_string(), source.to_string());
            assert!(!own.contains(&cause), "{own}: {cause}");
        }
    }

    /// A path where an address is expected: the advice names the method for paths.
    #[test]
    fn path_has_its_own_advice() {
        let text = |address: &str| ListenError::Resolve { address: address.into(), error: io() }.to_string();
        assert!(text("\"/run/app.sock\"").contains("`listen_path`"));
        assert!(!text("\"nowhere:80\"").contains("`listen_path`"));
    }

    /// The conversion to `io::Error` derives the kind from the error number of the kernel.
    #[test]
    fn listen_error_converts_to_io() {
        let address = ListenAddress::Tcp { host: None, port: 80, ipv6_only: false };
        let error = ListenError::Bind { address, errno: Errno::EADDRINUSE, exclusive: false };
        let text = error.to_string();
        assert!(text.starts_with("cannot bind port 80 on every address: EADDRINUSE"), "{text}");
        let error = io::Error::from(error);
        assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::AddrInUse, text));
    }
}
