//! The driver: reads the log, commands the clients, and acts as the world outside of the cluster.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use cluster_core::{Errno, LocalAddress, Signal};

use super::{Actor, ClientId};
use crate::event::ClientAction;
use crate::kernel::Kernel;
use crate::observations::ObservationLog;
use crate::step::Pid;

/// The context of the driver's hooks.
#[derive(Debug)]
pub struct Driver<'a> {
    pub(crate) kernel: &'a mut Kernel,
    pub(crate) log: &'a mut ObservationLog,
}

impl Driver<'_> {
    /// The time of the world in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.kernel.clock.now_ms()
    }

    // ---- clients

    /// Adds a client that does nothing.
    pub fn client(&mut self) -> ClientId {
        self.kernel.network.clients.add()
    }

    /// Adds a client that connects to a port of `127.0.0.1`.
    pub fn connect(&mut self, port: u16) -> ClientId {
        self.connect_to(LocalAddress::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }

    /// Adds a client that connects to a port of `127.0.0.1` from this address.
    pub fn connect_from(&mut self, from: IpAddr, port: u16) -> ClientId {
        let client = self.connect(port);
        self.kernel.network.clients.set_address(client, from);
        client
    }

    /// Adds a client that connects to an address or to the path of a Unix socket. Every address stands for
    /// the loopback.
    pub fn connect_to(&mut self, address: LocalAddress) -> ClientId {
        let client = self.client();
        self.command(client, ClientAction::Connect(crate::kernel::bind::destination(address)));
        client
    }

    /// Lets a client send bytes.
    pub fn send(&mut self, client: ClientId, bytes: &[u8]) {
        self.command(client, ClientAction::Send(bytes.to_vec()));
    }

    /// Lets a client send a datagram, always from the same port. An unreachable address is not an error.
    pub fn send_to(&mut self, client: ClientId, to: SocketAddr, bytes: &[u8]) {
        self.command(client, ClientAction::SendTo(to, bytes.to_vec()));
    }

    /// Lets a client end its side of the connection.
    pub fn end(&mut self, client: ClientId) {
        self.command(client, ClientAction::End);
    }

    /// Lets a client reset the connection. Pending actions of the client are dropped.
    pub fn reset(&mut self, client: ClientId) {
        self.command(client, ClientAction::Reset);
    }

    fn command(&mut self, client: ClientId, action: ClientAction) {
        self.kernel.network.clients.command(client, action, &mut self.kernel.ready);
    }

    /// Records an observation of a client.
    pub fn observe(&mut self, client: ClientId, text: impl Into<Cow<'static, str>>) {
        self.log.observe(Actor::Client(client), text.into(), None);
    }

    // ---- processes

    /// Sends a signal to a process, as an operator does. Ignores clients, which have no process.
    pub fn kill(&mut self, actor: Actor, signal: Signal) {
        if let Some(pid) = pid(actor) {
            self.kernel.lookups.mark();
            self.kernel.signal(pid, signal);
        }
    }

    /// Limits a process to `more` sockets and channels above the present number; `None` removes the limit.
    /// See [`Process::limit_descriptors`](super::Process::limit_descriptors). A worker before its start has
    /// no descriptor, and its channel counts as the first. Ignores clients.
    pub fn limit_descriptors(&mut self, actor: Actor, more: Option<usize>) {
        if let Some(pid) = pid(actor) {
            self.kernel.lookups.mark();
            self.kernel.limit(pid, more);
        }
    }

    // ---- the system

    /// From now on a foreign process uses a TCP port, so binding the port fails.
    pub fn occupy(&mut self, port: u16) {
        self.kernel.system_mut().tcp_ports.insert(port);
    }

    /// From now on a foreign process uses a UDP port, so binding the port fails.
    pub fn occupy_udp(&mut self, port: u16) {
        self.kernel.system_mut().udp_ports.insert(port);
    }

    /// From now on a foreign file exists at a path, so binding the path fails.
    pub fn occupy_path(&mut self, path: impl Into<String>) {
        self.kernel.system_mut().occupy_path(path.into());
    }

    /// From now on every use of this path fails with `errno`: spawning this program, spawning in this
    /// directory or below, and binding a Unix socket there. `ENOENT` means a missing path, and a bind then
    /// returns `EACCES`, as in Node. `EACCES` means missing rights.
    pub fn break_path(&mut self, path: impl Into<String>, errno: Errno) {
        self.kernel.system_mut().break_path(path.into(), errno);
    }

    /// From now on no process is root: binding a port below 1024 fails with `EACCES`, and spawning as another
    /// user with `EPERM`.
    pub fn drop_root(&mut self) {
        self.kernel.system_mut().no_root = true;
    }

    /// The limit of the accept queue of the listener at an address; `None`: no socket listens there.
    pub fn backlog(&mut self, at: LocalAddress) -> Option<u32> {
        self.kernel.lookups.mark();
        let at = crate::kernel::bind::destination(at);
        self.kernel.network.sockets.backlog(&at, self.kernel.system())
    }

    /// From now on the machine has no IPv6: "every address" is `0.0.0.0`, and binding an IPv6 address fails
    /// with `EAFNOSUPPORT`.
    pub fn drop_ipv6(&mut self) {
        self.kernel.system_mut().no_ipv6 = true;
    }

    /// The mode bits of a Unix socket's file; `None`: no such file.
    pub fn mode(&mut self, path: &str) -> Option<u32> {
        self.kernel.lookups.mark();
        self.kernel.system().mode(path)
    }
}

fn pid(actor: Actor) -> Option<Pid> {
    match actor {
        Actor::Primary => Some(Pid::PRIMARY),
        Actor::Worker(worker) => Some(worker.into()),
        Actor::Client(_) => None,
    }
}
