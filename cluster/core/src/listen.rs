//! The options with which a worker listens, and the query that asks the primary for a socket. Values only.

use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::address::AddressType;
use crate::message::{Data, HandleKey, IPV6_ONLY, QueryServer, REUSE_ADDRESS};
use crate::os::{BindAddress, fmt_path};
use crate::os_bytes::Escaped;

/// The options of a server. Node: the options of `server.listen()` and of `socket.bind()`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ListenOptions {
    /// The address.
    pub address: ListenAddress,
    /// The length of the kernel's queue of connections. `None`: 511. The first worker that listens on an
    /// address decides for all workers.
    pub backlog: Option<u32>,
    /// Whether the worker binds the address alone, without the primary. Then the server stays open when the
    /// channel closes, and a disconnect of the worker does not wait for the server's connections.
    pub exclusive: bool,
    /// Sets `SO_REUSEPORT`: the bind succeeds even if other sockets with this option are bound to the
    /// address, and the kernel spreads the clients. The server is then exclusive. Node: 22 and later.
    pub reuse_port: bool,
    /// The most open connections. Further connections are handed to other workers; an exclusive or shared
    /// server closes them. Node: `server.maxConnections`. With 0 the server accepts none, as in Node since
    /// version 22.
    pub max_connections: Option<u32>,
}

impl ListenOptions {
    pub(crate) fn is_exclusive(&self) -> bool {
        self.exclusive || self.reuse_port
    }
}

impl From<ListenAddress> for ListenOptions {
    fn from(address: ListenAddress) -> Self {
        ListenOptions { address, ..ListenOptions::default() }
    }
}

impl From<SocketAddr> for ListenOptions {
    fn from(address: SocketAddr) -> Self {
        let port = address.port();
        ListenOptions::from(match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => ListenAddress::Zoned {
                host: *v6.ip(),
                zone: v6.scope_id().to_string(),
                port,
                udp: false,
                ipv6_only: false,
            },
            SocketAddr::V4(_) | SocketAddr::V6(_) => {
                ListenAddress::Tcp { host: Some(address.ip()), port, ipv6_only: false }
            }
        })
    }
}

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant documents its fields")]
pub enum ListenAddress {
    /// TCP.
    Tcp {
        /// `None`: every address.
        host: Option<IpAddr>,
        /// 0: the kernel chooses the port. The first servers with port 0 of all workers share a port, the
        /// second servers share another port, and so on.
        port: u16,
        /// With an IPv6 host: exclude IPv4.
        ipv6_only: bool,
    },
    /// A Unix stream socket.
    Path {
        /// The path. It must be absolute, because the working directory of the primary may differ. An
        /// abstract name of Linux begins with NUL. The path is a text, because the query to the primary is
        /// JSON.
        path: String,
        /// Read permission for every user. Node: `readableAll`.
        readable_all: bool,
        /// Write permission for every user. Node: `writableAll`.
        writable_all: bool,
    },
    /// A descriptor of the process that binds: of the primary, or for an exclusive server of this worker.
    Descriptor {
        /// The number of the descriptor in that process.
        fd: u32,
        /// Whether the descriptor is a datagram socket.
        udp: bool,
    },
    /// UDP. Workers share the socket under either scheduling policy.
    Udp {
        /// IPv6. Node: `'udp6'`.
        v6: bool,
        /// `None`: every address.
        host: Option<IpAddr>,
        /// `None` and 0: the kernel chooses the port. A server with `None` shares no socket with a server
        /// with the port 0. Node: `None` is `bind()` without a port.
        port: Option<u16>,
        /// With IPv6: exclude IPv4.
        ipv6_only: bool,
        /// Binds even if another process has bound the address. Node: `reuseAddr`.
        reuse_address: bool,
    },
    /// TCP or UDP at an IPv6 address with a zone, such as a link-local address.
    Zoned {
        host: Ipv6Addr,
        /// The name of the network interface. A primary of this crate also accepts the number of the
        /// interface; a Node primary does not.
        zone: String,
        /// 0: the kernel chooses.
        port: u16,
        /// UDP if true, otherwise TCP.
        udp: bool,
        /// Exclude IPv4.
        ipv6_only: bool,
    },
}

