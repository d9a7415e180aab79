//! The trial of a new program before the hand-over: a child reads the state as after the hand-over, reports a
//! verdict and exits. The running program serves meanwhile.

use std::env;
use std::io::{self, PipeReader};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{self, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::super::executable;
use super::super::spawn::HANDED_OVER;
use super::descriptors::make_inheritable;
use super::execute::memory_file;
use super::{Inherited, Part, TrialFailure, Verdict};

/// The most bytes read of a verdict, and of the standard error.
const LONGEST: u64 = 1 << 16;

/// The number of lines of the standard error in a failure.
const LINES: usize = 3;

/// The most characters of a line in a failure.
const LINE: usize = 300;

/// Starts the program at the path of the running program as a child. Returns the version in the verdict.
pub(crate) async fn try_program(state: &[u8], limit: Duration) -> Result<String, TrialFailure> {
    let (mut child, verdict) = start(state).map_err(TrialFailure::Start)?;
    let output = tokio::spawn(read(child.stderr.take()));
    let work = async {
        let verdict = read(Some(verdict)).await;
        (child.wait().await, verdict, output.await.unwrap_or_default())
    };
    // A timeout drops and kills the child.
    let Ok((status, verdict, output)) = timeout(limit, work).await else {
        let _ = child.kill().await;
        return Err(TrialFailure::Timeout(limit));
    };
    match serde_json::from_slice(&verdict) {
        Ok(Verdict::Ready { version }) => Ok(version),
        Ok(Verdict::Refused { error }) => Err(TrialFailure::Refused(error)),
        Err(_) => Err(TrialFailure::Exit {
            status: status.map_or_else(|error| error.to_string(), |status| status.to_string()),
            output: last_lines(&output),
        }),
    }
}

fn start(state: &[u8]) -> io::Result<(Child, pipe::Receiver)> {
    let state = memory_file(state)?;
    let (ours, theirs) = io::pipe()?;
    let ours = receiver(ours)?;
    let (number, verdict) = (state.as_raw_fd(), theirs.as_raw_fd());
    let mut program = process::Command::new(executable::path()?);
    if let Some(name) = env::args_os().next() {
        program.arg0(name);
    }
    let inherited = Inherited { state: number, part: Part::Trial { verdict } };
    program.args(env::args_os().skip(1)).env(HANDED_OVER, inherited.to_string());
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    make_inheritable(&mut program, [number, verdict]);
    let child = Command::from(program).kill_on_drop(true).spawn()?;
    Ok((child, ours))
}

fn receiver(reader: PipeReader) -> io::Result<pipe::Receiver> {
    let reader = OwnedFd::from(reader);
    rustix::io::ioctl_fionbio(&reader, true)?;
    pipe::Receiver::from_owned_fd(reader)
}

/// The bytes up to the end or the bound. A failed read ends the text.
async fn read(from: Option<impl AsyncRead + Unpin + Send + 'static>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        let _ = from.take(LONGEST).read_to_end(&mut bytes).await;
    }
    bytes
}

fn last_lines(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].iter();
    last.map(|line| line.chars().take(LINE).collect()).collect::<Vec<String>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_in_failure_is_short() {
        assert_eq!(last_lines(b"one\n\ntwo\n three \nfour\n"), "two; three; four");
        assert_eq!(last_lines("y".repeat(60_000).as_bytes()), "y".repeat(LINE));
    }
}
