//! Sockets that listen, TCP and Unix. A connection is accepted and nothing more: it is not registered with the poller,
//! because it is about to be sent away or handed to the application.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that listens. A new one is paused.
///
/// Of the workers that share one, each is woken by each connection. `EPOLLEXCLUSIVE` would wake one, but tokio does not register with
/// it, and in an epoll instance of our own that tokio watches the kernel ignores it: it counts a wakeup only where a thread waits
/// in `epoll_wait` on that very instance.
#[derive(Debug)]
pub(super) struct Listening {
    socket: AsyncFd<OwnedFd>,
    paused: bool,
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
        Ok(Listening { socket, paused: true })
    }

    /// Whether connections are left in the kernel.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// The descriptor, to send it.
    pub(super) fn socket(&self) -> &OwnedFd {
        self.socket.get_ref()
    }

    /// The next connection. After a failure the machine pauses it.
    pub(super) fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<OwnedFd>> {
        if self.paused {
            return Poll::Pending;
        }
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            if let Ok(accepted) = ready.try_io(|socket| accept(socket.get_ref())) {
                return Poll::Ready(accepted);
            }
        }
    }
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
