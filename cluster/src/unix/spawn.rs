//! The start of a worker: the channel is a socket pair, the far end becomes a low descriptor of the new
//! program, and an environment variable has the number of the descriptor. The names of the variables are
//! defined here.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::{env, process};

use cluster_core::{OsBytes, SIGNAL_UNTIL_MAIN_VARIABLE, SLOT_VARIABLE, Serialization, SpawnOptions};
use tokio::process::Child;

use super::channel::Channel;
use super::stdio::{Layout, Pipes};
use super::{child, executable, parent_death, signals};

/// The variable with the id of the worker.
pub(crate) const ID: &str = "NODE_UNIQUE_ID";
/// The variable with the descriptor of the channel.
pub(crate) const CHANNEL: &str = "NODE_CHANNEL_FD";
/// The variable with the serialization of messages.
pub(crate) const SERIALIZATION: &str = "NODE_CHANNEL_SERIALIZATION_MODE";

/// The variable of a hand-over from another program of the same process.
pub(super) const HANDED_OVER: &str = "CLUSTER_HANDED_OVER";

/// The variable with further options of Node.js.
const NODE_OPTIONS: &str = "NODE_OPTIONS";

/// The primary's side of a started worker.
pub(super) struct Started {
    pub(super) child: Child,
    pub(super) channel: Channel,
    pub(super) pipes: Pipes,
}

/// Starts a program with a channel. After a failure nothing is left open.
pub(super) fn spawn(command: &SpawnOptions, env: Vec<(OsBytes, OsBytes)>) -> io::Result<Started> {
    let (ours, theirs) = UnixStream::pair()?;
    // The primary's end first, because nothing may fail after the process has started.
    let channel = Channel::new(ours)?;
    let layout = Layout::new(command, theirs.into())?;
    let mut program = program(command)?;
    describe(&mut program, command, &layout, env);
    let _reserved = reserve(layout.len())?;
    signals::keep_statuses()?;
    let pipes = child::prepare(&mut program, command, layout)?;
    let child = match command.parent_death_signal {
        Some(_) => parent_death::spawn(program)?,
        None => tokio::process::Command::from(program).spawn()?,
    };
    Ok(Started { child, channel, pipes })
}

/// Sets the directory and the environment.
fn describe(
    program: &mut process::Command,
    command: &SpawnOptions,
    layout: &Layout,
    variables: Vec<(OsBytes, OsBytes)>,
) {
    for variable in [ID, CHANNEL, SERIALIZATION, SLOT_VARIABLE, HANDED_OVER, SIGNAL_UNTIL_MAIN_VARIABLE] {
        program.env_remove(variable);
    }
    let options = command
        .ignore_terminal_signals
        .unwrap_or_default()
        .then(|| (NODE_OPTIONS, ignoring_signals(&variables)));
    program.envs(variables).envs(options).env(CHANNEL, layout.channel.to_string());
    program.env(SERIALIZATION, written(command.serialization.unwrap_or_default()));
    if let Some(directory) = command.cwd.as_ref() {
        program.current_dir(directory);
    }
}

/// The options of Node.js for a worker, including the option to ignore the signals.
fn ignoring_signals(variables: &[(OsBytes, OsBytes)]) -> OsString {
    let own =
        variables.iter().rfind(|(name, _)| *name == NODE_OPTIONS).map(|(_, options)| OsString::from(options));
    let mut options = own.or_else(|| env::var_os(NODE_OPTIONS)).unwrap_or_default();
    options.push(" ");
    options.push(signals::NODE_OPTION);
    options
}

/// The name of a serialization, as in the variable.
pub(crate) fn written(serialization: Serialization) -> &'static str {
    match serialization {
        Serialization::Json => "json",
        Serialization::Advanced => "advanced",
    }
}

/// The program and the arguments. Without an executable in the options: this program, with the same
/// arguments.
fn program(command: &SpawnOptions) -> io::Result<process::Command> {
    let (executable, own): (OsString, Vec<OsString>) = match command.exec.as_ref() {
        Some(executable) => (executable.into(), Vec::new()),
        None => (executable::path()?.into(), env::args_os().skip(1).collect()),
    };
    let mut program = process::Command::new(executable);
    program
        .args(command.exec_argv.as_deref().unwrap_or_default())
        .args(own)
        .args(command.args.as_deref().unwrap_or_default());
    Ok(program)
}

/// Opens descriptors at the free numbers below `count`, the numbers of the worker's descriptors. Without
/// these descriptors, the pipe for the report of a failed `exec` could get such a number, and a descriptor of
/// the worker would replace the pipe.
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

/// Whether the directory is the reason of a failed start. The error number alone could also be about the
/// program.
pub(super) fn is_directory_at_fault(command: &SpawnOptions, error: &io::Error) -> bool {
    let Some(directory) = command.cwd.as_ref() else { return false };
    let entered = rustix::fs::access(Path::new(directory).join("."), rustix::fs::Access::EXEC_OK);
    entered.is_err_and(|refused| Some(refused.raw_os_error()) == error.raw_os_error())
}
