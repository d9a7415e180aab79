//! The queue of events between the driver of a worker and the callers of `next`. The queue does not look into
//! the events. After the end, callers can still take the remaining events.
//!
//! A driver and any number of callers share the queue behind a lock. Invariants whenever the lock is free:
//!
//! * A caller waits only while the queue is empty and has not ended. An event or the end wakes every caller.
//!   So a dropped caller, woken or not, withholds no event from the others. Each caller waits under a
//!   separate ticket.
//! * The driver waits only while the queue is full. A caller that makes room wakes the driver.
//!
//! Wakers are called and dropped only while the lock is free, because both may call the module again.
//!
//! `tests/it/interleavings.rs` compiles this file with other locks and tries every interleaving.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard};

/// A bounded queue of events.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    limit: usize,
    queue: Mutex<Queue<T>>,
}

#[derive(Debug)]
struct Queue<T> {
    events: VecDeque<T>,
    /// Whether a caller has asked for an event at least once.
    asked: bool,
    ended: bool,
    last_ticket: u64,
    /// The waiting callers, woken in the order of the tickets.
    waiting: BTreeMap<u64, Waker>,
    /// The waker of the driver, while the driver waits for room.
    driver: Option<Waker>,
}

impl<T> Inbox<T> {
    pub(crate) fn new(limit: usize) -> Self {
        let queue = Queue {
            events: VecDeque::new(),
            asked: false,
            ended: false,
            last_ticket: 0,
            waiting: BTreeMap::new(),
            driver: None,
        };
        Inbox { limit, queue: Mutex::new(queue) }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event, or `None` after the last. Dropping the future loses nothing.
    pub(crate) fn next(&self) -> Next<'_, T> {
        Next { inbox: self, ticket: None }
    }

    /// As [`Inbox::next`]. The caller keeps the ticket between calls, until [`Inbox::stop_waiting`].
    pub(crate) fn poll_next(&self, ticket: &mut Option<u64>, cx: &Context<'_>) -> Poll<Option<T>> {
        let mut queue = self.lock();
        queue.asked = true;
        let event = queue.events.pop_front();
        if event.is_none() && !queue.ended {
            let ticket = *ticket.get_or_insert_with(|| {
                queue.last_ticket += 1;
                queue.last_ticket
            });
            let outdated = queue.waiting.insert(ticket, cx.waker().clone());
            drop(queue);
            drop(outdated);
            return Poll::Pending;
        }
        let has_room = queue.events.len() < self.limit;
        let driver = if has_room { queue.driver.take() } else { None };
        drop(queue);
        if let Some(driver) = driver {
            driver.wake();
        }
        // The invariant: no caller waits while there is an event or the end.
        *ticket = None;
        Poll::Ready(event)
    }

    /// The caller with the ticket no longer waits.
    pub(crate) fn stop_waiting(&self, ticket: Option<u64>) {
        if let Some(ticket) = ticket {
            // In two statements, to drop the waker after the release of the lock.
            let waker = self.lock().waiting.remove(&ticket);
            drop(waker);
        }
    }

    /// Whether a caller has ever asked for an event.
    pub(crate) fn is_asked(&self) -> bool {
        self.lock().asked
    }

    pub(crate) fn is_full(&self) -> bool {
        self.lock().events.len() >= self.limit
    }

    /// Ready when there is room. Before the first caller has asked, always ready, because only a caller makes
    /// room.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut queue = self.lock();
        if !queue.asked || queue.events.len() < self.limit {
            return Poll::Ready(());
        }
        let outdated = queue.driver.replace(cx.waker().clone());
        drop(queue);
        drop(outdated);
        Poll::Pending
    }

    /// Queues an event, even if the queue is full.
    pub(crate) fn put(&self, event: T) {
        self.change(|queue| queue.events.push_back(event));
    }

    /// Ends the queue: no event follows.
    pub(crate) fn end(&self) {
        self.change(|queue| queue.ended = true);
    }

    /// Whether [`Inbox::end`] was called; events may remain.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Changes the queue, and wakes all callers.
    fn change(&self, change: impl FnOnce(&mut Queue<T>)) {
        let mut queue = self.lock();
        change(&mut queue);
        let waiting = mem::take(&mut queue.waiting);
        drop(queue);
        waiting.into_values().for_each(Waker::wake);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().events.len()
    }
}

/// A caller that waits for an event.
#[derive(Debug)]
pub(crate) struct Next<'a, T> {
    inbox: &'a Inbox<T>,
    ticket: Option<u64>,
}

impl<T> Future for Next<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let inbox = self.inbox;
        inbox.poll_next(&mut self.ticket, cx)
    }
}

impl<T> Drop for Next<'_, T> {
    fn drop(&mut self) {
        self.inbox.stop_waiting(self.ticket);
    }
}
