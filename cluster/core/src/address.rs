//! The address at which a worker's server listens, as the worker reports it to the primary. The request to
//! listen is in `listen`.

use alloc::string::String;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::os::fmt_path;
use crate::os_bytes::Escaped;

/// The address of a worker's server. Node: the argument of `'listening'`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ListeningAddress {
    /// The host or the path, as requested. `None`: every address, or a descriptor.
    pub address: Option<String>,
    /// The port. For port 0, the port chosen by the kernel; for a path, -1.
    pub port: i32,
    /// The kind of the address.
    pub address_type: AddressType,
    /// The requested descriptor of the primary, if any. UDP without a descriptor reports -1.
    pub fd: Option<i64>,
}

/// Writes `127.0.0.1:8000`, `[::1]:8000`, `*:8000`, `descriptor 3`, a path, or `@` and an abstract name.
impl fmt::Display for ListeningAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListeningAddress { address, port, fd, .. } = self;
        match (address, fd) {
            (Some(path), _) if *port < 0 => fmt_path(path, f),
            (Some(host), _) if host.contains(':') => write!(f, "[{}]:{port}", Escaped(host)),
            (Some(host), _) => write!(f, "{}:{port}", Escaped(host)),
            (None, Some(fd)) if *fd >= 0 => write!(f, "descriptor {fd}"),
            (None, _) => write!(f, "*:{port}"),
        }
    }
}

/// The kind of an address on the wire. Node: `addressType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AddressType {
    /// TCP over IPv4, or any address: 4.
    V4,
    /// TCP over IPv6: 6.
    V6,
    /// A Unix socket: -1.
    Path,
    /// A descriptor of the primary: null.
    Descriptor,
    /// UDP over IPv4: "udp4".
    Udp4,
    /// UDP over IPv6: "udp6".
    Udp6,
}

impl fmt::Display for AddressType {
    /// Writes the string to which JavaScript converts Node's `addressType`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AddressType::V4 => "4",
            AddressType::V6 => "6",
            AddressType::Path => "-1",
            AddressType::Descriptor => "null",
            AddressType::Udp4 => "udp4",
            AddressType::Udp6 => "udp6",
        })
    }
}
