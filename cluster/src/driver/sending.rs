//! Sending to the primary, at once or when there is room.

use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cluster_core::{Message, SendError, Sent};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Driver, Inner};
use crate::error::RequestError;
use crate::requests::within;
use crate::socket::{self, NotSent, Socket};

impl Inner {
    pub(crate) fn send(&self, message: impl Into<Message>) -> Result<Sent, SendError> {
        let _context = self.runtime.enter();
        let mut driver = self.lock();
        let sent = driver.command(|machine| machine.send(message));
        driver.posted += u64::from(sent.is_ok());
        sent
    }

    pub(crate) async fn send_when_room(&self, message: Message) -> Result<Sent, SendError> {
        let _turn = self.turn.lock().await;
        let _sender = Sender::new(self);
        loop {
            let mut progress = pin!(self.progress.notified());
            progress.as_mut().enable();
            match self.send(message.clone()) {
                Err(SendError::Full) => progress.await,
                sent => return sent,
            }
        }
    }

    /// Sends a request, and waits for the reply.
    pub(crate) async fn request<Q: Serialize + ?Sized, A: DeserializeOwned>(
        &self,
        question: &Q,
        timeout: Duration,
    ) -> Result<A, RequestError> {
        let (request, reply) = self.lock().requests.start(None, question)?;
        let exchange = async {
            let _sender = Sender::new(self);
            self.send_when_room(request).await.map_err(RequestError::Send)?;
            reply.receive().await
        };
        within(timeout, exchange).await
    }

    /// Waits until the kernel has all messages accepted before the call.
    pub(crate) async fn flush(&self) -> Result<(), SendError> {
        let posted = self.lock().posted;
        let _sender = Sender::new(self);
        loop {
            let mut progress = pin!(self.progress.notified());
            progress.as_mut().enable();
            if self.lock().written()? >= posted {
                return Ok(());
            }
            progress.await;
        }
    }

    pub(crate) fn send_with(&self, message: Message, socket: Socket) -> Result<Sent, NotSent> {
        let _context = self.runtime.enter();
        let driver = &mut *self.lock();
        let sent = socket::pass(socket, &mut driver.system, |system, passing| {
            let sent = driver.machine.change(|machine| machine.send_with(message, passing));
            system.flush(&mut driver.machine);
            sent
        });
        driver.posted += u64::from(sent.is_ok());
        // Performs the writes if there is no driver task: a command does so.
        driver.command(|_| ());
        sent
    }
}

/// A task that waits for a write. While a sender exists, the worker reads even if the inbox is full.
struct Sender<'a>(&'a Inner);

impl<'a> Sender<'a> {
    fn new(inner: &'a Inner) -> Self {
        inner.senders.fetch_add(1, Ordering::Relaxed);
        inner.lock().wake();
        Sender(inner)
    }
}

impl Drop for Sender<'_> {
    fn drop(&mut self) {
        self.0.senders.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Driver {
    /// The number of accepted messages in the kernel.
    fn written(&self) -> Result<u64, SendError> {
        let unwritten = self.machine.read(cluster_core::Worker::unwritten).ok_or(SendError::Closed)?;
        Ok(self.posted.saturating_sub(unwritten))
    }
}
