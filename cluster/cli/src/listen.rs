//! The addresses of a foreign program: the service binds the sockets, and each worker inherits all sockets.

use std::fmt;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::str::FromStr;

use anyhow::Context;
use serde::{Deserialize, Deserializer, Serialize, de};
use tokio::net::TcpSocket;

use crate::systemd::Activated;
use crate::units::{Word, text_in_file};

/// The backlog: the connections waiting in the kernel. The system may have a lower limit.
const BACKLOG: u32 = 4_096;

/// The name of a socket without a name, as in systemd.
const UNNAMED: &str = "unknown";

/// An address to listen on: `127.0.0.1:8000`, `:8000`, or with a name for the program: `web=:8000`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Word", into = "String")]
pub(crate) struct Listen {
    /// The name of the socket in `LISTEN_FDNAMES`.
    pub(crate) name: Option<String>,
    pub(crate) address: SocketAddr,
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, address) = match text.split_once('=') {
            Some((name, address)) => (Some(name.to_owned()), address),
            None => (None, text),
        };
        if name.as_ref().is_some_and(|name| name.is_empty() || name.contains(':')) {
            return Err("a name of a socket has at least one character and no `:`".into());
        }
        Ok(Listen { name, address: self::address(address)? })
    }
}

/// An address with a port. Without a host: every address of the machine.
///
/// # Errors
/// The text is not an address.
pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    let every = text.strip_prefix(':').map(|port| format!("[::]:{port}"));
    let parsed = every.as_deref().unwrap_or(text).parse();
    parsed.map_err(|_| format!("`{text}` is no address; write 127.0.0.1:8000, [::1]:8000 or :8000"))
}

/// An optional address in the file of settings.
///
/// # Errors
/// The value is not an address.
pub(crate) fn address_in_file<'de, D: Deserializer<'de>>(file: D) -> Result<Option<SocketAddr>, D::Error> {
    let word: Option<Word> = Option::deserialize(file)?;
    word.map(|Word(text)| address(&text)).transpose().map_err(de::Error::custom)
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}={}", self.address),
            None => self.address.fmt(f),
        }
    }
}

text_in_file!(Listen);

/// The bound sockets, open until the service ends.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// The sockets bound by the command. Activated sockets are absent: systemd has bound these.
    pub(crate) listeners: Vec<TcpListener>,
    /// The descriptors of all sockets in the service.
    pub(crate) numbers: Vec<u32>,
    /// The name of each socket.
    pub(crate) names: Vec<String>,
    /// The address of each socket, with the port chosen by the kernel.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Sockets {
    /// Binds the addresses, except the addresses of activated sockets.
    ///
    /// # Errors
    /// An address cannot be bound.
    pub(crate) fn bind(addresses: &[Listen], activated: &[Activated]) -> anyhow::Result<Sockets> {
        let mut sockets = Sockets::default();
        for Listen { name, address } in addresses {
            sockets.names.push(name.clone().unwrap_or_else(|| UNNAMED.into()));
            if let Some(own) = activated.iter().find(|own| own.address == Some(*address)) {
                sockets.numbers.push(own.descriptor);
                sockets.addresses.push(*address);
                continue;
            }
            let listener = bind(*address).with_context(|| format!("cannot listen on {address}"))?;
            sockets.numbers.push(listener.as_raw_fd().cast_unsigned());
            sockets.addresses.push(listener.local_addr()?);
            sockets.listeners.push(listener);
        }
        Ok(sockets)
    }
}

/// A socket in blocking mode, as systemd passes sockets.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?.into_std()?;
    listener.set_nonblocking(false)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_has_several_forms() {
        for (text, name, address) in [
            ("127.0.0.1:80", None, "127.0.0.1:80"),
            (":80", None, "[::]:80"),
            ("web=[::1]:80", Some("web"), "[::1]:80"),
        ] {
            let listen: Listen = text.parse().expect("valid");
            assert_eq!((listen.name.as_deref(), listen.address.to_string().as_str()), (name, address));
            assert_eq!(listen.to_string().parse(), Ok(listen));
        }
        let error = "localhost".parse::<Listen>().expect_err("no port");
        assert!(error.contains("write 127.0.0.1:8000"), "{error}");
        assert!("a:b=:80".parse::<Listen>().is_err());
    }
}
