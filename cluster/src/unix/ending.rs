//! The end of a process. The accepted messages are written without the runtime, because the runtime may have
//! ended. `poll` waits for channels and timers; no other event is observed.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use cluster_core::{ChannelId, OsEvent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Unix;

/// A copy of the channel to the primary, for a thread that waits for the close.
#[derive(Debug)]
pub(crate) struct Hangup(OwnedFd);

impl Hangup {
    /// Waits until the channel is closed by the primary or by [`Unix`], even if unread bytes remain.
    pub(crate) fn wait(&self) {
        loop {
            let mut polled = [PollFd::new(&self.0, PollFlags::empty())];
            match poll(&mut polled, None) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                // After a failure (ENOMEM) the driver alone observes the end, as without the thread.
                Ok(_) | Err(_) => return,
            }
        }
    }
}

impl Unix {
    /// A copy of the channel to the primary. `None`: there is no channel, or no free descriptor.
    pub(crate) fn hangup(&mut self) -> Option<Hangup> {
        let channel = self.channels.find(ChannelId::PRIMARY)?;
        channel.as_fd().try_clone_to_owned().ok().map(Hangup)
    }

    /// Stops the use of the runtime: from now on [`Unix::wait`] returns the events.
    pub(crate) fn leave_runtime(&mut self) {
        self.channels.values_mut().for_each(super::channel::Channel::leave_runtime);
    }

    /// The next event of a channel or a timer. `None`: no event before `until`.
    pub(crate) fn wait(&mut self, until: Instant) -> Option<OsEvent> {
        loop {
            if let Some(timer) = self.timers.take_due() {
                return Some(OsEvent::Timer { timer });
            }
            let now = Instant::now();
            let due = self.timers.due().map_or(until, |due| due.min(until));
            let ready = self.ready(due.saturating_duration_since(now));
            if let Some(event) = ready.and_then(|id| self.channel_event_now(id)) {
                return Some(event);
            }
            if now >= until {
                return None;
            }
        }
    }

    /// The first channel to become ready within the time.
    fn ready(&mut self, within: Duration) -> Option<ChannelId> {
        let ids: Vec<ChannelId> = self.channels.keys().collect();
        let channels = self.channels.values().map(|channel| (channel, channel.awaits()));
        let mut polled: Vec<PollFd<'_>> =
            channels.map(|(channel, flags)| PollFd::from_borrowed_fd(channel.as_fd(), flags)).collect();
        // Rounded up, so a timer is due when the wait ends.
        let within = Timespec::try_from(within + Duration::from_millis(1)).ok()?;
        // A failure (EINTR) is no event: the caller polls again.
        poll(&mut polled, Some(&within)).ok()?;
        let ready = polled.iter().position(|polled| !polled.revents().is_empty())?;
        ids.get(ready).copied()
    }

    fn channel_event_now(&mut self, id: ChannelId) -> Option<OsEvent> {
        let Unix { channels, buffer, .. } = self;
        let event = channels.find(id)?.event_now(buffer)?;
        Some(self.channel_event(id, event))
    }
}
