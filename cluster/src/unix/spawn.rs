//! Starting a worker: a socket pair, its far end as one of the first descriptors of the new program, and the variables that
//! name it. What the variables of a worker are is said here, and only here.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::{env, process};

use cluster_core::{OsBytes, Serialization, SpawnOptions};
use tokio::process::Child;

use super::channel::Channel;
use super::stdio::{Layout, Pipes};
use super::{child, own, signals};

/// The worker's number.
pub(crate) const ID: &str = "NODE_UNIQUE_ID";
/// The number of the channel's descriptor.
pub(crate) const CHANNEL: &str = "NODE_CHANNEL_FD";
/// How messages are written.
pub(crate) const SERIALIZATION: &str = "NODE_CHANNEL_SERIALIZATION_MODE";

/// What Node.js takes as options besides its arguments.
const NODE_OPTIONS: &str = "NODE_OPTIONS";

/// What a primary has of a worker that was started.
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) channel: Channel,
    pub(super) pipes: Pipes,
}

/// Starts a program with a channel. If it fails, nothing is left.
pub(super) fn spawn(command: &SpawnOptions, env: Vec<(OsBytes, OsBytes)>) -> io::Result<Started> {
    let (ours, theirs) = UnixStream::pair()?;
    // First ours, because nothing can fail any more once there is a process.
    let channel = Channel::new(ours)?;
    let layout = Layout::new(command, theirs.into())?;
    let mut program = program(command)?;
    describe(&mut program, command, &layout, env);
    let _reserved = reserve(layout.len())?;
    signals::keep_statuses()?;
    let pipes = child::prepare(&mut program, command, layout)?;
    let child = tokio::process::Command::from(program).spawn()?;
    Ok(Started { child, channel, pipes })
}

/// Its directory and its environment.
fn describe(
    program: &mut process::Command,
    command: &SpawnOptions,
    layout: &Layout,
    variables: Vec<(OsBytes, OsBytes)>,
) {
    for variable in [ID, CHANNEL, SERIALIZATION] {
        program.env_remove(variable);
    }
    let options = command.ignores_terminal_signals().then(|| (NODE_OPTIONS, ignoring_signals(&variables)));
    program.envs(variables).envs(options).env(CHANNEL, layout.channel.to_string());
    program.env(SERIALIZATION, written(command.get_serialization()));
    if let Some(directory) = command.get_cwd() {
        program.current_dir(directory);
    }
}

/// The options of Node.js that a worker would have, and the one that ignores the signals.
fn ignoring_signals(variables: &[(OsBytes, OsBytes)]) -> OsString {
    let own =
        variables.iter().rfind(|(name, _)| *name == NODE_OPTIONS).map(|(_, options)| OsString::from(options));
    let mut options = own.or_else(|| env::var_os(NODE_OPTIONS)).unwrap_or_default();
    options.push(" ");
    options.push(signals::NODE_OPTION);
    options
}

/// How a serialization is called in the variable.
pub(crate) fn written(serialization: Serialization) -> &'static str {
    match serialization {
        Serialization::Json => "json",
        Serialization::Advanced => "advanced",
    }
}

/// The executable and its arguments. Without an executable: this program, with its own arguments.
fn program(command: &SpawnOptions) -> io::Result<process::Command> {
    let (executable, own): (OsString, Vec<OsString>) = match command.get_exec() {
        Some(executable) => (executable.into(), Vec::new()),
        None => (own::path()?.into(), env::args_os().skip(1).collect()),
    };
    let mut program = process::Command::new(executable);
    program.args(command.get_exec_argv()).args(own).args(command.get_args());
    Ok(program)
}

/// Takes the free numbers that the worker's descriptors will have: the new process tells by a descriptor of its own why it
/// cannot execute the program, and that one must not be among those that are replaced.
fn reserve(count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut reserved = Vec::new();
    loop {
        let next = OwnedFd::from(File::open("/dev/null")?);
        if usize::try_from(next.as_raw_fd()).is_ok_and(|number| number >= count) {
            return Ok(reserved);
        }
        reserved.push(next);
    }
}

/// Whether a program was not started because of its directory: the error number alone fits the program as well.
pub(super) fn is_directory_at_fault(command: &SpawnOptions, error: &io::Error) -> bool {
    let Some(directory) = command.get_cwd() else { return false };
    let entered = rustix::fs::access(Path::new(directory).join("."), rustix::fs::Access::EXEC_OK);
    entered.is_err_and(|refused| Some(refused.raw_os_error()) == error.raw_os_error())
}
