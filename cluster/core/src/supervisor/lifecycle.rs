//! A supervised process from the start to its exit, through the primary. A requested exit has four phases:
//! lame duck, disconnect, SIGTERM, SIGKILL; a timer ends each phase. Slots, restarts and the order of
//! replacements are decided elsewhere.

use alloc::collections::BTreeSet;
use alloc::string::ToString;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use super::age::age_of;
use super::process::{Disconnect, Phase, Process};
use super::processes::Processes;
use super::slot_info::SlotId;
use super::supervisor_settings::Timeouts;
use super::timers::{Deadline, Timers, report_after};
use crate::message::HandleKey;
use crate::os::{Call, Signal, TimerId, WorkerId};
use crate::primary::{ForkError, Primary, WorkerInfo, shares_sockets};

/// The environment variable with the number of a worker's slot.
pub const SLOT_VARIABLE: &str = "CLUSTER_SLOT";

/// The least time to wait for the exit after SIGKILL. A loaded kernel does not end a process within a
/// millisecond.
const KILLED: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Lifecycle {
    primary: Primary,
    timeouts: Timeouts,
    pub(super) timers: Timers,
    processes: Processes,
}

impl Lifecycle {
    pub(super) fn new(primary: Primary, timeouts: Timeouts) -> Self {
        Lifecycle { primary, timeouts, timers: Timers::default(), processes: Processes::default() }
    }

    pub(super) fn primary(&self) -> &Primary {
        &self.primary
    }

    pub(super) fn primary_mut(&mut self) -> &mut Primary {
        &mut self.primary
    }

    pub(super) fn processes(&self) -> &Processes {
        &self.processes
    }

    /// The keys at which a worker listens.
    pub(super) fn keys_of(&mut self, worker: WorkerId) -> BTreeSet<HandleKey> {
        self.primary.supervised().keys_of(worker)
    }

    /// The number of connections acknowledged by a worker.
    pub(super) fn acknowledged_by(&self, worker: WorkerId) -> u64 {
        self.primary.worker(worker).map_or(0, WorkerInfo::acknowledged_connections)
    }

    /// The number of connections acknowledged by a worker. `None`: its connections do not pass through the
    /// primary.
    pub(super) fn known_connections(&self, worker: WorkerId) -> Option<u64> {
        let has_listened = self.processes.get(worker).is_some_and(Process::has_listened);
        (has_listened && !shares_sockets(&self.primary)).then(|| self.acknowledged_by(worker))
    }

    /// The number of open connections in a worker's last report. If a worker without servers reports 0, the
    /// number counts as unknown, because its program may have connections from elsewhere.
    pub(super) fn reported_connections(&self, worker: WorkerId, process: &Process) -> Option<u64> {
        let reported = self.primary.worker(worker)?.open_connections();
        reported.filter(|count| *count > 0 || process.has_listened())
    }

    // ---- start

    pub(super) fn fork(&mut self, slot: SlotId) -> Result<WorkerId, ForkError> {
        let worker = self.primary.fork_with_env([(SLOT_VARIABLE, slot.to_string())])?;
        self.primary.supervised().assign_slot(worker, slot.0);
        self.processes.start(worker, slot);
        self.set_timer(Deadline::Ready(worker), self.timeouts.ready);
        Ok(worker)
    }

    /// Called when a worker has reported a server that listens. Returns the process, and the number of
    /// reports so far.
    pub(super) fn count_server(&mut self, worker: WorkerId) -> Option<(Process, usize)> {
        let process = self.processes.get_mut(worker)?;
        let servers = process.count_server();
        Some((*process, servers))
    }

    /// Makes a starting process ready. `None`: the process was not starting.
    pub(super) fn make_ready(&mut self, worker: WorkerId) -> Option<SlotId> {
        let process = self.processes.get_mut(worker)?;
        process.advance(Phase::Ready).then_some(process.slot())
    }

    /// Called when a starting process is too late, and so has failed. `None`: the process is not starting.
    pub(super) fn fail_start(&mut self, worker: WorkerId) -> Option<SlotId> {
        let process = self.processes.get_mut(worker)?;
        let is_late = process.phase() == Phase::Starting && process.exit_cause().is_none();
        is_late.then(|| {
            process.fail();
            process.slot()
        })
    }

