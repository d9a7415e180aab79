//! Binds and listens, for a machine or for its program, and finds the listener of a client. The errors are those of
//! Linux; random failures are in `calls`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use cluster_core::{BindAddress, Errno, LocalAddress, SocketId};

use super::Kernel;
use super::bound_address::{self, BoundAddress, BoundIp};
use super::process_table::Origin;
use super::ready::Dependencies;
use super::socket::{FileId, Listener, SocketKind};
use super::system::System;
use super::udp::UdpSocket;
use crate::step::Pid;

/// Lower ports need root.
const UNPRIVILEGED: u16 = 1024;

/// A socket and its local address.
pub(crate) type BoundSocket = (SocketId, LocalAddress);

impl Kernel {
    pub(crate) fn system_mut(&mut self) -> &mut System {
        self.touched |= Dependencies::LISTENERS;
        &mut self.system
    }

    /// The mode bits of a path; `None`: the path does not exist.
    pub(crate) fn mode(&self, path: &str) -> Option<u32> {
        self.system.paths.get(path).map(|entry| entry.mode)
    }

    /// The limit of the accept queue of the listener at an address; `None`: no socket listens there.
    pub(crate) fn backlog(&self, at: &LocalAddress) -> Option<u32> {
        let file = *self.accepting_listeners(at).first()?;
        if let SocketKind::Listener(listener) = &self.file(file).kind { listener.limit } else { None }
    }

    /// Opens a socket and binds it; with a backlog the socket listens.
    pub(crate) fn bind(
        &mut self,
        pid: Pid,
        origin: Origin,
        address: &BindAddress,
        backlog: Option<u32>,
    ) -> Result<BoundSocket, Errno> {
        if !self.has_room(pid, 1) {
            return Err(Errno::EMFILE);
        }
        let file = match address {
            BindAddress::Tcp { host, port, ipv6_only, reuse_port } => {
                let address = SocketAddr::new(host.unwrap_or(self.every_address()), *port);
                let (only_v6, reuse_port) = (*ipv6_only, *reuse_port);
                self.bind_tcp(BoundIp { address, only_v6, reuse_address: true, reuse_port })?
            }
            BindAddress::Path { path, .. } => self.bind_path(path)?,
            BindAddress::Udp { host, port, ipv6_only, reuse_address, reuse_port } => {
                let address = SocketAddr::new(*host, *port);
                let (reuse_address, reuse_port) = (*reuse_address, *reuse_port);
                self.bind_udp(BoundIp { address, only_v6: *ipv6_only, reuse_address, reuse_port })?
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
                if *datagrams {
                    self.bind_udp(BoundIp { address, only_v6, reuse_address: *reuse_address, reuse_port })?
                } else {
                    self.bind_tcp(BoundIp { address, only_v6, reuse_address: true, reuse_port })?
                }
            }
            BindAddress::Descriptor { fd, datagrams } => self.duplicate(pid, *fd, *datagrams)?,
        };
        let socket = self.process_mut(pid).add(file, origin);
        if let BindAddress::Path { path, readable_all, writable_all } = address
            && !is_abstract(path)
        {
            let owner = (pid, socket);
            self.system_mut().add_path(path.clone(), file, owner, *readable_all, *writable_all);
        }
        if let Some(errno) = backlog.and_then(|backlog| self.listen(file, backlog).err()) {
            self.close(pid, socket);
            return Err(errno);
        }
        Ok((socket, self.address_of(file).expect("no connection was bound")))
    }

    fn bind_tcp(&mut self, mut bound: BoundIp) -> Result<FileId, Errno> {
        self.may_bind(bound.address)?;
        if bound.address.port() == 0 {
            bound.address.set_port(self.free_port());
        } else if self.system.tcp_ports.contains(&bound.address.port()) || self.is_listened_at(&bound, None) {
            return Err(Errno::EADDRINUSE);
        }
        Ok(self.open(SocketKind::Listener(Listener {
            bound: BoundAddress::Ip(bound),
            limit: None,
            backlog: [].into(),
        })))
    }

