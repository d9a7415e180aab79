//! The life of one child process: its end, by pidfd where the kernel has them and by SIGCHLD elsewhere, and signals to it.
//! It never waits for any child but its own, so that a program's other children stay the program's.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use cluster_core::{Errno, ExitStatus, Signal};
use nix::sys::signal;
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{Sleep, sleep};

use super::errno;

/// How long a process may run on without its channel. Longer than a Rust worker takes to react to its loss (five seconds).
const GRACE: Duration = Duration::from_secs(10);

/// A child process that has not been reported as ended.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    ended: Option<ExitStatus>,
    /// How many bytes of it were still unread when it was found dead, as far as they have not been read since.
    pub(super) left_unread: Option<usize>,
    /// When it should have ended, once its channel is closed.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Process {
    /// Watches a child. Dropped before its end, the child lives on, and the runtime reaps it when it ends.
    pub(super) fn new(child: Child) -> Self {
        Process { child, ended: None, left_unread: None, deadline: None }
    }

    /// Its process id, until it was reaped.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, again and again.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<ExitStatus> {
        if self.ended.is_none()
            && let Poll::Ready(status) = pin!(self.child.wait()).poll(cx)
        {
            // ECHILD is the only failure: the child was waited for by something else.
            self.ended = Some(status.map_or(ExitStatus::ReapedElsewhere, translate));
        }
        self.ended.map_or(Poll::Pending, Poll::Ready)
    }

    /// Its channel is closed, on whatever side: it is to end.
    pub(super) fn expect_end(&mut self) {
        self.deadline = Some(Box::pin(sleep(GRACE)));
    }

    /// Whether it has not ended in time, once.
    pub(super) fn poll_lingers(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.as_mut().poll(cx));
        self.deadline = None;
        Poll::Ready(())
    }

    /// Sends a signal. A process that has ended is no failure.
    pub(super) fn kill(&self, signal: Signal) -> Result<(), Errno> {
        let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()) else { return Ok(()) };
        if !is_child(Pid::from_raw(pid)) {
            return Ok(());
        }
        let signal = signal::Signal::try_from(signal.0).map_err(|_| Errno::EINVAL)?;
        match signal::kill(Pid::from_raw(pid), signal) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
            Err(error) => Err(errno(&io::Error::from(error))),
        }
    }
}

/// Whether the number is still that of a child. Normally only this process's own wait frees it; where something else has
/// reaped the child, another process may have the number by now.
#[cfg(not(target_vendor = "apple"))]
fn is_child(pid: Pid) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(pid), flags).is_ok()
}

/// There nix cannot ask.
#[cfg(target_vendor = "apple")]
fn is_child(_: Pid) -> bool {
    true
}

fn translate(status: std::process::ExitStatus) -> ExitStatus {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, Some(signal)) => ExitStatus::Signal(Signal(signal)),
        (None, None) => ExitStatus::ReapedElsewhere,
    }
}
