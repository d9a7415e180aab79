//! Asks an executable for its version. Kills an executable that never answers, or never stops answering.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};

/// Even a busy machine starts a runtime in less time.
const DEADLINE: Duration = Duration::from_secs(5);

/// More bytes than any version has.
const LONGEST: u64 = 4096;

/// The answer to `--version`.
///
/// # Errors
///
/// The executable cannot be started, fails, or prints too much; or it does not end in time, and is killed.
pub(super) fn ask(program: &Path) -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut command = Command::new(program);
        // A separate group, so that all children of the executable end with it.
        command
            .arg("--version")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .stdout(Stdio::piped())
            .process_group(0);
        let mut asked = command.spawn()?;
        let group = asked.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let group = group.expect("a child before its wait has a process id");
        let answer = tokio::time::timeout(DEADLINE, answer(&mut asked)).await;
        if !matches!(answer, Ok(Ok(_))) {
            // The child has not been reaped, so the number still means the same group.
            killpg(group, Signal::SIGKILL)?;
            asked.wait().await?;
        }
        let late = |_| io::Error::other(format!("no answer to `--version` within {} s", DEADLINE.as_secs()));
        let (status, said) = answer.map_err(late)??;
        if status.success() {
            Ok(said)
        } else {
            Err(io::Error::other(format!("`--version` fails: {status}")))
        }
    })
}

async fn answer(asked: &mut Child) -> io::Result<(ExitStatus, String)> {
    let stdout = asked.stdout.take().expect("standard output is a pipe");
    let mut said = Vec::new();
    stdout.take(LONGEST + 1).read_to_end(&mut said).await?;
    if said.len() as u64 > LONGEST {
        return Err(io::Error::other(format!("more than {LONGEST} bytes of answer to `--version`")));
    }
    Ok((asked.wait().await?, String::from_utf8_lossy(&said).into_owned()))
}

/// Whether a word can be a version. The version becomes part of a path.
pub(super) fn is_one(word: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || ".-+_".contains(c);
    word.contains('.') && word.chars().any(|c| c.is_ascii_digit()) && word.chars().all(fits)
}
