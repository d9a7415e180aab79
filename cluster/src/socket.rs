//! Sockets that travel with messages: what a program sends and gets. The kernel says what each is; nothing is read or written.

use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::{error, fmt, io};

use cluster_core::{Errno, HandleType, OutgoingHandle, SendError, Sent, SocketId};
use socket2::SockRef;

use crate::unix::Unix;
use crate::unix::descriptor::{Kind, kind};

/// A socket that travels with a message. Node: the handle of `send()` and of `'message'`.
///
/// It does not block, whichever side made it. What was received becomes tokio's by `from_std`:
/// `tokio::net::TcpStream::from_std(stream)?`; tokio's are sent by `try_from`, or after `into_std`.
///
/// A socket that is sent is closed here once the peer has it. Node's `keepOpen` is [`Socket::duplicate`]: send the duplicate, and
/// the original stays.
#[derive(Debug)]
pub enum Socket {
    /// A TCP connection. Node: `net.Socket`.
    TcpStream(TcpStream),
    /// A TCP server. Node: `net.Server`.
    TcpListener(TcpListener),
    /// A Unix connection. Node: `net.Socket`.
    UnixStream(UnixStream),
    /// A Unix server. Its path stays whose it was. Node: `net.Server`.
    UnixListener(UnixListener),
    /// A UDP socket. Node: `dgram.Socket`.
    UdpSocket(UdpSocket),
}

impl Socket {
    /// Another descriptor of the same socket. Node: a handle that is sent with `keepOpen`.
    ///
    /// # Errors
    /// EMFILE and ENFILE: no descriptor is left. ENOTSOCK: it is no TCP, UDP or Unix stream socket, and cannot be sent.
    pub fn duplicate(socket: impl AsFd) -> io::Result<Self> {
        Socket::new(socket.as_fd().try_clone_to_owned()?)
    }

    /// What a descriptor is.
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

/// What a socket is to its receiver.
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

            /// Takes it from the runtime.
            fn try_from(socket: $tokio) -> io::Result<Self> {
                socket.into_std().map(Socket::$variant)
            }
        }
    )+};
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

/// A message was not sent, and its socket neither. Node: the error, and a handle that stays open.
pub struct NotSent {
    /// Why.
    pub error: SendError,
    /// The socket, as it was.
    pub socket: Socket,
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message and its socket cannot be sent")
    }
}

impl error::Error for NotSent {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The way of a socket into a machine, and back if it is not sent.
pub(crate) fn pass(
    socket: Socket,
    unix: &mut Unix,
    send: impl FnOnce(&mut Unix, OutgoingHandle) -> Result<Sent, SendError>,
) -> Result<Sent, NotSent> {
    let kind = socket.kind();
    // Its file is the receiver's too: a server that blocks would stop a worker of Node 20.
    let _ = SockRef::from(&socket).set_nonblocking(true);
    let id = unix.adopt(socket.into());
    send(unix, OutgoingHandle { socket: id, kind: passed(kind), keep_open: false }).map_err(|error| {
        let descriptor = unix.take(id).expect("what was not sent is still here");
        NotSent { error, socket: Socket::of(kind, descriptor) }
    })
}

/// A socket that a machine has got, for the program; `None` if it was taken before.
pub(crate) fn take(unix: &mut Unix, id: SocketId) -> Option<Socket> {
    // Only sockets come in, but the kernel need not know one for ever.
    Socket::new(unix.take(id)?).ok()
}
