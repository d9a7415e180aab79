//! Timers on the clock of the runtime. A single sleep serves all timers.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use cluster_core::TimerId;
use tokio::time::{Instant, Sleep, sleep_until};

/// The pending timers.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Instant, TimerId)>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Timers {
    pub(super) fn set(&mut self, timer: TimerId, after: Duration) {
        self.due.insert((Instant::now() + after, timer));
    }

    /// The timers, each with the time left.
    pub(super) fn left(&self) -> Vec<(TimerId, Duration)> {
        let now = Instant::now();
        self.due.iter().map(|(due, timer)| (*timer, due.saturating_duration_since(now))).collect()
    }

    /// The time at which the next timer is due.
    pub(super) fn due(&self) -> Option<std::time::Instant> {
        self.due.first().map(|(due, _)| due.into_std())
    }

    /// Removes and returns the next timer, if due.
    pub(super) fn take_due(&mut self) -> Option<TimerId> {
        let is_due = self.due()? <= std::time::Instant::now();
        if is_due { self.due.pop_first().map(|(_, timer)| timer) } else { None }
    }

    /// Waits for the next timer.
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
