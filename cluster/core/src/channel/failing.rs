//! Failed writes: the end of the channel, a descriptor that cannot be sent, or a shortage to retry after. Only the
//! first loses messages.

use alloc::vec::Vec;

use super::sending::{OutgoingFrame, Source};
use super::{Channel, ChannelStep, Outgoing};
use crate::os::{ChannelId, Errno, SocketId};
use crate::steps::Steps;

/// The consequence of a failed write, by error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The channel is broken: no write will succeed.
    Broken,
    /// The descriptor cannot be sent; the channel is unchanged.
    Unfit,
    /// The kernel lacks memory or references: the same write may succeed later.
    Shortage,
}

impl Failure {
    /// An error number that a descriptor can cause is attributed to the descriptor first; the next write without a
    /// descriptor decides about the channel. An unknown number without a descriptor loses nothing.
    fn of(errno: Errno, with_socket: bool) -> Failure {
        match errno {
            Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN | Errno::ESHUTDOWN => Failure::Broken,
            Errno::EBADF | Errno::ENOTSOCK if !with_socket => Failure::Broken,
            Errno::ETOOMANYREFS
            | Errno::ENOBUFS
            | Errno::ENOMEM
            | Errno::EMFILE
            | Errno::ENFILE
            | Errno::EAGAIN
            | Errno::EINTR => Failure::Shortage,
            _ if with_socket => Failure::Unfit,
            _ => Failure::Shortage,
        }
    }
}

impl Channel {
    /// A write has failed. After a shortage, the same bytes are written again when the owner's timer fires; a
    /// connection offer returns to the owner instead, for another peer. The order of messages is preserved.
    pub(crate) fn write_failed<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        errno: Errno,
        steps: &mut Steps<S>,
    ) {
        let socket = self.sending.writing.as_ref().and_then(|(line, _)| line.socket);
        let failure = Failure::of(errno, socket.is_some());
        if failure == Failure::Broken {
            return self.broken(errno, steps);
        }
        let episode = &mut self.sending.failing[usize::from(socket.is_some())];
        if !core::mem::replace(episode, true) {
            self.step(ChannelStep::Failing(errno), steps);
        }
        let returns = failure == Failure::Unfit
            || self.sending.unacknowledged.as_ref().is_some_and(Outgoing::is_offer) && socket.is_some();
        if returns {
            self.give_back(steps);
        } else {
            self.step(ChannelStep::Retry, steps);
        }
    }

    /// The descriptor of the current frame was not sent: its message returns to the owner.
    fn give_back<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        let Some((line, _)) = self.sending.writing.take() else { return };
        self.sending.forget(&line);
        let outgoing = self.sending.unacknowledged.take();
        self.run_deferred_write(steps);
        if let Some(outgoing) = outgoing {
            self.step(ChannelStep::Unsent(outgoing), steps);
        }
        self.release_blocked(steps);
    }

    /// The peer reads no longer. Unsent messages are lost, except connection offers, which return to the owner;
    /// earlier messages of the peer may still arrive.
    fn broken<S: From<(ChannelId, ChannelStep)>>(&mut self, errno: Errno, steps: &mut Steps<S>) {
        if self.sending.broken {
            return;
        }
        self.sending.broken = true;
        self.step(ChannelStep::Broken, steps);
        for offer in self.unsent_offers() {
            self.step(ChannelStep::Unsent(offer), steps);
        }
        self.lose_unsent(errno, Source::is_counted, steps);
        self.close_if_done(steps);
        self.resume_if_drained(steps);
    }

    /// The connection offers with descriptors that were certainly not sent.
    fn unsent_offers(&mut self) -> Vec<Outgoing> {
        let sending = &mut self.sending;
        let is_unsent = |line: &OutgoingFrame| line.socket.is_some();
        let first = sending.writing.iter().map(|(line, _)| line).chain(&sending.outbox).any(is_unsent);
        let blocked_on_ack =
            sending.blocked_on_ack.iter_mut().filter_map(|line| line.carries.take_if(|it| it.is_offer()));
        let mut offers: Vec<Outgoing> = blocked_on_ack.collect();
        if first {
            let offer = sending.unacknowledged.take_if(|outgoing| outgoing.is_offer());
            offers.splice(0..0, offer);
        }
        offers
    }

    /// Drops every unsent frame and reports the number of lost messages.
    pub(super) fn lose_unsent<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        errno: Errno,
        is_loss: impl Fn(Source) -> bool,
        steps: &mut Steps<S>,
    ) {
        let sending = &mut self.sending;
        let first = sending.writing.iter().map(|(line, _)| line);
        let lines = first.chain(&sending.outbox).chain(&sending.blocked_on_ack);
        let lost = lines.filter(|line| is_loss(line.source)).count() as u64;
        sending.unwritten = 0;
        self.drop_unsent(steps);
        if lost > 0 {
            self.sending.lossy = true;
            self.tick(ChannelStep::Lost(errno, lost), steps);
        }
    }

    /// The peer has not acknowledged the descriptor, so it cannot refer to the socket.
    pub(crate) fn is_carrying(&self, socket: SocketId) -> bool {
        let blocked_on_ack = self.sending.blocked_on_ack.iter().filter_map(|line| line.carries.as_ref());
        let mut carried = blocked_on_ack.chain(&self.sending.unacknowledged);
        carried.any(|outgoing| outgoing.handle.is_some_and(|handle| handle.socket == socket))
    }
}

impl Source {
    pub(super) fn is_answer(self) -> bool {
        match self {
            Source::Answer => true,
            Source::Program | Source::Wish | Source::Cluster => false,
        }
    }

    /// The program waits for the frame.
    pub(super) fn is_counted(self) -> bool {
        match self {
            Source::Program | Source::Wish => true,
            Source::Answer | Source::Cluster => false,
        }
    }
}
