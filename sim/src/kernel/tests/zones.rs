//! IPv6 addresses in a zone: which addresses can be bound, and where. Linux 6 gave the same answers to the
//! same calls, on a machine with two interfaces: `lo`, number 1, without a link-local address, and `eth0`,
//! number 2, with `fe80::1`.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};

use cluster_core::{BindAddress, Errno, LocalAddress};

use super::super::process_table::Origin;
use super::{PRIMARY, kernel};

/// An interface that does not exist.
const ENODEV: Errno = Errno(19);

/// A TCP or a UDP socket at port 4000 of `host` in `zone`.
fn zoned(host: &str, zone: &str, datagrams: bool) -> BindAddress {
    let (host, zone) = (host.parse().expect("an address"), zone.to_owned());
    let (ipv6_only, reuse_address, reuse_port) = (false, false, false);
    BindAddress::Zoned { host, zone, port: 4000, datagrams, ipv6_only, reuse_address, reuse_port }
}

/// The bound address.
fn bind(address: &BindAddress) -> Result<SocketAddr, Errno> {
    let (_, local) = kernel().bind(PRIMARY, Origin::Machine, address, Some(1))?;
    Ok(local.ip().expect("an IP address"))
}

#[test]
fn zone_selects_the_interface() {
    let link_local: Ipv6Addr = "fe80::1".parse().expect("an address");
    let there = Ok(SocketAddrV6::new(link_local, 4000, 0, 2).into());
    for (host, zone, expected) in [
        ("fe80::1", "eth0", there),
        ("fe80::1", "2", there),
        // The address belongs to another interface.
        ("fe80::1", "lo", Err(Errno::EADDRNOTAVAIL)),
        ("fe80::1", "1", Err(Errno::EADDRNOTAVAIL)),
        ("fe80::2", "eth0", Err(Errno::EADDRNOTAVAIL)),
        // libuv passes 0 for an unknown name, and a number unchanged.
        ("fe80::1", "no such one", Err(Errno::EINVAL)),
        ("fe80::1", "", Err(Errno::EINVAL)),
        ("fe80::1", "0", Err(Errno::EINVAL)),
        ("fe80::1", "7", Err(ENODEV)),
        ("fe80::1", "4294967296", Err(Errno::EINVAL)),
        ("2001:db8::1", "eth0", Err(Errno::EADDRNOTAVAIL)),
    ] {
        for datagrams in [false, true] {
            assert_eq!(bind(&zoned(host, zone, datagrams)), expected, "{host}%{zone} {datagrams}");
        }
    }
}

/// Linux reads the zone only of a link-local address.
#[test]
fn zone_of_other_addresses_is_ignored() {
    for host in ["::1", "::"] {
        let expected = SocketAddrV6::new(host.parse().expect("an address"), 4000, 0, 0).into();
        for zone in ["lo", "1", "eth0", "7", "no such one"] {
            for datagrams in [false, true] {
                assert_eq!(bind(&zoned(host, zone, datagrams)), Ok(expected), "{host}%{zone} {datagrams}");
            }
        }
    }
}

#[test]
fn link_local_address_needs_a_zone() {
    let host = "fe80::1".parse().expect("an address");
    let tcp = BindAddress::Tcp { host: Some(host), port: 4000, ipv6_only: false, reuse_port: false };
    let udp =
        BindAddress::Udp { host, port: 4000, ipv6_only: false, reuse_address: false, reuse_port: false };
    assert_eq!([bind(&tcp), bind(&udp)], [Err(Errno::EINVAL), Err(Errno::EINVAL)]);
}

#[test]
fn zoned_address_conflicts_with_every_address() {
    let any = |host: &str| BindAddress::Tcp {
        host: Some(host.parse().expect("an address")),
        port: 4000,
        ipv6_only: false,
        reuse_port: false,
    };
    let at = zoned("fe80::1", "eth0", false);
    for (first, second, expected) in [
        (&at, &zoned("fe80::1", "2", false), Some(Errno::EADDRINUSE)),
        (&at, &any("::"), Some(Errno::EADDRINUSE)),
        (&any("::"), &at, Some(Errno::EADDRINUSE)),
        (&at, &any("::1"), None),
        (&at, &any("0.0.0.0"), None),
        (&at, &zoned("fe80::1", "eth0", true), None),
    ] {
        let mut kernel = kernel();
        let mut bind = |address| kernel.bind(PRIMARY, Origin::Machine, address, Some(1));
        assert!(bind(first).is_ok(), "{first:?}");
        assert_eq!(bind(second).err(), expected, "{first:?} {second:?}");
    }
}

#[test]
fn zone_needs_ipv6() {
    let mut kernel = kernel();
    kernel.system_mut().no_ipv6 = true;
    let bound: Result<LocalAddress, Errno> =
        kernel.bind(PRIMARY, Origin::Machine, &zoned("fe80::1", "eth0", false), None).map(|(_, at)| at);
    assert_eq!(bound, Err(Errno::EAFNOSUPPORT));
}
