//! A child process: signals, and the exit, reported by a pidfd or, where the kernel has no pidfds, by
//! SIGCHLD. Only this child is awaited, because other children belong to the program.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use cluster_core::{Errno, ExitStatus, Signal};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use tokio::process::Child;
use tokio::time::{Instant, Sleep, sleep};

use super::adopted_child::AdoptedChild;
use super::channel::{Channel, ChannelEvent};
use super::group::{Receivers, RemainingGroup};

/// The time for which a process may run after the close of the channel. Longer than the five seconds of a
/// Rust worker after the loss of the primary.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug)]
enum ChildSource {
    Spawned(Child),
    /// A child started by an earlier program of the process.
    Adopted(AdoptedChild),
}

/// A child process, until the report of the exit.
#[derive(Debug)]
pub(super) struct Process {
    child: ChildSource,
    /// The process id, kept after the child was reaped.
    number: Option<Pid>,
    receivers: Receivers,
    ended: Option<ExitStatus>,
    /// The bytes unread when the exit was found, less the bytes read since.
    left_unread: Option<usize>,
    /// The time of [`OsEvent::Lingers`](cluster_core::OsEvent::Lingers), after the channel has closed.
    deadline: Option<Pin<Box<Sleep>>>,
}

/// A child process as plain data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ProcessState {
    number: i32,
    receivers: Receivers,
    ended: Option<ExitStatus>,
    left_unread: Option<usize>,
    /// The time until the deadline.
    deadline: Option<Duration>,
}

impl Process {
    pub(super) fn state(&self) -> ProcessState {
        let left = |deadline: &Pin<Box<Sleep>>| deadline.deadline().saturating_duration_since(Instant::now());
        ProcessState {
            number: self.number.expect("a child has its number from the start").as_raw(),
            receivers: self.receivers,
            ended: self.ended,
            left_unread: self.left_unread,
            deadline: self.deadline.as_ref().map(left),
        }
    }

    /// Watches a child started by an earlier program of the process.
    pub(super) fn restore(state: &ProcessState) -> io::Result<Self> {
        let ProcessState { number, receivers, ended, left_unread, deadline } = *state;
        Ok(Process {
            child: ChildSource::Adopted(AdoptedChild::new(number, ended.is_some())?),
            number: Some(Pid::from_raw(number)),
            receivers,
            ended,
            left_unread,
            deadline: deadline.map(|left| Box::pin(sleep(left))),
        })
    }

    /// Watches a child. If the value is dropped before the exit, the child continues, and the runtime reaps
    /// the child.
    pub(super) fn new(child: Child, receivers: Receivers) -> Self {
        let number = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let child = ChildSource::Spawned(child);
        Process { child, number, receivers, ended: None, left_unread: None, deadline: None }
    }

    /// The process id; `None` after the child was reaped.
    pub(super) fn pid(&self) -> Option<u32> {
        match &self.child {
            ChildSource::Spawned(child) => child.id(),
            ChildSource::Adopted(child) => child.id(),
        }
    }

    /// The exit status. Later calls return the same status.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<ExitStatus> {
        if self.ended.is_none()
            && let Poll::Ready(status) = match &mut self.child {
                ChildSource::Spawned(child) => pin!(child.wait()).poll(cx),
                ChildSource::Adopted(child) => child.poll_wait(cx),
            }
        {
            // The only failure is ECHILD: another part of this process has reaped the child.
            self.ended = Some(status.map_or(ExitStatus::ReapedElsewhere, translate));
        }
        self.ended.map_or(Poll::Pending, Poll::Ready)
    }

    /// Reads the last bytes of the exited process, even if the channel is paused: the bytes present when the
    /// exit was found. Another process with the worker's end may write more; later bytes are not awaited.
    pub(super) fn drain(&mut self, channel: Option<&mut Channel>, buffer: &mut [u8]) -> Option<ChannelEvent> {
        let channel = channel?;
        let left = self.left_unread.get_or_insert_with(|| channel.unread());
        if *left == 0 && !channel.is_at_end() {
            return None;
        }
        let event = channel.read_now(buffer)?;
        let read = if let ChannelEvent::Bytes(bytes, _) = &event { bytes.len() } else { *left };
        *left = left.saturating_sub(read);
        Some(event)
    }

    /// Starts the deadline: the channel has closed, on either side.
    pub(super) fn expect_end(&mut self) {
        self.deadline = Some(Box::pin(sleep(GRACE)));
    }

    /// Ready once, if the process still runs after the deadline.
    pub(super) fn poll_lingers(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = &mut self.deadline else { return Poll::Pending };
        ready!(deadline.as_mut().poll(cx));
        self.deadline = None;
        Poll::Ready(())
    }

    /// Sends a signal. If the process has exited, the call succeeds.
    pub(super) fn kill(&self, signal: Signal) -> Result<(), Errno> {
        match self.number.filter(|pid| self.pid().is_some() && is_child(*pid)) {
            Some(pid) => self.receivers.signal(pid, signal),
            None => Ok(()),
        }
    }

    /// The process group of a reaped child, if the child was the leader.
    pub(super) fn remaining_group(&self) -> Option<RemainingGroup> {
        let leads = self.receivers == Receivers::Group && self.pid().is_none();
        self.number.filter(|_| leads).map(RemainingGroup)
    }
}

/// Whether the process id still belongs to a child. If another part of this process has reaped the child, the
/// id may belong to an unrelated process.
#[cfg(not(target_vendor = "apple"))]
fn is_child(pid: Pid) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(pid), flags).is_ok()
}

/// Apple systems: nix lacks `waitid`.
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

#[cfg(all(test, not(target_vendor = "apple")))]
mod tests {
    use super::*;
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use std::process::Command;

    /// The id belongs to the child until the child is reaped, and the check does not reap the child. Other
    /// processes are no children.
    #[test]
    fn child_is_known_until_reaped() {
        let _alone = crate::unix::signals::tests::CHILDREN.lock().expect("no test panicked");
        let mut child = Command::new("sh").args(["-c", "exit 3"]).spawn().expect("a shell");
        let pid = Pid::from_raw(child.id().try_into().expect("a process id"));
        assert!(is_child(pid));
        waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).expect("the exit");
        assert!(is_child(pid));
        assert_eq!(child.wait().expect("the status").code(), Some(3));
        assert!(!is_child(pid) && !is_child(Pid::this()) && !is_child(Pid::parent()));
    }
}
