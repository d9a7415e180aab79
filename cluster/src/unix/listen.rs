//! Sockets that listen, TCP and Unix. A connection is accepted and nothing more: it is not registered with the poller,
//! because it is about to be sent away or handed to the application.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Sleep, sleep};

/// How long a socket waits when there was no descriptor or no memory for a connection: nothing tells when there is.
const STARVED: Duration = Duration::from_millis(100);

/// A socket that listens. A new one is paused.
#[derive(Debug)]
pub(super) struct Listening {
    socket: AsyncFd<OwnedFd>,
    paused: bool,
    starved: Option<Pin<Box<Sleep>>>,
}

impl Listening {
    /// Takes over a socket that listens.
    pub(super) fn new(socket: OwnedFd) -> io::Result<Self> {
        #[expect(
            unsafe_code,
            reason = "tokio has no safe way to poll a listening socket without making its connections tokio's"
        )]
        // SAFETY: an `OwnedFd` is one open descriptor for as long as it lives, and always the same.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE)? };
        Ok(Listening { socket, paused: true, starved: None })
    }

    /// Whether connections are left in the kernel.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
        self.starved = None;
    }

    /// The descriptor, to send it.
    pub(super) fn socket(&self) -> &OwnedFd {
        self.socket.get_ref()
    }

    /// The next connection.
    pub(super) fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<OwnedFd>> {
        if self.paused {
            return Poll::Pending;
        }
        if let Some(wait) = &mut self.starved {
            ready!(wait.as_mut().poll(cx));
            self.starved = None;
        }
        let accepted = ready!(self.poll_ready(cx));
        if accepted.as_ref().is_err_and(starves) {
            self.starved = Some(Box::pin(sleep(STARVED)));
        }
        Poll::Ready(accepted)
    }

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<OwnedFd>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            if let Ok(accepted) = ready.try_io(|socket| accept(socket.get_ref())) {
                return Poll::Ready(accepted);
            }
        }
    }
}

/// Whether the client waits in the kernel all the same.
fn starves(error: &io::Error) -> bool {
    use nix::errno::Errno::{self, EMFILE, ENFILE, ENOBUFS, ENOMEM};
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(EMFILE | ENFILE | ENOBUFS | ENOMEM))
}

/// Makes a bound socket listen; the kernel caps the backlog.
pub(super) fn listen(socket: &OwnedFd, backlog: u32) -> io::Result<()> {
    SockRef::from(socket).listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

#[cfg(not(target_vendor = "apple"))]
fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    use rustix::net::{SocketFlags, accept_with};
    Ok(accept_with(listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?)
}

#[cfg(target_vendor = "apple")]
fn accept(listener: &OwnedFd) -> io::Result<OwnedFd> {
    let (accepted, _) = SockRef::from(listener).accept()?;
    accepted.set_nonblocking(true)?;
    Ok(accepted.into())
}
