//! New sockets and addresses: TCP, UDP, and duplicates of sockets of this process. Unix paths are in `path`,
//! listening is in `listen`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};

use cluster_core::{BindAddress, ListenAddress, LocalAddress};
use nix::errno::Errno;
use nix::net::if_::{if_indextoname, if_nametoindex};
use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, Type};

use super::descriptor::{Kind, duplicate, kind};
use super::path::{self, BoundPath};

/// A new bound socket, and the path if the address is a path.
pub(super) fn bind(address: &BindAddress) -> io::Result<(OwnedFd, Option<BoundPath>)> {
    let socket = match *address {
        BindAddress::Tcp { host, port, ipv6_only, reuse_port } => tcp(host, port, ipv6_only, reuse_port)?,
        BindAddress::Udp { host, port, ipv6_only, reuse_address, reuse_port } => {
            bind_udp(SocketAddr::new(host, port), ipv6_only, reuse_address, reuse_port)?
        }
        BindAddress::Path { ref path, readable_all, writable_all } => {
            return path::bind(path, readable_all, writable_all);
        }
        BindAddress::Zoned { host, ref zone, port, datagrams, ipv6_only, reuse_address, reuse_port } => {
            let address = SocketAddrV6::new(host, port, 0, scope(zone)).into();
            if datagrams {
                bind_udp(address, ipv6_only, reuse_address, reuse_port)?
            } else {
                bind_tcp(address, ipv6_only, reuse_port)?
            }
        }
        BindAddress::Descriptor { fd, datagrams } => existing(fd, datagrams)?,
    };
    Ok((socket.into(), None))
}

/// Without a host the socket is bound to every address of IPv6 and IPv4, or of IPv4 alone on a system without
/// IPv6.
fn tcp(host: Option<IpAddr>, port: u16, ipv6_only: bool, reuse_port: bool) -> io::Result<Socket> {
    let bind = |host: IpAddr, ipv6_only| bind_tcp(SocketAddr::new(host, port), ipv6_only, reuse_port);
    match host {
        Some(host) => bind(host, ipv6_only),
        None => bind(Ipv6Addr::UNSPECIFIED.into(), ipv6_only).or_else(|error| {
            if no_ipv6(&error) { bind(Ipv4Addr::UNSPECIFIED.into(), false) } else { Err(error) }
        }),
    }
}

fn no_ipv6(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL))
}

