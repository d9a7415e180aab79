//! Sending that waits, in a primary. Every input is handled meanwhile, and its events are kept: a primary that handled
//! none while it waits for a worker could wait for one that waits for it. The end of a primary is here, too.

use std::collections::VecDeque;
use std::future;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use cluster_core::{Event, Machine, Message, SendError, Sent, WorkerId, WorkerInfo, pump};
use tracing::warn;

use super::Primary;

/// Events that came while a command waited, oldest first.
#[derive(Debug, Default)]
pub(super) struct KeptEvents {
    events: VecDeque<(Event, Option<WorkerInfo>)>,
    /// What was known of the worker of the last event that was taken: it may be forgotten since.
    known: Option<(WorkerId, WorkerInfo)>,
}

impl KeptEvents {
    pub(super) fn put(&mut self, event: Event, life: Option<WorkerInfo>) {
        self.events.push_back((event, life));
    }

    /// The oldest event.
    pub(super) fn take(&mut self) -> Option<Event> {
        self.known = None;
        let (event, life) = self.events.pop_front()?;
        self.known = event.worker().zip(life);
        Some(event)
    }

    /// What was known of a worker when the last event came.
    pub(super) fn known(&self, worker: WorkerId) -> Option<&WorkerInfo> {
        self.known.as_ref().filter(|(known, _)| *known == worker).map(|(_, life)| life)
    }
}

impl Primary {
    /// Sends a message to a worker when there is room for it. Dropping the future sends nothing.
    ///
    /// While it waits, every input is handled: workers are read from, connections are given out, remotes are obeyed. The
    /// events of that are kept for [`next`](Primary::next), as many as there are: a task that is to react to them meanwhile
    /// leaves this to another one with a [`Remote`](crate::Remote).
    ///
    /// # Errors
    /// As [`send`](Primary::send), but never [`Full`](SendError::Full).
    pub async fn send_when_room(
        &mut self,
        worker: WorkerId,
        message: impl Into<Message>,
    ) -> Result<Sent, SendError> {
        let message = message.into();
        future::poll_fn(|cx| {
            loop {
                match self.send(worker, message.clone()) {
                    Err(SendError::Full) => ready!(self.poll_progress(cx)),
                    sent => return Poll::Ready(sent),
                }
            }
        })
        .await
    }

    /// Waits until the kernel has every message that was accepted, whole, or it is reported as lost
    /// ([`WorkerError::Write`](crate::WorkerError)). From then on they survive this process, however it ends: their workers read
    /// them before they find that it has exited. This does not mean that they were read. Events are kept as by
    /// [`send_when_room`](Primary::send_when_room).
    pub async fn flush(&mut self) {
        future::poll_fn(|cx| {
            while self.unwritten() > 0 {
                ready!(self.poll_progress(cx));
            }
            Poll::Ready(())
        })
        .await;
    }

    /// How long dropping it waits for workers that do not read: five seconds, if this is not called. Zero: it does not wait.
    pub fn set_linger(&mut self, linger: Duration) {
        self.linger = linger;
    }

    /// One input; its events are kept.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.keep_events();
        if !self.take_input(cx) {
            return Poll::Pending;
        }
        self.keep_events();
        Poll::Ready(())
    }

    fn keep_events(&mut self) {
        while let Some(event) = pump(&mut self.machine, &mut self.unix) {
            let life = event.worker().and_then(|worker| self.machine.worker(worker)).cloned();
            self.kept.put(event, life);
        }
    }

    /// How many messages are accepted and not written.
    fn unwritten(&self) -> u64 {
        self.machine.running_workers().filter_map(|worker| self.machine.unwritten(worker)).sum()
    }

    /// Writes what was accepted, without the runtime, which may have ended.
    fn finish(&mut self) {
        if self.unwritten() == 0 {
            return;
        }
        let until = Instant::now() + self.linger;
        self.unix.leave_runtime();
        loop {
            // No caller is left to take an event.
            while pump(&mut self.machine, &mut self.unix).is_some() {}
            let unwritten = self.unwritten();
            if unwritten == 0 {
                return;
            }
            let Some(event) = self.unix.wait(until) else {
                return warn!(unwritten, "messages were lost: their workers do not read");
            };
            self.machine.handle(event);
        }
    }
}

impl Drop for Primary {
    fn drop(&mut self) {
        let runtime = self.runtime.clone();
        let _context = runtime.enter();
        self.finish();
        // Remotes that wait for room return `RemoteError::Gone`.
        self.progress.notify_waiters();
    }
}
