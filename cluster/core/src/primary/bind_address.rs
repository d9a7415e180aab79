//! The bind address of a query. A worker can ask for anything: the answer to an invalid request is `EINVAL`,
//! and to a request that is too long to be kept, `ENAMETOOLONG`.

use alloc::string::String;

use crate::address::AddressType;
use crate::message::{ADDRESS, IPV6_ONLY, QueryServer, REUSE_ADDRESS};
use crate::os::{BindAddress, Errno};

pub(super) fn bind_address(query: &QueryServer) -> Result<BindAddress, Errno> {
    // The primary also keeps the key of the query, and the port in a key is a text of any length.
    let is_long = |text: &String| text.len() > ADDRESS;
    if query.address.as_ref().is_some_and(is_long) || query.key.0.len() > 2 * ADDRESS {
        return Err(Errno::ENAMETOOLONG);
    }
    if let Some(fd) = query.fd.filter(|fd| *fd >= 0) {
        let fd = u32::try_from(fd).map_err(|_| Errno::EINVAL)?;
        return Ok(BindAddress::Descriptor { fd, datagrams: is_udp(query) });
    }
    match query.address_type {
        AddressType::Udp4 => udp(query, false),
        AddressType::Udp6 => udp(query, true),
        AddressType::V4 | AddressType::V6 => tcp(query),
        AddressType::Path => path(query),
        // A query with a port and an address counts as TCP: a program's own `dns.lookup` may have returned no
        // family.
        AddressType::Descriptor if query.port.is_some() && query.address.is_some() => tcp(query),
        AddressType::Descriptor => Err(Errno::EINVAL),
    }
}

pub(super) fn is_udp(query: &QueryServer) -> bool {
    match query.address_type {
        AddressType::Udp4 | AddressType::Udp6 => true,
        AddressType::V4 | AddressType::V6 | AddressType::Path | AddressType::Descriptor => false,
    }
}

/// Whether the address names a host.
pub(super) fn has_host(address: &BindAddress) -> bool {
    match address {
        BindAddress::Tcp { host, .. } => host.is_some(),
        BindAddress::Udp { .. } | BindAddress::Zoned { .. } => true,
        BindAddress::Path { .. } | BindAddress::Descriptor { .. } => false,
    }
}

fn tcp(query: &QueryServer) -> Result<BindAddress, Errno> {
    let given = query.address.as_deref().filter(|address| !address.is_empty());
    if let Some((host, zone)) = given.and_then(|address| address.split_once('%')) {
        return zoned(query, host, zone);
    }
    let host = given.map(|address| address.parse().map_err(|_| Errno::EINVAL)).transpose()?;
    Ok(BindAddress::Tcp { host, port: port(query)?, ipv6_only: has(query, IPV6_ONLY), reuse_port: false })
}

fn udp(query: &QueryServer, v6: bool) -> Result<BindAddress, Errno> {
    let given = query.address.as_deref().unwrap_or(if v6 { "::" } else { "0.0.0.0" });
    // A Node worker treats the address of a negative port as a path, and puts its working directory before
    // the address.
    let address = given.rsplit_once('/').map_or(given, |(_, address)| address);
    if let Some((host, zone)) = address.split_once('%').filter(|_| v6) {
        return zoned(query, host, zone);
    }
    let host: core::net::IpAddr = address.parse().map_err(|_| Errno::EINVAL)?;
    if host.is_ipv6() != v6 {
        return Err(Errno::EINVAL);
    }
    Ok(BindAddress::Udp {
        host,
        port: port(query)?,
        ipv6_only: has(query, IPV6_ONLY),
        reuse_address: has(query, REUSE_ADDRESS),
        reuse_port: false,
    })
}

/// The address for an IPv6 host in a zone. The operating system finds the interface.
fn zoned(query: &QueryServer, host: &str, zone: &str) -> Result<BindAddress, Errno> {
    let datagrams = is_udp(query);
    Ok(BindAddress::Zoned {
        host: host.parse().map_err(|_| Errno::EINVAL)?,
        zone: zone.into(),
        port: port(query)?,
        datagrams,
        ipv6_only: has(query, IPV6_ONLY),
        reuse_address: datagrams && has(query, REUSE_ADDRESS),
        reuse_port: false,
    })
}

fn path(query: &QueryServer) -> Result<BindAddress, Errno> {
    let given = query.address.as_deref().filter(|path| !path.is_empty()).ok_or(Errno::EINVAL)?;
    let path = String::from(abstract_name(given).unwrap_or(given));
    Ok(BindAddress::Path { path, readable_all: query.readable_all, writable_all: query.writable_all })
}

/// The name of an abstract Unix socket, from the leading NUL on. A Node worker treats the name as a relative
/// path, and puts its working directory before the name. No path contains a NUL, so the NUL shows where the
/// name begins.
fn abstract_name(path: &str) -> Option<&str> {
    let begin = path.find('\0')?;
    (begin == 0 || path[..begin].ends_with('/')).then(|| &path[begin..])
}

fn port(query: &QueryServer) -> Result<u16, Errno> {
    u16::try_from(query.port.unwrap_or(0)).map_err(|_| Errno::EINVAL)
}

fn has(query: &QueryServer, flag: u64) -> bool {
    query.flags.unwrap_or(0) & flag != 0
}
