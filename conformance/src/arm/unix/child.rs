//! A child that a worker leaves behind, with the worker's channel and a connection. It does nothing with either, and ends
//! when the client has ended; nobody waits for it.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::{Command, Stdio};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Starts it. The connection blocks from now on, in this process, too.
///
/// # Errors
///
/// There is no `cat`, or the kernel is too old to duplicate a descriptor by its number.
pub(super) fn leave(channel: RawFd, connection: &socket2::Socket) -> io::Result<()> {
    let this_process = pidfd_open(getpid(), PidfdFlags::empty())?;
    let channel = pidfd_getfd(this_process, channel, PidfdGetfdFlags::empty())?;
    connection.set_nonblocking(false)?;
    let connection = OwnedFd::from(connection.try_clone()?);
    // It has nothing to complain about, so that it never writes to the channel.
    Command::new("cat").stdin(connection).stdout(Stdio::null()).stderr(channel).spawn()?;
    Ok(())
}
