//! A child started by an earlier program of the process. SIGCHLD reports the exit, because tokio makes no
//! `Child` from a process id.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::task::{Context, Poll, ready};

use rustix::process::{Pid, WaitOptions, waitpid};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// A child known by the process id alone. Dropping the value leaves the child running, or the exit unreaped.
#[derive(Debug)]
pub(super) struct AdoptedChild {
    pid: Pid,
    exits: Signal,
    /// Whether the child may have exited since the last `waitpid`. True at first: the child may have exited
    /// before the adoption.
    is_due: bool,
    is_reaped: bool,
}

impl AdoptedChild {
    /// Fails without a process id, and where the runtime has no IO driver.
    pub(super) fn new(pid: i32, is_reaped: bool) -> io::Result<Self> {
        let pid = Pid::from_raw(pid).ok_or(rustix::io::Errno::INVAL)?;
        let exits = signal(SignalKind::child())?;
        Ok(AdoptedChild { pid, exits, is_due: true, is_reaped })
    }

    /// The process id; `None` after the child was reaped.
    pub(super) fn id(&self) -> Option<u32> {
        (!self.is_reaped).then(|| self.pid.as_raw_nonzero().get().cast_unsigned())
    }

    /// The exit status, once.
    pub(super) fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<ExitStatus>> {
        loop {
            if std::mem::take(&mut self.is_due) {
                // Reset first: a later exit raises SIGCHLD again.
                let waited = waitpid(Some(self.pid), WaitOptions::NOHANG);
                if let Some((_, status)) = waited? {
                    self.is_reaped = true;
                    return Poll::Ready(Ok(ExitStatus::from_raw(status.as_raw())));
                }
            }
            // The stream ends only with the runtime.
            let exit = ready!(self.exits.poll_recv(cx));
            if exit.is_none() {
                return Poll::Pending;
            }
            self.is_due = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::process::{Command, Stdio};
    use std::time::Duration;

    fn shell(line: &str) -> (std::process::Child, AdoptedChild) {
        let child = Command::new("sh").args(["-c", line]).stdin(Stdio::piped()).spawn().expect("a shell");
        let adopted = AdoptedChild::new(child.id().cast_signed(), false).expect("a runtime");
        (child, adopted)
    }

    async fn end(child: &mut AdoptedChild) -> ExitStatus {
        let end = poll_fn(|cx| child.poll_wait(cx));
        tokio::time::timeout(Duration::from_secs(30), end).await.expect("an exit").expect("a child")
    }

    /// An exit before and after the adoption; a code and a signal.
    #[tokio::test]
    async fn adopted_child_reports_its_exit() {
        let (_early, mut adopted) = shell("exit 3");
        assert_eq!(end(&mut adopted).await.code(), Some(3));
        assert_eq!(adopted.id(), None);
        let (mut late, mut adopted) = shell("read line; kill -9 $$");
        let pending = poll_fn(|cx| Poll::Ready(adopted.poll_wait(cx).is_pending())).await;
        assert!(pending && adopted.id() == Some(late.id()));
        drop(late.stdin.take());
        assert_eq!(end(&mut adopted).await.signal(), Some(9));
    }
}