    /// Ends a process that was never ready.
    pub(super) fn withdraw(&mut self, worker: WorkerId) {
        if let Some(process) = self.processes.get_mut(worker) {
            process.request_exit();
        }
        self.primary.supervised().lame_duck(worker);
        self.terminate(worker);
    }

    // ---- readiness

    /// Sets the timer that limits the age of a ready process.
    pub(super) fn limit_age(&mut self, worker: WorkerId) {
        if let Some((age, spread)) = self.timeouts.max_age {
            self.set_timer(Deadline::Age(worker), age_of(worker, age, spread));
        }
    }

    /// Sends the first ping, when the process runs. The worker answers this ping before it can listen, so a
    /// worker that listens has answered, and is watched from the moment in which it is ready.
    pub(super) fn introduce(&mut self, worker: WorkerId) {
        if self.timeouts.heartbeat.is_some() {
            self.primary.supervised().ping(worker);
        }
    }

    /// Sends a ping to a ready worker, and sets the timers for the answer and for the next ping.
    pub(super) fn watch(&mut self, worker: WorkerId) {
        let Some([interval, timeout]) = self.timeouts.heartbeat else { return };
        if self.processes.is_ready(worker) {
            let seq = self.primary.supervised().ping(worker);
            self.set_timer(Deadline::Pong(worker, seq), timeout);
            self.set_timer(Deadline::Ping(worker), interval);
        }
    }

    /// Called when the time for the answer to a ping has ended. If a ready worker has not answered, it is
    /// killed, and the slot is returned. A worker that has never answered a ping is not watched, because an
    /// unmodified Node program ignores pings.
    pub(super) fn kill_silent(&mut self, worker: WorkerId, seq: u64) -> Option<SlotId> {
        let answered = self.primary.worker(worker)?.answered_ping?;
        let process = self.processes.get_mut(worker)?;
        if answered >= seq || process.phase() != Phase::Ready {
            return None;
        }
        process.fail();
        let slot = process.slot();
        self.primary.supervised().lame_duck(worker);
        self.kill(worker);
        Some(slot)
    }

    /// Called when the replacement of a ready worker was abandoned. The next request waits for a pause, which
    /// grows.
    pub(super) fn delay_recycle(&mut self, worker: WorkerId, pauses: [Duration; 2]) {
        let process = self.processes.get_mut(worker).filter(|process| process.phase() == Phase::Ready);
        if let Some(process) = process {
            let after = process.delay_recycle(pauses);
            self.set_timer(Deadline::Recycle(worker), after);
        }
    }

    pub(super) fn permit_recycle(&mut self, worker: WorkerId) {
        if let Some(process) = self.processes.get_mut(worker) {
            process.permit_recycle();
        }
    }

    // ---- exit

    /// Asks a worker to exit, beginning with the lame duck. `drain`: see
    /// [`disconnect`](Lifecycle::disconnect).
    pub(super) fn retire(&mut self, worker: WorkerId, drain: Option<Duration>) {
        let Some(process) = self.processes.get_mut(worker) else { return };
        if !process.advance(Phase::Lame) {
            return;
        }
        process.request_exit();
        let serves = !self.keys_of(worker).is_empty();
        self.primary.supervised().lame_duck(worker);
        if serves && !self.timeouts.lame_duck.is_zero() {
            self.set_timer(Deadline::Lame(worker), self.timeouts.lame_duck);
        } else {
            self.disconnect(worker, drain);
        }
    }

    /// Disconnects a worker, when the time as a lame duck has ended. `drain`: the time before SIGTERM;
    /// `None`: the worker has the deadline of a shutdown.
    pub(super) fn disconnect(&mut self, worker: WorkerId, drain: Option<Duration>) {
        match self.processes.get_mut(worker).map_or(Disconnect::Never, Process::disconnect) {
            Disconnect::Now => {
                self.primary.supervised().ping(worker);
                self.primary.disconnect_worker(worker);
                if let Some(drain) = drain {
                    self.set_timer(Deadline::Report(Some(worker)), report_after(drain));
                    self.set_timer(Deadline::Drain(worker), drain);
                }
            }
            Disconnect::Postponed => {
                if let Some(drain) = drain {
                    self.set_timer(Deadline::Drain(worker), drain);
                }
            }
            Disconnect::Never => {}
        }
    }

