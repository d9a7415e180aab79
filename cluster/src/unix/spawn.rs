//! Starting a worker: a socket pair, its far end as descriptor 3 of the new program, and the variables that name it.
//! What the variables of a worker are is said here, and only here.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use cluster_core::Command;
use command_fds::{CommandFdExt, FdMapping};
use tokio::process::Child;

use super::channel::Channel;

/// The worker's number.
pub(crate) const ID: &str = "NODE_UNIQUE_ID";
/// The number of the channel's descriptor.
pub(crate) const CHANNEL: &str = "NODE_CHANNEL_FD";
/// How messages are written.
pub(crate) const SERIALIZATION: &str = "NODE_CHANNEL_SERIALIZATION_MODE";

/// Where a worker finds its channel: behind standard input, output and error, as with Node.
const DESCRIPTOR: i32 = 3;

/// Starts a program with a channel. If it fails, nothing is left.
pub(super) fn spawn(command: &Command, env: Vec<(String, String)>) -> io::Result<(Child, Channel)> {
    let (ours, theirs) = UnixStream::pair()?;
    // First ours, because nothing can fail any more once there is a process.
    let channel = Channel::new(ours)?;
    let child = start(command, env, theirs.into())?;
    Ok((child, channel))
}

fn start(command: &Command, env: Vec<(String, String)>, channel: OwnedFd) -> io::Result<Child> {
    let mut program = program(command)?;
    for variable in [ID, CHANNEL, SERIALIZATION] {
        program.env_remove(variable);
    }
    program.envs(env).env(CHANNEL, DESCRIPTOR.to_string()).env(SERIALIZATION, "json");
    if let Some(directory) = &command.cwd {
        program.current_dir(directory);
    }
    if command.silent {
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    }
    program
        .fd_mappings(vec![FdMapping { parent_fd: channel, child_fd: DESCRIPTOR }])
        .map_err(|collision| io::Error::other(collision.to_string()))?;
    tokio::process::Command::from(program).spawn()
}

/// The executable and its arguments. Without an executable: this program, with its own arguments first.
fn program(command: &Command) -> io::Result<std::process::Command> {
    let (executable, own): (OsString, Vec<OsString>) = match &command.exec {
        Some(executable) => (executable.into(), Vec::new()),
        None => (std::env::current_exe()?.into(), std::env::args_os().skip(1).collect()),
    };
    let mut program = std::process::Command::new(executable);
    program.args(own).args(&command.args);
    Ok(program)
}
