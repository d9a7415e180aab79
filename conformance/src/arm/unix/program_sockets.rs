//! Servers outside the cluster, each with a task: servers that the process itself opens, and servers received
//! with a message.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use cluster::{Received, Socket};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::connections::{self, Connection, Observe, OpenSockets, ReplyTarget, duplicate};
use crate::scenario::{self, ServerName};
use crate::vocabulary::ServerAddress;

/// The pause after a failed accept, as long as the pause of the library. No event reports a free descriptor.
const STARVED: Duration = Duration::from_millis(100);

/// Servers by name.
pub(super) type Servers = BTreeMap<String, OpenServer>;

/// The socket of a server, for sending.
pub(super) fn named(servers: &Servers, name: Option<&ServerName>) -> Option<Socket> {
    servers.get(name?.as_str()).and_then(OpenServer::socket)
}

/// An open server. A drop closes the server.
#[derive(Debug)]
pub(super) struct OpenServer {
    socket: socket2::Socket,
    _closing: oneshot::Sender<()>,
}

impl OpenServer {
    /// A duplicate of the socket, for sending.
    fn socket(&self) -> Option<Socket> {
        Socket::duplicate(&self.socket).ok()
    }

    /// The descriptor's number.
    pub(super) fn number(&self) -> u32 {
        u32::try_from(self.socket.as_raw_fd()).unwrap_or_default()
    }
}

/// The task of a socket.
pub(super) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A socket received with a message.
pub(super) struct Adopted {
    pub(super) task: Task,
    pub(super) closing: Option<OpenServer>,
    pub(super) target: Option<ReplyTarget>,
}

/// Adopts the handle of a message, with the text of the message as its name.
///
/// # Errors
///
/// No descriptor is free.
pub(super) fn adopt(
    observe: &Observe,
    open: &OpenSockets,
    name: &str,
    received: Received,
) -> io::Result<Adopted> {
    let (guard, socket) = received.into_parts();
    match socket {
        Socket::TcpStream(stream) => {
            Ok(connection(observe, open, Connection::counted(name, TcpStream::from_std(stream)?, guard)?))
        }
        Socket::UnixStream(stream) => {
            Ok(connection(observe, open, Connection::counted(name, UnixStream::from_std(stream)?, guard)?))
        }
        Socket::TcpListener(listener) => {
            let (task, closing) = tcp(observe, open, name, TcpListener::from_std(listener)?)?;
            Ok(Adopted { task, closing: Some(closing), target: None })
        }
        Socket::UnixListener(listener) => {
            let (task, closing) = unix(observe, open, name, UnixListener::from_std(listener)?)?;
            Ok(Adopted { task, closing: Some(closing), target: None })
        }
        Socket::UdpSocket(socket) => {
            let (task, closing) = udp(observe, open, name, UdpSocket::from_std(socket)?)?;
            Ok(Adopted { task, closing: Some(closing), target: None })
        }
    }
}

fn connection(observe: &Observe, open: &OpenSockets, with: Arc<Connection>) -> Adopted {
    let task = Box::pin(open.follow(observe, with.clone()));
    Adopted { task, closing: None, target: Some(ReplyTarget::Connection(with)) }
}

/// Opens a server that the process itself owns.
///
/// # Errors
///
/// The kernel refuses.
pub(super) fn open(
    observe: &Observe,
    open: &OpenSockets,
    asked: &scenario::Open,
) -> io::Result<(Task, OpenServer, ServerAddress)> {
    let (name, home) = (asked.server.as_str(), "127.0.0.1:0");
    if let Some(path) = &asked.path {
        let (task, closing) = unix(observe, open, name, UnixListener::bind(path.as_str())?)?;
        return Ok((task, closing, ServerAddress::path(path.as_str())));
    }
    let (task, closing) = match (asked.udp, asked.bound) {
        (true, false) => {
            let socket = std::net::UdpSocket::bind(home)?;
            socket.set_nonblocking(true)?;
            udp(observe, open, name, UdpSocket::from_std(socket)?)?
        }
        (true, true) => bound(&std::net::UdpSocket::bind(home)?)?,
        (false, true) => bound(&unheard()?)?,
        (false, false) => {
            let listener = std::net::TcpListener::bind(home)?;
            listener.set_nonblocking(true)?;
            tcp(observe, open, name, TcpListener::from_std(listener)?)?
        }
    };
    let port = closing.socket.local_addr()?.as_socket().map_or(0, |address| address.port());
    Ok((task, closing, ServerAddress::Port(port)))
}

