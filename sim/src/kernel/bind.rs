//! How sockets are bound and listen. The errors are those of Linux; random failures are in `calls`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use cluster_core::{BindAddress, Errno, LocalAddress};

use super::bound_address::{self, BoundAddress, BoundIp};
use super::datagram::UdpSocket;
use super::process_table::ProcessEntry;
use super::socket::{FileId, Listener, SocketKind};
use super::sockets::{Sockets, UNPRIVILEGED, is_abstract};
use super::system::System;

impl Sockets {
    /// Opens a socket and binds it. If the address is a descriptor of `process`, the socket of the descriptor
    /// gets a further reference.
    pub(super) fn bind(
        &mut self,
        address: &BindAddress,
        process: &ProcessEntry,
        system: &System,
    ) -> Result<FileId, Errno> {
        match address {
            BindAddress::Tcp { host, port, ipv6_only, reuse_port } => {
                let address = SocketAddr::new(host.unwrap_or(every_address(system)), *port);
                let (only_v6, reuse_port) = (*ipv6_only, *reuse_port);
                self.bind_tcp(BoundIp { address, only_v6, reuse_address: true, reuse_port }, system)
            }
            BindAddress::Path { path, .. } => self.bind_path(path, system),
            BindAddress::Udp { host, port, ipv6_only, reuse_address, reuse_port } => {
                let address = SocketAddr::new(*host, *port);
                let (reuse_address, reuse_port) = (*reuse_address, *reuse_port);
                self.bind_udp(BoundIp { address, only_v6: *ipv6_only, reuse_address, reuse_port }, system)
            }
            BindAddress::Zoned {
                host,
                port,
                datagrams,
                ipv6_only: only_v6,
                reuse_address,
                reuse_port,
                zone,
            } => {
                let address = bound_address::in_zone(*host, *port, zone).into();
                let (only_v6, reuse_port) = (*only_v6, *reuse_port);
                let reuse_address = *reuse_address || !datagrams;
                let bound = BoundIp { address, only_v6, reuse_address, reuse_port };
                if *datagrams { self.bind_udp(bound, system) } else { self.bind_tcp(bound, system) }
            }
            BindAddress::Descriptor { fd, datagrams } => {
                let file = process.socket_at(*fd).ok_or(Errno::EINVAL)?;
                self.duplicate(file, *datagrams)
            }
        }
    }

    fn bind_tcp(&mut self, mut bound: BoundIp, system: &System) -> Result<FileId, Errno> {
        may_bind(bound.address, system)?;
        if bound.address.port() == 0 {
            bound.address.set_port(self.free_port(system));
        } else if system.tcp_ports.contains(&bound.address.port()) || self.is_listened_at(&bound, None) {
            return Err(Errno::EADDRINUSE);
        }
        Ok(self.open_stream(BoundAddress::Ip(bound)))
    }

    fn bind_path(&mut self, path: &str, system: &System) -> Result<FileId, Errno> {
        if is_abstract(path) {
            return self.bind_abstract(path);
        }
        if path.is_empty() || path.contains('\0') {
            return Err(Errno::EINVAL);
        }
        // Node: a bind in a missing directory is EACCES.
        if let Some(errno) = system.fault_of(path) {
            return Err(if errno == Errno::ENOENT { Errno::EACCES } else { errno });
        }
        if system.paths.contains_key(path) {
            return Err(Errno::EADDRINUSE);
        }
        Ok(self.open_stream(BoundAddress::Path(path.to_owned())))
    }

    /// Binds an abstract name. The name has no file, and is in use while any process has the bound socket
    /// open.
    fn bind_abstract(&mut self, name: &str) -> Result<FileId, Errno> {
        /// The length of `sun_path`.
        const LONGEST: usize = 108;
        if name.len() > LONGEST {
            return Err(Errno::ENAMETOOLONG);
        }
        let bound = BoundAddress::Path(name.to_owned());
        if self.listeners().any(|(_, listener)| listener.bound == bound) {
            return Err(Errno::EADDRINUSE);
        }
        Ok(self.open_stream(bound))
    }

    fn open_stream(&mut self, bound: BoundAddress) -> FileId {
        self.open(SocketKind::Listener(Listener { bound, limit: None, backlog: [].into() }))
    }

    fn bind_udp(&mut self, mut bound: BoundIp, system: &System) -> Result<FileId, Errno> {
        may_bind(bound.address, system)?;
        let port = bound.address.port();
        let stands_in_the_way = |other: &BoundIp| {
            let share =
                (bound.reuse_address && other.reuse_address) || (bound.reuse_port && other.reuse_port);
            bound.conflicts_with(other) && !share
        };
        if port == 0 {
            bound.address.set_port(self.free_port(system));
        } else if system.udp_ports.contains(&port)
            || self.udp_sockets().any(|(_, other)| stands_in_the_way(&other.bound))
        {
            return Err(Errno::EADDRINUSE);
        }
        Ok(self.open(SocketKind::Udp(UdpSocket::new(bound))))
    }

    fn duplicate(&mut self, file: FileId, datagrams: bool) -> Result<FileId, Errno> {
        let fits = match &self.get(file).kind {
            SocketKind::Listener(_) => !datagrams,
            SocketKind::Udp(_) => datagrams,
            SocketKind::Connection(_) => false,
        };
        if !fits {
            return Err(Errno::EINVAL);
        }
        self.retain(file);
        Ok(file)
    }

    /// Whether another socket listens at this address without sharing the port. A bound socket that does not
    /// listen is no obstacle.
    fn is_listened_at(&self, bound: &BoundIp, but: Option<FileId>) -> bool {
        self.listeners().any(|(id, listener)| {
            let BoundAddress::Ip(other) = &listener.bound else { return false };
            let share = bound.reuse_port && other.reuse_port;
            Some(id) != but && listener.limit.is_some() && bound.conflicts_with(other) && !share
        })
    }

    /// Makes a bound socket listen, or changes its backlog, and returns the address. A UDP socket is
    /// unchanged.
    pub(super) fn listen(&mut self, file: FileId, backlog: u32) -> Result<LocalAddress, Errno> {
        if let SocketKind::Listener(Listener { bound: BoundAddress::Ip(bound), .. }) = &self.get(file).kind
            && self.is_listened_at(bound, Some(file))
        {
            return Err(Errno::EADDRINUSE);
        }
        if self.is_listener(file)
            && let SocketKind::Listener(listener) = &mut self.get_mut(file).kind
        {
            // With a backlog of 0, Linux still queues one connection.
            listener.limit = Some(backlog.max(1));
        }
        self.address(file).ok_or(Errno::EINVAL)
    }
}

fn every_address(system: &System) -> IpAddr {
    if system.no_ipv6 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

fn may_bind(address: SocketAddr, system: &System) -> Result<(), Errno> {
    if address.is_ipv6() && system.no_ipv6 {
        return Err(Errno::EAFNOSUPPORT);
    }
    bound_address::check_local(address)?;
    let is_roots = address.port() != 0 && address.port() < UNPRIVILEGED;
    if is_roots && system.no_root { Err(Errno::EACCES) } else { Ok(()) }
}

/// The address that a client reaches; "every address" stands for the loopback.
pub(crate) fn destination(address: LocalAddress) -> LocalAddress {
    match address {
        LocalAddress::Ip(address) => LocalAddress::Ip(loopback(address)),
        LocalAddress::Zoned { .. } | LocalAddress::Path(_) => address,
    }
}

/// Replaces "every address" by the loopback.
pub(crate) fn loopback(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let v6 = address.is_ipv6();
        address.set_ip(if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() });
    }
    address
}