    /// Sets whether the program waits for replies of a worker. If it no longer does, a postponed disconnect
    /// follows.
    pub(super) fn set_busy(&mut self, worker: WorkerId, busy: bool, drain: Option<Duration>) {
        if self.processes.get_mut(worker).is_some_and(|process| process.set_busy(busy)) {
            self.disconnect(worker, drain);
        }
    }

    /// Called when the channel is closed and the process has not exited: it serves no further client. Returns
    /// the slot, if the worker was ready and was not asked to exit.
    pub(super) fn channel_closed(&mut self, worker: WorkerId) -> Option<SlotId> {
        let process = self.processes.get_mut(worker)?;
        if process.exit_cause().is_some() || !process.advance(Phase::Draining) {
            return None;
        }
        let process = *process;
        // A worker that was not ready has failed to start. The exit will report the reason.
        let time = if process.was_ready() { self.timeouts.drain } else { self.timeouts.term };
        self.set_timer(Deadline::Drain(worker), time);
        process.was_ready().then_some(process.slot())
    }

    /// Asks a worker, or all workers not sent a signal yet, for the number of open connections, before a
    /// signal is sent.
    pub(super) fn ask(&mut self, worker: Option<WorkerId>) {
        let workers = worker.map_or_else(|| self.processes.before(Phase::Terminating), |one| [one].into());
        for worker in workers {
            self.primary.supervised().ping(worker);
        }
    }

    /// Called when the time of a drain has ended.
    pub(super) fn end_drain(&mut self, worker: WorkerId) {
        if self.processes.get(worker).is_some_and(Process::is_draining) {
            self.terminate(worker);
        }
    }

    /// Asks a worker to exit by SIGTERM at once, without a drain.
    pub(super) fn end(&mut self, worker: WorkerId) {
        if let Some(process) = self.processes.get_mut(worker) {
            process.request_exit();
        }
        self.terminate(worker);
    }

    fn terminate(&mut self, worker: WorkerId) {
        if self.advance(worker, Phase::Terminating) {
            self.primary.kill(worker, Signal::SIGTERM);
            self.set_timer(Deadline::Term(worker), self.timeouts.term);
        }
    }

    /// Kills a worker at the request of the program.
    pub(super) fn kill_requested(&mut self, worker: WorkerId) {
        let Some(process) = self.processes.get_mut(worker) else { return };
        process.request_exit();
        self.primary.supervised().lame_duck(worker);
        self.kill(worker);
    }

    pub(super) fn kill(&mut self, worker: WorkerId) {
        if self.advance(worker, Phase::Killed) {
            self.primary.kill(worker, Signal::SIGKILL);
            self.set_timer(Deadline::Kill(worker), self.timeouts.term.max(KILLED));
        }
    }

    /// Forgets a process that has exited, or is no longer awaited.
    pub(super) fn remove(&mut self, worker: WorkerId) -> Option<Process> {
        self.processes.remove(worker)
    }

    /// Moves a process to a later phase. False: the process has exited, or is in this phase or a later one.
    fn advance(&mut self, worker: WorkerId, to: Phase) -> bool {
        self.processes.get_mut(worker).is_some_and(|process| process.advance(to))
    }

    // ---- timers

    pub(super) fn set_timer(&mut self, deadline: Deadline, after: Duration) {
        let timer = self.primary.supervised().next_timer();
        self.timers.set(timer, deadline, after);
    }

    /// Sets a timer of the program.
    pub(super) fn set_program_timer(&mut self, after: Duration) -> TimerId {
        let timer = self.primary.supervised().next_timer();
        self.timers.set(timer, Deadline::Program(timer), after);
        timer
    }

    pub(super) fn fire(&mut self, timer: TimerId) -> Option<Deadline> {
        self.timers.fire(timer)
    }

    pub(super) fn poll_call(&mut self) -> Option<Call> {
        self.timers.poll_call().or_else(|| crate::pump::Machine::poll_call(&mut self.primary))
    }
}
