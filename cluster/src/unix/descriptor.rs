//! Descriptors from outside: the kind of a received descriptor, and a duplicate of a descriptor given by
//! number.

use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;
use socket2::{Domain, SockRef, Type};

/// The kind of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    TcpStream,
    TcpListener,
    UnixStream,
    UnixListener,
    Udp { v6: bool },
}

/// The kind of a descriptor. `None`: the descriptor is not a socket, or is a socket that no message can
/// carry.
pub(crate) fn kind(descriptor: impl AsFd) -> Option<Kind> {
    let socket = SockRef::from(&descriptor);
    let (domain, kind) = (socket.local_addr().ok()?.domain(), socket.r#type().ok()?);
    match (domain, kind) {
        (Domain::IPV4 | Domain::IPV6, Type::STREAM) if listens(&descriptor) => Some(Kind::TcpListener),
        (Domain::IPV4 | Domain::IPV6, Type::STREAM) => Some(Kind::TcpStream),
        (Domain::UNIX, Type::STREAM) if listens(&descriptor) => Some(Kind::UnixListener),
        (Domain::UNIX, Type::STREAM) => Some(Kind::UnixStream),
        (Domain::IPV4 | Domain::IPV6, Type::DGRAM) => Some(Kind::Udp { v6: domain == Domain::IPV6 }),
        _ => None,
    }
}

/// Makes a descriptor non-blocking.
pub(super) fn set_non_blocking(descriptor: &OwnedFd) {
    // A failure (EBADF) does not occur for an open descriptor.
    let _ = SockRef::from(descriptor).set_nonblocking(true);
}

/// Whether a descriptor blocks.
pub(super) fn is_blocking(descriptor: &OwnedFd) -> bool {
    SockRef::from(descriptor).nonblocking().is_ok_and(|nonblocking| !nonblocking)
}

/// Whether a socket can listen.
pub(super) fn is_stream(socket: &OwnedFd) -> io::Result<bool> {
    Ok(SockRef::from(socket).r#type()? == Type::STREAM)
}

#[cfg(not(target_vendor = "apple"))]
fn listens(socket: impl AsFd) -> bool {
    rustix::net::sockopt::socket_acceptconn(socket).unwrap_or_default()
}

/// Whether a socket listens. Apple systems have no `SO_ACCEPTCONN`; there a socket without a peer counts as
/// listening.
#[cfg(target_vendor = "apple")]
fn listens(socket: impl AsFd) -> bool {
    SockRef::from(&socket).peer_addr().is_err()
}

/// A duplicate of a descriptor of this process, by number.
///
/// # Errors
/// EBADF: the descriptor does not exist.
pub(super) fn duplicate(number: u32) -> io::Result<OwnedFd> {
    let number = RawFd::try_from(number).map_err(|_| nix::errno::Errno::EBADF)?;
    #[expect(unsafe_code, reason = "a descriptor that the user gives by number has no owner to borrow from")]
    // SAFETY: F_DUPFD_CLOEXEC touches no memory and returns EBADF for a closed number.
    let duplicate = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    if duplicate < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(unsafe_code, reason = "the kernel returns a number")]
    // SAFETY: the kernel has just opened the descriptor, and nothing else owns the number.
    Ok(unsafe { OwnedFd::from_raw_fd(duplicate) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

    #[test]
    fn socket_has_its_kind() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a client");
        let directory = tempfile::tempdir().expect("a directory");
        let path = UnixListener::bind(directory.path().join("s")).expect("a listener");
        assert_eq!(kind(&listener), Some(Kind::TcpListener));
        assert_eq!(kind(&client), Some(Kind::TcpStream));
        assert_eq!(kind(&path), Some(Kind::UnixListener));
        assert_eq!(kind(&UnixStream::pair().expect("a pair").0), Some(Kind::UnixStream));
        let (v4, v6) = (UdpSocket::bind("127.0.0.1:0"), UdpSocket::bind("[::1]:0"));
        assert_eq!(kind(v4.expect("a socket")), Some(Kind::Udp { v6: false }));
        assert_eq!(kind(v6.expect("a socket")), Some(Kind::Udp { v6: true }));
    }

    #[test]
    fn other_descriptor_has_no_kind() {
        assert_eq!(kind(File::open("/dev/null").expect("a file")), None);
        assert_eq!(kind(io::pipe().expect("a pipe").0), None);
        assert_eq!(kind(UnixDatagram::unbound().expect("a socket")), None);
    }

    /// A duplicate is close-on-exec; a number without a descriptor is EBADF.
    #[test]
    fn duplicate_is_close_on_exec() {
        let file = File::open("/dev/null").expect("a file");
        let number = u32::try_from(file.as_raw_fd()).expect("a number");
        let copy = duplicate(number).expect("a duplicate");
        let flags = rustix::io::fcntl_getfd(&copy).expect("flags");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        for number in [u32::MAX, 1_000_000] {
            let errno = duplicate(number).map(drop).map_err(|error| error.raw_os_error());
            assert_eq!(errno, Err(Some(libc::EBADF)));
        }
    }
}
