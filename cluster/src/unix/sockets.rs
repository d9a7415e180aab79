//! Sockets that are not polled: bound sockets, connections in transit, and listening sockets opened by a
//! service manager before the start of this process.

use std::io;
use std::os::fd::OwnedFd;

use cluster_core::{AscendingMap, BindAddress, Errno, SocketId};
use tracing::warn;

use super::Unix;
use super::bind::{self, is_bound_at};
use super::descriptor::{is_blocking, set_non_blocking};
use super::log_display::refused;
use super::path::BoundPath;

#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) open: AscendingMap<SocketId, OwnedFd>,
    pub(super) adopted: Vec<OwnedFd>,
    pub(super) last: u64,
    /// The last bind that has failed, as a text.
    pub(super) failed_bind: Option<String>,
    /// Whether the connections of the primary block; `None` before the first connection.
    connections_block: Option<bool>,
}

impl Unix {
    pub(crate) fn failed_bind(&self) -> Option<&str> {
        self.sockets.failed_bind.as_deref()
    }
}

impl Sockets {
    pub(super) fn insert(&mut self, socket: OwnedFd) -> SocketId {
        self.last += 1;
        let id = SocketId(self.last);
        self.open.insert(id, socket);
        id
    }

    /// Logs a failed bind. Some workers hide the error, for example an application of express 5.
    pub(super) fn report_failure(&mut self, address: &BindAddress, errno: Errno) {
        let text = refused(address, errno).to_string();
        warn!("{text}");
        self.failed_bind = Some(text);
    }

    /// Removes a socket, and makes the socket non-blocking.
    pub(super) fn take(&mut self, socket: SocketId) -> Option<OwnedFd> {
        self.open.remove(socket).inspect(set_non_blocking)
    }

    /// Removes an accepted connection, and makes the connection non-blocking. This library and Node accept
    /// every connection as non-blocking, which is a property of the file description. The first connection
    /// shows whether the primary does.
    pub(super) fn take_connection(&mut self, connection: SocketId) -> Option<OwnedFd> {
        let descriptor = self.open.remove(connection)?;
        if *self.connections_block.get_or_insert_with(|| is_blocking(&descriptor)) {
            set_non_blocking(&descriptor);
        }
        Some(descriptor)
    }

    /// Adopts a duplicate of a listening socket, given by number.
    pub(super) fn adopt(&mut self, descriptor: u32) -> io::Result<()> {
        let (socket, _) = bind::bind(&BindAddress::Descriptor { fd: descriptor, datagrams: false })?;
        self.adopted.push(socket);
        Ok(())
    }

    /// A duplicate of the adopted socket at the address, or a new socket. The path of an adopted socket is
    /// not removed, because the service manager has bound the path.
    pub(super) fn bind(&self, address: &BindAddress) -> io::Result<(OwnedFd, Option<BoundPath>)> {
        match self.adopted.iter().find(|adopted| is_bound_at(adopted, address)) {
            Some(adopted) => Ok((adopted.try_clone()?, None)),
            None => bind::bind(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::listen::listen;
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;

    fn tcp(host: Option<std::net::IpAddr>, port: u16) -> BindAddress {
        BindAddress::Tcp { host, port, ipv6_only: false, reuse_port: false }
    }

    fn adopted(socket: &impl AsRawFd) -> Sockets {
        let mut sockets = Sockets::default();
        sockets.adopt(socket.as_raw_fd().try_into().expect("a number")).expect("a listener");
        sockets
    }

    /// While a socket listens at the address, binding another socket fails with EADDRINUSE.
    #[test]
    fn adopted_socket_serves_its_address() {
        let own = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let port = own.local_addr().expect("an address").port();
        let sockets = adopted(&own);
        let local = Some(Ipv4Addr::LOCALHOST.into());
        let fresh = bind::bind(&tcp(local, port)).and_then(|(bound, _)| listen(&bound, 1));
        assert!(fresh.is_err(), "two sockets listen at one address");
        let (bound, _) = sockets.bind(&tcp(local, port)).expect("the adopted socket");
        listen(&bound, 1).expect("the socket listens already");
        for other in [tcp(None, port), tcp(local, 0), tcp(Some(Ipv6Addr::LOCALHOST.into()), port)] {
            assert!(!is_bound_at(&bound, &other), "{other:?}");
        }
    }

    /// Without a host, an address means every address of IPv6 and IPv4.
    #[test]
    fn adopted_wildcard_serves_any_host() {
        let own = TcpListener::bind("0.0.0.0:0").expect("a listener");
        let port = own.local_addr().expect("an address").port();
        let sockets = adopted(&own);
        for host in [None, Some(Ipv4Addr::UNSPECIFIED.into())] {
            assert!(is_bound_at(&sockets.adopted[0], &tcp(host, port)));
        }
        assert!(!is_bound_at(&sockets.adopted[0], &tcp(Some(Ipv4Addr::LOCALHOST.into()), port)));
    }

    /// Connections of a primary that accepts them as blocking, and of a primary that does not.
    #[test]
    fn taken_connection_is_non_blocking() {
        for blocks in [true, false] {
            let mut sockets = Sockets::default();
            for _ in 0..3 {
                let connection = std::os::unix::net::UnixStream::pair().expect("a pair").0;
                connection.set_nonblocking(!blocks).expect("a flag");
                let id = sockets.insert(connection.into());
                let taken = sockets.take_connection(id).expect("a connection");
                assert!(!is_blocking(&taken) && sockets.take_connection(id).is_none());
            }
            assert_eq!(sockets.connections_block, Some(blocks));
        }
    }

    #[test]
    fn adopted_path_serves_its_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("s").to_string_lossy().into_owned();
        let own = UnixListener::bind(&path).expect("a listener");
        let sockets = adopted(&own);
        let address =
            |path: &str| BindAddress::Path { path: path.into(), readable_all: false, writable_all: false };
        assert!(is_bound_at(&sockets.adopted[0], &address(&path)));
        assert!(!is_bound_at(&sockets.adopted[0], &address("/other")));
        let (_, bound) = sockets.bind(&address(&path)).expect("the adopted socket");
        assert!(bound.is_none(), "the path is not ours");
    }

    #[test]
    fn adopted_descriptor_must_listen() {
        let file = std::fs::File::open("/dev/null").expect("a file");
        let number = file.as_raw_fd().try_into().expect("a number");
        assert!(Sockets::default().adopt(number).is_err());
    }
}
