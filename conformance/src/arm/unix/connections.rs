//! Sockets of a real process: connections, datagrams, and their events. Every event is passed on at once and
//! in order. Nothing is decided here.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cluster::{CountGuard, Socket};
use socket2::SockRef;
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use tokio::sync::Notify;

use crate::observation::Observation;
use crate::program::lines::Lines;
use crate::vocabulary;

/// The peer of a line. Actions that answer send to this peer.
#[derive(Debug, Clone)]
pub(super) enum ReplyTarget {
    Connection(Arc<Connection>),
    Sender(Arc<socket2::Socket>, SocketAddr),
}

impl ReplyTarget {
    /// Writes a line, or sends a datagram, without an await: the process may exit right afterwards.
    pub(super) fn write(&self, text: &str) {
        match self {
            ReplyTarget::Connection(connection) => connection.write(text),
            ReplyTarget::Sender(socket, from) => drop(socket.send_to(text.as_bytes(), &(*from).into())),
        }
    }

    /// The socket of a connection.
    pub(super) fn connection(&self) -> Option<&socket2::Socket> {
        if let ReplyTarget::Connection(connection) = self { Some(&connection.socket) } else { None }
    }

    /// Ends this side.
    pub(super) fn end(&self) {
        if let ReplyTarget::Connection(connection) = self {
            let _ = connection.socket.shutdown(Shutdown::Write);
        }
    }
}

/// The receiver of every observation.
pub(super) type Observe = Arc<dyn Fn(Observation, Option<ReplyTarget>) + Send + Sync>;

/// An open connection.
pub(super) struct Connection {
    server: String,
    /// A second descriptor, for writing.
    socket: socket2::Socket,
    /// A third descriptor, for reading.
    reader: Wire,
    /// Keeps the original socket: the sender counts the connection as open until the original is dropped.
    _lent: Box<dyn Any + Send + Sync>,
    /// Notified when the connection is sent to another process.
    passed: Notify,
    /// Notified when a write fails.
    failed: Notify,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn new<T: AsFd + Any + Send + Sync>(server: &str, lent: T) -> io::Result<Arc<Self>> {
        Connection::with(server, lent, ())
    }

    /// A connection received with a message. The sender counts the connection as open until its close here.
    pub(super) fn counted<T: AsFd + Any + Send + Sync>(
        server: &str,
        stream: T,
        guard: CountGuard,
    ) -> io::Result<Arc<Self>> {
        Connection::with(server, stream, guard)
    }

    fn with<T, W>(server: &str, lent: T, with: W) -> io::Result<Arc<Self>>
    where
        T: AsFd + Any + Send + Sync,
        W: Any + Send + Sync,
    {
        let (socket, reader) = (duplicate(&lent)?, Wire::new(duplicate(&lent)?)?);
        Ok(Arc::new(Connection {
            reader,
            server: server.to_owned(),
            socket,
            // The order matters: the fields of a tuple drop in order.
            _lent: Box::new((lent, with)),
            passed: Notify::new(),
            failed: Notify::new(),
        }))
    }

    /// Writes a line. As in Node, a failed write is the end of the connection. The kernel reports the error
    /// only once, so a later read reports an end.
    fn write(&self, text: &str) {
        let written = (&self.socket).write(format!("{text}\n").as_bytes());
        let is_over =
            |error: io::Error| matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
        if written.is_err_and(is_over) {
            self.failed.notify_one();
        }
    }

    /// Reads until the peer's side has ended, and returns how. `None`: the connection was sent away.
    async fn listen(self: &Arc<Self>, observe: &Observe) -> Option<&'static str> {
        let (mut lines, mut buffer) = (Lines::default(), [0; 4096]);
        loop {
            let read = tokio::select! {
                biased;
                () = self.passed.notified() => return None,
                () = self.failed.notified() => return Some("reset"),
                read = self.reader.read(&mut buffer) => read,
            };
            match read {
                Ok(0) => return Some("end"),
                Ok(count) => {
                    for text in lines.push(&buffer[..count]) {
                        observe(
                            vocabulary::server_data(&self.server, &text),
                            Some(ReplyTarget::Connection(self.clone())),
                        );
                    }
                }
                Err(_) => return Some("reset"),
            }
        }
    }
}

