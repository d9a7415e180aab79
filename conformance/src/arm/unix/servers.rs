//! The servers of a worker on the real system, each with a task. The tasks report observations, and decide
//! nothing.

use std::any::Any;
use std::future::Future;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use cluster::{ListenError, ListenOptions, Listener, Transport, UdpSocket, Worker};
use tokio::sync::{mpsc, oneshot};

use super::super::translate;
use super::connections::{self, Connection, Observe, OpenSockets};
use crate::observation::Observation;
use crate::vocabulary::{self, ServerAddress};

/// A server that is opening or open. Dropping the sender closes the server.
struct Server {
    worker: ServerWorker,
    name: String,
    closed: oneshot::Receiver<()>,
}

/// What a server needs of its worker.
pub(super) struct ServerWorker {
    pub(super) worker: Worker,
    pub(super) open: OpenSockets,
    pub(super) observe: Observe,
    /// Keeps the process running. Present if the server is outside the cluster, and so outlives the channel.
    pub(super) alive: Option<mpsc::Sender<()>>,
    /// Servers for datagrams close in the order in which they have opened, as in Node.
    pub(super) turn: Option<Turn>,
}

/// Whether a server is outside the cluster.
pub(super) fn is_exclusive(options: &ListenOptions) -> bool {
    options.exclusive || options.reuse_port
}

/// A position in the order of closing. The turn of a position begins when the position before it is dropped.
pub(super) struct Turn {
    before: Option<oneshot::Receiver<()>>,
    _after: oneshot::Sender<()>,
}

impl Turn {
    /// The position after another position, and the end of the new position.
    pub(super) fn behind(before: Option<oneshot::Receiver<()>>) -> (Self, oneshot::Receiver<()>) {
        let (sender, after) = oneshot::channel();
        (Turn { before, _after: sender }, after)
    }

    async fn wait(&mut self) {
        if let Some(before) = self.before.take() {
            // The sender is only dropped, and never sends.
            before.await.unwrap_or_default();
        }
    }
}

/// Opens a server for connections. Dropping the returned sender closes the server.
pub(super) fn open(worker: ServerWorker, name: String, options: ListenOptions) -> oneshot::Sender<()> {
    let machine = worker.worker.clone();
    let is_path = matches!(options.address, cluster::ListenAddress::Path { .. });
    let (server, closing) = server(worker, name);
    if is_path {
        begin(server, async move { machine.listen_path_with(options).await }, |server, listener| {
            let at = ServerAddress::path(&listener.path().to_string_lossy());
            serve(server, listener, at)
        });
    } else {
        begin(server, async move { machine.listen_with(options).await }, |server, listener| {
            let at = ServerAddress::Port(listener.local_addr().port());
            serve(server, listener, at)
        });
    }
    closing
}

/// Opens a server for datagrams.
pub(super) fn bind(worker: ServerWorker, name: String, options: ListenOptions) -> oneshot::Sender<()> {
    let machine = worker.worker.clone();
    let (server, closing) = server(worker, name);
    begin(server, async move { machine.bind_udp_with(options).await }, receive);
    closing
}

fn server(worker: ServerWorker, name: String) -> (Server, oneshot::Sender<()>) {
    let (closing, closed) = oneshot::channel();
    (Server { worker, name, closed }, closing)
}

type Opening<T> = Pin<Box<dyn Future<Output = Result<T, ListenError>> + Send>>;

/// Polls a future once, because a command must take effect at once, and a future does nothing before the
/// first poll.
fn begin<T: Send + 'static, Serving: Future<Output = ()> + Send + 'static>(
    mut server: Server,
    opening: impl Future<Output = Result<T, ListenError>> + Send + 'static,
    serve: impl FnOnce(Server, T) -> Serving + Send + 'static,
) {
    let mut opening: Opening<T> = Box::pin(opening);
    let first = opening.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    let alive = server.worker.alive.take();
    tokio::spawn(async move {
        let opened = match first {
            Poll::Ready(opened) => opened,
            Poll::Pending => opening.await,
        };
        match opened {
            Ok(opened) => serve(server, opened).await,
            Err(ListenError::Bind { address, errno, .. }) => {
                let errno = translate::errno(errno);
                let seen = vocabulary::listen_failed(&server.name, &errno, &translate::asked(&address));
                server.observe(seen);
            }
            Err(ListenError::Closed) => server.is_closed(),
            // The server was disconnected before it listened: nothing is reported. Other errors cannot occur,
            // because the addresses of a scenario are numbers and absolute paths.
            Err(
                ListenError::Disconnected
                | ListenError::Resolve { .. }
                | ListenError::Unsuitable { .. }
                | ListenError::WorkingDirectory(_)
                | ListenError::Socket(_)
                | _,
            ) => {}
        }
        drop(alive);
    });
}

async fn serve<T: Transport + AsFd + Sync>(mut server: Server, mut listener: Listener<T>, at: ServerAddress) {
    let name = server.name.clone();
    server.observe(vocabulary::listening(&name, &at));
    let (held, mut released) = mpsc::channel::<()>(1);
    let leaving = loop {
        tokio::select! {
            biased;
            _ = &mut server.closed => break false,
            accepted = listener.accept() => match accepted {
                Ok(Some(connection)) => track(&server.worker, &name, Lent { connection, _held: held.clone() }),
                Ok(None) => break true,
                // No descriptor was free for the connection.
                Err(_) => {}
            },
        }
    };
    drop((listener, held));
    if !leaving {
        // Waits for the last clone of `held`: the library does not report when the last connection of a
        // dropped listener has ended.
        released.recv().await;
    }
    server.is_closed();
}

async fn receive(mut server: Server, socket: UdpSocket) {
    let name = server.name.clone();
    let Ok(known) = server.worker.open.know(&name, &*socket) else { return };
    let Ok(at) = socket.local_addr() else { return };
    server.observe(vocabulary::listening(&name, &ServerAddress::Port(at.port())));
    let mut buffer = [0; 4096];
    loop {
        tokio::select! {
            biased;
            _ = &mut server.closed => break,
            received = socket.recv_from(&mut buffer) => match received {
                Ok(Some((count, from))) => {
                    connections::datagram(&server.worker.observe, &name, &known, &buffer[..count], from);
                },
                Ok(None) => {
                    if let Some(turn) = &mut server.worker.turn {
                        turn.wait().await;
                    }
                    break;
                }
                // An ICMP error, caused by an earlier datagram.
                Err(_) => {}
            },
        }
    }
    server.worker.open.forget(&name);
    drop(socket);
    server.is_closed();
}

impl Server {
    /// Reports the close of a server. A worker that disconnects closes all servers before the channel; the
    /// loss of a channel closes no server.
    fn is_closed(&self) {
        if self.worker.worker.is_connected() {
            self.observe(vocabulary::server("closed", &self.name));
        }
    }

    fn observe(&self, seen: Observation) {
        (self.worker.observe)(seen, None);
    }
}

/// A connection, and a value that is dropped with the connection.
struct Lent<T: Transport> {
    connection: cluster::Connection<T>,
    _held: mpsc::Sender<()>,
}

impl<T: Transport + AsFd> AsFd for Lent<T> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        (*self.connection).as_fd()
    }
}

fn track(worker: &ServerWorker, name: &str, connection: impl AsFd + Any + Send + Sync) {
    // Fails if no descriptor is free: then the connection cannot be read.
    let Ok(connection) = Connection::new(name, connection) else { return };
    tokio::spawn(worker.open.connection(&worker.observe, connection));
}
