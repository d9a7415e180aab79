//! What a user of the simulator writes: a program, as one executable that knows its role when it starts.
//!
//! Every process begins with its own copy of the program, as after an exec; so does the driver, who stands outside,
//! reads the log and commands the clients. Machines are commanded directly; everything else is an effect of the
//! context. A program sees no kernel, no schedule and no other process.

use std::borrow::Cow;
use std::fmt;
use std::hash::Hash;

use cluster_core::{Event, ExitStatus, Primary, Signal, SocketId, Worker, WorkerEvent, WorkerId};

use crate::journal::Journal;
use crate::kernel::Kernel;
use crate::kernel::process::Pid;
use crate::kernel::socket::{Action, Flow};

/// A client, ascending from 1 in the order of [`Driver::connect`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// Who does and sees things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// The primary.
    Primary,
    /// A worker.
    Worker(WorkerId),
    /// A client.
    Client(ClientId),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Primary => f.write_str("primary"),
            Actor::Worker(worker) => write!(f, "worker {worker}"),
            Actor::Client(client) => write!(f, "client {}", client.0),
        }
    }
}

impl From<Pid> for Actor {
    fn from(pid: Pid) -> Self {
        if pid == Pid::PRIMARY { Actor::Primary } else { Actor::Worker(WorkerId(pid.0)) }
    }
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ClientEvent {
    /// The kernel took its connection. Somebody may accept it.
    Connected,
    /// Nobody listens at that port.
    Refused,
    /// Bytes from the server.
    Data(Vec<u8>),
    /// The server's side is over; the client's side is over with it.
    End,
    /// The connection was reset.
    Reset,
}

/// How the client's side of a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It said that it is done.
    Finished,
    /// It reset the connection.
    Reset,
}

/// One executable. Every hook runs to completion before its process does anything else; a hook left out does nothing.
#[expect(unused_variables, reason = "the names are the documentation of the hooks that do nothing")]
pub trait Program: Clone + Eq + Hash + fmt::Debug {
    /// The primary begins.
    fn primary_start(&mut self, primary: &mut Primary, process: &mut Process<'_>) {}

    /// The primary hears an event.
    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {}

    /// A worker begins.
    fn worker_start(&mut self, worker: &mut Worker, process: &mut Process<'_>) {}

    /// A worker hears an event. A [`WorkerEvent::Connection`] is the program's until [`Process::close`].
    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {}

    /// Bytes arrived at a connection that this worker has.
    fn connection_data(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        bytes: &[u8],
    ) {
    }

    /// The client's side of a connection is over. Unless told otherwise, so is this side.
    fn connection_end(
        &mut self,
        worker: &mut Worker,
        process: &mut Process<'_>,
        connection: SocketId,
        ending: Ending,
    ) {
        process.close(connection);
    }

    /// The driver hears an observation, some time after it was made, in the order in which all of them were made.
    fn observed(&mut self, driver: &mut Driver<'_>, observer: Actor, text: &str) {}

    /// The driver hears a note, in the same order.
    fn noted(&mut self, driver: &mut Driver<'_>, author: Actor, text: &str) {}

    /// A client hears something.
    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {}

    /// The driver begins, before anything else.
    fn driver_start(&mut self, driver: &mut Driver<'_>) {}
}

/// The process a hook runs in: what a program can do besides commanding its machine.
#[derive(Debug)]
pub struct Process<'a> {
    pub(crate) pid: Pid,
    pub(crate) kernel: &'a mut Kernel,
    pub(crate) journal: &'a mut Journal,
    pub(crate) exit: &'a mut Option<ExitStatus>,
    pub(crate) released: Vec<SocketId>,
}

impl Process<'_> {
    /// Writes down something that conformance compares: one line by this observer.
    pub fn observe(&mut self, text: impl Into<Cow<'static, str>>) {
        self.journal.observe(self.pid.into(), text.into());
    }

    /// Tells the driver something that nobody compares, such as a port.
    pub fn note(&mut self, text: impl Into<Cow<'static, str>>) {
        self.journal.note(self.pid.into(), text.into());
    }

    /// Who this is.
    pub fn actor(&self) -> Actor {
        self.pid.into()
    }

    /// The environment the primary gave it. Node: `process.env`, the part given to `cluster.fork(env)`.
    pub fn env(&self) -> &[(String, String)] {
        &self.kernel.process(self.pid).env
    }

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

    /// Closes this process's descriptor, and releases it to the machine. The client hears the end when no other process
    /// has the descriptor either.
    pub fn close(&mut self, connection: SocketId) {
        if self.kernel.held(self.pid, connection).is_some() {
            self.kernel.close(self.pid, connection);
            self.released.push(connection);
        }
    }

    /// Ends this process after this hook, once its commands have reached the kernel. Node: `process.exit(code)`.
    pub fn exit(&mut self, code: i32) {
        self.exit.get_or_insert(ExitStatus::Code(code));
    }

    /// Ends this process by a signal, like [`exit`](Process::exit). Node: `process.kill(process.pid, signal)`.
    pub fn die(&mut self, signal: Signal) {
        self.exit.get_or_insert(ExitStatus::Signal(signal));
    }
}

/// The one outside: it hears the log and commands the clients.
#[derive(Debug)]
pub struct Driver<'a> {
    pub(crate) kernel: &'a mut Kernel,
    pub(crate) journal: &'a mut Journal,
}

impl Driver<'_> {
    /// A new client connects to a port.
    pub fn connect(&mut self, port: u16) -> ClientId {
        let client = self.kernel.add_client();
        self.kernel.command(client, Action::Connect(port));
        client
    }

    /// A client sends bytes.
    pub fn send(&mut self, client: ClientId, bytes: &[u8]) {
        self.kernel.command(client, Action::Send(bytes.to_vec()));
    }

    /// A client says that it is done.
    pub fn end(&mut self, client: ClientId) {
        self.kernel.command(client, Action::End);
    }

    /// A client resets its connection; what it was told before and has not done is void.
    pub fn reset(&mut self, client: ClientId) {
        self.kernel.command(client, Action::Reset);
    }

    /// Writes down an observation of a client.
    pub fn observe(&mut self, client: ClientId, text: impl Into<Cow<'static, str>>) {
        self.journal.observe(Actor::Client(client), text.into());
    }

    /// Sends a signal to a process, as a person at a terminal does. A client has no process.
    pub fn kill(&mut self, actor: Actor, signal: Signal) {
        let pid = match actor {
            Actor::Primary => Pid::PRIMARY,
            Actor::Worker(worker) => worker.into(),
            Actor::Client(_) => return,
        };
        self.kernel.signal(pid, signal);
    }

    /// A stranger serves this port from now on: binding it fails.
    pub fn occupy(&mut self, port: u16) {
        self.kernel.occupy(port);
    }
}
