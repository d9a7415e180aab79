//! `cluster __exec`: writes the id of the process into `LISTEN_PID`, asks the kernel for SIGKILL when the
//! adapter dies, and becomes the program. Only the process of the program can do both.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{self, Command};

use clap::Args;

use crate::report::Coded;

/// The exit code of a shell if the program cannot be executed.
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

/// Asks the kernel to send SIGKILL to the process when the adapter dies. The request survives `exec`, unless
/// the program is set-user-ID.
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
