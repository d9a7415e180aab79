//! A remote control of a supervisor.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster_core::{ReloadId, SlotId, SlotInfo, WorkerId};
use tokio::sync::oneshot;

use super::waiting::Reply;
use super::{HandleError, Supervisor};
use crate::command_queue::Command;
use crate::command_sender::{CommandSender, Dropped};
use crate::primary::ConnectionCounts;
use crate::unix::Unix;

/// Commands a [`Supervisor`] from another task: see [`Supervisor::handle`]. Clones are cheap.
///
/// Commands are executed while the supervisor is awaited. The future of a command completes when the command
/// has taken full effect; dropping the future does not revoke the command.
#[derive(Clone)]
pub struct SupervisorHandle {
    pub(super) commands: CommandSender<Supervisor>,
    /// Whether the shutdown is complete.
    is_finished: Arc<AtomicBool>,
}

/// A requested reload or restart: [`SupervisorHandle::request_reload`]. Dropping the value does not revoke
/// the request.
#[derive(Debug)]
#[must_use = "`complete` waits for the result"]
pub struct RequestedReload {
    id: ReloadId,
    replied: oneshot::Receiver<Result<(), HandleError>>,
}

impl RequestedReload {
    /// The number of the reload, as in the events.
    pub fn id(&self) -> ReloadId {
        self.id
    }

    /// Completes when the old workers have exited.
    ///
    /// # Errors
    /// As [`SupervisorHandle::reload`].
    pub async fn complete(self) -> Result<(), HandleError> {
        self.replied.await.map_err(|_| HandleError::Dropped)?
    }
}

impl From<Dropped> for HandleError {
    fn from(_: Dropped) -> Self {
        HandleError::Dropped
    }
}

impl SupervisorHandle {
    pub(super) fn new(commands: CommandSender<Supervisor>, is_finished: Arc<AtomicBool>) -> Self {
        SupervisorHandle { commands, is_finished }
    }

    /// Replaces every worker, slot by slot, without losing a connection. Completes when the old workers have
    /// exited.
    ///
    /// A request that takes longer than [`drain`](crate::SupervisorSettings::drain) and
    /// [`term`](crate::SupervisorSettings::term) together is cut off, and
    /// [`SupervisorEvent::Cut`](cluster_core::SupervisorEvent::Cut) reports the number of open connections. A
    /// reload accepts a new program as soon as the program is ready. A program that listens and panics later
    /// therefore replaces the old program, and restarts are limited by
    /// [`intensity`](crate::SupervisorSettings::intensity). For a program with a test at the start, use
    /// [`Readiness::Message`](crate::Readiness::Message).
    ///
    /// # Errors
    /// [`HandleError::Abandoned`]: a new worker did not become ready, and the old workers keep
    /// serving. Any other error means that the supervisor shuts down, or was dropped.
    pub async fn reload(&self) -> Result<(), HandleError> {
        self.request_reload().await?.complete().await
    }

    /// Requests a [`reload`](SupervisorHandle::reload), and returns before the reload begins. A reload begins
    /// after the reload or recycle in progress.
    ///
    /// # Errors
    /// The supervisor shuts down, or was dropped.
    pub async fn request_reload(&self) -> Result<RequestedReload, HandleError> {
        self.replace(|supervisor| Ok(supervisor.command(cluster_core::Supervisor::reload))).await
    }

    /// Replaces the worker of a slot, in the way of [`reload`](SupervisorHandle::reload).
    ///
    /// # Errors
    /// As [`reload`](SupervisorHandle::reload), or no slot has this number.
    pub async fn restart(&self, slot: SlotId) -> Result<(), HandleError> {
        self.request_restart(slot).await?.complete().await
    }

    /// Requests a [`restart`](SupervisorHandle::restart), and returns before the restart begins.
    ///
    /// # Errors
    /// No slot has this number, or the supervisor shuts down, or was dropped.
    pub async fn request_restart(&self, slot: SlotId) -> Result<RequestedReload, HandleError> {
        self.replace(move |supervisor| {
            let id = supervisor.command(|machine| machine.restart_slot(slot));
            id.ok_or(HandleError::NoSlot(slot))
        })
        .await
    }

    /// Abandons the reload or restart in progress. A new worker that is not ready exits, and slots that were
    /// not replaced keep their old workers. `None`: no reload or restart is in progress.
    ///
    /// # Errors
    /// The supervisor was dropped.
    pub async fn abandon_reload(&self) -> Result<Option<ReloadId>, HandleError> {
        self.ask(|supervisor| supervisor.command(cluster_core::Supervisor::abandon_reload)).await
    }

