//! The end of a worker's process. By default `main` returns; after the loss of the primary a deadline ends
//! the process. Before the library ends a process, accepted messages are written: see `last_writes`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, warn};

use super::{Inner, Phase};
use crate::event::WorkerEvent;
use crate::system::exit_process;

/// The default linger time: how long an ending process waits for the peer to read.
pub(crate) const LINGER: Duration = Duration::from_secs(5);

/// The default time for `main` to return after the loss of the primary.
const EXIT_DEADLINE: Duration = Duration::from_secs(5);

/// Under Node's rule, how long a program that takes events may react to the last event.
const REACTION: Duration = Duration::from_secs(5);

/// The exit code of a process that did not end within the deadline.
const LATE: i32 = 1;

/// The exit code after a panic of the driver, as after a panic in `main`.
const PANICKED: i32 = 101;

/// The end of a worker's process after the close of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitRule {
    /// `main` returns; within a deadline if the primary is lost.
    Return,
    /// The process exits with code 0 at once.
    Node,
    /// The program alone ends the process.
    KeepRunning,
    /// Set when the program kills a worker with [`ExitRule::KeepRunning`]. As [`ExitRule::Node`], but until
    /// the exit, calls return instead of waiting. Node: a worker that kills itself still observes the close
    /// of its servers.
    Killed,
}

impl ExitRule {
    /// Whether the library ends the process after the last event.
    pub(super) fn exits_as_node(self) -> bool {
        matches!(self, ExitRule::Node | ExitRule::Killed)
    }
}

#[derive(Debug)]
pub(super) struct Exit {
    rule: watch::Sender<ExitRule>,
    deadline: watch::Sender<Duration>,
    linger: watch::Sender<Duration>,
    /// Whether the primary is lost, so `main` has to return.
    is_lost: Arc<AtomicBool>,
    /// Whether a thread waits for the loss of the primary.
    is_watched: AtomicBool,
}

impl Exit {
    pub(super) fn new(rule: ExitRule) -> Self {
        Exit {
            rule: watch::channel(rule).0,
            deadline: watch::channel(EXIT_DEADLINE).0,
            linger: watch::channel(LINGER).0,
            is_lost: Arc::default(),
            is_watched: AtomicBool::new(false),
        }
    }
}

impl Inner {
    pub(super) fn exit_rule(&self) -> ExitRule {
        *self.exit.rule.borrow()
    }

    /// From now on the program alone ends the process.
    pub(crate) fn keep_running(&self) {
        self.exit.rule.send_replace(ExitRule::KeepRunning);
    }

    /// Under Node's rule, as [`Inner::keep_running`]: without this call, the process would exit before the
    /// program observes the end. Has no effect under another rule.
    pub(crate) fn keep_running_as_node(&self) {
        if self.exit_rule() == ExitRule::Node {
            self.keep_running();
        }
    }

    pub(crate) fn set_exit_deadline(&self, deadline: Duration) {
        self.exit.deadline.send_replace(deadline);
    }

    pub(crate) fn set_linger(&self, linger: Duration) {
        self.exit.linger.send_replace(linger);
    }

    pub(super) fn linger(&self) -> Duration {
        *self.exit.linger.borrow()
    }

    /// Called where a call has no result, because the worker is disconnected. Under Node's rule the call
    /// waits for the end of the process: `main` receives no error of a disconnected worker.
    pub(crate) async fn wait_for_exit(&self) {
        // The sender is a field of `self`, so there is no error.
        let _ = self.exit.rule.subscribe().wait_for(|rule| *rule != ExitRule::Node).await;
    }

    /// Under Node's rule the process exits when the program asks for an event after the last.
    pub(super) fn exit_after_last(&self, event: Option<&WorkerEvent>) {
        if event.is_none() && self.exit_rule().exits_as_node() {
            self.exit(0);
        }
    }

    /// Exits with code 0, under every rule, when the primary has answered, or after the linger time without
    /// an answer. Exits at once if the channel is closed, even if the program has not received the last
    /// event.
    pub(crate) fn kill(self: &Arc<Self>) {
        self.exit.rule.send_modify(|rule| {
            *rule = if *rule == ExitRule::KeepRunning { ExitRule::Killed } else { ExitRule::Node };
        });
        self.lock().killed = true;
        self.command(cluster_core::Worker::kill);
        if self.inbox.has_ended() || self.with_machine(cluster_core::Worker::is_finished) {
            self.exit(0);
        }
        let inner = self.clone();
        self.runtime.spawn(async move {
            tokio::time::sleep(inner.linger()).await;
            // Without an answer the primary does not read either: do not wait a second time.
            inner.set_linger(Duration::ZERO);
            inner.exit(0)
        });
    }