impl ListenAddress {
    /// Every address, at a port.
    pub fn any(port: u16) -> Self {
        ListenAddress::Tcp { host: None, port, ipv6_only: false }
    }

    /// The requested port; 0 if the address has no port.
    pub fn port(&self) -> u16 {
        match self {
            ListenAddress::Tcp { port, .. } | ListenAddress::Zoned { port, .. } => *port,
            ListenAddress::Udp { port, .. } => port.unwrap_or(0),
            ListenAddress::Path { .. } | ListenAddress::Descriptor { .. } => 0,
        }
    }

    pub(crate) fn is_udp(&self) -> bool {
        match self {
            ListenAddress::Udp { .. } => true,
            ListenAddress::Descriptor { udp, .. } | ListenAddress::Zoned { udp, .. } => *udp,
            ListenAddress::Tcp { .. } | ListenAddress::Path { .. } => false,
        }
    }

    /// The address that an exclusive server binds.
    pub(crate) fn to_bind(&self, reuse_port: bool) -> BindAddress {
        match self.clone() {
            ListenAddress::Tcp { host, port, ipv6_only } => {
                BindAddress::Tcp { host, port, ipv6_only, reuse_port }
            }
            ListenAddress::Path { path, readable_all, writable_all } => {
                BindAddress::Path { path, readable_all, writable_all }
            }
            ListenAddress::Descriptor { fd, udp } => BindAddress::Descriptor { fd, datagrams: udp },
            ListenAddress::Zoned { host, zone, port, udp: datagrams, ipv6_only } => {
                let reuse_address = false;
                BindAddress::Zoned { host, zone, port, datagrams, ipv6_only, reuse_address, reuse_port }
            }
            ListenAddress::Udp { v6, host, port, ipv6_only, reuse_address } => {
                let (host, port) = (host.unwrap_or(unspecified(v6)), port.unwrap_or(0));
                BindAddress::Udp { host, port, ipv6_only, reuse_address, reuse_port }
            }
        }
    }

    /// The query to the primary, with every field that Node fills in.
    pub(crate) fn query(&self, index: u64, backlog: Option<u32>) -> QueryServer {
        let stream = QueryServer {
            key: HandleKey::default(),
            index,
            data: Some(Data::Null),
            address: None,
            port: None,
            address_type: AddressType::V4,
            fd: None,
            flags: None,
            backlog: Some(backlog.unwrap_or(0)),
            readable_all: false,
            writable_all: false,
        };
        match self {
            ListenAddress::Tcp { host, port, ipv6_only } => QueryServer {
                address: host.map(|host| host.to_string()),
                port: Some(i64::from(*port)),
                address_type: if host.is_some_and(|host| host.is_ipv6()) {
                    AddressType::V6
                } else {
                    AddressType::V4
                },
                flags: host.map(|_| flag(*ipv6_only, IPV6_ONLY)),
                ..stream
            },
            ListenAddress::Path { path, readable_all, writable_all } => QueryServer {
                address: Some(path.clone()),
                port: Some(-1),
                address_type: AddressType::Path,
                readable_all: *readable_all,
                writable_all: *writable_all,
                ..stream
            },
            ListenAddress::Descriptor { fd, udp: false } => {
                QueryServer { address_type: AddressType::Descriptor, fd: Some(i64::from(*fd)), ..stream }
            }
            ListenAddress::Descriptor { fd, udp: true } => QueryServer {
                address_type: AddressType::Udp4,
                fd: Some(i64::from(*fd)),
                backlog: None,
                ..stream
            },
            ListenAddress::Zoned { host, zone, port, udp, ipv6_only } => QueryServer {
                address: Some(format!("{host}%{zone}")),
                port: Some(i64::from(*port)),
                address_type: if *udp { AddressType::Udp6 } else { AddressType::V6 },
                fd: udp.then_some(-1),
                flags: Some(flag(*ipv6_only, IPV6_ONLY)),
                backlog: stream.backlog.filter(|_| !udp),
                ..stream
            },
            ListenAddress::Udp { v6, host, port, ipv6_only, reuse_address } => QueryServer {
                address: Some(host.unwrap_or(unspecified(*v6)).to_string()),
                port: port.map(i64::from),
                address_type: if *v6 { AddressType::Udp6 } else { AddressType::Udp4 },
                fd: Some(-1),
                flags: Some(flag(*ipv6_only, IPV6_ONLY) | flag(*reuse_address, REUSE_ADDRESS)),
                backlog: None,
                ..stream
            },
        }
    }
}

