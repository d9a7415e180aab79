//! The one outside: it hears the log, commands the clients, and is everybody else on the machine.

use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddr};

use cluster_core::{Errno, LocalAddress, Signal};

use super::{Actor, ClientId};
use crate::kernel::Kernel;
use crate::kernel::process_table::Pid;
use crate::observations::ObservationLog;
use crate::program::ClientAction;

/// The one outside.
#[derive(Debug)]
pub struct Driver<'a> {
    pub(crate) kernel: &'a mut Kernel,
    pub(crate) log: &'a mut ObservationLog,
}

impl Driver<'_> {
    // ---- clients

    /// A new client, which does nothing yet.
    pub fn client(&mut self) -> ClientId {
        self.kernel.add_client()
    }

    /// A new client connects to a port of `127.0.0.1`.
    pub fn connect(&mut self, port: u16) -> ClientId {
        self.connect_to(LocalAddress::Ip(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
    }

    /// A new client connects: to an address, or to the path of a Unix socket. Every address means the loopback.
    pub fn connect_to(&mut self, address: LocalAddress) -> ClientId {
        let client = self.client();
        self.kernel.command(client, ClientAction::Connect(crate::kernel::bind::destination(address)));
        client
    }

    /// A client sends bytes.
    pub fn send(&mut self, client: ClientId, bytes: &[u8]) {
        self.kernel.command(client, ClientAction::Send(bytes.to_vec()));
    }

    /// A client sends a datagram, always from the same port. Nobody is told whether there is anybody.
    pub fn send_to(&mut self, client: ClientId, to: SocketAddr, bytes: &[u8]) {
        self.kernel.command(client, ClientAction::SendTo(to, bytes.to_vec()));
    }

    /// A client says that it is done.
    pub fn end(&mut self, client: ClientId) {
        self.kernel.command(client, ClientAction::End);
    }

    /// A client resets its connection; what it was told before and has not done is void.
    pub fn reset(&mut self, client: ClientId) {
        self.kernel.command(client, ClientAction::Reset);
    }

    /// Writes down an observation of a client.
    pub fn observe(&mut self, client: ClientId, text: impl Into<Cow<'static, str>>) {
        self.log.observe(Actor::Client(client), text.into());
    }

    // ---- processes

    /// Sends a signal to a process, as a person at a terminal does. A client has no process.
    pub fn kill(&mut self, actor: Actor, signal: Signal) {
        if let Some(pid) = pid(actor) {
            self.kernel.asked();
            self.kernel.signal(pid, signal);
        }
    }

    /// A process can open so many more sockets and channels than it has now; with `None`, as many as it likes. See
    /// [`Process::limit_descriptors`](super::Process::limit_descriptors). A worker that is not there yet has nothing: its
    /// channel will be the first. A client has no process.
    pub fn limit_descriptors(&mut self, actor: Actor, more: Option<usize>) {
        if let Some(pid) = pid(actor) {
            self.kernel.asked();
            self.kernel.limit(pid, more);
        }
    }

    // ---- the system

    /// A stranger serves this TCP port from now on: binding it fails.
    pub fn occupy(&mut self, port: u16) {
        self.kernel.system_mut().tcp_ports.insert(port);
    }

    /// A stranger has this UDP port from now on: binding it fails.
    pub fn occupy_udp(&mut self, port: u16) {
        self.kernel.system_mut().udp_ports.insert(port);
    }

    /// There is a stranger's file at this path from now on: binding it fails.
    pub fn occupy_path(&mut self, path: impl Into<String>) {
        self.kernel.system_mut().occupy_path(path.into());
    }

    /// Whatever needs this path fails so from now on: spawning a program that is here, spawning in a directory that is
    /// here or below, binding a Unix socket below. `ENOENT`: it is not there, which a bind calls `EACCES`, as with Node;
    /// `EACCES`: nobody may use it.
    pub fn break_path(&mut self, path: impl Into<String>, errno: Errno) {
        self.kernel.system_mut().break_path(path.into(), errno);
    }

    /// Nobody here is root from now on: ports below 1024 are `EACCES`, and spawning as another user is `EPERM`.
    pub fn drop_root(&mut self) {
        self.kernel.system_mut().no_root = true;
    }

    /// How many connections the kernel lets wait at who listens at an address; `None`: nobody listens.
    pub fn backlog(&mut self, at: LocalAddress) -> Option<u32> {
        self.kernel.asked();
        self.kernel.backlog(&crate::kernel::bind::destination(at))
    }

    /// There is no IPv6 from now on: every address is `0.0.0.0`, and binding one of IPv6 is `EAFNOSUPPORT`.
    pub fn drop_ipv6(&mut self) {
        self.kernel.system_mut().no_ipv6 = true;
    }

    /// The mode bits of the file of a Unix socket; `None`: there is no such file.
    pub fn mode(&mut self, path: &str) -> Option<u32> {
        self.kernel.asked();
        self.kernel.mode(path)
    }
}

fn pid(actor: Actor) -> Option<Pid> {
    match actor {
        Actor::Primary => Some(Pid::PRIMARY),
        Actor::Worker(worker) => Some(worker.into()),
        Actor::Client(_) => None,
    }
}
