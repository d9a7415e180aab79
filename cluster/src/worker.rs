//! The face of a worker: joining, listening, talking, leaving. What moves it is in `driver`.

use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{error, fmt, io};

use cluster_core::{
    ChannelError, Errno, Limits, ListenAddress, ListenError as BindError, ListenOptions, Message, SendError,
    Sent, WorkerId,
};
use tokio::net::{ToSocketAddrs, UnixStream, lookup_host};
use tokio::runtime::Handle;

use crate::driver::{Inner, Phase};
use crate::listener::Listener;
use crate::primary::NoRuntime;
use crate::received::Received;
use crate::role::{RoleError, origin};
use crate::socket::{NotSent, Socket};
use crate::udp::UdpSocket;
use crate::unix::bind::name_zone;
use crate::unix::{Unix, signals};

/// What to do about an address of another kind.
pub(crate) const ANOTHER_KIND: &str =
    "TCP is for `listen`, a path for `listen_path`, UDP for `bind_udp`, and a descriptor for what it is";

/// A worker of a cluster. Node: `cluster.worker` in a worker process. Clones are cheap and mean the same worker.
///
/// A task of the runtime drives the channel. What the program does in reaction to an event, without awaiting first,
/// happens before the next one on a current-thread runtime; on a multi-threaded one the two race.
///
/// # The end
///
/// When the channel is closed, the worker's work is over and its process ends with code 0:
///
/// * *disconnected* by either side, once its connections have ended (also if its primary dies meanwhile). Node would go
///   on until nothing is left to do; a Rust program cannot know that, and `axum::serve` alone never returns.
/// * *lost*, because the primary died or closed the channel: at once, as in Node.
///
/// Whatever was accepted by [`send`](Worker::send) is written before, whichever end it is: these, [`kill`](Worker::kill),
/// [`exit`](Worker::exit), and `main` returning, which drops the runtime and with it the last of this worker. Each waits for a
/// primary that does not read for [`set_linger`](Worker::set_linger) at most. Only [`std::process::exit`], a signal, a
/// panic that aborts, and a runtime that is never dropped lose what the kernel had no room for.
///
/// A program that has asked for events hears [`WorkerEvent::Disconnect`] first: the process ends when it asks for the
/// [`next`](Worker::next) event after that, and at the latest after five seconds. Whatever else waits for the cluster
/// ([`listen`](Worker::listen), [`accept`](Listener::accept)) does not return any more, so that no error of leaving
/// reaches `main` before the code 0.
///
/// A program that wants to see its own end calls [`keep_running`](Worker::keep_running): then everything returns, the process goes on,
/// and the program ends it.
#[derive(Debug, Clone)]
pub struct Worker {
    inner: Arc<Inner>,
}

/// What a worker hears. Node: the events of `process` and `cluster.worker` in a worker.
#[derive(Debug)]
pub enum WorkerEvent {
    /// The primary sent a message. Node: `'message'`.
    Message {
        /// What.
        message: Message,
        /// A socket that came with it, the program's from now on. Node: the second argument.
        socket: Option<Received>,
    },
    /// Something went wrong with the channel. Node: `'error'`.
    Error(ChannelError),
    /// The channel is closed; nothing follows. Node: `'disconnect'`.
    Disconnect,
}

impl Worker {
    /// Takes this process's place in its cluster, with the usual limits. Node: done before the first line of a program.
    ///
    /// # Errors
    /// This process is no worker, has joined already, or is not inside a tokio runtime.
    pub fn join() -> Result<Self, JoinError> {
        Worker::join_with(Limits::default())
    }

