//! The end of a process: what its program has sent is written without the runtime, which may have ended. Channels and
//! timers are waited for with `poll`, and nothing else is.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use cluster_core::{ChannelId, OsEvent};
use rustix::event::{PollFd, Timespec, poll};

use super::Unix;

impl Unix {
    /// From now on nothing asks the runtime: [`Unix::wait`] returns the events.
    pub(crate) fn leave_runtime(&mut self) {
        self.channels.values_mut().for_each(super::channel::Channel::leave_runtime);
    }

    /// The next event of a channel or a timer; `None`: there was none until then.
    pub(crate) fn wait(&mut self, until: Instant) -> Option<OsEvent> {
        loop {
            if let Some(timer) = self.timers.take_due() {
                return Some(OsEvent::Timer { timer });
            }
            let now = Instant::now();
            let due = self.timers.due().map_or(until, |due| due.min(until));
            let ready = self.ready(due.saturating_duration_since(now));
            if let Some(event) = ready.and_then(|id| self.heard_now(id)) {
                return Some(event);
            }
            if now >= until {
                return None;
            }
        }
    }

    /// The first channel at which something can be done within this time.
    fn ready(&mut self, within: Duration) -> Option<ChannelId> {
        let ids: Vec<ChannelId> = self.channels.keys().collect();
        let channels = self.channels.values().map(|channel| (channel, channel.awaits()));
        let mut polled: Vec<PollFd<'_>> =
            channels.map(|(channel, flags)| PollFd::from_borrowed_fd(channel.as_fd(), flags)).collect();
        // Rounded up, so that what is due is due.
        let within = Timespec::try_from(within + Duration::from_millis(1)).ok()?;
        // A failure, such as a signal, is no event: the caller polls again.
        poll(&mut polled, Some(&within)).ok()?;
        let ready = polled.iter().position(|polled| !polled.revents().is_empty())?;
        ids.get(ready).copied()
    }

    fn heard_now(&mut self, id: ChannelId) -> Option<OsEvent> {
        let Unix { channels, buffer, .. } = self;
        let heard = channels.find(id)?.hear_now(buffer)?;
        Some(self.heard(id, heard))
    }
}