    /// Exits when the primary has read everything, or does not read for the linger time.
    pub(crate) fn exit(&self, code: i32) -> ! {
        let linger = self.linger();
        self.lock().finish(linger);
        exit_process(code)
    }

    /// Called when the channel has closed, before the program observes the close: the reaction of the program
    /// may block the runtime.
    pub(super) fn channel_closed(self: &Arc<Self>) {
        let (is_lost, killed) = {
            let driver = self.lock();
            (driver.is_lost(), driver.killed)
        };
        if is_lost || killed {
            // After the queued events, `next` returns `None` without waiting for open connections. Node: the
            // process exits here.
            self.inbox.end();
        }
        if is_lost && self.exit_rule() == ExitRule::Return {
            self.exit.is_lost.store(true, Ordering::Relaxed);
            if !self.exit.is_watched.load(Ordering::Relaxed) {
                self.exit_at_deadline(LATE);
            }
        }
    }

    /// Called when the channel and every listener are closed.
    pub(super) fn work_is_over(self: Arc<Self>) {
        if self.exit_rule().exits_as_node() {
            self.runtime.clone().spawn(async move { self.exit_as_node().await });
        }
    }

    async fn exit_as_node(&self) {
        if self.inbox.is_asked() && !self.lock().killed {
            tokio::time::sleep(REACTION).await;
        }
        if self.exit_rule().exits_as_node() {
            self.exit(0);
        }
    }

    /// Called after a panic of the driver. From now on the driver delivers nothing, and every call returns as
    /// after a lost channel.
    pub(super) fn fail(self: &Arc<Self>) {
        error!("a task of the library has panicked: this worker is disconnected");
        let driver = &mut *self.lock();
        driver.listeners.clear();
        driver.advance(Phase::Disconnected);
        self.inbox.end();
        match self.exit_rule() {
            ExitRule::Node | ExitRule::Killed => exit_process(PANICKED),
            ExitRule::Return => self.exit_at_deadline(PANICKED),
            ExitRule::KeepRunning => {}
        }
    }

    /// The safety net for a lost primary, in a separate thread: the program may block the runtime before the
    /// runtime can observe the loss, or drop the runtime and not return.
    pub(crate) fn watch_primary(self: &Arc<Self>) {
        let Some(hangup) = self.lock().system.hangup() else { return };
        let (inner, rule) = (Arc::downgrade(self), self.exit.rule.subscribe());
        let (deadline, is_lost) = (self.exit.deadline.subscribe(), self.exit.is_lost.clone());
        let watch = move || {
            hangup.wait();
            if inner.strong_count() == 0 && !is_lost.load(Ordering::Relaxed) {
                // The worker has ended, and the primary is not lost.
                return;
            }
            let deadline = *deadline.borrow();
            thread::sleep(deadline);
            let inner = inner.upgrade();
            let is_asked =
                |inner: &Arc<Inner>| inner.with_machine(cluster_core::Worker::exited_after_disconnect);
            let is_lost =
                inner.as_ref().map_or_else(|| is_lost.load(Ordering::Relaxed), |inner| !is_asked(inner));
            if is_lost && *rule.borrow() == ExitRule::Return {
                exit_late(inner, deadline, LATE);
            }
        };
        self.exit.is_watched.store(start_thread(watch), Ordering::Relaxed);
    }

    /// The safety net where no thread watches: the driver has observed the loss of the primary, or has
    /// panicked.
    fn exit_at_deadline(self: &Arc<Self>, code: i32) {
        let (rule, deadline) = (self.exit.rule.subscribe(), *self.exit.deadline.borrow());
        let inner = Arc::downgrade(self);
        #[cfg(feature = "simulated")]
        if crate::simulated::is_simulated() {
            self.runtime.spawn(async move {
                tokio::time::sleep(deadline).await;
                if *rule.borrow() == ExitRule::Return {
                    exit_late(inner.upgrade(), deadline, code);
                }
            });
            return;
        }
        start_thread(move || {
            thread::sleep(deadline);
            if *rule.borrow() == ExitRule::Return {
                exit_late(inner.upgrade(), deadline, code);
            }
        });
    }
}

/// Starts a thread that can end the process, and returns whether the thread runs.
fn start_thread(act: impl FnOnce() + Send + 'static) -> bool {
    let started = thread::Builder::new().name("cluster-exit".into()).spawn(act);
    let started = started.inspect_err(|error| {
        warn!(%error, "cannot start the thread that ends this process after its deadline");
    });
    started.is_ok()
}

fn exit_late(inner: Option<Arc<Inner>>, deadline: Duration, code: i32) -> ! {
    warn!(?deadline, code, "the primary is lost, and `main` has not returned: the process exits");
    if let Some(inner) = inner {
        inner.exit(code);
    }
    exit_process(code)
}
