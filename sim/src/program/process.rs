//! What a hook can do in its process, besides commands to the machine. Everything takes effect at once.

use std::borrow::Cow;
#[cfg(feature = "simulation")]
use std::net::Ipv4Addr;
use std::net::SocketAddr;

use cluster_core::{
    BindAddress, Call, Errno, ExitStatus, LocalAddress, Machine, OsBytes, OsEvent, SendError, Sent, Signal,
    SocketId, SpawnOptions, Worker,
};
use serde_json::Value;

use super::Actor;
use super::kernel_access::KernelAccess;
use crate::kernel::socket::Flow;
use crate::observations::ObservationLog;
use crate::step::Pid;

/// The context of a hook in a process.
#[derive(Debug)]
pub struct Process<'a> {
    pub(crate) pid: Pid,
    pub(crate) access: KernelAccess<'a>,
    pub(crate) log: &'a mut ObservationLog,
    pub(crate) exit: &'a mut Option<ExitStatus>,
    pub(crate) released: Vec<SocketId>,
}

impl Process<'_> {
    /// Records an observation. Conformance compares observations, properties read them
    /// ([`World::observations`](crate::World::observations)), and the table of a failed run contains them.
    pub fn observe(&mut self, text: impl Into<Cow<'static, str>>) {
        self.log.observe(self.pid.into(), text.into(), None);
    }

    /// [`observe`](Process::observe), for an observation about a numbered object, such as a port. A search
    /// compares the objects by name: see [`reaches_named`](crate::explore::reaches_named).
    pub fn observe_object(&mut self, text: impl Into<Cow<'static, str>>, object: u64) {
        self.log.observe(self.pid.into(), text.into(), Some(object));
    }

    /// Sends the driver a notice, for example of a port, and records no observation.
    pub fn notify_driver(&mut self, text: impl Into<Cow<'static, str>>) {
        self.log.notify_driver(self.pid.into(), text.into());
    }

    /// This process.
    pub fn actor(&self) -> Actor {
        self.pid.into()
    }

    /// The environment that the primary has passed to this process. Node: the part of `process.env` passed to
    /// `cluster.fork(env)`.
    pub fn env(&self) -> &[(OsBytes, OsBytes)] {
        &self.access.kernel().processes.get(self.pid).env
    }

    /// The options with which the primary has spawned this process; the default options in the primary. Node:
    /// `process.argv`, `process.cwd()` and the rest of `cluster.settings`.
    pub fn spawn_options(&self) -> &SpawnOptions {
        &self.access.kernel().processes.get(self.pid).options
    }

    /// The time of the world in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.access.kernel().clock.now_ms()
    }

    /// The address of the client of a connection.
    #[cfg(feature = "simulation")]
    pub(crate) fn peer(&self, connection: SocketId) -> Option<SocketAddr> {
        let kernel = self.access.kernel();
        let client = kernel.client_behind(self.pid, connection)?;
        let from = kernel.network.clients.get(client).from;
        // The port stands for the number of the client.
        let port = 50_000 + u16::try_from(client.0 % 15_000).expect("a number below 15,000");
        Some(SocketAddr::new(from.unwrap_or(Ipv4Addr::LOCALHOST.into()), port))
    }

    // ---- messages

    /// Sends a numbered message, `{"nth": n}`, where `n` counts the numbered messages from this process to
    /// the receiver. With the numbers the checks verify that messages arrive completely and in order. `send`
    /// must pass the message to the machine. A worker sends to the primary, and `to` is ignored.
    ///
    /// # Errors
    ///
    /// The errors of `send`; then the next message has the same number.
    pub fn send_numbered(
        &mut self,
        to: Actor,
        send: impl FnOnce(&Value) -> Result<Sent, SendError>,
    ) -> Result<Sent, SendError> {
        let to = match to {
            Actor::Worker(worker) => worker.into(),
            Actor::Primary | Actor::Client(_) => Pid::PRIMARY,
        };
        let checks = self.access.checks();
        let outcome = send(&checks.messages.next(self.pid, to))?;
        checks.messages.sent(self.pid, to);
        Ok(outcome)
    }

    // ---- connections

    /// Sends bytes to the client of a connection.
    pub fn write(&mut self, connection: SocketId, bytes: &[u8]) {
        let kernel = self.access.kernel_mut();
        if let Some(client) = kernel.program_sockets(self.pid).client(connection) {
            kernel.network.clients.write(client, bytes, &mut kernel.ready);
        }
    }

    /// Whether the client has reset the connection, so that a write fails. Node: `socket.write()` then
    /// destroys the socket, and with it the unread bytes.
    pub fn is_reset(&mut self, connection: SocketId) -> bool {
        let kernel = self.access.kernel_mut();
        let client = kernel.program_sockets(self.pid).client(connection);
        client.is_some_and(|client| kernel.network.clients.get(client).outgoing.flow == Flow::Reset)
    }

    /// Ends the server's side: the client receives an end of file. Node: `socket.end()`.
    pub fn end(&mut self, connection: SocketId) {
        let kernel = self.access.kernel_mut();
        if let Some(client) = kernel.program_sockets(self.pid).client(connection) {
            kernel.network.clients.finish(client, Flow::Ended, &mut kernel.ready);
        }
    }

    /// Resets and closes the connection. Node: `socket.resetAndDestroy()`.
    pub fn reset(&mut self, connection: SocketId) {
        let kernel = self.access.kernel_mut();
        if let Some(client) = kernel.program_sockets(self.pid).client(connection) {
            kernel.network.clients.finish(client, Flow::Reset, &mut kernel.ready);
            self.close(connection);
        }
    }

    /// Closes this process's descriptor of a socket of the program. The client receives an end of file when
    /// no process has a descriptor. Node: `socket.destroy()`, `server.close()`.
    pub fn close(&mut self, socket: SocketId) {
        let kernel = self.access.kernel_mut();
        if kernel.processes.is_owned_by_program(self.pid, socket) {
            kernel.close(self.pid, socket);
            self.released.push(socket);
        }
    }

    // ---- sockets of the program

    /// Binds a socket of the program, without the machine. With a backlog, the socket listens and accepts.
    /// [`Program::primary_socket`](super::Program::primary_socket) and
    /// [`Program::worker_socket`](super::Program::worker_socket) receive its events. Node: `server.listen()`
    /// and `socket.bind()` in the primary.
    ///
    /// # Errors
    ///
    /// The errors of Linux: `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EINVAL`, `EMFILE`, `ENODEV`.
    pub fn open(
        &mut self,
        address: &BindAddress,
        backlog: Option<u32>,
    ) -> Result<(SocketId, LocalAddress), Errno> {
        self.access.kernel_mut().program_sockets(self.pid).open(address, backlog)
    }

    /// Makes a socket that the program has bound or received listen and accept. Node:
    /// `server.listen(handle)`.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE`: another socket listens there. `EINVAL`: the socket is a connection. `EBADF`: the program
    /// does not own the socket.
    pub fn listen(&mut self, socket: SocketId, backlog: u32) -> Result<LocalAddress, Errno> {
        self.access.kernel_mut().program_sockets(self.pid).listen(socket, backlog)
    }

    /// The local address of a socket; `None` for a connection. Node: `server.address()`.
    pub fn address(&self, socket: SocketId) -> Option<LocalAddress> {
        let kernel = self.access.kernel();
        kernel.network.sockets.address(kernel.processes.socket(self.pid, socket)?)
    }

    /// The descriptor number of a socket of the primary, for `ListenAddress::Descriptor` of a worker. Node:
    /// `server._handle.fd`.
    pub fn descriptor(&self, socket: SocketId) -> Option<u32> {
        self.access.kernel().processes.get(self.pid).number_of(socket)
    }

    /// Sends a datagram from a UDP socket of the program. Node: `socket.send()`.
    pub fn send_to(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8]) {
        self.access.kernel_mut().program_sockets(self.pid).send_to(socket, to, bytes);
    }

    /// Keeps a socket without reading from it. Node: a handle that is only bound.
    pub fn mute(&mut self, socket: SocketId) {
        self.access.kernel_mut().processes.mute(self.pid, socket);
    }

    /// Stops reading and accepting from a socket that was sent with a message. The machine closes the socket
    /// after the peer has received the socket. Without this call both processes read and accept. Node: the
    /// effect of `send` without `keepOpen`.
    pub fn detach(&mut self, socket: SocketId) {
        self.access.kernel_mut().processes.give_to_machine(self.pid, socket);
    }

    /// The mode bits of a Unix socket's file; `None`: no such file.
    pub fn mode(&self, path: &str) -> Option<u32> {
        self.access.kernel().system().mode(path)
    }

    /// Starts a child of this worker. The child inherits the channel and the connection, and does nothing.
    /// After the worker's death the channel stays open until the client of the connection has ended. A worker
    /// has at most one child. Node: a channel among the `stdio` of `child_process.spawn()`.
    pub fn leave_child(&mut self, connection: SocketId) {
        self.access.kernel_mut().program_sockets(self.pid).leave_child(connection);
    }

    // ---- broken programs

    /// Writes to a worker's channel as a broken or hostile program does: without the machine, and before the
    /// commands of this hook. Node: `fs.writeSync(3, ...)`.
    pub fn write_raw(&mut self, bytes: &[u8]) {
        self.access.kernel_mut().write_raw(self.pid, bytes);
    }

    /// Blocks the worker in this hook, forever or until `path` exists. The commands of this hook reach the
    /// kernel first. Only a signal reaches a blocked worker. Node: an endless loop.
    pub fn block(&mut self, worker: &Worker, path: Option<&str>) {
        let (calls, until) = (commanded(worker), path.map(str::to_owned));
        let kernel = self.access.kernel_mut();
        kernel.processes.block(self.pid, calls, until, &mut kernel.ready);
    }

    // ---- limits and ends

    /// Limits this process to `more` sockets and channels above the present number; `None` removes the limit.
    /// Beyond the limit calls fail with `EMFILE`, and a descriptor that arrives with a message is lost.
    pub fn limit_descriptors(&mut self, more: Option<usize>) {
        self.access.kernel_mut().limit(self.pid, more);
    }

    /// Sets whether this process has other work, like a repeating timer in Node. A worker with other work
    /// continues to run after the channel is closed and all connections have ended.
    pub fn keep_alive(&mut self, on: bool) {
        self.access.kernel_mut().processes.get_mut(self.pid).kept_alive = on;
    }

    /// Continues the socket numbers of the process after `last`.
    #[cfg(feature = "testing")]
    pub fn count_sockets_after(&mut self, last: SocketId) {
        self.access.kernel_mut().processes.get_mut(self.pid).count_sockets_after(last);
    }

    /// Ends the process after this hook and after the commands have reached the kernel. Node:
    /// `process.exit(code)`.
    pub fn exit(&mut self, code: i32) {
        self.exit.get_or_insert(ExitStatus::Code(code));
    }

    /// Ends this process by a signal, like [`exit`](Process::exit). Node:
    /// `process.kill(process.pid, signal)`.
    pub fn raise(&mut self, signal: Signal) {
        self.exit.get_or_insert(ExitStatus::Signal(signal));
    }
}

/// The number of calls that the commands of the hook will make, if every write is complete.
fn commanded(worker: &Worker) -> usize {
    let mut worker = worker.clone();
    let calls = std::iter::from_fn(|| {
        let call = worker.poll_call()?;
        if let Call::Write { channel, .. } = call {
            worker.handle(OsEvent::Wrote { channel, rest: Vec::new() });
        }
        Some(())
    });
    calls.count()
}
