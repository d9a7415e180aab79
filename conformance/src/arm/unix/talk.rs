//! What a real process itself has of sockets: connections, datagrams, and how they are heard. Everything heard is told
//! to somebody else, at once and in order; nothing is decided here.

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
use crate::words;

/// Whom a line is about, for those who answer.
#[derive(Debug, Clone)]
pub(super) enum About {
    Connection(Arc<Talk>),
    Sender(Arc<socket2::Socket>, SocketAddr),
}

impl About {
    /// Writes a line, or sends a datagram, at once: the process may end before it would wait. Who cannot be written to says so when
    /// it is read.
    pub(super) fn say(&self, text: &str) {
        let _ = match self {
            About::Connection(talk) => (&talk.socket).write(format!("{text}\n").as_bytes()),
            About::Sender(socket, from) => socket.send_to(text.as_bytes(), &(*from).into()),
        };
    }

    /// The socket, if it is a connection.
    pub(super) fn connection(&self) -> Option<&socket2::Socket> {
        if let About::Connection(talk) = self { Some(&talk.socket) } else { None }
    }

    /// Ends this side.
    pub(super) fn end(&self) {
        if let About::Connection(talk) = self {
            let _ = talk.socket.shutdown(Shutdown::Write);
        }
    }
}

/// Whom everything is told to that is heard.
pub(super) type Ear = Arc<dyn Fn(Observation, Option<About>) + Send + Sync>;

/// An open connection.
pub(super) struct Talk {
    server: String,
    /// Our own descriptor of it, to speak.
    socket: socket2::Socket,
    /// The same, to hear.
    heard: Wire,
    /// Where it comes from, to be dropped with it.
    _lent: Box<dyn Any + Send + Sync>,
    /// It belongs to somebody else now.
    passed: Notify,
}

impl fmt::Debug for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Talk").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Talk {
    pub(super) fn new<T: AsFd + Any + Send + Sync>(server: &str, lent: T) -> io::Result<Arc<Self>> {
        Talk::with(server, lent, ())
    }

    /// A connection that came with a message: its sender counts it until it has closed here.
    pub(super) fn counted<T: AsFd + Any + Send + Sync>(
        server: &str,
        stream: T,
        guard: CountGuard,
    ) -> io::Result<Arc<Self>> {
        Talk::with(server, stream, guard)
    }

    fn with<T, W>(server: &str, lent: T, with: W) -> io::Result<Arc<Self>>
    where
        T: AsFd + Any + Send + Sync,
        W: Any + Send + Sync,
    {
        let (socket, heard) = (duplicate(&lent)?, Wire::new(duplicate(&lent)?)?);
        Ok(Arc::new(Talk {
            heard,
            server: server.to_owned(),
            socket,
            // The parts of a pair drop in their order.
            _lent: Box::new((lent, with)),
            passed: Notify::new(),
        }))
    }

    /// Hears what the peer says, until its side is over; returns how. `None`: it was passed on.
    async fn listen(self: &Arc<Self>, ear: &Ear) -> Option<&'static str> {
        let (mut lines, mut buffer) = (Lines::default(), [0; 4096]);
        loop {
            let read = tokio::select! {
                biased;
                () = self.passed.notified() => return None,
                read = self.heard.read(&mut buffer) => read,
            };
            match read {
                Ok(0) => return Some("end"),
                Ok(count) => {
                    for text in lines.push(&buffer[..count]) {
                        ear(words::server_data(&self.server, &text), Some(About::Connection(self.clone())));
                    }
                }
                Err(_) => return Some("reset"),
            }
        }
    }
}

/// A stream of either kind that is only read.
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
pub(super) struct Open {
    talks: Arc<Mutex<Talks>>,
}

#[derive(Debug, Default)]
struct Talks {
    connections: BTreeMap<u32, Arc<Talk>>,
    last: u32,
    datagrams: BTreeMap<String, Arc<socket2::Socket>>,
}

