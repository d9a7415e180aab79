//! The process a hook runs in: what a program can do besides commanding its machine. Everything takes effect at once.

use std::borrow::Cow;
use std::net::SocketAddr;

use cluster_core::{
    BindAddress, Call, Errno, ExitStatus, LocalAddress, Machine, OsBytes, OsEvent, SendError, Sent, Signal,
    SocketId, SpawnOptions, Worker,
};
use serde_json::Value;

use super::Actor;
use crate::check::Checks;
use crate::cow::CowArc;
use crate::kernel::Kernel;
use crate::kernel::process_table::Pid;
use crate::kernel::socket::Flow;
use crate::observations::ObservationLog;

/// The process a hook runs in.
#[derive(Debug)]
pub struct Process<'a> {
    pub(crate) pid: Pid,
    pub(crate) kernel: &'a mut Kernel,
    pub(crate) log: &'a mut ObservationLog,
    pub(crate) checks: &'a mut CowArc<Checks>,
    pub(crate) exit: &'a mut Option<ExitStatus>,
    pub(crate) released: Vec<SocketId>,
}

impl Process<'_> {
    /// Writes down a line: conformance compares it, a property reads it ([`World::observations`](crate::World::observations)),
    /// and the table of a run that fails shows it.
    pub fn observe(&mut self, text: impl Into<Cow<'static, str>>) {
        self.log.observe(self.pid.into(), text.into());
    }

    /// Tells the driver something that nobody compares, such as a port.
    pub fn notify_driver(&mut self, text: impl Into<Cow<'static, str>>) {
        self.log.notify_driver(self.pid.into(), text.into());
    }

    /// Who this is.
    pub fn actor(&self) -> Actor {
        self.pid.into()
    }

    /// The environment the primary gave it. Node: `process.env`, the part given to `cluster.fork(env)`.
    pub fn env(&self) -> &[(OsBytes, OsBytes)] {
        &self.kernel.process(self.pid).env
    }

    /// What the primary had executed; the primary's own is the default. Node: `process.argv`, `process.cwd()` and what
    /// else was in `cluster.settings`.
    pub fn spawn_options(&self) -> &SpawnOptions {
        &self.kernel.process(self.pid).options
    }

    // ---- messages

    /// Sends a message that only says its number, `{"nth": n}`: how many such messages this process has sent to that one.
    /// So the checks can see whether all of them are heard, in order. `send` hands it to the machine. A worker sends to the
    /// primary, whatever `to` says.
    ///
    /// # Errors
    ///
    /// Those of `send`; the number is given to the next message then.
    pub fn send_numbered(
        &mut self,
        to: Actor,
        send: impl FnOnce(&Value) -> Result<Sent, SendError>,
    ) -> Result<Sent, SendError> {
        let to = match to {
            Actor::Worker(worker) => worker.into(),
            Actor::Primary | Actor::Client(_) => Pid::PRIMARY,
        };
        let said = send(&self.checks.messages.next(self.pid, to))?;
        self.checks.messages.sent(self.pid, to);
        Ok(said)
    }

    // ---- connections

    /// Sends bytes to the client of a connection.
    pub fn write(&mut self, connection: SocketId, bytes: &[u8]) {
        if let Some(client) = self.kernel.held(self.pid, connection) {
            self.kernel.write_to_client(client, bytes);
        }
    }

    /// Says that nothing more will be written; the client hears an end. Node: `socket.end()`.
    pub fn end(&mut self, connection: SocketId) {
        if let Some(client) = self.kernel.held(self.pid, connection) {
            self.kernel.finish_to_client(client, Flow::Ended);
        }
    }

    /// Resets the connection and is done with it. Node: `socket.resetAndDestroy()`.
    pub fn reset(&mut self, connection: SocketId) {
        if let Some(client) = self.kernel.held(self.pid, connection) {
            self.kernel.finish_to_client(client, Flow::Reset);
            self.close(connection);
        }
    }

    /// Closes this process's descriptor of any socket the program has, and releases it to the machine. A client hears the
    /// end when no other process has the descriptor either. Node: `socket.destroy()`, `server.close()`.
    pub fn close(&mut self, socket: SocketId) {
        if self.kernel.is_held(self.pid, socket) {
            self.kernel.close(self.pid, socket);
            self.released.push(socket);
        }
    }

    // ---- sockets of its own

    /// Binds a socket of the program's own, of which the machine knows nothing; with a backlog it listens and accepts.
    /// [`Program::primary_socket`](super::Program::primary_socket) and
    /// [`Program::worker_socket`](super::Program::worker_socket) hear what happens at it. Node: `server.listen()` in the
    /// primary, `socket.bind()` there.
    ///
    /// # Errors
    ///
    /// What Linux says: `EADDRINUSE`, `EADDRNOTAVAIL`, `EACCES`, `EINVAL`, `EMFILE`.
    pub fn open(
        &mut self,
        address: &BindAddress,
        backlog: Option<u32>,
    ) -> Result<(SocketId, LocalAddress), Errno> {
        self.kernel.open_for_program(self.pid, address, backlog)
    }

    /// Makes a socket that the program has bound or was sent listen and accept. Node: `server.listen(handle)`.
    ///
    /// # Errors
    ///
    /// `EADDRINUSE`: another socket listens there. `EINVAL`: it is a connection. `EBADF`: the program does not have it.
    pub fn listen(&mut self, socket: SocketId, backlog: u32) -> Result<LocalAddress, Errno> {
        self.kernel.listen_for_program(self.pid, socket, backlog)
    }

    /// Where a socket is bound that the program has; `None` for a connection. Node: `server.address()`.
    pub fn address(&self, socket: SocketId) -> Option<LocalAddress> {
        let descriptor = self.kernel.process(self.pid).descriptor(socket)?;
        self.kernel.address_of(descriptor.file)
    }

    /// The number by which `ListenAddress::Descriptor` of any worker means this socket of the primary. Node:
    /// `server._handle.fd`.
    pub fn descriptor(&self, socket: SocketId) -> Option<u32> {
        self.kernel.process(self.pid).number_of(socket)
    }

    /// Sends a datagram from a UDP socket that the program has. Node: `socket.send()`.
    pub fn send_to(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8]) {
        self.kernel.send_from_program(self.pid, socket, to, bytes);
    }

    /// The program keeps a socket and does not read from it: others that have it do. Node: a handle that was only bound.
    pub fn mute(&mut self, socket: SocketId) {
        self.kernel.mute(self.pid, socket);
    }

    /// The program reads and accepts no more from a socket that it has sent along with a message: the machine closes it
    /// once the peer has it. Without this, both go on. Node: what `send` does with a socket unless `keepOpen`.
    pub fn detach(&mut self, socket: SocketId) {
        self.kernel.give_to_machine(self.pid, socket);
    }

    /// The mode bits of the file of a Unix socket: what anybody who looks would see. `None`: there is none.
    pub fn mode(&self, path: &str) -> Option<u32> {
        self.kernel.mode(path)
    }

    /// Starts a child of this worker that has its channel, too, and does nothing with it: when the worker has died, the
    /// channel stays open until the client of this connection is done. There is one at most. Node: a channel among the
    /// `stdio` of `child_process.spawn()`.
    pub fn leave_child(&mut self, connection: SocketId) {
        self.kernel.leave_child(self.pid, connection);
    }

    // ---- what no good program does

    /// Writes to a worker's channel behind the back of its machine, as a broken or hostile program does. What the machine
    /// was commanded in this hook comes later. Node: `fs.writeSync(3, ...)`.
    pub fn write_raw(&mut self, bytes: &[u8]) {
        self.kernel.write_raw(self.pid, bytes);
    }

    /// A worker does not come back from this hook, once what its program has commanded until now has reached the kernel:
    /// for ever, or until there is something at a path. Nothing but a signal reaches it meanwhile. Node: a loop.
    pub fn block(&mut self, worker: &Worker, until: Option<&str>) {
        self.kernel.block(self.pid, commanded(worker), until.map(str::to_owned));
    }

    // ---- limits and ends

    /// This process can open so many more sockets and channels than it has now; with `None`, as many as it likes. What is
    /// too many fails with `EMFILE`; a descriptor that comes with a message is lost.
    pub fn limit_descriptors(&mut self, more: Option<usize>) {
        self.kernel.limit(self.pid, more);
    }

    /// Whether this process has something else to do, as with a timer in Node that repeats. A worker that has, goes on
    /// when its channel is closed and its connections have ended.
    pub fn keep_alive(&mut self, on: bool) {
        self.kernel.process_mut(self.pid).kept_alive = on;
    }

    /// Continues the numbers of this process's sockets after this one, as if it had opened that many before.
    pub fn count_sockets_after(&mut self, last: SocketId) {
        self.kernel.process_mut(self.pid).count_sockets_after(last);
    }

    /// Ends this process after this hook, once its commands have reached the kernel. Node: `process.exit(code)`.
    pub fn exit(&mut self, code: i32) {
        self.exit.get_or_insert(ExitStatus::Code(code));
    }

    /// Ends this process by a signal, like [`exit`](Process::exit). Node: `process.kill(process.pid, signal)`.
    pub fn raise(&mut self, signal: Signal) {
        self.exit.get_or_insert(ExitStatus::Signal(signal));
    }
}

/// How many calls a worker will make because of what it was commanded in this hook: each write is taken as a whole.
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
