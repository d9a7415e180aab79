//! Orphans: descendants without their former parents. The kernel makes orphans children of a process with the
//! id 1, and of a subreaper. Exited orphans are reaped. The status of a worker, or of another child of the
//! program, is never taken.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, Sleep, sleep};

use super::Unix;

/// How long an exited child remains, because a part of the program may wait for the child. The kernel does
/// not distinguish orphans from other children.
const GRACE: Duration = Duration::from_secs(1);

impl Unix {
    /// Reaps orphans from now on, while events are polled.
    pub(crate) fn reap_orphans(&mut self) -> io::Result<()> {
        self.reaper = Some(OrphanReaper::new()?);
        Ok(())
    }

    pub(super) fn poll_orphans(&mut self, cx: &mut Context<'_>) {
        let Unix { reaper, processes, .. } = self;
        if let Some(reaper) = reaper {
            let is_worker = |child: Pid| {
                processes.values().any(|process| process.pid() == u32::try_from(child.as_raw()).ok())
            };
            reaper.poll(cx, is_worker);
        }
    }
}

/// Finds exited children not reaped by any part of the program.
#[derive(Debug)]
pub(super) struct OrphanReaper {
    exits: Signal,
    /// Exited children, each with the time of the discovery.
    found: BTreeMap<Pid, Instant>,
    next_look: Option<Pin<Box<Sleep>>>,
}

impl OrphanReaper {
    /// Fails where SIGCHLD cannot be received, or where the kernel does not list the children of a process
    /// (no `/proc`).
    pub(super) fn new() -> io::Result<Self> {
        children()?;
        let mut reaper =
            OrphanReaper { exits: signal(SignalKind::child())?, found: BTreeMap::new(), next_look: None };
        // The first scan finds earlier exits.
        reaper.next_look = Some(Box::pin(sleep(Duration::ZERO)));
        Ok(reaper)
    }

    /// Reaps orphans after each exit of a child. Workers are reaped elsewhere.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, is_worker: impl Fn(Pid) -> bool) {
        loop {
            let has_exits = self.exits.poll_recv(cx) == Poll::Ready(Some(()));
            let is_time = self.next_look.as_mut().is_some_and(|look| look.as_mut().poll(cx).is_ready());
            if !has_exits && !is_time {
                return;
            }
            self.look(&is_worker);
            self.next_look = (!self.found.is_empty()).then(|| Box::pin(sleep(GRACE)));
        }
    }

    fn look(&mut self, is_worker: impl Fn(Pid) -> bool) {
        let exited = children().unwrap_or_default().into_iter().filter(|child| !is_worker(*child));
        let exited: Vec<Pid> = exited.filter(|child| has_exited(*child)).collect();
        self.found.retain(|child, _| exited.contains(child));
        for child in exited {
            let since = *self.found.entry(child).or_insert_with(Instant::now);
            if since.elapsed() >= GRACE && waitpid(child, Some(WaitPidFlag::WNOHANG)).is_ok() {
                self.found.remove(&child);
            }
        }
    }
}

/// The children of all threads of this process.
fn children() -> io::Result<Vec<Pid>> {
    let mut children = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let listed = match fs::read_to_string(thread?.path().join("children")) {
            // ESRCH: the thread has ended.
            Err(error) if error.raw_os_error() == Some(nix::libc::ESRCH) => continue,
            listed => listed?,
        };
        children.extend(listed.split_whitespace().filter_map(|id| Some(Pid::from_raw(id.parse().ok()?))));
    }
    Ok(children)
}

/// Whether a child has exited and was not reaped. The check does not reap the child.
fn has_exited(child: Pid) -> bool {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::Pid(child), flags).is_ok_and(|status| status != WaitStatus::StillAlive)
}
