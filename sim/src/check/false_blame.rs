//! Harm: who keeps to the protocol is never told that it broke it, whatever other workers write.

use cluster_core::{Event, WorkerError};

use crate::kernel::Kernel;

/// The primary tells of an event.
pub(crate) fn primary_event(event: &Event, kernel: &Kernel) -> Result<(), String> {
    let Event::Error { worker, error: WorkerError::Protocol(violation) } = event else { return Ok(()) };
    if kernel.process((*worker).into()).hostile {
        return Ok(());
    }
    Err(format!("worker {worker} wrote nothing wrong, and its channel was closed: {violation}"))
}
