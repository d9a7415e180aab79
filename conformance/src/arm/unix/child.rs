//! A child that a worker leaves behind, with the channel of the worker and a connection. The child uses
//! neither, and exits when the client has ended. No process waits for the child.

use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::process::{Command, Stdio};

use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

/// Starts the child. From then on the connection is in blocking mode, also in this process.
///
/// # Errors
///
/// `cat` is missing, or the kernel cannot duplicate a descriptor by number.
pub(super) fn leave(channel: RawFd, connection: &socket2::Socket) -> io::Result<()> {
    let this_process = pidfd_open(getpid(), PidfdFlags::empty())?;
    let channel = pidfd_getfd(this_process, channel, PidfdGetfdFlags::empty())?;
    connection.set_nonblocking(false)?;
    let connection = OwnedFd::from(connection.try_clone()?);
    // `cat` has no errors to report, so it never writes to the channel.
    Command::new("cat").stdin(connection).stdout(Stdio::null()).stderr(channel).spawn()?;
    Ok(())
}
