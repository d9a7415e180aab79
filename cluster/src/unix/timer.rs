//! Timers: the runtime's clock, one sleep for all. It does not know what they are for.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use cluster_core::TimerId;
use tokio::time::{Instant, Sleep, sleep_until};

/// Timers that have not fired.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Instant, TimerId)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timers {
    /// Adds one.
    pub(super) fn set(&mut self, timer: TimerId, after: Duration) {
        self.due.insert((Instant::now() + after, timer));
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> Option<std::time::Instant> {
        self.due.first().map(|(due, _)| due.into_std())
    }

    /// Takes the next one, if it is due.
    pub(super) fn take_due(&mut self) -> Option<TimerId> {
        let is_due = self.due()? <= std::time::Instant::now();
        if is_due { self.due.pop_first().map(|(_, timer)| timer) } else { None }
    }

    /// The next one that fires.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<TimerId> {
        let Some(&(due, timer)) = self.due.first() else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(cx).map(|()| {
            self.due.pop_first();
            timer
        })
    }
}