    /// As [`join`](Worker::join), with limits of its own.
    ///
    /// # Errors
    /// As [`join`](Worker::join).
    pub fn join_with(limits: Limits) -> Result<Self, JoinError> {
        let origin = origin().as_ref().map_err(|error| JoinError::Role(error.clone()))?;
        let runtime = Handle::try_current().map_err(|_| JoinError::Runtime(NoRuntime))?;
        let inheritance = origin.take()?;
        let unix = Unix::with_channel(inheritance.channel)
            .map_err(|error| JoinError::Channel(Errno(error.raw_os_error().unwrap_or_default())))?;
        let machine = cluster_core::Worker::new(inheritance.id, inheritance.serialization, limits);
        let inner = Arc::new(Inner::new(machine, unix, runtime));
        inner.start();
        Ok(Worker { inner })
    }

    /// Its number in the primary. Node: `cluster.worker.id`.
    pub fn id(&self) -> WorkerId {
        self.inner.with_machine(cluster_core::Worker::id)
    }

    /// Serves a TCP address together with the other workers that do. Node: `server.listen(port, host)`.
    ///
    /// A name is resolved here, and its addresses are tried in turn until one can be bound, as tokio's `TcpListener::bind`
    /// does. Dropping the future gives the address up again.
    ///
    /// # Errors
    /// The name has no address, or the primary could not bind the last one (EADDRINUSE and the like). In a program that
    /// [stays](Worker::keep_running): the worker is leaving. Elsewhere this waits, and the process ends.
    pub async fn listen(&self, address: impl ToSocketAddrs) -> Result<Listener, ListenError> {
        first_of(address, |address| self.listen_with(address.into())).await
    }

    /// As [`listen`](Worker::listen), with every choice: every address, a descriptor of the primary, a backlog, an exclusive
    /// server, a limit of its connections. Node: `server.listen(options)`.
    ///
    /// An exclusive server is this worker's alone. The primary does not know of it: no [`Event::Listening`](crate::Event) is heard
    /// there, [`disconnect`](Worker::disconnect) neither closes it nor waits for it, and the process goes on as long as it is open.
    ///
    /// # Errors
    /// As [`listen`](Worker::listen). EINVAL: the primary has no such descriptor, or it is no socket that can listen.
    pub async fn listen_with(&self, mut options: ListenOptions) -> Result<Listener, ListenError> {
        name_zone(&mut options.address);
        Listener::open(self.inner.clone(), options).await
    }

    /// Serves a Unix socket together with the other workers that do. Node: `server.listen(path)`.
    ///
    /// A relative path begins at this process's directory. A path may be longer than what the kernel takes as an address (108
    /// bytes), though not its last part. A path that begins with a NUL is an abstract name of Linux: there is no file. A path
    /// is removed when the last worker closes it, by the process that has bound it.
    ///
    /// # Errors
    /// As [`listen`](Worker::listen). EADDRINUSE: the path is there, perhaps left by a process that was killed. EACCES: its
    /// directory is not there, or may not be written to; Node makes no difference either.
    pub async fn listen_path(&self, path: impl AsRef<Path>) -> Result<Listener<UnixStream>, ListenError> {
        let path = path
            .as_ref()
            .to_str()
            .ok_or_else(|| unfit("the path is not UTF-8, and a message cannot carry it; rename it"))?
            .to_owned();
        let address = ListenAddress::Path { path, readable_all: false, writable_all: false };
        self.listen_path_with(address.into()).await
    }

    /// As [`listen_path`](Worker::listen_path), with every choice: who may connect, a descriptor of the primary, and as
    /// [`listen_with`](Worker::listen_with). Node: `server.listen({ path, readableAll, writableAll })`.
    ///
    /// # Errors
    /// As [`listen_path`](Worker::listen_path).
    pub async fn listen_path_with(
        &self,
        mut options: ListenOptions,
    ) -> Result<Listener<UnixStream>, ListenError> {
        if let ListenAddress::Path { path, .. } = &mut options.address
            && !path.starts_with('\0')
        {
            if path.is_empty() {
                return Err(unfit("its path is empty"));
            }
            let absolute = std::path::absolute(&*path).map_err(ListenError::Directory)?;
            *path = absolute.into_os_string().into_string().map_err(|_| {
                unfit("the working directory is not UTF-8, and a message cannot carry it; rename it")
            })?;
        }
        Listener::open(self.inner.clone(), options).await
    }

