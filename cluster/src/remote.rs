//! A remote control of a primary: the primary's commands, for other tasks.

use std::fmt;
use std::time::Duration;

use cluster_core::{Message, OsBytes, SendError, Sent, Signal, SpawnOptions, WorkerId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command_sender::{CommandSender, Commanded, Dropped};
use crate::error::{RemoteError, RequestError};
use crate::primary::{ConnectionCounts, Primary};
use crate::requests::PendingReply;
use crate::socket::Socket;

/// Commands a [`Primary`] from another task: see [`Primary::remote`]. Clones are cheap.
///
/// An awaited primary executes commands one at a time, between events. The task that awaits the primary must
/// not await a remote as well: the remote would wait for its own task.
#[derive(Clone)]
pub struct Remote {
    commands: CommandSender<Primary>,
}

impl From<Dropped> for RemoteError {
    fn from(_: Dropped) -> Self {
        RemoteError::PrimaryDropped
    }
}

impl Commanded for Primary {
    fn send(&mut self, worker: WorkerId, message: Message) -> Result<Sent, SendError> {
        Primary::send(self, worker, message)
    }

    fn start_request(
        &mut self,
        worker: WorkerId,
        body: &Message,
    ) -> Result<(Message, PendingReply), RequestError> {
        Primary::start_request(self, worker, body)
    }
}

impl Primary {
    /// A remote control for other tasks. While a remote exists, [`next`](Primary::next) waits for commands.
    pub fn remote(&mut self) -> Remote {
        Remote { commands: self.command_sender() }
    }
}

impl Remote {
    /// As [`Primary::setup`].
    ///
    /// # Errors
    /// The primary was dropped.
    pub async fn setup(&self, changes: SpawnOptions) -> Result<(), RemoteError> {
        self.ask(|primary| primary.setup(changes)).await
    }

    /// As [`Primary::fork`].
    ///
    /// # Errors
    /// The primary was dropped, or the settings contradict each other.
    pub async fn fork(&self) -> Result<WorkerId, RemoteError> {
        self.ask(Primary::fork).await?.map_err(RemoteError::Fork)
    }

    /// As [`Primary::fork_with_env`].
    ///
    /// # Errors
    /// As [`fork`](Remote::fork).
    pub async fn fork_with_env(&self, env: Vec<(OsBytes, OsBytes)>) -> Result<WorkerId, RemoteError> {
        self.ask(|primary| primary.fork_with_env(env)).await?.map_err(RemoteError::Fork)
    }

    /// As [`Primary::send`].
    ///
    /// # Errors
    /// The primary was dropped, or cannot send the message.
    pub async fn send(&self, worker: WorkerId, message: impl Into<Message>) -> Result<Sent, RemoteError> {
        let message = message.into();
        let sent = self.ask(move |primary| primary.send(worker, message)).await?;
        sent.map_err(RemoteError::Send)
    }

    /// Sends a message as soon as there is room. Meanwhile the primary handles every input and returns
    /// events.
    ///
    /// # Errors
    /// As [`send`](Remote::send), except [`SendError::Full`].
    pub async fn send_when_room(
        &self,
        worker: WorkerId,
        message: impl Into<Message>,
    ) -> Result<Sent, RemoteError> {
        self.commands.send_when_room(worker, message.into()).await?.map_err(RemoteError::Send)
    }

    /// As [`Primary::send_with`], but a socket that was not sent is closed.
    ///
    /// # Errors
    /// As [`send`](Remote::send).
    pub async fn send_with(
        &self,
        worker: WorkerId,
        message: impl Into<Message>,
        socket: impl Into<Socket>,
    ) -> Result<Sent, RemoteError> {
        let (message, socket) = (message.into(), socket.into());
        let sent = self.ask(move |primary| primary.send_with(worker, message, socket)).await?;
        sent.map_err(|not_sent| RemoteError::Send(not_sent.error))
    }

    /// As [`Primary::broadcast`].
    ///
    /// # Errors
    /// The primary was dropped.
    pub async fn broadcast(
        &self,
        message: impl Into<Message>,
    ) -> Result<Vec<(WorkerId, Result<Sent, SendError>)>, RemoteError> {
        let message = message.into();
        self.ask(move |primary| primary.broadcast(message)).await
    }

    /// Sends a request to a worker, and waits for the reply: see [`Worker::request`](crate::Worker::request).
    /// Requests of several callers are concurrent.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub async fn request<Q: Serialize + ?Sized, A: DeserializeOwned>(
        &self,
        worker: WorkerId,
        question: &Q,
        timeout: Duration,
    ) -> Result<A, RequestError> {
        self.commands.request(worker, question, timeout).await
    }

    /// As [`Primary::disconnect_all`].
    ///
    /// # Errors
    /// The primary was dropped.
    pub async fn disconnect_all(&self) -> Result<(), RemoteError> {
        self.ask(Primary::disconnect_all).await
    }

    /// As [`Primary::disconnect_worker`].
    ///
    /// # Errors
    /// The primary was dropped.
    pub async fn disconnect_worker(&self, worker: WorkerId) -> Result<(), RemoteError> {
        self.ask(move |primary| primary.disconnect_worker(worker)).await
    }

    /// As [`Primary::kill`].
    ///
    /// # Errors
    /// The primary was dropped.
    pub async fn kill(&self, worker: WorkerId, signal: Signal) -> Result<(), RemoteError> {
        self.ask(move |primary| primary.kill(worker, signal)).await
    }

    /// As [`Primary::workers`].
    ///
    /// # Errors
    /// The primary was dropped.
    pub async fn workers(&self) -> Result<Vec<WorkerId>, RemoteError> {
        self.ask(|primary| primary.workers().collect()).await
    }

    /// As [`Primary::connections`].
    ///
    /// # Errors
    /// The primary was dropped.
    pub async fn connections(&self) -> Result<ConnectionCounts, RemoteError> {
        self.ask(|primary| primary.connections()).await
    }

    /// Sends a command without an answer.
    #[cfg(test)]
    pub(crate) async fn command(&self, command: crate::command_queue::Command<Primary>) {
        self.commands.command(command).await.expect("the primary exists");
    }

    async fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Primary) -> T + Send + 'static,
    ) -> Result<T, RemoteError> {
        Ok(self.commands.ask(act).await?)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}
