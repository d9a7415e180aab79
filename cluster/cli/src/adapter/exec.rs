//! `cluster __exec`: becomes the program, with the id of the process in `LISTEN_PID`, and asks the kernel for
//! SIGKILL when the adapter dies. Both need the process of the program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{self, Command};

use clap::Args;

use crate::report::Coded;

/// The exit code for a failed execution, as in a shell.
const NOT_EXECUTABLE: u8 = 127;

#[derive(Debug, Args)]
pub(crate) struct ExecArguments {
    /// The process id of the adapter.
    #[arg(long)]
    parent: u32,

    /// Whether the program inherits sockets.
    #[arg(long)]
    sockets: bool,

    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

/// Becomes the program.
///
/// # Errors
/// The program cannot be executed.
pub(crate) fn exec(arguments: &ExecArguments) -> anyhow::Result<()> {
    end_with_parent(arguments.parent)?;
    let [program, rest @ ..] = &arguments.program[..] else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(rest);
    if arguments.sockets {
        command.env("LISTEN_PID", process::id().to_string());
    }
    let error = command.exec();
    let text = format!("cannot execute {}: {error}", program.to_string_lossy());
    Err(Coded { code: NOT_EXECUTABLE, text }.into())
}

/// The request survives `exec`, except of a program with set-user-ID.
#[cfg(target_os = "linux")]
fn end_with_parent(parent: u32) -> anyhow::Result<()> {
    nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?;
    let is_alive = std::os::unix::process::parent_id() == parent;
    anyhow::ensure!(is_alive, "the adapter has died");
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn end_with_parent(_: u32) -> anyhow::Result<()> {
    Ok(())
}
