//! The address of a bound socket: the destinations that reach the socket, and the conflicts with other
//! addresses. The rules are Linux's for the sockets of libuv: a TCP socket may reuse an address at which no
//! socket listens.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

use cluster_core::{Errno, LocalAddress};

/// The address of a bound socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum BoundAddress {
    Ip(BoundIp),
    /// The path of a Unix socket.
    Path(String),
}

/// An address and a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BoundIp {
    pub(crate) address: SocketAddr,
    /// `IPV6_V6ONLY`: the address `::` does not include IPv4.
    pub(crate) only_v6: bool,
    /// `SO_REUSEADDR` of a UDP socket. A TCP socket always has the option.
    pub(crate) reuse_address: bool,
    /// `SO_REUSEPORT`.
    pub(crate) reuse_port: bool,
}

impl BoundAddress {
    pub(crate) fn address(&self) -> LocalAddress {
        match self {
            BoundAddress::Ip(name) => LocalAddress::Ip(name.address),
            BoundAddress::Path(path) => LocalAddress::Path(path.clone()),
        }
    }
}

impl BoundIp {
    /// How specifically this address matches a destination; the most specific socket receives. `None`: the
    /// address does not match.
    pub(crate) fn specificity(&self, to: SocketAddr) -> Option<u8> {
        if self.address.port() != to.port() || !self.covers(to.ip()) {
            return None;
        }
        let own = self.address.ip();
        Some(if own == to.ip() { 2 } else { u8::from(own.is_ipv4() == to.is_ipv4()) })
    }

    /// Whether some destination could reach both addresses.
    pub(crate) fn conflicts_with(&self, other: &BoundIp) -> bool {
        let (one, two) = (self.address, other.address);
        one.port() == two.port() && (self.covers(two.ip()) || other.covers(one.ip()))
    }

    fn covers(&self, host: IpAddr) -> bool {
        let own = self.address.ip();
        let is_any = own.is_unspecified() && (own.is_ipv4() == host.is_ipv4());
        let is_dual = own.is_unspecified() && own.is_ipv6() && !self.only_v6;
        own == host || is_any || is_dual
    }
}

/// The network interfaces of the machine, each with its link-local address. The first has the number 1.
const INTERFACES: [(&str, Option<Ipv6Addr>); 2] =
    [("lo", None), ("eth0", Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)))];

/// The error of Linux for the number of an interface that does not exist.
const ENODEV: Errno = Errno(19);

/// An address in a zone. The zone is the name of an interface, or a number (other than in libuv); any other
/// text is 0. Linux keeps the zone only of link-local addresses.
pub(crate) fn in_zone(host: Ipv6Addr, port: u16, zone: &str) -> SocketAddrV6 {
    let named = (1..).zip(INTERFACES).find(|(_, (name, _))| *name == zone).map(|(number, _)| number);
    let scope = named.or_else(|| zone.parse().ok()).unwrap_or(0);
    SocketAddrV6::new(host, port, 0, if host.is_unicast_link_local() { scope } else { 0 })
}

/// Checks that the machine has an address: "every address", a loopback address, or the link-local address of
/// an interface.
pub(crate) fn check_local(address: SocketAddr) -> Result<(), Errno> {
    let is_local = match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            // Without an interface, a link-local address is ambiguous.
            let number = v6.scope_id().checked_sub(1).ok_or(Errno::EINVAL)?;
            let interface = usize::try_from(number).ok().and_then(|number| INTERFACES.get(number));
            let (_, link_local) = interface.ok_or(ENODEV)?;
            *link_local == Some(*v6.ip())
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => address.ip().is_unspecified() || address.ip().is_loopback(),
    };
    if is_local { Ok(()) } else { Err(Errno::EADDRNOTAVAIL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(address: &str, only_v6: bool) -> BoundIp {
        let address = address.parse().expect("an address");
        BoundIp { address, only_v6, reuse_address: false, reuse_port: false }
    }

    /// The outcomes were recorded on Linux 6.
    #[test]
    fn addresses_conflict_as_on_linux() {
        for (one, other, conflict) in [
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "[::1]:80", true),
            ("[::1]:80", "0.0.0.0:80", false),
            ("[::]:80", "[::]:81", false),
        ] {
            assert_eq!(bound(one, false).conflicts_with(&bound(other, false)), conflict, "{one} {other}");
            assert_eq!(bound(other, false).conflicts_with(&bound(one, false)), conflict, "{other} {one}");
        }
        assert!(!bound("[::]:80", true).conflicts_with(&bound("0.0.0.0:80", false)));
        assert!(!bound("127.0.0.1:80", false).conflicts_with(&bound("[::]:80", true)));
        assert!(bound("[::]:80", true).conflicts_with(&bound("[::]:80", false)));
    }

    #[test]
    fn specificity_prefers_exact_addresses() {
        let to = "127.0.0.1:80".parse().expect("an address");
        let specificity = |own, only_v6| bound(own, only_v6).specificity(to);
        assert_eq!(specificity("127.0.0.1:80", false), Some(2));
        assert_eq!(specificity("0.0.0.0:80", false), Some(1));
        assert_eq!(specificity("[::]:80", false), Some(0));
        assert_eq!(specificity("[::]:80", true), None);
        assert_eq!(specificity("0.0.0.0:81", false), None);
    }
}
