//! Messages, sockets and requests sent through a supervisor, and the same commands of handles.

use std::time::Duration;

use cluster_core::{IncomingHandle, Message, SendError, Sent, WorkerId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{HandleError, Supervisor, SupervisorHandle};
use crate::command_sender::Commanded;
use crate::error::RequestError;
use crate::received::Received;
use crate::requests::PendingReply;
use crate::socket::{self, NotSent, Socket};

impl Supervisor {
    /// As [`Primary::send`](crate::Primary::send).
    ///
    /// # Errors
    /// As [`Primary::send`](crate::Primary::send).
    pub fn send(&mut self, worker: WorkerId, message: impl Into<Message>) -> Result<Sent, SendError> {
        self.command(|machine| machine.primary_mut().send(worker, message))
    }

    /// As [`Primary::send_with`](crate::Primary::send_with).
    ///
    /// # Errors
    /// As [`Primary::send_with`](crate::Primary::send_with).
    pub fn send_with(
        &mut self,
        worker: WorkerId,
        message: impl Into<Message>,
        socket: impl Into<Socket>,
    ) -> Result<Sent, NotSent> {
        let _context = self.runtime.enter();
        let machine = &mut self.machine;
        socket::pass(socket.into(), &mut self.system, |system, passing| {
            let sent = machine.change(|machine| machine.primary_mut().send_with(worker, message, passing));
            system.flush(machine);
            sent
        })
    }

    /// As [`Primary::take_socket`](crate::Primary::take_socket).
    pub fn take_socket(&mut self, handle: IncomingHandle) -> Option<Received> {
        self.unclaimed.take_if(|unclaimed| *unclaimed == handle.socket)?;
        self.inputs.releases.take(&mut self.system, handle.socket)
    }

    /// As [`Primary::broadcast`](crate::Primary::broadcast).
    pub fn broadcast(&mut self, message: impl Into<Message>) -> Vec<(WorkerId, Result<Sent, SendError>)> {
        let message = message.into();
        let workers: Vec<WorkerId> = self.machine.primary().workers().collect();
        workers.into_iter().map(|worker| (worker, self.send(worker, &message))).collect()
    }
}

impl Commanded for Supervisor {
    fn send(&mut self, worker: WorkerId, message: Message) -> Result<Sent, SendError> {
        Supervisor::send(self, worker, message)
    }

    fn start_request(
        &mut self,
        worker: WorkerId,
        body: &Message,
    ) -> Result<(Message, PendingReply), RequestError> {
        self.requests.start(Some(worker), body)
    }
}

impl SupervisorHandle {
    /// As [`Supervisor::send`].
    ///
    /// # Errors
    /// The supervisor was dropped, or cannot send the message.
    pub async fn send(&self, worker: WorkerId, message: impl Into<Message>) -> Result<Sent, HandleError> {
        let message = message.into();
        let sent = self.ask(move |supervisor| supervisor.send(worker, message)).await?;
        sent.map_err(HandleError::Send)
    }

    /// Sends a message as soon as there is room.
    ///
    /// # Errors
    /// As [`send`](SupervisorHandle::send), except [`SendError::Full`].
    pub async fn send_when_room(
        &self,
        worker: WorkerId,
        message: impl Into<Message>,
    ) -> Result<Sent, HandleError> {
        self.commands.send_when_room(worker, message.into()).await?.map_err(HandleError::Send)
    }

    /// As [`Supervisor::send_with`], but a socket that was not sent is closed.
    ///
    /// # Errors
    /// As [`send`](SupervisorHandle::send).
    pub async fn send_with(
        &self,
        worker: WorkerId,
        message: impl Into<Message>,
        socket: impl Into<Socket>,
    ) -> Result<Sent, HandleError> {
        let (message, socket) = (message.into(), socket.into());
        let sent = self.ask(move |supervisor| supervisor.send_with(worker, message, socket)).await?;
        sent.map_err(|not_sent| HandleError::Send(not_sent.error))
    }

    /// As [`Supervisor::broadcast`].
    ///
    /// # Errors
    /// The supervisor was dropped.
    pub async fn broadcast(
        &self,
        message: impl Into<Message>,
    ) -> Result<Vec<(WorkerId, Result<Sent, SendError>)>, HandleError> {
        let message = message.into();
        self.ask(move |supervisor| supervisor.broadcast(message)).await
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
}