    /// Receives the datagrams of an address together with the other workers that do. Node: `socket.bind(port, address)`.
    ///
    /// # Errors
    /// As [`listen`](Worker::listen).
    pub async fn bind_udp(&self, address: impl ToSocketAddrs) -> Result<UdpSocket, ListenError> {
        first_of(address, |address| {
            let mut options = ListenOptions::from(address);
            if let ListenAddress::Zoned { udp, .. } = &mut options.address {
                *udp = true;
            } else {
                let (v6, host, port) = (address.is_ipv6(), Some(address.ip()), Some(address.port()));
                options.address =
                    ListenAddress::Udp { v6, host, port, ipv6_only: false, reuse_address: false };
            }
            self.bind_udp_with(options)
        })
        .await
    }

    /// As [`bind_udp`](Worker::bind_udp), with every choice. A backlog and a limit of connections mean nothing here.
    /// Node: `dgram.createSocket(options)` and `socket.bind(options)`.
    ///
    /// # Errors
    /// As [`listen_with`](Worker::listen_with).
    pub async fn bind_udp_with(&self, mut options: ListenOptions) -> Result<UdpSocket, ListenError> {
        name_zone(&mut options.address);
        UdpSocket::open(self.inner.clone(), options).await
    }

    /// Sends a message to the primary. Node: `process.send(message)`.
    ///
    /// What the kernel has room for is written before this returns. What it has not is not lost by an [end](Worker#the-end)
    /// of this library's own; before [`std::process::exit`] wait for [`flush`](Worker::flush).
    ///
    /// # Errors
    /// The channel is closed or full, or the message is one of Node's own.
    pub fn send(&self, message: impl Into<Message>) -> Result<Sent, SendError> {
        self.inner.send(message)
    }

    /// Sends a message to the primary when there is room for it. Those that wait are served in their order. Dropping the future
    /// sends nothing.
    ///
    /// While it waits, messages of the primary are received whether the program takes them or not: two programs that both
    /// send and do not receive would otherwise wait for each other.
    ///
    /// # Errors
    /// As [`send`](Worker::send), but never [`Full`](SendError::Full).
    pub async fn send_when_room(&self, message: impl Into<Message>) -> Result<Sent, SendError> {
        self.inner.send_when_room(message.into()).await
    }

    /// Waits until the kernel has every message that was accepted before, whole. From then on they survive this process,
    /// however it ends: a primary of this library reads them before it reports the exit. This does not mean that they
    /// were read.
    ///
    /// # Errors
    /// [`Closed`](SendError::Closed): a message was lost, as the primary can no longer be written to.
    pub async fn flush(&self) -> Result<(), SendError> {
        self.inner.flush().await
    }

    /// How long an [end](Worker#the-end) of this process waits for a primary that does not read: five seconds, if this is not
    /// called. Zero: it does not wait.
    pub fn set_linger(&self, linger: Duration) {
        self.inner.linger(linger);
    }

    /// Holds the channel open until the guard is dropped, when the worker is asked to disconnect: for a last report after
    /// the last connection. Without it the channel closes as soon as the servers are closed and their connections have
    /// ended, as in Node, and a message after that fails. [`kill`](Worker::kill) and [`exit`](Worker::exit) do not wait for it.
    pub fn hold(&self) -> Hold {
        self.inner.command(cluster_core::Worker::hold);
        Hold { inner: self.inner.clone() }
    }

    /// Sends a message and a socket to the primary. Node: `process.send(message, handle)`.
    ///
    /// The socket is closed here once the primary has it; see [`Socket::duplicate`]. What is sent after it waits until then.
    ///
    /// # Errors
    /// As [`send`](Worker::send), and the socket is in the error. [`ChannelError::NotReceived`] is told later if the primary
    /// could not take it.
    pub fn send_with(&self, message: impl Into<Message>, socket: impl Into<Socket>) -> Result<Sent, NotSent> {
        self.inner.send_with(message.into(), socket.into())
    }

