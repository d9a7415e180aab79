//! The inheritance of a worker's process: the id, the channel, and the environment variables with both.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;

use cluster_core::{Errno, Serialization, WorkerId};
use socket2::{SockRef, Type};

use super::adoption::adopt_checked;
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

/// Takes the inherited id and channel. `None`: the process is no worker. Call once.
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
    let channel =
        adopt_checked(number, check).map_err(|error| RoleError::Channel { number, errno: errno(&error) })?;
    Ok(channel.into())
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
    use std::os::fd::AsFd;

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
}
