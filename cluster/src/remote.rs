//! A remote control of a primary: its commands, for other tasks. It knows nothing that the primary does not tell it.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::{error, fmt};

use cluster_core::{ForkError, Message, OsBytes, SendError, Sent, Signal, SpawnOptions, WorkerId};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::primary::Primary;
use crate::socket::Socket;

/// How many requests may wait for the primary. With more, whoever asks waits.
const WAITING: usize = 64;

/// A command and the way of its answer.
pub(crate) type Request = Box<dyn FnOnce(&mut Primary) + Send>;

/// Commands a [`Primary`] from another task: see [`Primary::remote`]. Clones are cheap.
///
/// Commands are taken while the primary is awaited, one at a time, between its events. A task that awaits the primary
/// must not await its remote: it would wait for itself, and has the primary at hand.
#[derive(Clone)]
pub struct Remote {
    requests: mpsc::Sender<Request>,
    progress: Arc<Notify>,
}

impl Remote {
    /// As [`Primary::setup`].
    ///
    /// # Errors
    /// The primary is gone.
    pub async fn setup(&self, changes: SpawnOptions) -> Result<(), RemoteError> {
        self.ask(|primary| primary.setup(changes)).await
    }

    /// As [`Primary::fork`].
    ///
    /// # Errors
    /// The primary is gone, or the settings ask for what cannot be.
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
    /// The primary is gone, or it could not send.
    pub async fn send(&self, worker: WorkerId, message: impl Into<Message>) -> Result<Sent, RemoteError> {
        let message = message.into();
        let sent = self.ask(move |primary| primary.send(worker, message)).await?;
        sent.map_err(RemoteError::Send)
    }

    /// Sends a message when there is room for it. Meanwhile the primary handles every input and returns its events.
    ///
    /// # Errors
    /// As [`send`](Remote::send), but never [`SendError::Full`].
    pub async fn send_when_room(
        &self,
        worker: WorkerId,
        message: impl Into<Message>,
    ) -> Result<Sent, RemoteError> {
        let message = message.into();
        loop {
            let mut progress = pin!(self.progress.notified());
            progress.as_mut().enable();
            match self.send(worker, message.clone()).await {
                Err(RemoteError::Send(SendError::Full)) => progress.await,
                sent => return sent,
            }
        }
    }

    /// As [`Primary::send_with`]; a socket that is not sent is closed.
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

    /// As [`Primary::disconnect_all`].
    ///
    /// # Errors
    /// The primary is gone.
    pub async fn disconnect_all(&self) -> Result<(), RemoteError> {
        self.ask(Primary::disconnect_all).await
    }

    /// As [`Primary::disconnect_worker`].
    ///
    /// # Errors
    /// The primary is gone.
    pub async fn disconnect_worker(&self, worker: WorkerId) -> Result<(), RemoteError> {
        self.ask(move |primary| primary.disconnect_worker(worker)).await
    }

    /// As [`Primary::kill`].
    ///
    /// # Errors
    /// The primary is gone.
    pub async fn kill(&self, worker: WorkerId, signal: Signal) -> Result<(), RemoteError> {
        self.ask(move |primary| primary.kill(worker, signal)).await
    }

    /// As [`Primary::workers`].
    ///
    /// # Errors
    /// The primary is gone.
    pub async fn workers(&self) -> Result<Vec<WorkerId>, RemoteError> {
        self.ask(|primary| primary.workers().collect()).await
    }

    /// Gives a command without an answer.
    #[cfg(test)]
    pub(crate) async fn request(&self, request: Request) {
        assert!(self.requests.send(request).await.is_ok(), "the primary is there");
    }

    async fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Primary) -> T + Send + 'static,
    ) -> Result<T, RemoteError> {
        let (answer, answered) = oneshot::channel();
        // Whoever asked may have stopped waiting; the command was given all the same.
        let request: Request = Box::new(move |primary| drop(answer.send(act(primary))));
        self.requests.send(request).await.map_err(|_| RemoteError::Gone)?;
        answered.await.map_err(|_| RemoteError::Gone)
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").finish_non_exhaustive()
    }
}

/// The primary's side: what remotes ask.
#[derive(Default)]
pub(crate) struct Requests {
    open: Option<(mpsc::WeakSender<Request>, mpsc::Receiver<Request>)>,
}

impl Requests {
    pub(crate) fn remote(&mut self, progress: &Arc<Notify>) -> Remote {
        let existing = self.open.as_ref().and_then(|(requests, _)| requests.upgrade());
        let requests = existing.unwrap_or_else(|| {
            let (requests, receiver) = mpsc::channel(WAITING);
            self.open = Some((requests.downgrade(), receiver));
            requests
        });
        Remote { requests, progress: progress.clone() }
    }

    /// Whether anybody could still ask.
    pub(crate) fn are_possible(&self) -> bool {
        self.open.is_some()
    }

    /// The next request.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Request> {
        let Some((_, receiver)) = &mut self.open else { return Poll::Pending };
        match receiver.poll_recv(cx) {
            Poll::Ready(Some(request)) => Poll::Ready(request),
            Poll::Ready(None) => {
                self.open = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requests").field("possible", &self.are_possible()).finish()
    }
}

/// Why a remote command was not done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RemoteError {
    /// The primary was dropped.
    Gone,
    /// The settings of the primary ask for what cannot be.
    Fork(ForkError),
    /// The primary could not send the message.
    Send(SendError),
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteError::Gone => f.write_str("the primary was dropped: end this task with it"),
            RemoteError::Fork(_) => f.write_str("the primary cannot fork a worker"),
            RemoteError::Send(_) => f.write_str("the primary cannot send the message"),
        }
    }
}

impl error::Error for RemoteError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            RemoteError::Gone => None,
            RemoteError::Fork(error) => Some(error),
            RemoteError::Send(error) => Some(error),
        }
    }
}