/// `SO_REUSEADDR` is set, as in libuv.
fn bind_tcp(address: SocketAddr, ipv6_only: bool, reuse_port: bool) -> io::Result<Socket> {
    let socket = new(address, Type::STREAM, ipv6_only, reuse_port)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_udp(
    address: SocketAddr,
    ipv6_only: bool,
    reuse_address: bool,
    reuse_port: bool,
) -> io::Result<Socket> {
    let socket = new(address, Type::DGRAM, ipv6_only, reuse_port)?;
    socket.set_reuse_address(reuse_address)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// The number of a network interface, from the name or the number; 0 if the interface does not exist, as in
/// libuv.
fn scope(zone: &str) -> u32 {
    if_nametoindex(zone).ok().or_else(|| zone.parse().ok()).unwrap_or(0)
}

/// Replaces the number of a zone by the name of the interface, because a Node primary does not resolve
/// numbers.
pub(crate) fn name_zone(address: &mut ListenAddress) {
    let ListenAddress::Zoned { zone, .. } = address else { return };
    if let Some(name) = zone.parse().ok().and_then(zone_name) {
        *zone = name;
    }
}

/// The name of a network interface.
fn zone_name(number: u32) -> Option<String> {
    // No interface has the number 0, and nix returns an empty name for 0.
    if_indextoname(number).ok()?.into_string().ok().filter(|name| !name.is_empty())
}

/// `IPV6_V6ONLY` is always set or cleared, because the default differs between systems.
fn new(address: SocketAddr, kind: Type, ipv6_only: bool, reuse_port: bool) -> io::Result<Socket> {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    Ok(socket)
}

/// A duplicate of a socket of this process. EINVAL for a descriptor that cannot be a server, as in Node.
/// EINVAL also for a connection: otherwise a worker could guess the number of another worker's channel, and
/// receive the channel.
fn existing(number: u32, datagrams: bool) -> io::Result<Socket> {
    let socket = duplicate(number).map_err(|_| Errno::EINVAL)?;
    let fits = match kind(&socket) {
        Some(Kind::Udp { .. }) => datagrams,
        Some(Kind::TcpListener | Kind::UnixListener) => !datagrams,
        Some(Kind::TcpStream | Kind::UnixStream) => !datagrams && SockRef::from(&socket).peer_addr().is_err(),
        None => false,
    };
    if !fits {
        return Err(Errno::EINVAL.into());
    }
    let socket = Socket::from(socket);
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Whether a listening socket serves the same clients as a new socket at the address.
pub(super) fn is_bound_at(socket: &OwnedFd, address: &BindAddress) -> bool {
    let Ok(local) = local_address(socket) else { return false };
    match (address, local) {
        (BindAddress::Tcp { host: Some(host), port, .. }, LocalAddress::Ip(local)) => {
            SocketAddr::new(*host, *port) == local
        }
        (BindAddress::Tcp { host: None, port, .. }, LocalAddress::Ip(local)) => {
            *port == local.port() && local.ip().is_unspecified()
        }
        (BindAddress::Path { path, .. }, LocalAddress::Path(local)) => *path == local,
        (
            BindAddress::Tcp { .. }
            | BindAddress::Path { .. }
            | BindAddress::Udp { .. }
            | BindAddress::Zoned { .. }
            | BindAddress::Descriptor { .. },
            _,
        ) => false,
    }
}

/// The last eighth of the descriptor numbers is reserved for connections, channels and new workers. A socket
/// requested by a worker gets no number from the reserve.
const RESERVED: u64 = 8;

/// EMFILE if a socket requested by a worker has a number in the reserve. The kernel assigns the lowest free
/// number, so the number shows how many descriptors are in use.
pub(super) fn check_descriptor_limit(socket: &OwnedFd) -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile).current;
    let last = limit.map(|limit| limit - limit / RESERVED);
    let number = u64::try_from(socket.as_raw_fd()).unwrap_or(0);
    if last.is_some_and(|last| number >= last) { Err(Errno::EMFILE.into()) } else { Ok(()) }
}

/// The address of a socket. Linux reports a zone only for link-local addresses.
pub(super) fn local_address(socket: &OwnedFd) -> io::Result<LocalAddress> {
    let address = SockRef::from(socket).local_addr()?;
    Ok(match address.as_socket() {
        Some(SocketAddr::V6(v6)) => match zone_name(v6.scope_id()) {
            Some(zone) => LocalAddress::Zoned { host: *v6.ip(), zone, port: v6.port() },
            None => SocketAddr::V6(v6).into(),
        },
        Some(SocketAddr::V4(v4)) => SocketAddr::V4(v4).into(),
        None => LocalAddress::Path(unix_name(&address).unwrap_or_default()),
    })
}

/// The address with the number of the zone in place of the name, as in `SocketAddrV6`.
pub(crate) fn number_zone(address: LocalAddress) -> LocalAddress {
    match address {
        LocalAddress::Zoned { host, zone, port } => {
            SocketAddr::from(SocketAddrV6::new(host, port, 0, scope(&zone))).into()
        }
        LocalAddress::Ip(_) | LocalAddress::Path(_) => address,
    }
}

/// The path of a Unix socket, or the abstract name with the leading NUL.
fn unix_name(address: &SockAddr) -> Option<String> {
    let path = address.as_pathname().map(|path| path.to_string_lossy().into_owned());
    let name = || address.as_abstract_namespace().map(|name| format!("\0{}", String::from_utf8_lossy(name)));
    path.or_else(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn at(port: u16, reuse_port: bool) -> BindAddress {
        BindAddress::Tcp { host: Some(Ipv4Addr::LOCALHOST.into()), port, ipv6_only: false, reuse_port }
    }

    fn bound(address: &BindAddress) -> Result<(OwnedFd, u16), Errno> {
        let (socket, _) =
            bind(address).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or_default()))?;
        let port = local_address(&socket).expect("an address").port();
        Ok((socket, port))
    }

    fn listening(address: &BindAddress) -> Result<(OwnedFd, u16), Errno> {
        let (socket, port) = bound(address)?;
        rustix::net::listen(&socket, 1).map_err(|error| Errno::from_raw(error.raw_os_error()))?;
        Ok((socket, port))
    }

    fn number(socket: &impl AsRawFd) -> u32 {
        socket.as_raw_fd().try_into().expect("a number")
    }

    /// A port is shared only if every socket at the port has the option.
    #[test]
    fn reused_port_needs_every_socket() {
        let (_first, port) = listening(&at(0, true)).expect("bound");
        assert!(listening(&at(port, true)).is_ok());
        assert_eq!(listening(&at(port, false)).map(drop), Err(Errno::EADDRINUSE));
    }

    /// The error of a bind to `::` decides whether the bind is repeated with IPv4.
    #[test]
    fn missing_ipv6_has_two_errors() {
        let is_missing = |errno: Errno| no_ipv6(&io::Error::from(errno));
        assert!([Errno::EAFNOSUPPORT, Errno::EADDRNOTAVAIL].into_iter().all(is_missing));
        assert!(![Errno::EADDRINUSE, Errno::EACCES, Errno::EINVAL].into_iter().any(is_missing));
    }

    #[test]
    fn ipv6_only_leaves_ipv4_free() {
        let every = |v6: bool, port, ipv6_only| {
            let host: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            BindAddress::Tcp { host: Some(host), port, ipv6_only, reuse_port: false }
        };
        let (_alone, port) = listening(&every(true, 0, true)).expect("bound");
        let (ipv4, _) = listening(&every(false, port, false)).expect("bound beside it");
        drop(ipv4);
        let (_both, port) = listening(&every(true, 0, false)).expect("bound");
        assert_eq!(listening(&every(false, port, false)).map(drop), Err(Errno::EADDRINUSE));
    }

    /// A zone may be the name or the number of an interface. An unknown name is no zone, as in libuv.
    #[test]
    fn zone_is_an_interface() {
        for zone in ["lo", "1", "no such one"] {
            for datagrams in [false, true] {
                let (host, zone) = (Ipv6Addr::LOCALHOST, zone.to_owned());
                let (ipv6_only, reuse_address, reuse_port) = (false, false, false);
                let zoned = BindAddress::Zoned {
                    host,
                    zone,
                    port: 0,
                    datagrams,
                    ipv6_only,
                    reuse_address,
                    reuse_port,
                };
                assert!(bound(&zoned).is_ok_and(|(_, port)| port != 0));
            }
        }
        assert_eq!([scope("lo"), scope("7"), scope("no such one")], [1, 7, 0]);
    }

    #[test]
    fn reused_udp_address_needs_both_sockets() {
        let udp = |port, reuse_address| BindAddress::Udp {
            host: Ipv4Addr::LOCALHOST.into(),
            port,
            ipv6_only: false,
            reuse_address,
            reuse_port: false,
        };
        let (_first, port) = bound(&udp(0, true)).expect("bound");
        assert!(bound(&udp(port, true)).is_ok());
        assert_eq!(bound(&udp(port, false)).map(drop), Err(Errno::EADDRINUSE));
    }

    #[test]
    fn descriptor_is_duplicated_by_number() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let existing =
            |fd, datagrams| bound(&BindAddress::Descriptor { fd, datagrams }).map(|(_, port)| port);
        let port = |address: io::Result<SocketAddr>| Ok(address.expect("an address").port());
        assert_eq!(existing(number(&listener), false), port(listener.local_addr()));
        assert_eq!(existing(number(&udp), true), port(udp.local_addr()));
        assert_eq!(existing(number(&listener), true), Err(Errno::EINVAL));
        assert_eq!(existing(number(&udp), false), Err(Errno::EINVAL));
    }

    #[test]
    fn unsuitable_descriptor_is_einval() {
        let (channel, _far) = UnixStream::pair().expect("a pair");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a client");
        let file = std::fs::File::open("/dev/null").expect("a file");
        for descriptor in [channel.as_fd(), client.as_fd(), file.as_fd()] {
            for datagrams in [false, true] {
                let address = BindAddress::Descriptor { fd: number(&descriptor), datagrams };
                assert_eq!(bound(&address).map(drop), Err(Errno::EINVAL));
            }
        }
        assert_eq!(
            bound(&BindAddress::Descriptor { fd: 1_000_000, datagrams: false }).map(drop),
            Err(Errno::EINVAL)
        );
    }

    /// The last eighth of the descriptors is reserved for connections, channels and workers.
    #[test]
    fn descriptor_limit_leaves_an_eighth() {
        const LIMIT: u64 = 4_096;
        let limit = getrlimit(Resource::Nofile);
        rustix::process::setrlimit(
            Resource::Nofile,
            rustix::process::Rlimit { current: Some(LIMIT), ..limit },
        )
        .expect("a lower limit");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a listener");
        for (number, expected) in [(3_583, Ok(())), (3_584, Err(Errno::EMFILE))] {
            let copy = rustix::io::fcntl_dupfd_cloexec(&socket, number).expect("a free number");
            assert_eq!(copy.as_raw_fd(), number);
            let checked = check_descriptor_limit(&copy);
            assert_eq!(checked.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0))), expected);
        }
    }

    /// The name is a path, absent, or an abstract name after a NUL.
    #[cfg(target_os = "linux")]
    #[test]
    fn unix_socket_has_its_name() {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::net::{SocketAddr, UnixListener};
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("s");
        let name = format!("cluster-{}", std::process::id());
        let bound = UnixListener::bind(&path).expect("a listener");
        let named = SocketAddr::from_abstract_name(&name).expect("a name");
        let named = UnixListener::bind_addr(&named).expect("a listener");
        let (pair, _far) = UnixStream::pair().expect("a pair");
        let path = path.to_string_lossy().into_owned();
        for (socket, expected) in
            [(bound.into(), path), (named.into(), format!("\0{name}")), (pair.into(), String::new())]
        {
            assert_eq!(local_address(&socket).expect("an address"), LocalAddress::Path(expected));
        }
    }
}
