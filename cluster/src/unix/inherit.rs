//! The resources inherited by the process of a worker: an id, a channel, and the variables with both.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use cluster_core::{Errno, Serialization, WorkerId};
use socket2::{SockRef, Type};

use super::spawn::written;
use super::variables::variables;
use super::{errno, signals};
use crate::error::RoleError;

/// The id and the channel of the worker.
#[derive(Debug)]
pub(crate) struct InheritedWorker {
    pub(crate) id: WorkerId,
    pub(crate) serialization: Serialization,
    pub(crate) channel: UnixStream,
}

/// Takes the inherited id and channel; `None` unless the process is a worker. Call once.
pub(crate) fn inherit() -> Result<Option<InheritedWorker>, RoleError> {
    let Some(variables) = variables() else { return Ok(None) };
    let id = parse_id(&variables.id)?;
    let serialization = parse_serialization(variables.serialization.as_deref())?;
    let channel = take_channel(variables.channel.as_deref().ok_or(RoleError::NoChannel)?)?;
    signals::keep_ignoring();
    Ok(Some(InheritedWorker { id, serialization, channel }))
}

fn parse_id(value: &OsStr) -> Result<WorkerId, RoleError> {
    let number = value.to_str().and_then(|text| text.parse().ok()).filter(|number| *number > 0);
    number.map(WorkerId).ok_or_else(|| RoleError::Id { value: value.to_string_lossy().into() })
}

fn parse_serialization(value: Option<&OsStr>) -> Result<Serialization, RoleError> {
    let Some(value) = value else { return Ok(Serialization::Json) };
    let known =
        [Serialization::Json, Serialization::Advanced].into_iter().find(|known| value == written(*known));
    known.ok_or_else(|| RoleError::Serialization { value: value.to_string_lossy().into() })
}

fn take_channel(value: &OsStr) -> Result<UnixStream, RoleError> {
    let text = value.to_string_lossy().into_owned();
    // 0, 1 and 2 are standard input, output and error.
    let Some(number) = text.parse::<RawFd>().ok().filter(|number| *number > 2) else {
        return Err(RoleError::ChannelNumber { value: text });
    };
    let channel = adopt(number).map_err(|error| RoleError::Channel { number, errno: errno(&error) })?;
    Ok(channel.into())
}

/// Takes ownership of an inherited Unix stream socket by number and sets close-on-exec.
fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if opened_here(number)? {
        return Err(failure(Errno::EBADF));
    }
    #[expect(unsafe_code, reason = "a descriptor is inherited as a number")]
    // SAFETY: the descriptor is open (`opened_here` has read the flags), and nothing in this process owns the descriptor.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    check(descriptor)?;
    rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
    #[expect(unsafe_code, reason = "a descriptor is inherited as a number")]
    // SAFETY: as above. The descriptor is close-on-exec now, so `opened_here` rejects a second call.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether this program has opened the descriptor: an inherited descriptor is not close-on-exec, a descriptor of Rust's
/// library is.
fn opened_here(number: RawFd) -> io::Result<bool> {
    #[expect(unsafe_code, reason = "no safe call checks whether a number is a descriptor")]
    // SAFETY: F_GETFD touches no memory and returns EBADF for a closed number.
    let flags = unsafe { nix::libc::fcntl(number, nix::libc::F_GETFD) };
    if flags < 0 { Err(io::Error::last_os_error()) } else { Ok(flags & nix::libc::FD_CLOEXEC != 0) }
}

fn check(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let socket = SockRef::from(&descriptor);
    let stream = socket.r#type()? == Type::STREAM;
    if stream && socket.local_addr()?.is_unix() { Ok(()) } else { Err(failure(Errno::EPROTO)) }
}

fn failure(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::{AsFd, AsRawFd};

    /// Only a stream between local processes is a channel.
    #[test]
    fn channel_is_unix_stream() {
        let (stream, _far) = UnixStream::pair().expect("a pair");
        assert!(check(stream.as_fd()).is_ok());
        let datagrams = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        for other in [datagrams.as_fd(), tcp.as_fd(), udp.as_fd()] {
            assert_eq!(check(other).map_err(|error| errno(&error)), Err(Errno::EPROTO));
        }
    }

    /// A descriptor without close-on-exec was inherited; a closed descriptor is an error.
    #[test]
    fn opened_descriptor_is_not_inherited() {
        let opened = File::open("/dev/null").expect("a file");
        let inherited = nix::unistd::dup(&opened).expect("a duplicate");
        assert!(opened_here(opened.as_raw_fd()).expect("an open number"));
        assert!(!opened_here(inherited.as_raw_fd()).expect("an open number"));
        let closed = opened_here(1_000_000).map_err(|error| errno(&error));
        assert_eq!(closed.err(), Some(Errno::EBADF));
    }
}
