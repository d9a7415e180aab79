//! Sockets sent with messages. The kernel reports the kind of each socket; nothing is read or written here.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::{error, fmt, io};

use cluster_core::{Errno, HandleType, OutgoingHandle, SendError, Sent, SocketId};
use socket2::SockRef;

use crate::system::System;
use crate::unix::descriptor::{Kind, kind};

/// A socket to send with a message, or received with a message. Node: the handle of `send()` and of
/// `'message'`.
///
/// Sockets are non-blocking. `from_std` makes a tokio socket of a received socket, for instance
/// `tokio::net::TcpStream::from_std(stream)?`; `try_from` makes a `Socket` of a tokio socket.
///
/// A sent socket is closed in the sender once the peer has received the socket. To keep the socket open
/// (Node: `keepOpen`), send a [`Socket::duplicate`].
#[derive(Debug)]
pub enum Socket {
    /// A TCP connection. Node: `net.Socket`.
    TcpStream(TcpStream),
    /// A TCP server. Node: `net.Server`.
    TcpListener(TcpListener),
    /// A Unix connection. Node: `net.Socket`.
    UnixStream(UnixStream),
    /// A Unix server. The path is still removed by the process that has bound the path. Node: `net.Server`.
    UnixListener(UnixListener),
    /// A UDP socket. Node: `dgram.Socket`.
    UdpSocket(UdpSocket),
}

impl Socket {
    /// Duplicates the descriptor of a socket. Node: a handle sent with `keepOpen`.
    ///
    /// # Errors
    /// EMFILE, ENFILE: no descriptor is left. ENOTSOCK: the descriptor is not a TCP, UDP or Unix stream
    /// socket, and cannot be sent.
    pub fn duplicate(socket: impl AsFd) -> io::Result<Self> {
        Socket::new(socket.as_fd().try_clone_to_owned()?)
    }

    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        match kind(&descriptor) {
            Some(kind) => Ok(Socket::of(kind, descriptor)),
            None => Err(io::Error::from_raw_os_error(Errno::ENOTSOCK.0)),
        }
    }

    fn of(kind: Kind, descriptor: OwnedFd) -> Self {
        match kind {
            Kind::TcpStream => Socket::TcpStream(descriptor.into()),
            Kind::TcpListener => Socket::TcpListener(descriptor.into()),
            Kind::UnixStream => Socket::UnixStream(descriptor.into()),
            Kind::UnixListener => Socket::UnixListener(descriptor.into()),
            Kind::Udp { .. } => Socket::UdpSocket(descriptor.into()),
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Socket::TcpStream(_) => Kind::TcpStream,
            Socket::TcpListener(_) => Kind::TcpListener,
            Socket::UnixStream(_) => Kind::UnixStream,
            Socket::UnixListener(_) => Kind::UnixListener,
            Socket::UdpSocket(socket) => {
                Kind::Udp { v6: socket.local_addr().is_ok_and(|address| address.is_ipv6()) }
            }
        }
    }
}

/// The kind of a socket on the channel.
fn passed(kind: Kind) -> HandleType {
    match kind {
        Kind::TcpStream | Kind::UnixStream => HandleType::Socket,
        Kind::TcpListener | Kind::UnixListener => HandleType::Server,
        Kind::Udp { v6 } => HandleType::Datagram { v6 },
    }
}

macro_rules! from_socket {
    ($($variant:ident $standard:ty, $tokio:ty);+ $(;)?) => {$(
        impl From<$standard> for Socket {
            fn from(socket: $standard) -> Self {
                Socket::$variant(socket)
            }
        }

        impl TryFrom<$tokio> for Socket {
            type Error = io::Error;

            /// Deregisters the socket from the runtime.
            fn try_from(socket: $tokio) -> io::Result<Self> {
                socket.into_std().map(Socket::$variant)
            }
        }
    )+};
}

#[cfg(feature = "simulated")]
impl TryFrom<crate::TcpStream> for Socket {
    type Error = io::Error;

    /// Deregisters the socket from the runtime.
    fn try_from(stream: crate::TcpStream) -> io::Result<Self> {
        stream.into_std().map(Socket::TcpStream)
    }
}

from_socket! {
    TcpStream TcpStream, tokio::net::TcpStream;
    TcpListener TcpListener, tokio::net::TcpListener;
    UnixStream UnixStream, tokio::net::UnixStream;
    UnixListener UnixListener, tokio::net::UnixListener;
    UdpSocket UdpSocket, tokio::net::UdpSocket;
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::TcpStream(socket) => socket.as_fd(),
            Socket::TcpListener(socket) => socket.as_fd(),
            Socket::UnixStream(socket) => socket.as_fd(),
            Socket::UnixListener(socket) => socket.as_fd(),
            Socket::UdpSocket(socket) => socket.as_fd(),
        }
    }
}

impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        match socket {
            Socket::TcpStream(socket) => socket.into(),
            Socket::TcpListener(socket) => socket.into(),
            Socket::UnixStream(socket) => socket.into(),
            Socket::UnixListener(socket) => socket.into(),
            Socket::UdpSocket(socket) => socket.into(),
        }
    }
}

/// A message and a socket after a failed send. Node: the callback receives an error, and the handle remains
/// open.
#[derive(Debug)]
pub struct NotSent {
    /// The reason.
    pub error: SendError,
    /// The socket, unchanged.
    pub socket: Socket,
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot send a message and its socket")
    }
}

impl error::Error for NotSent {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

/// Moves a socket into a machine, and back if the machine does not accept the message.
pub(crate) fn pass(
    socket: Socket,
    system: &mut System,
    send: impl FnOnce(&mut System, OutgoingHandle) -> Result<Sent, SendError>,
) -> Result<Sent, NotSent> {
    let kind = socket.kind();
    // Sender and receiver share the file description: a blocking server would block a worker of Node 20.
    let _ = SockRef::from(&socket).set_nonblocking(true);
    let Some(unix) = system.unix() else {
        return Err(NotSent { error: SendError::Closed, socket });
    };
    let id = unix.adopt(socket.into());
    send(system, OutgoingHandle { socket: id, kind: passed(kind), keep_open: false }).map_err(|error| {
        let descriptor =
            system.unix().and_then(|unix| unix.take(id)).expect("the descriptor of an unsent socket");
        NotSent { error, socket: Socket::of(kind, descriptor) }
    })
}

/// Hands a received socket to the program. `None` after the first call.
pub(crate) fn take(system: &mut System, id: SocketId) -> Option<Socket> {
    // The channel delivers sockets only. But the kernel may no longer report the kind of a broken socket.
    Socket::new(system.take(id)?.into_unix().ok()?).ok()
}
