//! False blame: the primary reports no worker for a breach of the protocol that the worker has not committed,
//! whatever other workers write.

use cluster_core::{Event, WorkerError};

use crate::kernel::Kernel;

/// Checks an event before the program of the primary receives it.
pub(crate) fn primary_event(event: &Event, kernel: &Kernel) -> Result<(), String> {
    let Event::Error { worker, error: WorkerError::Protocol(violation) } = event else { return Ok(()) };
    if kernel.processes.get((*worker).into()).hostile {
        return Ok(());
    }
    Err(format!("worker {worker} kept to the protocol, and its channel was closed: {violation}"))
}
