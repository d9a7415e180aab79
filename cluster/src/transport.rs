//! The two kinds of streams that a worker serves, TCP and Unix, and how they differ. Nothing is read or written.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::{fmt, io};

use cluster_core::{ListenAddress, LocalAddress};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream, unix};

/// What a [`Listener`](crate::Listener) gives: [`TcpStream`] or [`UnixStream`], and nothing else.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + Sized + sealed::Sealed + 'static {
    /// Where a client is.
    type Client: fmt::Debug + Clone + Send + Sync + 'static;
    /// Where a server is.
    type Place: Clone + fmt::Debug + Send + Sync;

    /// A connection that does not block.
    #[doc(hidden)]
    fn adopt(connection: OwnedFd) -> io::Result<Self>;

    /// Where its client is.
    #[doc(hidden)]
    fn client(&self) -> io::Result<Self::Client>;

    /// Whether this is what is served there; a descriptor is what it is.
    #[doc(hidden)]
    fn serves(address: &ListenAddress) -> bool;

    /// Where a server is, if it is one of this kind.
    #[doc(hidden)]
    fn place(address: LocalAddress) -> Option<Self::Place>;

    /// As a client names a server.
    #[doc(hidden)]
    fn named(place: &Self::Place) -> io::Result<Self::Client>;
}

impl Transport for TcpStream {
    type Client = SocketAddr;
    type Place = SocketAddr;

    fn adopt(connection: OwnedFd) -> io::Result<Self> {
        TcpStream::from_std(connection.into())
    }

    fn client(&self) -> io::Result<SocketAddr> {
        self.peer_addr()
    }

    fn serves(address: &ListenAddress) -> bool {
        match address {
            ListenAddress::Tcp { .. } => true,
            ListenAddress::Descriptor { udp, .. } | ListenAddress::Zoned { udp, .. } => !udp,
            ListenAddress::Udp { .. } | ListenAddress::Path { .. } => false,
        }
    }

    fn place(address: LocalAddress) -> Option<SocketAddr> {
        address.ip()
    }

    fn named(place: &SocketAddr) -> io::Result<SocketAddr> {
        Ok(*place)
    }
}

impl Transport for UnixStream {
    type Client = unix::SocketAddr;
    type Place = PathBuf;

    fn adopt(connection: OwnedFd) -> io::Result<Self> {
        UnixStream::from_std(connection.into())
    }

    fn client(&self) -> io::Result<unix::SocketAddr> {
        self.peer_addr()
    }

    fn serves(address: &ListenAddress) -> bool {
        matches!(address, ListenAddress::Path { .. } | ListenAddress::Descriptor { udp: false, .. })
    }

    fn place(address: LocalAddress) -> Option<PathBuf> {
        match address {
            LocalAddress::Path(path) => Some(path.into()),
            LocalAddress::Ip(_) => None,
        }
    }

    fn named(place: &PathBuf) -> io::Result<unix::SocketAddr> {
        std::os::unix::net::SocketAddr::from_pathname(place).map(Into::into)
    }
}

mod sealed {
    /// Nobody else implements it.
    pub trait Sealed {}
    impl Sealed for super::TcpStream {}
    impl Sealed for super::UnixStream {}
}
