//! The differences between TCP and Unix streams, the two kinds of streams of a worker's clients. No stream is
//! read or written here.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::{fmt, io};

use cluster_core::{ListenAddress, LocalAddress};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixStream, unix};

use crate::net::{self, TcpStream};
use crate::system::Descriptor;

/// The streams of a [`Listener`](crate::Listener): [`TcpStream`] and [`UnixStream`]. No other type implements
/// the trait.
pub trait Transport: AsyncRead + AsyncWrite + Send + Unpin + sealed::Transport + 'static {}

pub(crate) mod sealed {
    use super::{Descriptor, ListenAddress, LocalAddress, fmt, io};

    /// The operations of a listener on streams.
    pub trait Transport: Sized {
        /// The address of a client.
        type Client: fmt::Debug + Clone + Send + Sync + 'static;
        /// The address of a server.
        type Local: Clone + fmt::Debug + Send + Sync;

        /// Makes a stream of a non-blocking connection.
        fn adopt(connection: Descriptor) -> io::Result<Self>;

        fn client(&self) -> io::Result<Self::Client>;

        /// Whether this kind of stream can be served at the address. The kind of a descriptor is known only
        /// to the owner.
        fn serves(address: &ListenAddress) -> bool;

        /// The address of a server; `None` for a server of the other kind.
        fn local(address: LocalAddress) -> Option<Self::Local>;

        /// A server's address in the form of a client address.
        fn as_client(local: &Self::Local) -> io::Result<Self::Client>;
    }
}

impl Transport for TcpStream {}

impl sealed::Transport for TcpStream {
    type Client = SocketAddr;
    type Local = SocketAddr;

    fn adopt(connection: Descriptor) -> io::Result<Self> {
        net::adopt(connection)
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

    fn local(address: LocalAddress) -> Option<SocketAddr> {
        address.ip()
    }

    fn as_client(local: &SocketAddr) -> io::Result<SocketAddr> {
        Ok(*local)
    }
}

impl Transport for UnixStream {}

impl sealed::Transport for UnixStream {
    type Client = unix::SocketAddr;
    type Local = PathBuf;

    fn adopt(connection: Descriptor) -> io::Result<Self> {
        UnixStream::from_std(connection.into_unix()?.into())
    }

    fn client(&self) -> io::Result<unix::SocketAddr> {
        self.peer_addr()
    }

    fn serves(address: &ListenAddress) -> bool {
        matches!(address, ListenAddress::Path { .. } | ListenAddress::Descriptor { udp: false, .. })
    }

    fn local(address: LocalAddress) -> Option<PathBuf> {
        match address {
            LocalAddress::Path(path) => Some(path.into()),
            LocalAddress::Ip(_) | LocalAddress::Zoned { .. } => None,
        }
    }

    fn as_client(local: &PathBuf) -> io::Result<unix::SocketAddr> {
        std::os::unix::net::SocketAddr::from_pathname(local).map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TCP is served at internet addresses, Unix at paths, either at a descriptor, and neither at addresses
    /// of datagrams.
    #[test]
    fn transport_serves_its_own_addresses() {
        let (host, port, ipv6_only) = (std::net::Ipv6Addr::LOCALHOST, 0, false);
        let zoned = |udp| ListenAddress::Zoned { host, zone: "lo".into(), port, udp, ipv6_only };
        let path = ListenAddress::Path { path: "/s".into(), readable_all: false, writable_all: false };
        let udp = ListenAddress::Udp { v6: false, host: None, port: None, ipv6_only, reuse_address: false };
        for (address, expected) in [
            (ListenAddress::any(0), [true, false]),
            (path, [false, true]),
            (ListenAddress::Descriptor { fd: 3, udp: false }, [true, true]),
            (ListenAddress::Descriptor { fd: 3, udp: true }, [false, false]),
            (zoned(false), [true, false]),
            (zoned(true), [false, false]),
            (udp, [false, false]),
        ] {
            let served = [
                <TcpStream as sealed::Transport>::serves(&address),
                <UnixStream as sealed::Transport>::serves(&address),
            ];
            assert_eq!(served, expected, "{address:?}");
        }
    }
}
