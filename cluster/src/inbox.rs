//! What a worker's program is to hear: a bounded queue from the driver that brings events to whoever asks for the next.
//! It does not know what it carries and decides nothing; the end is said to it, and ends nothing but the waiting.
//!
//! One driver, any number of takers, a lock, and wakers. Whenever the lock is free:
//!
//! * Takers wait only while there is neither an event nor the end. Each of these wakes all of them, so a taker that goes
//!   away, woken or not, owes nobody anything. Each waits under a ticket of its own, and takes it away with it.
//! * The driver waits only while there is no room. Whoever makes room wakes it.
//!
//! Wakers are run and dropped only while the lock is free: both may bring us back here.
//!
//! `tests/loom.rs` compiles this very file and tries every interleaving.

use std::collections::{BTreeMap, VecDeque};
use std::mem;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, Waker};

use crate::sync::{Mutex, MutexGuard};

/// Events on their way to whoever asks for them.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    limit: usize,
    queue: Mutex<Queue<T>>,
}

#[derive(Debug)]
struct Queue<T> {
    events: VecDeque<T>,
    /// Somebody has asked for an event.
    asked: bool,
    /// Nothing will be put any more.
    ended: bool,
    /// How many tickets were given out.
    tickets: u64,
    /// Who waits for an event, by ticket: whoever asked first is woken first.
    takers: BTreeMap<u64, Waker>,
    /// Who waits for room.
    driver: Option<Waker>,
}

impl<T> Inbox<T> {
    /// For as many events as the limit says.
    pub(crate) fn new(limit: usize) -> Self {
        let queue = Queue {
            events: VecDeque::new(),
            asked: false,
            ended: false,
            tickets: 0,
            takers: BTreeMap::new(),
            driver: None,
        };
        Inbox { limit, queue: Mutex::new(queue) }
    }

    fn lock(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event; `None` after the last. Dropping the future loses nothing.
    pub(crate) fn next(&self) -> Next<'_, T> {
        Next { inbox: self, ticket: None }
    }

    /// Whether anybody has ever asked for an event.
    pub(crate) fn is_asked(&self) -> bool {
        self.lock().asked
    }

    /// Whether as many events wait as should at most.
    pub(crate) fn is_full(&self) -> bool {
        self.lock().events.len() >= self.limit
    }

    /// The driver waits until there is room, if anybody has ever asked: then there will be.
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

    /// The driver brings an event. It is kept, whether there is room or not.
    pub(crate) fn put(&self, event: T) {
        self.tell(|queue| queue.events.push_back(event));
    }

    /// The driver brings nothing any more.
    pub(crate) fn end(&self) {
        self.tell(|queue| queue.ended = true);
    }

    /// Whether the driver brings nothing any more; what it brought may still be here.
    pub(crate) fn has_ended(&self) -> bool {
        self.lock().ended
    }

    /// Changes something that takers wait for.
    fn tell(&self, change: impl FnOnce(&mut Queue<T>)) {
        let mut queue = self.lock();
        change(&mut queue);
        let takers = mem::take(&mut queue.takers);
        drop(queue);
        takers.into_values().for_each(Waker::wake);
    }

    /// How many events wait.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().events.len()
    }
}

/// Someone who asks for one event.
#[derive(Debug)]
pub(crate) struct Next<'a, T> {
    inbox: &'a Inbox<T>,
    /// As long as it waits.
    ticket: Option<u64>,
}

impl<T> Next<'_, T> {
    /// Waits under its own ticket, or a new one. Gives the waker that is not needed any more.
    fn wait(&mut self, queue: &mut Queue<T>, waker: Waker) -> Option<Waker> {
        let ticket = *self.ticket.get_or_insert_with(|| {
            queue.tickets += 1;
            queue.tickets
        });
        queue.takers.insert(ticket, waker)
    }
}

impl<T> Future for Next<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let inbox = self.inbox;
        let mut queue = inbox.lock();
        queue.asked = true;
        let event = queue.events.pop_front();
        if event.is_none() && !queue.ended {
            let outdated = self.wait(&mut queue, cx.waker().clone());
            drop(queue);
            drop(outdated);
            return Poll::Pending;
        }
        let room = queue.events.len() < inbox.limit;
        let driver = if room { queue.driver.take() } else { None };
        drop(queue);
        driver.into_iter().for_each(Waker::wake);
        // Nobody waits when there is an event or the end.
        self.ticket = None;
        Poll::Ready(event)
    }
}

impl<T> Drop for Next<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            // In two statements, so that the waker is dropped after the lock.
            let waker = self.inbox.lock().takers.remove(&ticket);
            drop(waker);
        }
    }
}
