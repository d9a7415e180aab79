//! How a failed command ends: a text with all causes, and an exit code.

use std::fmt;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::thread;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::oneshot;

/// The exit code of a failed command.
const FAILURE: u8 = 1;

/// The exit code after a wrong command line.
pub(crate) const WRONG_LINE: u8 = 2;

/// The exit code if no service runs.
const NOT_RUNNING: u8 = 3;

/// The exit code if the service does not answer.
const SILENT: u8 = 4;

/// A failure with an exit code other than `FAILURE`.
#[derive(Debug)]
pub(crate) struct Coded {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Coded {
    /// A failure: no service runs.
    pub(crate) fn not_running(text: String) -> anyhow::Error {
        Coded { code: NOT_RUNNING, text }.into()
    }

    /// A failure: the service runs, but does not answer.
    pub(crate) fn silent(text: String) -> anyhow::Error {
        Coded { code: SILENT, text }.into()
    }

    /// A failure: the command line is wrong.
    pub(crate) fn wrong_line(text: String) -> anyhow::Error {
        Coded { code: WRONG_LINE, text }.into()
    }
}

impl fmt::Display for Coded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Coded {}

/// Prints a line to standard output.
pub(crate) fn line(text: impl fmt::Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// Waits until the reader of standard output has closed the pipe. Never returns if standard output is a file
/// or a terminal. A thread waits, and ends with the process.
pub(crate) async fn output_closed() {
    let (closed, wait) = oneshot::channel();
    thread::spawn(move || {
        let output = io::stdout();
        // `poll` reports errors and a closed reader without being asked.
        let mut polled = [PollFd::new(output.as_fd(), PollFlags::empty())];
        while poll(&mut polled, PollTimeout::NONE) == Err(Errno::EINTR) {}
        let _ = closed.send(());
    });
    let _ = wait.await;
}

/// The exit code of a command. Prints a failure.
pub(crate) fn code(result: anyhow::Result<()>, is_json: bool) -> ExitCode {
    result.map_or_else(|error| failure(&error, is_json), |()| ExitCode::SUCCESS)
}

/// Prints a failure and its causes to standard error, and returns the exit code.
fn failure(error: &anyhow::Error, is_json: bool) -> ExitCode {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    if io.into_iter().any(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        // The reader has closed the pipe, as in `cluster logs | head`: no failure.
        return ExitCode::SUCCESS;
    }
    let coded = error.chain().find_map(|cause| cause.downcast_ref::<Coded>());
    let code = coded.map_or(FAILURE, |coded| coded.code);
    if is_json {
        print_json_failure(&format!("{error:#}"), code);
    } else {
        eprintln!("cluster: {error:#}");
    }
    ExitCode::from(code)
}

/// Prints a failure to standard error, as a JSON object.
pub(crate) fn print_json_failure(error: &str, code: u8) {
    eprintln!("{}", serde_json::json!({ "error": error, "code": code }));
}