/// A stream socket that does not listen.
fn unheard() -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    Ok(socket)
}

/// A bound socket without a task, because only workers use the descriptor.
fn bound(socket: &impl AsFd) -> io::Result<(Task, OpenServer)> {
    let (closing, _) = closing(socket)?;
    Ok((Box::pin(std::future::ready(())), closing))
}

fn closing(socket: &impl AsFd) -> io::Result<(OpenServer, oneshot::Receiver<()>)> {
    let (sender, closed) = oneshot::channel();
    Ok((OpenServer { socket: duplicate(socket)?, _closing: sender }, closed))
}

fn tcp(
    observe: &Observe,
    open: &OpenSockets,
    name: &str,
    listener: TcpListener,
) -> io::Result<(Task, OpenServer)> {
    listening(observe, open, name, listener, TcpListener::poll_accept)
}

fn unix(
    observe: &Observe,
    open: &OpenSockets,
    name: &str,
    listener: UnixListener,
) -> io::Result<(Task, OpenServer)> {
    listening(observe, open, name, listener, UnixListener::poll_accept)
}

/// The accept function of a listener of either kind.
type Accept<L, T, A> = fn(&L, &mut Context<'_>) -> Poll<io::Result<(T, A)>>;

/// Accepts connections until the server is closed.
fn listening<L, T, A>(
    observe: &Observe,
    open: &OpenSockets,
    name: &str,
    listener: L,
    accept: Accept<L, T, A>,
) -> io::Result<(Task, OpenServer)>
where
    L: AsFd + Send + Sync + 'static,
    T: AsFd + Send + Sync + 'static,
    A: Send + 'static,
{
    let (closing, mut closed) = closing(&listener)?;
    let (observe, open, name) = (observe.clone(), open.clone(), name.to_owned());
    let task = async move {
        loop {
            tokio::select! {
                biased;
                _ = &mut closed => return,
                accepted = next(&listener, accept) => {
                    let connection = accepted.and_then(|(stream, _)| Connection::new(&name, stream));
                    if let Ok(connection) = connection {
                        tokio::spawn(open.connection(&observe, connection));
                    }
                }
            }
        }
    };
    Ok((Box::pin(task), closing))
}

/// The next connection. After a failure, returns only after a pause.
async fn next<L, T, A>(listener: &L, accept: Accept<L, T, A>) -> io::Result<(T, A)> {
    let accepted = poll_fn(|cx| accept(listener, cx)).await;
    if accepted.is_err() {
        sleep(STARVED).await;
    }
    accepted
}

fn udp(
    observe: &Observe,
    open: &OpenSockets,
    name: &str,
    socket: UdpSocket,
) -> io::Result<(Task, OpenServer)> {
    let (closing, closed) = closing(&socket)?;
    let known = open.know(name, &socket)?;
    let (heard, open, own) = (
        connections::datagrams(observe.clone(), name.to_owned(), known, socket),
        open.clone(),
        name.to_owned(),
    );
    let task = async move {
        tokio::select! {
            biased;
            _ = closed => {}
            () = heard => {}
        }
        open.forget(&own);
    };
    Ok((Box::pin(task), closing))
}

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;

    use nix::errno::Errno;
    use tokio::sync::mpsc::{Sender, channel};
    use tokio::time::Instant;

    use super::*;

    /// Reports every accept, until the channel of reports is full.
    struct Starved {
        listener: TcpListener,
        tried: Sender<Instant>,
    }

    impl AsFd for Starved {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.listener.as_fd()
        }
    }

    fn fail(starved: &Starved, _: &mut Context<'_>) -> Poll<io::Result<(TcpStream, ())>> {
        let noted = starved.tried.try_send(Instant::now());
        noted.map_or(Poll::Pending, |()| Poll::Ready(Err(Errno::EMFILE.into())))
    }

    #[tokio::test(start_paused = true)]
    async fn failed_accept_pauses() {
        let (tried, mut times) = channel(2);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let observe: Observe = Arc::new(|seen, _| unreachable!("{seen}"));
        let server = listening(&observe, &OpenSockets::default(), "full", Starved { listener, tried }, fail);
        let (task, _open) = server.expect("a descriptor is left");
        tokio::spawn(task);
        let (first, second) = (times.recv().await, times.recv().await);
        assert_eq!(second.zip(first).map(|(second, first)| second - first), Some(STARVED));
    }
}