    /// Changes the number of workers. Completes when the new workers are ready, or when the surplus workers
    /// have exited.
    ///
    /// # Errors
    /// The settings do not allow the number, or another command has changed the number meanwhile. Or the
    /// supervisor shuts down, or was dropped.
    pub async fn scale(&self, workers: u32) -> Result<(), HandleError> {
        self.order(move |supervisor, reply| match supervisor.command(|machine| machine.scale(workers)) {
            Ok(()) => supervisor.waiting.scale(workers, reply),
            Err(error) => drop(reply.send(Err(HandleError::Settings(error)))),
        })
        .await
    }

    /// The slots, by ascending number.
    ///
    /// # Errors
    /// The supervisor was dropped.
    pub async fn status(&self) -> Result<Vec<SlotInfo>, HandleError> {
        self.ask(|supervisor| supervisor.slots()).await
    }

    /// As [`Supervisor::connections`].
    ///
    /// # Errors
    /// The supervisor was dropped.
    pub async fn connections(&self) -> Result<ConnectionCounts, HandleError> {
        self.ask(|supervisor| supervisor.connections()).await
    }

    /// The last bind for a worker that the operating system has refused, as a text with the
    /// remedy: `cannot bind 127.0.0.1:80: EADDRINUSE (the address is in use); ...`. The worker has received
    /// the error, and may have reported the error, chosen another address, or ignored the error.
    ///
    /// # Errors
    /// The supervisor was dropped.
    pub async fn failed_bind(&self) -> Result<Option<String>, HandleError> {
        self.ask(|supervisor| supervisor.system.as_unix().and_then(Unix::failed_bind).map(ToOwned::to_owned))
            .await
    }

    /// As [`Supervisor::report_memory`].
    ///
    /// # Errors
    /// The supervisor was dropped.
    pub async fn report_memory(&self, worker: WorkerId, bytes: u64) -> Result<(), HandleError> {
        self.ask(move |supervisor| supervisor.report_memory(worker, bytes)).await
    }

    /// Shuts down. Completes when every worker has exited, at once if no worker remains. A second call, later
    /// than [`hurry_after`](crate::SupervisorSettings::hurry_after), sends SIGTERM to the workers; a third
    /// call sends SIGKILL.
    ///
    /// # Errors
    /// The supervisor was dropped before the shutdown was complete.
    pub async fn shutdown(&self) -> Result<(), HandleError> {
        let (reply, replied) = oneshot::channel();
        let sent = self.commands.command(Box::new(move |supervisor| {
            supervisor.shutdown();
            supervisor.waiting.shutdown(reply);
        }));
        let result = match sent.await {
            Ok(()) => replied.await.unwrap_or(Err(HandleError::Dropped)),
            Err(dropped) => Err(dropped.into()),
        };
        if self.is_finished.load(Ordering::Relaxed) { Ok(()) } else { result }
    }

    /// Requests a reload or a restart. Fails during a shutdown.
    async fn replace(
        &self,
        act: impl FnOnce(&mut Supervisor) -> Result<ReloadId, HandleError> + Send + 'static,
    ) -> Result<RequestedReload, HandleError> {
        let (reply, replied) = oneshot::channel();
        let id = self.ask(move |supervisor| {
            if supervisor.machine.is_shutting_down() {
                return Err(HandleError::ShuttingDown);
            }
            let id = act(supervisor)?;
            supervisor.waiting.reload(id, reply);
            Ok(id)
        });
        Ok(RequestedReload { id: id.await??, replied })
    }

    /// Executes a command and waits for the full effect. Fails during a shutdown.
    async fn order(
        &self,
        act: impl FnOnce(&mut Supervisor, Reply) + Send + 'static,
    ) -> Result<(), HandleError> {
        let (reply, replied) = oneshot::channel();
        let order: Command<Supervisor> = Box::new(move |supervisor| {
            if supervisor.machine.is_shutting_down() {
                drop(reply.send(Err(HandleError::ShuttingDown)));
            } else {
                act(supervisor, reply);
            }
        });
        self.commands.command(order).await?;
        replied.await.map_err(|_| HandleError::Dropped)?
    }

    /// Executes a command in the supervisor, and returns the result.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Supervisor) -> T + Send + 'static,
    ) -> Result<T, HandleError> {
        Ok(self.commands.ask(act).await?)
    }
}

impl fmt::Debug for SupervisorHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SupervisorHandle").finish_non_exhaustive()
    }
}
