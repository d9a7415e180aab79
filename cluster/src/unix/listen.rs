//! TCP sockets: bind, listen, accept. A connection is accepted and nothing more: it is not registered with the poller,
//! because it is about to be sent away or handed to the application.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use cluster_core::BindAddress;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
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
    use nix::errno::Errno::{EMFILE, ENFILE, ENOBUFS, ENOMEM};
    is_one_of(error, &[EMFILE, ENFILE, ENOBUFS, ENOMEM])
}

/// A new TCP socket, bound. With no host: every address, IPv6 and IPv4, or IPv4 alone where there is no IPv6.
pub(super) fn bind(address: &BindAddress) -> io::Result<OwnedFd> {
    let &BindAddress::Tcp { host, port, ipv6_only, .. } = address else {
        return Err(nix::errno::Errno::EOPNOTSUPP.into());
    };
    let bound = match host {
        Some(host) => bind_to(SocketAddr::new(host, port), ipv6_only),
        None => bind_to(any(Ipv6Addr::UNSPECIFIED.into(), port), false).or_else(|error| {
            if no_ipv6(&error) { bind_to(any(Ipv4Addr::UNSPECIFIED.into(), port), false) } else { Err(error) }
        }),
    };
    Ok(bound?.into())
}

/// Makes a bound socket listen; the kernel caps the backlog.
pub(super) fn listen(socket: &OwnedFd, backlog: u32) -> io::Result<()> {
    SockRef::from(socket).listen(i32::try_from(backlog).unwrap_or(i32::MAX))
}

/// Where a socket is bound.
pub(super) fn local_address(socket: &OwnedFd) -> io::Result<SocketAddr> {
    let address = SockRef::from(socket).local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::from(nix::errno::Errno::EAFNOSUPPORT))
}

fn any(host: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(host, port)
}

fn no_ipv6(error: &io::Error) -> bool {
    use nix::errno::Errno::{EADDRNOTAVAIL, EAFNOSUPPORT};
    is_one_of(error, &[EAFNOSUPPORT, EADDRNOTAVAIL])
}

fn is_one_of(error: &io::Error, known: &[nix::errno::Errno]) -> bool {
    known.iter().any(|errno| error.raw_os_error() == Some(*errno as i32))
}

/// As libuv binds: the address may be reused, and IPv6 says in either case whether it takes IPv4 too.
fn bind_to(address: SocketAddr, ipv6_only: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(ipv6_only)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
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
