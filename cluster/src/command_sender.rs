//! The sending end of a queue of commands, for remotes of a primary and handles of a supervisor: commands
//! with an answer, sends that wait for room, and requests.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use cluster_core::{Message, SendError, Sent, WorkerId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::command_queue::Command;
use crate::error::RequestError;
use crate::requests::{PendingReply, within};

/// A primary or a supervisor: both execute commands between events.
pub(crate) trait Commanded: Sized + 'static {
    fn send(&mut self, worker: WorkerId, message: Message) -> Result<Sent, SendError>;

    /// Starts a request: returns the message to send, and the future reply.
    fn start_request(
        &mut self,
        worker: WorkerId,
        body: &Message,
    ) -> Result<(Message, PendingReply), RequestError>;
}

/// The receiver of the commands was dropped.
#[derive(Debug)]
pub(crate) struct Dropped;

impl From<Dropped> for RequestError {
    fn from(_: Dropped) -> Self {
        RequestError::Dropped
    }
}

pub(crate) struct CommandSender<P> {
    commands: mpsc::Sender<Command<P>>,
    /// Notified when a channel may have room.
    progress: Arc<Notify>,
}

impl<P> Clone for CommandSender<P> {
    fn clone(&self) -> Self {
        CommandSender { commands: self.commands.clone(), progress: self.progress.clone() }
    }
}

impl<P: Commanded> CommandSender<P> {
    pub(crate) fn new(commands: mpsc::Sender<Command<P>>, progress: Arc<Notify>) -> Self {
        CommandSender { commands, progress }
    }

    /// Sends a command without an answer.
    pub(crate) async fn command(&self, command: Command<P>) -> Result<(), Dropped> {
        self.commands.send(command).await.map_err(|_| Dropped)
    }

    /// Executes a command in the receiver, and returns the result. The command is executed even if the caller
    /// no longer waits.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut P) -> T + Send + 'static,
    ) -> Result<T, Dropped> {
        let (answer, answered) = oneshot::channel();
        self.command(Box::new(move |receiver| drop(answer.send(act(receiver))))).await?;
        answered.await.map_err(|_| Dropped)
    }

    /// Sends a message as soon as there is room.
    pub(crate) async fn send_when_room(
        &self,
        worker: WorkerId,
        message: Message,
    ) -> Result<Result<Sent, SendError>, Dropped> {
        loop {
            let mut progress = pin!(self.progress.notified());
            progress.as_mut().enable();
            let message = message.clone();
            match self.ask(move |receiver| receiver.send(worker, message)).await? {
                Err(SendError::Full) => progress.await,
                sent => return Ok(sent),
            }
        }
    }

    /// Sends a request, and waits for the reply.
    pub(crate) async fn request<Q: Serialize + ?Sized, A: DeserializeOwned>(
        &self,
        worker: WorkerId,
        question: &Q,
        timeout: Duration,
    ) -> Result<A, RequestError> {
        let body = Message::new(question).map_err(RequestError::Message)?;
        let exchange = async {
            let (request, reply) = self.ask(move |receiver| receiver.start_request(worker, &body)).await??;
            self.send_when_room(worker, request).await?.map_err(RequestError::Send)?;
            reply.receive().await
        };
        within(timeout, exchange).await
    }
}
