//! The servers of a scenario and their addresses: servers of workers for connections and for datagrams, and
//! servers that the primary itself owns.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use super::error::ValidationError;
use super::{ServerName, Token};
use crate::families::Families;

/// A worker's server and its address. Node: the options of `server.listen()`.
#[expect(clippy::struct_excessive_bools, reason = "Node's options, under our names")]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The name in the scenario.
    pub server: Token,
    /// The address. Without it: every address.
    #[serde(default)]
    pub host: Option<IpAddr>,
    /// The port. Without it, the kernel chooses.
    #[serde(default)]
    pub port: Option<u16>,
    /// Use the port of this server. The server is of the same worker, or its port is in the worker's
    /// environment.
    #[serde(default)]
    pub port_of: Option<ServerName>,
    /// A path in the directory of the run, instead of a port.
    #[serde(default)]
    pub path: Option<Token>,
    /// Every user may read the path. Node: `readableAll`.
    #[serde(default)]
    pub readable_all: bool,
    /// Every user may write to the path. Node: `writableAll`.
    #[serde(default)]
    pub writable_all: bool,
    /// Use the descriptor of this server instead of an address. The primary has opened the server.
    #[serde(default)]
    pub fd_of: Option<ServerName>,
    /// Only IPv6, without IPv4. Node: `ipv6Only`.
    #[serde(default)]
    pub ipv6_only: bool,
    /// Do not share the server with other workers.
    #[serde(default)]
    pub exclusive: bool,
    /// Other sockets may have the same address, and the kernel distributes the clients. Node: `reusePort`.
    #[serde(default)]
    pub reuse_port: bool,
    /// The limit of connections that the kernel queues for the server.
    #[serde(default)]
    pub backlog: Option<u32>,
    /// The limit of open connections of the worker. Node: `server.maxConnections`.
    #[serde(default)]
    pub max_connections: Option<u32>,
    /// The form in which a worker on Node creates the server and calls `listen`. The form is of the
    /// [family](Listen::family); other workers ignore it.
    #[serde(default)]
    pub form: Option<String>,
}

impl Listen {
    /// The family of the forms that open a server with these options: a key of [`Families::listen`]. `None`:
    /// no form has these options.
    pub fn family(&self) -> Option<String> {
        let Listen { port, port_of, path, fd_of, backlog, host, .. } = self;
        let Listen { readable_all, writable_all, ipv6_only, exclusive, reuse_port, .. } = *self;
        let options = [readable_all, writable_all, ipv6_only, exclusive, reuse_port];
        let is_plain = port.is_none() && port_of.is_none() && fd_of.is_none() && backlog.is_none();
        (is_plain && !options.contains(&true)).then(|| match (path, host) {
            (Some(_), _) => "path".to_owned(),
            (None, Some(host)) => host.to_string(),
            (None, None) => "any".to_owned(),
        })
    }

    /// Checks that the form opens the server that the options describe.
    pub(super) fn check_form(&self) -> Result<(), ValidationError> {
        check_form(self.form.as_deref(), self.family().as_deref(), &Families::ours().listen)
    }
}

impl Bind {
    /// The family of the forms that open a socket with these options: a key of [`Families::bind`]. `None`: no
    /// form has these options.
    pub fn family(&self) -> Option<String> {
        let Bind { v6, host, port_of, fd_of, .. } = self;
        let options = [self.ipv6_only, self.reuse_address, self.reuse_port, self.exclusive];
        let is_plain = port_of.is_none() && fd_of.is_none() && !options.contains(&true);
        let kind = if *v6 { "udp6" } else { "udp4" };
        is_plain.then(|| host.map_or_else(|| kind.to_owned(), |host| format!("{kind} {host}")))
    }

    /// Checks the form, like [`Listen::check_form`].
    pub(super) fn check_form(&self) -> Result<(), ValidationError> {
        check_form(self.form.as_deref(), self.family().as_deref(), &Families::ours().bind)
    }
}

fn check_form(
    form: Option<&str>,
    family: Option<&str>,
    forms: &BTreeMap<String, Vec<String>>,
) -> Result<(), ValidationError> {
    let Some(form) = form else { return Ok(()) };
    let forms = family.and_then(|family| forms.get(family));
    is_form(form, forms.is_some_and(|forms| forms.iter().any(|known| known == form)))
}

/// The error if a form does not suit its action.
pub(super) fn is_form(form: &str, suits: bool) -> Result<(), ValidationError> {
    if suits {
        return Ok(());
    }
    let what = format!("`{form}` is no form of this action: expected one of `forms/families.json`");
    Err(ValidationError::new("form\"", what))
}

/// A worker's server for datagrams and its address. Node: `dgram.createSocket()` and `socket.bind()`.
#[expect(clippy::struct_excessive_bools, reason = "Node's options, under our names")]
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bind {
    /// The name in the scenario.
    pub server: Token,
    /// Whether the socket is for IPv6. Node: `udp6`.
    #[serde(default)]
    pub v6: bool,
    /// The address. Without it: every address.
    #[serde(default)]
    pub host: Option<IpAddr>,
    /// Use the port of this server, like [`Listen::port_of`].
    #[serde(default)]
    pub port_of: Option<ServerName>,
    /// Use the descriptor of this server of the primary, instead of an address.
    #[serde(default)]
    pub fd_of: Option<ServerName>,
    /// Do not include IPv4. Node: `ipv6Only`.
    #[serde(default)]
    pub ipv6_only: bool,
    /// Bind even if another socket has the same address. Node: `reuseAddr`.
    #[serde(default)]
    pub reuse_address: bool,
    /// Other sockets may have the same address, like [`Listen::reuse_port`].
    #[serde(default)]
    pub reuse_port: bool,
    /// Do not share the server with other workers.
    #[serde(default)]
    pub exclusive: bool,
    /// The form in which a worker on Node creates the socket and calls `bind`, like [`Listen::form`].
    #[serde(default)]
    pub form: Option<String>,
}

/// A server that the primary itself owns, outside the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// The name in the scenario.
    pub server: Token,
    /// A path in the directory of the run, instead of a port of 127.0.0.1.
    #[serde(default)]
    pub path: Option<Token>,
    /// Whether the server is for datagrams.
    #[serde(default)]
    pub udp: bool,
    /// Whether the server is only bound. Workers then listen on its descriptor.
    #[serde(default)]
    pub bound: bool,
}