fn flag(set: bool, flag: u64) -> u64 {
    if set { flag } else { 0 }
}

fn unspecified(v6: bool) -> IpAddr {
    if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

impl Default for ListenAddress {
    /// Every address, at a port that the kernel chooses.
    fn default() -> Self {
        ListenAddress::any(0)
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Tcp { host: Some(host), port, .. } => SocketAddr::new(*host, *port).fmt(f),
            ListenAddress::Tcp { host: None, port, .. } => write!(f, "port {port} on every address"),
            ListenAddress::Path { path, .. } => fmt_path(path, f),
            ListenAddress::Descriptor { fd, .. } => write!(f, "descriptor {fd}"),
            ListenAddress::Zoned { host, zone, port, .. } => write!(f, "[{host}%{}]:{port}", Escaped(zone)),
            ListenAddress::Udp { v6, host, port, .. } => {
                let host = host.unwrap_or(unspecified(*v6));
                SocketAddr::new(host, port.unwrap_or(0)).fmt(f)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `SocketAddr` becomes options with the same address, not exclusive.
    #[test]
    fn socket_address_is_kept() {
        let address: SocketAddr = "127.0.0.2:80".parse().expect("an address");
        let options = ListenOptions::from(address);
        assert_eq!(options.address.to_string(), "127.0.0.2:80");
        assert!(!options.is_exclusive());
    }

    /// The query and the bind address contain the zone.
    #[test]
    fn zone_is_kept() {
        let address: SocketAddr = "[fe80::1%7]:80".parse().expect("an address");
        let ListenOptions { address, .. } = ListenOptions::from(address);
        assert_eq!(address.to_string(), "[fe80::1%7]:80");
        assert_eq!(address.query(0, None).address.as_deref(), Some("fe80::1%7"));
        let BindAddress::Zoned { zone, datagrams, .. } = address.to_bind(false) else { unreachable!() };
        assert_eq!((zone.as_str(), datagrams), ("7", false));
    }

    /// A UDP server's query has the fields of Node's query.
    #[test]
    fn udp_query_matches_node() {
        let udp = |ipv6_only, reuse_address| {
            let address =
                ListenAddress::Udp { v6: true, host: None, port: Some(53), ipv6_only, reuse_address };
            address.query(0, Some(7))
        };
        assert_eq!(
            [udp(false, false), udp(true, false), udp(true, true)].map(|query| query.flags),
            [0, 1, 5].map(Some)
        );
        let query = udp(false, false);
        assert_eq!((query.address.as_deref(), query.port), (Some("::"), Some(53)));
        assert_eq!((query.address_type, query.fd, query.backlog), (AddressType::Udp6, Some(-1), None));
    }

    /// The query for a datagram descriptor has no backlog.
    #[test]
    fn datagram_descriptor_has_no_backlog() {
        let of = |udp| ListenAddress::Descriptor { fd: 5, udp }.query(0, Some(7));
        let [stream, datagrams] = [false, true].map(of);
        assert_eq!(
            (stream.address_type, stream.fd, stream.backlog),
            (AddressType::Descriptor, Some(5), Some(7))
        );
        assert_eq!(
            (datagrams.address_type, datagrams.fd, datagrams.backlog),
            (AddressType::Udp4, Some(5), None)
        );
    }
}
