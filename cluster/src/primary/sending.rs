//! Sending when there is room, and the end of a primary. A primary still handles every input while waiting
//! for room, and keeps the events: otherwise the primary and a worker could wait for each other.

use std::collections::VecDeque;
use std::future;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use cluster_core::{Event, Machine, Message, SendError, Sent, WorkerId, WorkerInfo};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

use super::Primary;
use crate::error::RequestError;
use crate::requests::within;

/// The most events kept during a wait.
pub(super) const MOST_EVENTS: usize = 1024;

/// The events emitted while a command waited, oldest first.
#[derive(Debug, Default)]
pub(super) struct KeptEvents {
    events: VecDeque<(Event, Option<WorkerInfo>)>,
    /// The worker of the last taken event, with the state at the event. The machine may have forgotten the
    /// worker since.
    known: Option<(WorkerId, WorkerInfo)>,
}

impl KeptEvents {
    pub(super) fn put(&mut self, event: Event, info: Option<WorkerInfo>) {
        self.events.push_back((event, info));
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    fn is_full(&self) -> bool {
        self.len() >= MOST_EVENTS
    }

    /// Takes the oldest event.
    pub(super) fn take(&mut self) -> Option<Event> {
        self.known = None;
        let (event, info) = self.events.pop_front()?;
        self.known = event.worker().zip(info);
        Some(event)
    }

    /// The state of the worker when the last taken event was emitted.
    pub(super) fn known(&self, worker: WorkerId) -> Option<&WorkerInfo> {
        self.known.as_ref().filter(|(known, _)| *known == worker).map(|(_, info)| info)
    }
}

impl Primary {
    /// Sends a message to a worker as soon as there is room. If the future is dropped, nothing is sent.
    ///
    /// During the wait the primary handles every input: reads from workers, distributes connections and
    /// executes commands of remotes. The events are kept for [`next`](Primary::next). To react to events
    /// during the wait, send from another task, through a [`Remote`](crate::Remote).
    ///
    /// # Errors
    /// As [`send`](Primary::send). [`SendError::Full`]: 1,024 events are kept and there is still no room, so
    /// the program has to take events first.
    pub async fn send_when_room(
        &mut self,
        worker: WorkerId,
        message: impl Into<Message>,
    ) -> Result<Sent, SendError> {
        let message = message.into();
        future::poll_fn(|cx| {
            loop {
                match self.send(worker, message.clone()) {
                    Err(SendError::Full) if !self.kept.is_full() => ready!(self.poll_progress(cx)),
                    sent => return Poll::Ready(sent),
                }
            }
        })
        .await
    }

    /// Waits until the kernel has taken every accepted message, or the loss of the message is reported
    /// ([`WorkerError::Write`](crate::WorkerError)). After this call the messages survive any end of this
    /// process: a worker reads the messages before the end of the channel. The worker may not have read any
    /// yet. Events are kept as by [`send_when_room`](Primary::send_when_room), but without a bound.
    pub async fn flush(&mut self) {
        future::poll_fn(|cx| {
            while self.unwritten() > 0 {
                ready!(self.poll_input(cx, usize::MAX));
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Sends a request to a worker, and waits for the reply: see [`Worker::request`](crate::Worker::request).
    /// Events are kept as by [`send_when_room`](Primary::send_when_room);
    /// [`Remote::request`](crate::Remote::request) allows several requests at a time.
    ///
    /// # Errors
    /// See [`RequestError`]; [`RequestError::TooManyEvents`] if the reply follows more than 1,024 events.
    pub async fn request<Q: Serialize + ?Sized, A: DeserializeOwned>(
        &mut self,
        worker: WorkerId,
        question: &Q,
        timeout: Duration,
    ) -> Result<A, RequestError> {
        let (request, reply) = self.requests.start(Some(worker), question)?;
        let exchange = async {
            let sent = self.send_when_room(worker, request).await;
            let full = (sent == Err(SendError::Full)).then_some(RequestError::TooManyEvents);
            sent.map_err(|error| full.unwrap_or(RequestError::Send(error)))?;
            let mut reply = pin!(reply.receive());
            future::poll_fn(|cx| {
                loop {
                    if let Poll::Ready(reply) = reply.as_mut().poll(cx) {
                        return Poll::Ready(reply);
                    }
                    if self.kept.is_full() {
                        return Poll::Ready(Err(RequestError::TooManyEvents));
                    }
                    ready!(self.poll_progress(cx));
                }
            })
            .await
        };
        within(timeout, exchange).await
    }

    /// Sends a message to every connected worker, and returns each result. A worker with a full channel does
    /// not receive the message.
    pub fn broadcast(&mut self, message: impl Into<Message>) -> Vec<(WorkerId, Result<Sent, SendError>)> {
        let message = message.into();
        let workers: Vec<WorkerId> = self.workers().collect();
        workers.into_iter().map(|worker| (worker, self.send(worker, &message))).collect()
    }

    /// Sets how long dropping the primary waits for workers that do not read. Default: 5 s. Zero: no wait.
    pub fn set_linger(&mut self, linger: Duration) {
        self.linger = linger;
    }

    /// Takes an input, and keeps the events up to the bound. At the bound the machine gets no further input,
    /// and keeps the other events.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.poll_input(cx, MOST_EVENTS)
    }

    fn poll_input(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<()> {
        self.keep_events(most);
        if self.kept.len() >= most {
            return Poll::Ready(());
        }
        if !self.take_input(cx) {
            return Poll::Pending;
        }
        self.keep_events(most);
        Poll::Ready(())
    }

    fn keep_events(&mut self, most: usize) {
        while self.kept.len() < most
            && let Some(event) = self.pump()
        {
            let info = event.worker().and_then(|worker| self.machine.worker(worker)).cloned();
            self.kept.put(event, info);
        }
    }

    /// The number of accepted messages outside the kernel.
    fn unwritten(&self) -> u64 {
        self.machine.running_workers().filter_map(|worker| self.machine.unwritten(worker)).sum()
    }

    /// Writes the accepted messages without the runtime, because the runtime may have ended.
    fn finish(&mut self) {
        if self.unwritten() == 0 {
            return;
        }
        let until = Instant::now() + self.linger;
        if !self.system.leave_runtime() {
            return;
        }
        loop {
            // No program is left to take an event.
            while self.system.pump(&mut self.machine).is_some() {}
            let unwritten = self.unwritten();
            if unwritten == 0 {
                return;
            }
            let Some(event) = self.system.wait(until) else {
                return warn!(unwritten, "messages were lost: their workers do not read");
            };
            self.machine.change(|machine| machine.handle(event));
        }
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        let runtime = self.runtime.clone();
        let _context = runtime.enter();
        self.finish();
        // Remotes waiting for room then return `RemoteError::PrimaryDropped`.
        self.inputs.progress.notify_waiters();
    }
}
