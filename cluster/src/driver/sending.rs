//! Sending that waits, and the end of a worker's process: what its program has sent is written first. What else moves a worker
//! is in `driver`.

use std::pin::pin;
use std::process;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cluster_core::{Machine, Message, SendError, Sent, flush, pump};
use tracing::warn;

use super::{Driver, Inner};
use crate::socket::{self, NotSent, Socket};

impl Inner {
    /// Sends a message.
    pub(crate) fn send(&self, message: impl Into<Message>) -> Result<Sent, SendError> {
        let _context = self.runtime.enter();
        let mut driver = self.lock();
        let sent = driver.command(|machine| machine.send(message));
        driver.posted += u64::from(sent.is_ok());
        sent
    }

    /// Sends a message when there is room.
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

    /// Waits until the kernel has all messages that were accepted before.
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

    /// How long the end of the process waits for a primary that does not read.
    pub(crate) fn linger(&self, linger: Duration) {
        self.lock().linger = linger;
    }

    /// Sends a message and a socket.
    pub(crate) fn send_with(&self, message: Message, socket: Socket) -> Result<Sent, NotSent> {
        let _context = self.runtime.enter();
        let driver = &mut *self.lock();
        let sent = socket::pass(socket, &mut driver.unix, |unix, passing| {
            let sent = driver.machine.send_with(message, passing);
            flush(&mut driver.machine, unix);
            sent
        });
        driver.posted += u64::from(sent.is_ok());
        driver.wake();
        sent
    }

    /// The process ends, once the primary has read everything, or does not read for too long.
    pub(crate) fn exit(&self, code: i32) -> ! {
        self.lock().finish();
        process::exit(code)
    }
}

impl Drop for Inner {
    /// `main` has returned, or the runtime ends: what was accepted is not lost by that.
    fn drop(&mut self) {
        self.driver.get_mut().unwrap_or_else(PoisonError::into_inner).finish();
    }
}

/// A program that waits until something is written.
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
    /// How many of the messages that were accepted are written.
    fn written(&self) -> Result<u64, SendError> {
        let unwritten = self.machine.unwritten().ok_or(SendError::Closed)?;
        Ok(self.posted.saturating_sub(unwritten))
    }

    fn has_unwritten(&self) -> bool {
        self.machine.unwritten().is_some_and(|unwritten| unwritten > 0)
    }

    /// The end of the process: writes what was accepted, and lets the primary read it, but waits no longer than the program
    /// allows. No further connection is taken.
    fn finish(&mut self) {
        let until = Instant::now() + self.linger;
        self.unix.leave_runtime();
        for listener in self.listeners.ids() {
            self.machine.withdraw(listener);
        }
        // First the writes alone: where the program ends within a transition, the rest of that does not happen. Node: a
        // worker that exits in the callback of `listen` never announces that it listens.
        flush(&mut self.machine, &mut self.unix);
        while self.has_unwritten() {
            // No program is left to take an event.
            while pump(&mut self.machine, &mut self.unix).is_some() {}
            if !self.has_unwritten() {
                break;
            }
            let Some(event) = self.unix.wait(until) else {
                warn!(unwritten = self.machine.unwritten(), "messages were lost: the primary does not read");
                break;
            };
            self.machine.handle(event);
        }
        self.unix.farewell(until);
    }
}
