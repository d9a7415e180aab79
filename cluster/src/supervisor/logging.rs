//! The events of a supervisor in the log. Events in need of attention are warnings, and each failure is
//! logged once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use cluster_core::{
    AbandonReason, Event, RestartReason, SlotId, StartFailure, SupervisorEvent, WorkerError, WorkerId,
};
use tracing::{debug, error, info, warn};

use super::restart_reasons::RestartReasons;

/// Logs the events of one supervisor.
#[derive(Debug, Default)]
pub(crate) struct EventLog {
    /// Adds the exit status of a worker to the event of the restart, where the status follows at once.
    reasons: RestartReasons,
    /// Logs the completed events.
    lines: Lines,
}

/// Writes the lines of the log.
#[derive(Debug, Default)]
struct Lines {
    /// Workers logged as disconnected. The exit status is the reason: a later exit is logged as a warning.
    disconnected: BTreeSet<WorkerId>,
    /// The process ids of the workers, also of the last `EXITED` workers that have exited: events about the
    /// slot follow the exit.
    pids: BTreeMap<WorkerId, u32>,
    /// The exited workers in `pids`.
    exited: VecDeque<WorkerId>,
    /// The slots of ready workers.
    slots: BTreeMap<WorkerId, SlotId>,
    /// The reason for the end of the last worker of each slot, until an event reports the reason.
    ends: BTreeMap<SlotId, String>,
    /// The last start refused by the operating system. Reset when a worker is ready.
    refused: Option<StartFailure>,
    /// The time of the last warning about a failed accept. Without free descriptors, every attempt fails.
    accept_failed: Option<Instant>,
}

/// The number of exited workers with a known process id.
const EXITED: usize = 64;

/// The time between two warnings about failed accepts.
const ACCEPT_WARNINGS: Duration = Duration::from_secs(10);

impl EventLog {
    /// Logs an event. The restart after a closed channel is logged when the exit status is known. `pid`: the
    /// process id of a worker.
    pub(crate) fn log(&mut self, event: &SupervisorEvent, pid: impl FnOnce(WorkerId) -> Option<u32>) {
        let EventLog { reasons, lines } = self;
        if let SupervisorEvent::Primary(Event::Fork { worker }) = event
            && let Some(pid) = pid(*worker)
        {
            lines.pids.insert(*worker, pid);
        }
        reasons.observe(event, |event| lines.log(event));
    }
}

impl Lines {
    /// Logs an event, with slot, worker and exit status as fields where the event has them.
    fn log(&mut self, event: &SupervisorEvent) {
        match event {
            SupervisorEvent::Primary(event) => self.log_primary(event),
            // No warning, because the reason appears again in the restart, the abandoned reload or the last
            // error.
            SupervisorEvent::StartFailed { slot, worker, failure } => {
                self.ends.insert(*slot, format!("the worker {failure}"));
                debug!(slot = slot.0, worker = id(*worker), pid = self.pid(*worker), "{event}");
            }
            SupervisorEvent::Restarting { slot, worker, reason, .. } => {
                self.ends.remove(slot);
                let status = if let RestartReason::Exited(status) = reason { Some(status) } else { None };
                let status = status.map(tracing::field::display);
                let pid = self.pid(*worker);
                if self.is_repeated(reason) {
                    debug!(slot = slot.0, worker = id(*worker), pid, "{event}");
                } else {
                    warn!(slot = slot.0, worker = id(*worker), pid, status, "{event}");
                }
                if *reason == RestartReason::Disconnected {
                    self.disconnected.extend(*worker);
                }
            }
            SupervisorEvent::GaveUp { slot, .. } => {
                self.ends.remove(slot);
                error!(slot = slot.0, "{event}");
            }
            SupervisorEvent::ReloadAbandoned {
                reason: AbandonReason::Shutdown | AbandonReason::Requested,
                ..
            } => info!("{event}"),
            SupervisorEvent::ReloadAbandoned { .. } => warn!("{event}"),
            SupervisorEvent::Hung { slot, worker }
            | SupervisorEvent::Cut { slot, worker, .. }
            | SupervisorEvent::Stuck { slot, worker } => {
                warn!(slot = slot.0, worker = worker.0, pid = self.pid(Some(*worker)), "{event}");
            }
            SupervisorEvent::SlotReady { slot, worker }
            | SupervisorEvent::Drained { slot, worker }
            | SupervisorEvent::Withdrawn { slot, worker } => {
                if let SupervisorEvent::SlotReady { .. } = event {
                    self.refused = None;
                    self.ends.remove(slot);
                    self.slots.insert(*worker, *slot);
                }
                info!(slot = slot.0, worker = worker.0, pid = self.pid(Some(*worker)), "{event}");
            }
            SupervisorEvent::SlotSuspended { slot } => self.log_suspended(*slot, event),
            // The program has set the timer.
            SupervisorEvent::Timer { .. } => debug!("{event}"),
            SupervisorEvent::ReloadStarted { .. }
            | SupervisorEvent::ReloadFinished { .. }
            | SupervisorEvent::Scaled { .. }
            | SupervisorEvent::ShutdownStarted
            | SupervisorEvent::Finished { .. }
            | _ => info!("{event}"),
        }
    }