/// A stream of either kind, used only for reading.
enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Wire {
    fn new(socket: socket2::Socket) -> io::Result<Self> {
        Ok(if socket.domain()? == socket2::Domain::UNIX {
            Wire::Unix(UnixStream::from_std(socket.into())?)
        } else {
            Wire::Tcp(TcpStream::from_std(socket.into())?)
        })
    }

    async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match self {
                Wire::Tcp(stream) => {
                    stream.readable().await?;
                    stream.try_read(buffer)
                }
                Wire::Unix(stream) => {
                    stream.readable().await?;
                    stream.try_read(buffer)
                }
            };
            match read {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// Another descriptor of the same socket.
pub(super) fn duplicate(socket: &impl AsFd) -> io::Result<socket2::Socket> {
    SockRef::from(socket).try_clone()
}

/// The open connections and the sockets for datagrams of a process.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenSockets {
    connections: Arc<Mutex<SocketTable>>,
}

#[derive(Debug, Default)]
struct SocketTable {
    connections: BTreeMap<u32, Arc<Connection>>,
    last: u32,
    datagrams: BTreeMap<String, Arc<socket2::Socket>>,
}

impl OpenSockets {
    fn connections(&self) -> MutexGuard<'_, SocketTable> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Observes a new connection at once, and returns the task that reads from it.
    pub(super) fn connection(
        &self,
        observe: &Observe,
        connection: Arc<Connection>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let this = self.follow(observe, connection.clone());
        observe(
            vocabulary::server("connection", &connection.server),
            Some(ReplyTarget::Connection(connection)),
        );
        this
    }

    /// The task that reads from a connection until the connection has ended.
    pub(super) fn follow(
        &self,
        observe: &Observe,
        connection: Arc<Connection>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (open, observe) = (self.clone(), observe.clone());
        let number = {
            let mut connections = open.connections();
            connections.last += 1;
            let number = connections.last;
            connections.connections.insert(number, connection.clone());
            number
        };
        async move {
            if let Some(how) = connection.listen(&observe).await {
                observe(
                    vocabulary::server(how, &connection.server),
                    Some(ReplyTarget::Connection(connection.clone())),
                );
            }
            drop(connection);
            let connection = open.connections().connections.remove(&number);
            // Dropping the connection may close a server, which must not happen under the lock.
            drop(connection);
        }
    }

    /// Ends this side of every connection.
    pub(super) fn end_all(&self) {
        let all: Vec<_> = self.connections().connections.values().cloned().collect();
        for connection in all {
            ReplyTarget::Connection(connection).end();
        }
    }

    /// The socket of a peer, for sending to another process. `None`: the socket was already sent.
    pub(super) fn pass(&self, target: Option<&ReplyTarget>, keep_open: bool) -> Option<Socket> {
        let Some(ReplyTarget::Connection(connection)) = target else { return None };
        let mut connections = self.connections();
        let number = *connections.connections.iter().find(|(_, open)| Arc::ptr_eq(open, connection))?.0;
        let socket = Socket::duplicate(&connection.socket).ok()?;
        if !keep_open {
            connections.connections.remove(&number);
            connection.passed.notify_one();
        }
        Some(socket)
    }

    /// Registers a socket for datagrams under a name.
    pub(super) fn know(&self, name: &str, socket: &impl AsFd) -> io::Result<Arc<socket2::Socket>> {
        let socket = Arc::new(duplicate(socket)?);
        self.connections().datagrams.insert(name.to_owned(), socket.clone());
        Ok(socket)
    }

    /// Forgets a socket for datagrams.
    pub(super) fn forget(&self, name: &str) {
        self.connections().datagrams.remove(name);
    }

    /// Sends a datagram to a port of 127.0.0.1, from a named socket or from a new socket.
    pub(super) fn send_datagram(&self, from: Option<&str>, port: u16, text: &str) {
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let known = from.and_then(|name| self.connections().datagrams.get(name).cloned());
        // Failures are ignored, because UDP reports no loss.
        let _ = match known {
            Some(socket) => socket.send_to(text.as_bytes(), &to.into()),
            None => std::net::UdpSocket::bind("0.0.0.0:0").and_then(|new| new.send_to(text.as_bytes(), to)),
        };
    }
}

/// Observes a datagram.
pub(super) fn datagram(
    observe: &Observe,
    name: &str,
    socket: &Arc<socket2::Socket>,
    bytes: &[u8],
    from: SocketAddr,
) {
    let seen = vocabulary::datagram(name, &String::from_utf8_lossy(bytes), from.port());
    observe(seen, Some(ReplyTarget::Sender(socket.clone(), from)));
}

/// Receives the datagrams of a socket outside the cluster, until the socket fails.
pub(super) async fn datagrams(
    observe: Observe,
    name: String,
    known: Arc<socket2::Socket>,
    socket: UdpSocket,
) {
    let mut buffer = [0; 4096];
    while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
        datagram(&observe, &name, &known, &buffer[..count], from);
    }
}

/// The kind of a handle, for lines.
pub(super) fn kind(socket: &Socket) -> &'static str {
    match socket {
        Socket::TcpStream(_) | Socket::UnixStream(_) => "connection",
        Socket::TcpListener(_) | Socket::UnixListener(_) => "server",
        Socket::UdpSocket(_) => "datagrams",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel reports the reset to the failed write, so a read would report only an end.
    #[tokio::test]
    async fn failed_write_ends_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let client = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let client = client.expect("a socket");
        client.connect(&address.into()).expect("a listener");
        let (stream, _) = listener.accept().expect("a client");
        stream.set_nonblocking(true).expect("a socket");
        let connection = Connection::new("web", stream).expect("a connection");
        client.send(b"hello\n").expect("a connection");
        client.set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
        drop(client);
        connection.write("hi");
        let observe: Observe = Arc::new(|seen, _| unreachable!("an observation after the end: {seen}"));
        assert_eq!(connection.listen(&observe).await, Some("reset"));
    }
}
