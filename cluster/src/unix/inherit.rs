//! What a worker's process inherits from its primary: a number, a channel, and the variables that name them.
//! It only takes them over; who talks on the channel is the worker's matter.

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

/// A worker's place in its cluster.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) id: WorkerId,
    pub(crate) serialization: Serialization,
    pub(crate) channel: UnixStream,
}

/// Takes over what this process has inherited, if it is a worker's. To be called once.
pub(crate) fn inherit() -> Result<Option<Inheritance>, RoleError> {
    let Some(variables) = variables() else { return Ok(None) };
    let id = parse_id(&variables.id)?;
    let serialization = parse_serialization(variables.serialization.as_deref())?;
    let channel = take_channel(variables.channel.as_deref().ok_or(RoleError::NoChannel)?)?;
    signals::keep_ignoring();
    Ok(Some(Inheritance { id, serialization, channel }))
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
    // Standard input, output and error are never the channel.
    let Some(number) = text.parse::<RawFd>().ok().filter(|number| *number > 2) else {
        return Err(RoleError::ChannelNumber { value: text });
    };
    let channel = adopt(number).map_err(|error| RoleError::Channel { number, errno: errno(&error) })?;
    Ok(channel.into())
}

/// Makes a number an owned descriptor if it is an inherited Unix stream socket, and close-on-exec from now on.
fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if opened_here(number)? {
        return Err(failure(Errno::EBADF));
    }
    #[expect(unsafe_code, reason = "a descriptor is inherited as a number")]
    // SAFETY: it is open (its flags were just read), and nobody in this process owns it, see `opened_here`.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    check(descriptor)?;
    rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)?;
    #[expect(unsafe_code, reason = "a descriptor is inherited as a number")]
    // SAFETY: as above; from now on it is close-on-exec, so that `opened_here` keeps a second call from taking it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether this program has opened the descriptor itself: what survived `exec` is not close-on-exec, while all that
/// Rust's library opens is.
fn opened_here(number: RawFd) -> io::Result<bool> {
    #[expect(unsafe_code, reason = "there is no safe way to ask whether a number is a descriptor")]
    // SAFETY: F_GETFD touches no memory, and answers EBADF for a number that is not open.
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
