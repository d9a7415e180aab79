//! The last writes of a worker: when `main` returns, when the runtime ends, and before an exit. The writes do
//! not use the runtime.
//!
//! The end of a runtime drops the driver task. Clones of the worker may remain: in a `static`, in a thread,
//! leaked, or in a task that is dropped later. From then on each command performs the writes before
//! returning.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use cluster_core::Machine;
use tracing::warn;

use super::exit::ExitRule;
use super::{Driver, Inner};

/// A worker with a driver task. The task owns the value, so the drop of the value reports the end of the
/// runtime.
#[derive(Debug)]
pub(super) struct Driven(pub(super) Arc<Inner>);

impl Drop for Driven {
    fn drop(&mut self) {
        // After a panic in the middle of a step the machine performs nothing more.
        if !self.0.driver.is_poisoned() {
            let (rule, linger) = (self.0.exit_rule(), self.0.linger());
            self.0.lock().leave_task(rule, linger);
        }
    }
}

/// The state of a driver after the end of the task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taskless {
    /// Bounds the writes at the end of the runtime and at the end of the worker.
    until: Instant,
    /// Bounds the writes of each later command.
    linger: Duration,
    /// Whether the driver completes a disconnect. False under Node's rule, because the process exits earlier.
    completes: bool,
}

impl Drop for Inner {
    /// Runs when no clone of the worker remains, because `main` has returned or the runtime ends.
    fn drop(&mut self) {
        let (rule, linger) = (self.exit_rule(), self.linger());
        let driver = self.driver.get_mut().unwrap_or_else(PoisonError::into_inner);
        if !rule.exits_as_node() {
            driver.complete_disconnect(driver.deadline(linger));
        }
        driver.finish(linger);
    }
}

impl Driver {
    /// The deadline of the end: the same for the end of the runtime and for the end of the worker.
    fn deadline(&self, linger: Duration) -> Instant {
        self.taskless.map_or_else(|| Instant::now() + linger, |taskless| taskless.until)
    }

    /// Called when the driver task ends: from now on only commands drive the worker.
    fn leave_task(&mut self, rule: ExitRule, linger: Duration) {
        let until = self.deadline(linger);
        self.taskless = Some(Taskless { until, linger, completes: !rule.exits_as_node() });
        let is_left = self.leave_runtime();
        self.withdraw_all();
        if is_left {
            self.catch_up(until);
        }
    }

    /// Accepts no further connection.
    fn withdraw_all(&mut self) {
        for listener in self.listeners.ids() {
            self.machine.change(|machine| machine.withdraw(listener));
        }
        // `flush` performs the writes and nothing else: when a program exits within a transition, the rest of
        // the transition does not happen. Node: after an exit in the callback of `listen` the server is never
        // announced.
        self.system.flush(&mut self.machine);
    }

    /// Performs a command. Without the driver task, the following steps are performed as well. If the primary
    /// does not read, a single command waits for room in the channel, and later commands do not wait.
    pub(super) fn command<T>(&mut self, act: impl FnOnce(&mut cluster_core::Worker) -> T) -> T {
        let waits = self.taskless.filter(|_| !self.has_unwritten());
        let result = self.act(act);
        if let Some(Taskless { linger, .. }) = waits {
            self.catch_up(Instant::now() + linger);
        }
        result
    }

    /// Stops the use of the runtime. The machine receives the event that the driver has taken from the
    /// system. `false`: the simulated world continues after the runtime.
    fn leave_runtime(&mut self) -> bool {
        if let Some(event) = self.next.take() {
            self.machine.change(|machine| machine.handle(event));
        }
        self.system.leave_runtime()
    }

    /// Writes the accepted messages. Then completes a disconnect, unless the program holds a connection or a
    /// guard.
    fn catch_up(&mut self, until: Instant) {
        let is_held = self.holds > 0 || !self.listeners.is_empty();
        if !is_held && self.taskless.is_some_and(|taskless| taskless.completes) {
            self.complete_disconnect(until);
        }
        self.write_all(until);
    }

    /// `main` may return as soon as the last listener is closed: the rest of the disconnect happens here, so
    /// a connection that the primary has just handed off is rejected, and not lost.
    fn complete_disconnect(&mut self, until: Instant) {
        if !self.is_asked_to_exit() || self.is_finished() || !self.leave_runtime() {
            return;
        }
        loop {
            self.pump_all();
            if self.is_finished() {
                return;
            }
            let Some(event) = self.system.wait(until) else { return };
            self.machine.change(|machine| machine.handle(event));
        }
    }

    /// Writes the accepted messages, and waits at most `linger` for the primary to read.
    pub(super) fn finish(&mut self, linger: Duration) {
        let until = self.deadline(linger);
        let is_left = self.leave_runtime();
        self.withdraw_all();
        if is_left {
            self.write_all(until);
            self.system.linger(until);
        }
    }

    fn write_all(&mut self, until: Instant) {
        while self.has_unwritten() {
            self.pump_all();
            if !self.has_unwritten() {
                break;
            }
            let Some(event) = self.system.wait(until) else {
                warn!(
                    unwritten = self.machine.read(cluster_core::Worker::unwritten),
                    "messages were lost: the primary does not read"
                );
                break;
            };
            self.machine.change(|machine| machine.handle(event));
        }
    }

    /// Performs all outputs without a program: messages and errors are dropped, and listeners still receive
    /// events.
    fn pump_all(&mut self) {
        while let Some(event) = self.system.pump(&mut self.machine) {
            self.deliver(event);
        }
        self.update_phase();
    }

    fn is_finished(&self) -> bool {
        self.machine.read(cluster_core::Worker::is_finished)
    }

    pub(super) fn has_unwritten(&self) -> bool {
        self.machine.read(cluster_core::Worker::unwritten).is_some_and(|unwritten| unwritten > 0)
    }
}