    /// The next event. Dropping the future loses nothing. If several tasks ask, each event goes to one of them.
    ///
    /// Events are kept until they are taken. A program that has asked and leaves a thousand of them is not read from any
    /// more, which its primary sees as congestion; that its primary has died it sees within a second all the same. A
    /// program that never asks loses messages beyond a thousand; Node loses all that come when nobody listens.
    ///
    /// `None`: the last event was taken, and the program has asked to [`keep_running`](Worker::keep_running); otherwise the process
    /// ends here with code 0.
    pub async fn next(&self) -> Option<WorkerEvent> {
        self.inner.next().await
    }

    /// Closes every listener, waits until the connections have ended, and leaves. Node: `worker.disconnect()`.
    pub fn disconnect(&self) {
        self.inner.command(cluster_core::Worker::disconnect);
    }

    /// Leaves without waiting for connections, and ends the process with code 0, once the primary has read what was sent to it
    /// and has answered, or has not within [`set_linger`](Worker::set_linger). Node: `worker.kill()` in a worker, which waits
    /// without a bound.
    pub fn kill(&self) {
        self.inner.kill();
    }

    /// Ends this process with a code, once the kernel has every message that was accepted and the primary has read them. It
    /// waits for a primary that does not read for [`set_linger`](Worker::set_linger), and at most a second for one that has
    /// only the end left to read. For the primary this is no exit after a disconnect.
    /// Node: `process.exit(code)` in a worker, which loses what the kernel had no room for.
    ///
    /// [`std::process::exit`] loses that, too, and a busy primary on Node may reap the process before it reads the last
    /// messages.
    pub fn exit(&self, code: i32) -> ! {
        self.inner.exit(code)
    }

    /// Leaves the meaning of SIGHUP, SIGINT and SIGTERM to the primary: from now on this process ignores those that the
    /// program does not handle itself. For a worker of a primary that does not set this, a Node.js primary for instance;
    /// a primary of this library sets it for all workers, from their start, with
    /// [`SpawnOptions::ignore_terminal_signals`](crate::SpawnOptions::ignore_terminal_signals). Programs that this process starts
    /// are unaffected.
    pub fn ignore_terminal_signals(&self) {
        signals::ignore();
    }

    /// From now on the program ends its process itself: see [the end](Worker#the-end).
    pub fn keep_running(&self) {
        self.inner.keep_running();
    }

    /// Waits until the worker is asked to go, or its channel is lost. What has to stop for the connections to end, stops
    /// here. An axum application needs more, lest a request be lost: [`serve`](crate::serve()) does it.
    ///
    /// A connection that somebody waits for in [`accept`](Listener::accept) is taken there before this completes; so whoever
    /// only waits for both may drop the listener here, and nobody is lost. Where `accept` is given up for other things in
    /// between, let `select!` be `biased`, with `accept` before this: a connection that came meanwhile is kept for the next
    /// call. A pending `accept` has to be polled or dropped: one that is kept and left alone holds this up.
    pub fn disconnecting(&self) -> impl Future<Output = ()> + Send + use<> {
        self.inner.wait_for_phase(Phase::Disconnecting)
    }

    /// Waits until the channel is closed. Whoever asks for this ends the process: it is a [`keep_running`](Worker::keep_running).
    pub fn disconnected(&self) -> impl Future<Output = ()> + Send + use<> {
        self.inner.keep_running();
        self.inner.wait_for_phase(Phase::Disconnected)
    }

    /// Whether messages can be sent. Node: `worker.isConnected()`.
    pub fn is_connected(&self) -> bool {
        self.inner.with_machine(cluster_core::Worker::is_connected)
    }

    /// Whether it was asked to go, by the primary or by itself. Node: `worker.exitedAfterDisconnect`.
    pub fn exited_after_disconnect(&self) -> bool {
        self.inner.with_machine(cluster_core::Worker::exited_after_disconnect)
    }
}