    /// Logs a suspended slot with the reason: no event of a restart will report the reason.
    fn log_suspended(&mut self, slot: SlotId, event: &SupervisorEvent) {
        if let Some(end) = self.ends.remove(&slot) {
            warn!(slot = slot.0, "{event}: {end}");
            return;
        }
        // The channel has closed, and the exit follows.
        self.disconnected.extend(self.slots.iter().filter(|(_, of)| **of == slot).map(|(worker, _)| *worker));
        info!(slot = slot.0, "{event}");
    }

    /// Whether the operating system has refused the last start for the same reason.
    fn is_repeated(&mut self, reason: &RestartReason) -> bool {
        let refused = match reason {
            RestartReason::StartFailed(failure @ (StartFailure::Fork(_) | StartFailure::Spawn(_))) => failure,
            RestartReason::StartFailed(_)
            | RestartReason::Exited(_)
            | RestartReason::Disconnected
            | RestartReason::Stuck
            | _ => return false,
        };
        self.refused.replace(refused.clone()).as_ref() == Some(refused)
    }

    /// The process id of a worker.
    fn pid(&self, worker: Option<WorkerId>) -> Option<u32> {
        self.pids.get(&worker?).copied()
    }

    fn log_primary(&mut self, event: &Event) {
        match event {
            // No warning, because the event of the restart has the reason.
            Event::Error { error: WorkerError::Spawn { .. }, .. } => debug!("{event}"),
            Event::Error { worker, .. } => {
                warn!(worker = worker.0, pid = self.pid(Some(*worker)), "{event}");
            }
            Event::AcceptFailed { .. }
                if self.accept_failed.is_none_or(|last| last.elapsed() >= ACCEPT_WARNINGS) =>
            {
                self.accept_failed = Some(Instant::now());
                warn!("{event}; clients wait");
            }
            Event::Exit { worker, status, .. } => {
                self.exited.push_back(*worker);
                if self.exited.len() > EXITED
                    && let Some(worker) = self.exited.pop_front()
                {
                    self.pids.remove(&worker);
                }
                if let Some(slot) = self.slots.remove(worker) {
                    self.ends.insert(slot, format!("the worker exited: {status}"));
                }
                if self.disconnected.remove(worker) {
                    warn!(worker = worker.0, pid = self.pid(Some(*worker)), %status, "{event}");
                } else {
                    debug!("{event}");
                }
            }
            Event::Setup { .. }
            | Event::Fork { .. }
            | Event::Online { .. }
            | Event::Listening { .. }
            | Event::Message { .. }
            | Event::Disconnect { .. }
            | Event::AcceptFailed { .. }
            | Event::AllDisconnected => debug!("{event}"),
        }
    }
}

fn id(worker: Option<WorkerId>) -> Option<u64> {
    worker.map(|worker| worker.0)
}
