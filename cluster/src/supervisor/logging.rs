//! The events of a supervisor in the log: what a person must see is a warning, and each mistake appears once.

use cluster_core::{AbandonReason, Event, RestartReason, SlotId, SupervisorEvent, WorkerError, WorkerId};
use tracing::{debug, error, info, warn};

/// Logs an event, with slot, worker and exit status as fields where the event has them.
pub(super) fn log(event: &SupervisorEvent) {
    match event {
        SupervisorEvent::Primary(event) => log_primary(event),
        // The reason appears again in the restart, the abandoned reload or the last error.
        SupervisorEvent::StartFailed { slot, worker, .. } => {
            debug!(slot = slot.0, worker = id(*worker), "{event}");
        }
        SupervisorEvent::Restarting { slot, worker, reason, .. } => {
            let status = if let RestartReason::Exited(status) = reason { Some(status) } else { None };
            let status = status.map(tracing::field::display);
            warn!(slot = slot.0, worker = id(*worker), status, "{event}");
        }
        SupervisorEvent::GaveUp { slot, .. } => error!(slot = slot.0, "{event}"),
        SupervisorEvent::ReloadAbandoned { reason: AbandonReason::Shutdown, .. } => info!("{event}"),
        SupervisorEvent::ReloadAbandoned { .. } => warn!("{event}"),
        SupervisorEvent::Hung { slot, worker }
        | SupervisorEvent::Cut { slot, worker, .. }
        | SupervisorEvent::Stuck { slot, worker } => warn!(slot = slot.0, worker = worker.0, "{event}"),
        SupervisorEvent::SlotReady { slot, worker } | SupervisorEvent::Drained { slot, worker } => {
            info!(slot = slot.0, worker = worker.0, "{event}");
        }
        SupervisorEvent::SlotHeld { slot: SlotId(slot) } => info!(slot, "{event}"),
        SupervisorEvent::ReloadStarted { .. }
        | SupervisorEvent::ReloadFinished { .. }
        | SupervisorEvent::Scaled { .. }
        | SupervisorEvent::ShutdownStarted
        | SupervisorEvent::Finished { .. }
        | _ => info!("{event}"),
    }
}

fn log_primary(event: &Event) {
    match event {
        // The restart has the reason.
        Event::Error { error: WorkerError::Spawn { .. }, .. } => debug!("{event}"),
        Event::Error { worker, .. } => warn!(worker = worker.0, "{event}"),
        Event::AcceptFailed { .. } => warn!("{event}"),
        Event::Setup { .. }
        | Event::Fork { .. }
        | Event::Online { .. }
        | Event::Listening { .. }
        | Event::Message { .. }
        | Event::Disconnect { .. }
        | Event::Exit { .. }
        | Event::AllDisconnected => debug!("{event}"),
    }
}

fn id(worker: Option<WorkerId>) -> Option<u64> {
    worker.map(|worker| worker.0)
}
