//! Channels that another process holds open after the exit of a worker's process.

use super::Primary;
use super::retries::Retry;
use super::supervised::Supervised;
use crate::channel::Channel;
use crate::os::WorkerId;

impl Primary {
    /// Limits the wait for the channel of a worker after the exit of the process.
    pub(super) fn limit_orphan(&mut self, worker: WorkerId) {
        let is_open = self.peers.channel(worker).is_some_and(|channel: &Channel| !channel.is_over());
        if let Some(timeout) = self.setup.settings.orphan_timeout.filter(|_| is_open) {
            // A timer never fires early.
            let after_ms = u64::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            self.distribution.retry(Retry::Orphan(worker), after_ms, &mut self.peers);
        }
    }
}

impl Supervised<'_> {
    /// Closes the channels of exited workers. False: no such channel is open.
    pub(crate) fn abandon_orphans(&mut self) -> bool {
        let orphaned = self.peers.orphaned();
        self.command(|peers, _| orphaned.iter().for_each(|worker| peers.abandon_channel(*worker)));
        !orphaned.is_empty()
    }
}
