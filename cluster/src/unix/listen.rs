//! Listening sockets, TCP and Unix. An accepted connection is not registered with the reactor, because the
//! machine may send the connection to a worker.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
#[cfg(target_os = "linux")]
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use serde::{Deserialize, Serialize};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::descriptor_limit::Reserve;
#[cfg(target_os = "linux")]
use super::exclusive::{SharedSocket, Waiter};

/// A connection, and the address of the client. A client of a Unix socket has no address.
pub(super) type AcceptedSocket = (OwnedFd, Option<IpAddr>);

/// A listening socket, paused at first.
#[derive(Debug)]
pub(super) struct Listening {
    socket: Source,
    paused: bool,
    /// The descriptors closed to connections. `None`: connections may use every descriptor.
    reserve: Option<Reserve>,
}

/// A listening socket as plain data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListeningState {
    pub(super) descriptor: RawFd,
    pub(super) paused: bool,
    pub(super) is_shared: bool,
}

#[derive(Debug)]
enum Source {
    /// A socket of this process alone, watched by the runtime.
    Own(AsyncFd<OwnedFd>),
    /// A socket of several processes.
    #[cfg(target_os = "linux")]
    Shared(SharedSocket),
}

impl Listening {
    /// Takes a listening socket.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        #[expect(unsafe_code, reason = "tokio's safe listeners register each connection")]
        // SAFETY: an `OwnedFd` is the same open descriptor for the whole lifetime.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
        Ok(Listening { socket: Source::Own(socket), paused: true, reserve: None })
    }

    /// Takes a listening socket shared with other processes.
    #[cfg(target_os = "linux")]
    pub(super) fn shared(socket: OwnedFd, waiter: Arc<Waiter>) -> Self {
        Listening { socket: Source::Shared(SharedSocket::new(socket, waiter)), paused: true, reserve: None }
    }

    /// Reserves the last descriptors of the process for other uses.
    pub(super) fn with_reserve(self) -> Self {
        Listening { reserve: Some(Reserve::new()), ..self }
    }

    pub(super) fn state(&self) -> ListeningState {
        let is_shared = match &self.socket {
            Source::Own(_) => false,
            #[cfg(target_os = "linux")]
            Source::Shared(_) => true,
        };
        ListeningState { descriptor: self.socket().as_raw_fd(), paused: self.paused, is_shared }
    }

    /// Whether to leave connections in the kernel.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        match &self.socket {
            Source::Own(_) => {}
            #[cfg(target_os = "linux")]
            Source::Shared(socket) if paused => socket.pause(),
            #[cfg(target_os = "linux")]
            Source::Shared(_) => {}
        }
    }

    /// The descriptor, for sending.
    pub(super) fn socket(&self) -> &OwnedFd {
        match &self.socket {
            Source::Own(socket) => socket.get_ref(),
            #[cfg(target_os = "linux")]
            Source::Shared(socket) => socket.socket(),
        }
    }

    /// The next connection. After a failure the machine pauses the socket.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<AcceptedSocket>> {
        if self.paused {
            return Poll::Pending;
        }
        let reserve = &mut self.reserve;
        match &mut self.socket {
            Source::Own(socket) => loop {
                let mut ready = ready!(socket.poll_read_ready(cx))?;
                if let Ok(accepted) = ready.try_io(|socket| try_accept(socket.get_ref(), reserve)) {
                    return Poll::Ready(accepted);
                }
            },
            #[cfg(target_os = "linux")]
            Source::Shared(socket) => loop {
                ready!(socket.poll_ready(cx))?;
                let accepted = try_accept(socket.socket(), reserve);
                // No connection: another process has accepted.
                let is_missed =
                    accepted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
                socket.tried(!is_missed);
                if !is_missed {
                    return Poll::Ready(accepted);
                }
            },
        }
    }
}