    fn bind_path(&mut self, path: &str) -> Result<FileId, Errno> {
        if is_abstract(path) {
            return self.bind_abstract(path);
        }
        if path.is_empty() || path.contains('\0') {
            return Err(Errno::EINVAL);
        }
        // Node: a bind in a missing directory is EACCES.
        if let Some(errno) = self.system.fault_of(path) {
            return Err(if errno == Errno::ENOENT { Errno::EACCES } else { errno });
        }
        if self.system.paths.contains_key(path) {
            return Err(Errno::EADDRINUSE);
        }
        let bound = BoundAddress::Path(path.to_owned());
        Ok(self.open(SocketKind::Listener(Listener { bound, limit: None, backlog: [].into() })))
    }

    /// An abstract name has no file and is in use while any process has the bound socket open.
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
        Ok(self.open(SocketKind::Listener(Listener { bound, limit: None, backlog: [].into() })))
    }

    fn bind_udp(&mut self, mut bound: BoundIp) -> Result<FileId, Errno> {
        self.may_bind(bound.address)?;
        let port = bound.address.port();
        let stands_in_the_way = |other: &BoundIp| {
            let share =
                (bound.reuse_address && other.reuse_address) || (bound.reuse_port && other.reuse_port);
            bound.conflicts_with(other) && !share
        };
        if port == 0 {
            bound.address.set_port(self.free_port());
        } else if self.system.udp_ports.contains(&port)
            || self.udp_sockets().any(|(_, other)| stands_in_the_way(&other.bound))
        {
            return Err(Errno::EADDRINUSE);
        }
        Ok(self.open(SocketKind::Udp(UdpSocket::new(bound))))
    }

    /// A second reference to a descriptor that the process has.
    fn duplicate(&mut self, pid: Pid, fd: u32, datagrams: bool) -> Result<FileId, Errno> {
        let file = self.process(pid).socket_at(fd).ok_or(Errno::EINVAL)?;
        let fits = match &self.file(file).kind {
            SocketKind::Listener(_) => !datagrams,
            SocketKind::Udp(_) => datagrams,
            SocketKind::Connection(_) => false,
        };
        if !fits {
            return Err(Errno::EINVAL);
        }
        self.file_mut(file).refs += 1;
        Ok(file)
    }

    fn every_address(&self) -> IpAddr {
        if self.system.no_ipv6 { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
    }

    fn may_bind(&self, address: SocketAddr) -> Result<(), Errno> {
        if address.is_ipv6() && self.system.no_ipv6 {
            return Err(Errno::EAFNOSUPPORT);
        }
        bound_address::check_local(address)?;
        let is_roots = address.port() != 0 && address.port() < UNPRIVILEGED;
        if is_roots && self.system.no_root { Err(Errno::EACCES) } else { Ok(()) }
    }

    /// A port that neither a TCP nor a UDP socket uses.
    pub(crate) fn free_port(&mut self) -> u16 {
        loop {
            let port = self.next_port;
            self.next_port = self.next_port.wrapping_add(1).max(UNPRIVILEGED);
            let System { tcp_ports, udp_ports, .. } = &*self.system;
            let is_had = self.names().any(|bound| bound.address.port() == port);
            if !is_had && !tcp_ports.contains(&port) && !udp_ports.contains(&port) {
                return port;
            }
        }
    }

    fn names(&self) -> impl Iterator<Item = &BoundIp> {
        self.files().filter(|(_, file)| file.refs > 0).filter_map(|(_, file)| match &file.kind {
            SocketKind::Listener(Listener { bound: BoundAddress::Ip(bound), .. }) => Some(bound),
            SocketKind::Udp(datagrams) => Some(&datagrams.bound),
            SocketKind::Listener(Listener { bound: BoundAddress::Path(_), .. })
            | SocketKind::Connection(_) => None,
        })
    }

    /// Whether another socket listens at this address without sharing. A bound socket without a backlog is no
    /// obstacle.
    fn is_listened_at(&self, bound: &BoundIp, but: Option<FileId>) -> bool {
        self.listeners().any(|(id, listener)| {
            let BoundAddress::Ip(other) = &listener.bound else { return false };
            let share = bound.reuse_port && other.reuse_port;
            Some(id) != but && listener.limit.is_some() && bound.conflicts_with(other) && !share
        })
    }

    /// Every bound stream socket with a reference.
    pub(crate) fn listeners(&self) -> impl Iterator<Item = (FileId, &Listener)> {
        self.files().filter(|(_, file)| file.refs > 0).filter_map(|(id, file)| match &file.kind {
            SocketKind::Listener(listener) => Some((id, listener)),
            SocketKind::Connection(_) | SocketKind::Udp(_) => None,
        })
    }

    /// Makes a bound socket listen, or changes its backlog. A UDP socket stays unchanged.
    pub(crate) fn listen(&mut self, file: FileId, backlog: u32) -> Result<(), Errno> {
        let SocketKind::Listener(Listener { bound, .. }) = &self.file(file).kind else {
            let is_udp = matches!(self.file(file).kind, SocketKind::Udp(_));
            return if is_udp { Ok(()) } else { Err(Errno::EINVAL) };
        };
        if let BoundAddress::Ip(bound) = bound
            && self.is_listened_at(bound, Some(file))
        {
            return Err(Errno::EADDRINUSE);
        }
        if let SocketKind::Listener(listener) = &mut self.file_mut(file).kind {
            // Linux queues one connection where the backlog is 0.
            listener.limit = Some(backlog.max(1));
        }
        Ok(())
    }

    /// The local address of a socket; `None` for a connection.
    pub(crate) fn address_of(&self, file: FileId) -> Option<LocalAddress> {
        match &self.file(file).kind {
            SocketKind::Listener(listener) => Some(listener.bound.address()),
            SocketKind::Udp(datagrams) => Some(LocalAddress::Ip(datagrams.bound.address)),
            SocketKind::Connection(_) => None,
        }
    }

    // ---- clients

    /// The listeners of an address: the most specific match. Several listeners share a port
    /// with `SO_REUSEPORT`.
    pub(crate) fn matching_listeners(&self, to: &LocalAddress) -> Vec<FileId> {
        let mut matching = Vec::new();
        let mut closest = 0;
        for (id, listener) in self.listeners().filter(|(_, listener)| listener.limit.is_some()) {
            let specificity = match (&listener.bound, to) {
                (BoundAddress::Ip(bound), LocalAddress::Ip(to)) => bound.specificity(*to),
                (BoundAddress::Path(bound), LocalAddress::Path(to)) if is_abstract(to) => {
                    (bound == to).then_some(0)
                }
                (BoundAddress::Path(_), LocalAddress::Path(to)) => {
                    let entry = self.system.paths.get(to);
                    entry.is_some_and(|entry| entry.file == Some(id)).then_some(0)
                }
                (BoundAddress::Ip(_), LocalAddress::Path(_) | LocalAddress::Zoned { .. })
                | (BoundAddress::Path(_), LocalAddress::Ip(_) | LocalAddress::Zoned { .. }) => None,
            };
            let Some(specificity) =
                specificity.filter(|specificity| matching.is_empty() || *specificity >= closest)
            else {
                continue;
            };
            if specificity > closest {
                matching.clear();
            }
            closest = specificity;
            matching.push(id);
        }
        matching
    }
}

/// Whether a path is an abstract name. Linux: the name begins with a NUL.
fn is_abstract(path: &str) -> bool {
    path.starts_with('\0')
}

/// The address that a client reaches; every address is the loopback.
pub(crate) fn destination(address: LocalAddress) -> LocalAddress {
    match address {
        LocalAddress::Ip(address) => LocalAddress::Ip(loopback(address)),
        LocalAddress::Zoned { .. } | LocalAddress::Path(_) => address,
    }
}

/// Replaces every address by the loopback.
pub(crate) fn loopback(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let v6 = address.is_ipv6();
        address.set_ip(if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() });
    }
    address
}