/// Holds the channel of a worker open: see [`Worker::hold`].
#[derive(Debug)]
#[must_use = "the channel closes as if nothing held it when this is dropped"]
pub struct Hold {
    inner: Arc<Inner>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.inner.command(cluster_core::Worker::let_go);
    }
}

/// The first of a name's addresses that can be bound, or the error of the last.
async fn first_of<T, F: Future<Output = Result<T, ListenError>>>(
    name: impl ToSocketAddrs,
    open: impl Fn(SocketAddr) -> F,
) -> Result<T, ListenError> {
    let mut result = Err(ListenError::Resolve(io::ErrorKind::NotFound.into()));
    for address in lookup_host(name).await.map_err(ListenError::Resolve)? {
        result = open(address).await;
        if !matches!(result, Err(ListenError::Bind(_))) {
            break;
        }
    }
    result
}

/// The address cannot be served as it is asked.
pub(crate) fn unfit(why: &'static str) -> ListenError {
    ListenError::Unsuitable(why)
}

/// Why a process did not become a worker.
#[derive(Clone, PartialEq, Eq)]
pub enum JoinError {
    /// No primary started it.
    NotAWorker,
    /// It is a worker already: clone the first.
    Joined,
    /// Its environment is broken.
    Role(RoleError),
    /// There is no tokio runtime here.
    Runtime(NoRuntime),
    /// The channel could not be watched.
    Channel(Errno),
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JoinError::NotAWorker => {
                f.write_str("no primary started this process: ask `role` before joining")
            }
            JoinError::Joined => {
                f.write_str("this process has joined its cluster already: clone the first worker")
            }
            JoinError::Role(_) => {
                f.write_str("this process cannot join a cluster: its environment is broken")
            }
            JoinError::Runtime(_) => f.write_str("a worker cannot join here"),
            JoinError::Channel(errno) => write!(f, "the channel to the primary cannot be watched: {errno}"),
        }
    }
}

impl error::Error for JoinError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            JoinError::NotAWorker | JoinError::Joined | JoinError::Channel(_) => None,
            JoinError::Role(error) => Some(error),
            JoinError::Runtime(error) => Some(error),
        }
    }
}

/// Why a worker does not serve an address.
pub enum ListenError {
    /// The name could not be resolved, or has no address.
    Resolve(io::Error),
    /// The address is of another kind than what was asked to serve it, or cannot be written in a message.
    Unsuitable(&'static str),
    /// A relative path begins at the working directory, which cannot be read: it was removed, for instance.
    Directory(io::Error),
    /// A socket that the primary sent cannot be used.
    Socket(io::Error),
    /// The address could not be bound; with the primary's error number and what was asked for.
    Bind(BindError),
    /// The worker is leaving, or was before the primary answered: nobody shares a socket with it.
    Disconnected,
    /// The worker is leaving: the address was bound for it, and closed before it could be told. Node: `'close'` on a server
    /// without a `'listening'` before.
    Closed,
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenError::Resolve(_) => {
                f.write_str("cannot resolve the address; write `HOST:PORT` with a name that exists, or a number")
            }
            ListenError::Unsuitable(why) => write!(f, "the address is unsuitable: {why}"),
            ListenError::Directory(_) => f.write_str(
                "cannot read the working directory, where a relative path begins; give an absolute path, or change the directory",
            ),
            ListenError::Socket(_) => f.write_str("cannot use the socket that the primary sent"),
            ListenError::Bind(error) => error.fmt(f),
            ListenError::Disconnected | ListenError::Closed => {
                f.write_str("the worker is leaving: end, and let the primary fork another")
            }
        }
    }
}

impl error::Error for ListenError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            ListenError::Resolve(error) | ListenError::Directory(error) | ListenError::Socket(error) => {
                Some(error)
            }
            // It adds nothing to what it holds, and shows it.
            ListenError::Bind(error) => error.source(),
            ListenError::Unsuitable(_) | ListenError::Disconnected | ListenError::Closed => None,
        }
    }
}