/// Makes a bound socket listen. The kernel bounds the backlog.
pub(super) fn listen(socket: &OwnedFd, backlog: u32) -> io::Result<()> {
    SockRef::from(socket).listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

fn try_accept(listener: &OwnedFd, reserve: &mut Option<Reserve>) -> io::Result<AcceptedSocket> {
    if let Some(reserve) = reserve {
        reserve.check(listener.as_fd())?;
    }
    let accepted = accept(listener);
    if let (Some(reserve), Ok((connection, _))) = (reserve, &accepted) {
        reserve.accepted(connection);
    }
    #[cfg(all(test, target_os = "linux"))]
    tests::count(&accepted);
    accepted
}

#[cfg(not(target_vendor = "apple"))]
fn accept(listener: &OwnedFd) -> io::Result<AcceptedSocket> {
    use rustix::net::{SocketFlags, acceptfrom_with};
    let (accepted, peer) = acceptfrom_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    Ok((accepted, peer.map(|peer| peer.ip())))
}

#[cfg(target_vendor = "apple")]
fn accept(listener: &OwnedFd) -> io::Result<AcceptedSocket> {
    let (accepted, peer) = SockRef::from(listener).accept()?;
    accepted.set_nonblocking(true)?;
    Ok((accepted.into(), peer.as_socket().map(|peer: SocketAddr| peer.ip())))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::rc::Rc;
    use std::sync::Weak;
    use std::time::Duration;

    thread_local! {
        /// The number of `accept` calls without a connection in this thread.
        static FAILED: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn count(accepted: &io::Result<AcceptedSocket>) {
        if accepted.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            FAILED.set(FAILED.get() + 1);
            assert!(FAILED.get() < MOST_FAILED, "`accept` is tried without end");
        }
    }

    /// The most failed calls in a thread.
    const MOST_FAILED: usize = 100_000;
    const WORKERS: usize = 8;
    const CONNECTIONS: usize = 400;

    /// The accepted connections of each worker, and the failed calls of all workers. Clients connect one at a
    /// time.
    async fn accepted(listening: impl Fn(OwnedFd) -> Listening) -> (Vec<usize>, usize) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        let counts = Rc::new([const { Cell::new(0) }; WORKERS]);
        FAILED.set(0);
        let tasks = tokio::task::LocalSet::new();
        for worker in 0..WORKERS {
            let counts = counts.clone();
            let mut listening = listening(listener.try_clone().expect("a duplicate").into());
            listening.pause(false);
            tasks.spawn_local(async move {
                loop {
                    drop(poll_fn(|cx| listening.poll_accept(cx)).await.expect("a connection"));
                    counts[worker].set(counts[worker].get() + 1);
                }
            });
        }
        let clients = tokio::task::spawn_blocking(move || {
            for _ in 0..CONNECTIONS {
                let mut client = TcpStream::connect(address).expect("a client");
                assert_eq!(client.read(&mut [0]).expect("the end"), 0);
            }
        });
        let clients = tasks.run_until(tokio::time::timeout(Duration::from_mins(1), clients));
        clients.await.expect("each connection is accepted").expect("no client panicked");
        (counts.iter().map(Cell::get).collect(), FAILED.get())
    }

    /// An epoll instance stands for a process. Each worker registers the socket again, so the workers take
    /// turns.
    #[tokio::test]
    async fn shared_connection_wakes_one_worker() {
        let (counts, failed) = accepted(|socket| {
            let waiter = Waiter::of(&mut Weak::new()).expect("a thread");
            Listening::shared(socket, waiter)
        })
        .await;
        assert_eq!(counts.iter().sum::<usize>(), CONNECTIONS);
        assert!(failed < CONNECTIONS / 2, "{failed} accepts failed");
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }

    /// A paused socket does not wait for connections, so another process is woken.
    #[test]
    fn paused_socket_leaves_no_waker() {
        struct Nothing;
        impl std::task::Wake for Nothing {
            fn wake(self: Arc<Self>) {}
        }
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        listener.set_nonblocking(true).expect("a socket");
        let waiter = Waiter::of(&mut Weak::new()).expect("a thread");
        let mut listening = Listening::shared(listener.into(), waiter);
        listening.pause(false);
        let count = Arc::new(Nothing);
        let waker = std::task::Waker::from(count.clone());
        let before = Arc::strong_count(&count);
        assert!(listening.poll_accept(&mut Context::from_waker(&waker)).is_pending());
        assert_eq!(Arc::strong_count(&count), before + 1);
        listening.pause(true);
        assert_eq!(Arc::strong_count(&count), before);
    }

    /// Without the thread each connection wakes every worker.
    #[tokio::test]
    async fn watched_connection_wakes_every_worker() {
        let (_, failed) = accepted(|socket| Listening::new(socket).expect("watched")).await;
        assert!(failed > CONNECTIONS, "{failed} accepts failed");
    }
}