impl Open {
    fn talks(&self) -> MutexGuard<'_, Talks> {
        self.talks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has come: it is seen at once, and what `this` returns is to be awaited. It holds what it is given.
    pub(super) fn connection(&self, ear: &Ear, talk: Arc<Talk>) -> impl Future<Output = ()> + Send + use<> {
        let this = self.follow(ear, talk.clone());
        ear(words::server("connection", &talk.server), Some(About::Connection(talk)));
        this
    }

    /// Hears a connection to its end.
    pub(super) fn follow(&self, ear: &Ear, talk: Arc<Talk>) -> impl Future<Output = ()> + Send + use<> {
        let (open, ear) = (self.clone(), ear.clone());
        let number = {
            let mut talks = open.talks();
            talks.last += 1;
            let number = talks.last;
            talks.connections.insert(number, talk.clone());
            number
        };
        async move {
            if let Some(how) = talk.listen(&ear).await {
                ear(words::server(how, &talk.server), Some(About::Connection(talk.clone())));
            }
            drop(talk);
            let talk = open.talks().connections.remove(&number);
            // Closing it may close a server, and that is not done under the lock.
            drop(talk);
        }
    }

    /// Ends this side of every connection.
    pub(super) fn end_all(&self) {
        let all: Vec<_> = self.talks().connections.values().cloned().collect();
        for talk in all {
            About::Connection(talk).end();
        }
    }

    /// What is to be sent along, of whom a line is about. `None`: it has been already.
    pub(super) fn pass(&self, about: Option<&About>, keep_open: bool) -> Option<Socket> {
        let Some(About::Connection(talk)) = about else { return None };
        let mut talks = self.talks();
        let number = *talks.connections.iter().find(|(_, open)| Arc::ptr_eq(open, talk))?.0;
        let socket = Socket::duplicate(&talk.socket).ok()?;
        if !keep_open {
            talks.connections.remove(&number);
            talk.passed.notify_one();
        }
        Some(socket)
    }

    /// Knows a socket for datagrams by its name.
    pub(super) fn know(&self, name: &str, socket: &impl AsFd) -> io::Result<Arc<socket2::Socket>> {
        let socket = Arc::new(duplicate(socket)?);
        self.talks().datagrams.insert(name.to_owned(), socket.clone());
        Ok(socket)
    }

    /// It is closed.
    pub(super) fn forget(&self, name: &str) {
        self.talks().datagrams.remove(name);
    }

    /// Sends a datagram to a port of 127.0.0.1, from a socket by its name or from a new one.
    pub(super) fn tell(&self, from: Option<&str>, port: u16, text: &str) {
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        let known = from.and_then(|name| self.talks().datagrams.get(name).cloned());
        // Nobody is told whether a datagram arrives.
        let _ = match known {
            Some(socket) => socket.send_to(text.as_bytes(), &to.into()),
            None => std::net::UdpSocket::bind("0.0.0.0:0").and_then(|new| new.send_to(text.as_bytes(), to)),
        };
    }
}

/// A datagram has come.
pub(super) fn datagram(ear: &Ear, name: &str, socket: &Arc<socket2::Socket>, bytes: &[u8], from: SocketAddr) {
    let seen = words::datagram(name, &String::from_utf8_lossy(bytes), from.port());
    ear(seen, Some(About::Sender(socket.clone(), from)));
}

/// Hears the datagrams of a socket that is nobody's server, until it fails.
pub(super) async fn datagrams(ear: Ear, name: String, known: Arc<socket2::Socket>, socket: UdpSocket) {
    let mut buffer = [0; 4096];
    while let Ok((count, from)) = socket.recv_from(&mut buffer).await {
        datagram(&ear, &name, &known, &buffer[..count], from);
    }
}

/// How a line says what came with a message.
pub(super) fn kind(socket: &Socket) -> &'static str {
    match socket {
        Socket::TcpStream(_) | Socket::UnixStream(_) => "connection",
        Socket::TcpListener(_) | Socket::UnixListener(_) => "server",
        Socket::UdpSocket(_) => "datagrams",
    }
}
