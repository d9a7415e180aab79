//! Commands of handles that are not complete yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster_core::{ReloadId, SupervisorEvent};
use tokio::sync::oneshot;

use super::HandleError;

pub(super) type Reply = oneshot::Sender<Result<(), HandleError>>;

/// The incomplete commands, each with the caller. The caller may no longer wait.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    reloads: Vec<(ReloadId, Reply)>,
    /// The wanted number of workers.
    scalings: Vec<(u32, Reply)>,
    shutdowns: Vec<Reply>,
    /// Whether the shutdown is complete. Handles can read the value even after the drop of the supervisor.
    is_finished: Arc<AtomicBool>,
}

impl Waiting {
    pub(super) fn reload(&mut self, id: ReloadId, reply: Reply) {
        self.reloads.push((id, reply));
    }

    pub(super) fn scale(&mut self, workers: u32, reply: Reply) {
        self.scalings.push((workers, reply));
    }

    pub(super) fn shutdown(&mut self, reply: Reply) {
        if self.is_finished.load(Ordering::Relaxed) {
            let _ = reply.send(Ok(()));
        } else {
            self.shutdowns.push(reply);
        }
    }

    /// Whether a caller waits.
    pub(super) fn is_busy(&self) -> bool {
        !(self.reloads.is_empty() && self.scalings.is_empty() && self.shutdowns.is_empty())
    }

    pub(super) fn is_finished(&self) -> Arc<AtomicBool> {
        self.is_finished.clone()
    }

    /// Replies to the commands that end with the event.
    pub(super) fn settle(&mut self, event: &SupervisorEvent) {
        match event {
            SupervisorEvent::ReloadFinished { id, .. } => self.reloaded(*id, &Ok(())),
            SupervisorEvent::ReloadAbandoned { id, reason, .. } => {
                self.reloaded(*id, &Err(HandleError::Abandoned(reason.clone())));
            }
            SupervisorEvent::Scaled { workers } => {
                for (wanted, reply) in self.scalings.drain(..) {
                    let superseded = HandleError::Superseded { workers: *workers };
                    let _ = reply.send(if wanted == *workers { Ok(()) } else { Err(superseded) });
                }
            }
            SupervisorEvent::ShutdownStarted => {
                for (_, reply) in self.scalings.drain(..) {
                    let _ = reply.send(Err(HandleError::ShuttingDown));
                }
            }
            SupervisorEvent::Finished { .. } => {
                self.is_finished.store(true, Ordering::Relaxed);
                for (_, reply) in self.reloads.drain(..) {
                    let _ = reply.send(Err(HandleError::ShuttingDown));
                }
                for reply in self.shutdowns.drain(..) {
                    let _ = reply.send(Ok(()));
                }
            }
            SupervisorEvent::Primary(_)
            | SupervisorEvent::SlotReady { .. }
            | SupervisorEvent::StartFailed { .. }
            | SupervisorEvent::Restarting { .. }
            | SupervisorEvent::SlotSuspended { .. }
            | SupervisorEvent::GaveUp { .. }
            | SupervisorEvent::ReloadStarted { .. }
            | SupervisorEvent::Hung { .. }
            | SupervisorEvent::Timer { .. }
            | SupervisorEvent::Drained { .. }
            | SupervisorEvent::Cut { .. }
            | SupervisorEvent::Withdrawn { .. }
            | SupervisorEvent::Stuck { .. }
            | _ => {}
        }
    }

    fn reloaded(&mut self, id: ReloadId, result: &Result<(), HandleError>) {
        for (_, reply) in self.reloads.extract_if(.., |(waiting, _)| *waiting == id) {
            let _ = reply.send(result.clone());
        }
    }
}
