//! The worker process of a foreign program: a program without knowledge of clusters. The adapter inherits the
//! listening sockets, starts the program as a child, reports when the program is ready, and sends a signal
//! when the program is to end.
//!
//! A worker is a process group: the adapter, `cluster __exec` (later the program), and children of the
//! program. The supervisor's SIGKILL ends the whole group. The kernel sends SIGKILL to the program when the
//! adapter dies, and the adapter ends the program when the primary dies.

use std::ffi::OsString;
use std::os::unix::process::{ExitStatusExt, parent_id};
use std::pin::pin;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, bail};
use cluster::{Role, Worker};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::{Pid, getpgrp};
use tokio::process::{Child, Command};

use crate::processes;

mod accepting;
mod arguments;
mod exec;
mod readiness;

pub(crate) use arguments::{AdapterArguments, Ready, StopSignal, adapted};
pub(crate) use exec::{ExecArguments, exec};
use readiness::NotifySocket;

/// The message with which an adapter reports that the program is ready.
pub(crate) const READY: &str = "cluster:ready";

/// The number of the first inherited socket in the program; systemd uses the same number.
const FIRST_DESCRIPTOR: usize = 3;

/// How long the program may run after the death of the primary.
const ORPHAN_TIME: Duration = Duration::from_secs(5);

/// Variables of systemd for the service. The program must not inherit these variables.
const MANAGER_VARIABLES: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// Runs the program, and exits with the status of the program.
pub(crate) async fn run(arguments: AdapterArguments) -> anyhow::Result<()> {
    if cluster::role()? != Role::Worker {
        bail!("`__adapter` is internal; write `cluster run --listen ADDR PROGRAM`");
    }
    let worker = Worker::join()?;
    worker.keep_running();
    // The supervisor's signals to the group are for the program, so the adapter ignores the signals. `exec`
    // resets the actions in the program.
    worker.ignore_terminal_signals();
    // Keeps the channel open until the program has ended.
    let _hold = worker.hold();
    let notify = match &arguments.ready {
        Ready::Notify => Some(NotifySocket::bind(arguments.notify.as_deref(), worker.id())?),
        Ready::Started | Ready::Accepting | Ready::Http(_) => None,
    };
    let mut command = command(&arguments, notify.as_ref());
    command.env(processes::MARK, processes::mark(parent_id(), worker.id()));
    let mut child = command.spawn().context("cannot start `cluster __exec`")?;
    let status = supervise(&worker, &mut child, &arguments, notify.as_ref()).await?;
    if let Some(signal) = status.signal() {
        eprintln!("cluster: the program was ended by signal {signal}");
    }
    drop(notify);
    // The code 128 + n for signal n, as in a shell.
    worker.exit(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
}

/// The command that starts the program through `cluster __exec`: `LISTEN_PID` must be the id of the program's
/// process, and `__exec` runs in this process.
fn command(arguments: &AdapterArguments, notify: Option<&NotifySocket>) -> Command {
    let mut command = Command::new(arguments::own_executable());
    for name in MANAGER_VARIABLES {
        command.env_remove(name);
    }
    command.arg("__exec").arg("--parent").arg(std::process::id().to_string());
    if !arguments.addresses.is_empty() {
        command.arg("--sockets").env("LISTEN_FDS", arguments.addresses.len().to_string());
        command.env("LISTEN_FDNAMES", arguments.names.join(":"));
    }
    if let Some(notify) = notify {
        command.env("NOTIFY_SOCKET", notify.path());
    }
    command.arg("--").args(arguments.program.iter().map(|part| with_descriptors(part, arguments)));
    command
}

/// Replaces `{fd}` and `{fd1}` by the number of the first socket, `{fd2}` by the number of the second, and so
/// on.
fn with_descriptors(part: &OsString, arguments: &AdapterArguments) -> OsString {
    let Some(text) = part.to_str() else { return part.clone() };
    let mut text = text.to_owned();
    for index in 0..arguments.addresses.len() {
        let number = (FIRST_DESCRIPTOR + index).to_string();
        text = text.replace(&format!("{{fd{}}}", index + 1), &number);
        if index == 0 {
            text = text.replace("{fd}", &number);
        }
    }
    text.into()
}

/// Waits until the program has ended. Meanwhile the adapter reports readiness once, and sends the stop signal
/// once.
async fn supervise(
    worker: &Worker,
    child: &mut Child,
    arguments: &AdapterArguments,
    notify: Option<&NotifySocket>,
) -> anyhow::Result<ExitStatus> {
    let program = Pid::from_raw(child.id().context("the program has not been awaited")?.cast_signed());
    let mut ready = pin!(readiness::wait(arguments, notify));
    let mut lame = pin!(worker.became_lame_duck());
    let mut orphaned = pin!(orphaned(worker));
    let (mut is_ready, mut is_stopping) = (false, false);
    loop {
        tokio::select! {
            biased;
            status = child.wait() => return Ok(status?),
            () = &mut ready, if !is_ready => {
                is_ready = true;
                // Fails if the primary has died.
                let _ = worker.send(READY);
            }
            () = &mut lame, if !is_stopping => {
                is_stopping = true;
                kill(program, arguments.stop_signal.0)?;
            }
            // The signal ends the adapter as well.
            () = &mut orphaned => killpg(getpgrp(), Signal::SIGKILL)?,
        }
    }
}

/// Waits until the primary has died, and then for `ORPHAN_TIME`.
async fn orphaned(worker: &Worker) {
    worker.disconnected().await;
    tokio::time::sleep(ORPHAN_TIME).await;
}
