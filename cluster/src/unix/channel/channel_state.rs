//! The state of a primary's end of a channel, for a hand-over.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use serde::{Deserialize, Serialize};

use super::Channel;
use crate::unix::adoption::adopt;

/// A primary's end of a channel, as plain data. Unread and unwritten bytes are in the kernel and in the
/// machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChannelState {
    descriptor: RawFd,
    paused: bool,
    full: bool,
    waiting: Vec<RawFd>,
    room: usize,
}

impl ChannelState {
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [self.descriptor].into_iter().chain(self.waiting.iter().copied())
    }
}

impl Channel {
    pub(crate) fn state(&self) -> ChannelState {
        ChannelState {
            descriptor: self.stream.as_raw_fd(),
            paused: self.paused,
            full: self.full,
            waiting: self.waiting.iter().map(AsRawFd::as_raw_fd).collect(),
            room: self.room,
        }
    }

    pub(crate) fn restore(state: ChannelState) -> io::Result<Self> {
        let mut channel = Channel::new(adopt(state.descriptor)?.into())?;
        channel.paused = state.paused;
        channel.full = state.full;
        channel.waiting = state.waiting.into_iter().map(adopt).collect::<io::Result<_>>()?;
        channel.room = state.room;
        Ok(channel)
    }
}
