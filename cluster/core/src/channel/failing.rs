//! What a failed write means: the end of the channel, a message that cannot travel, or a reason to try again later.
//! Nothing is lost but by the first.

use alloc::vec::Vec;

use super::sending::{OutgoingFrame, Source};
use super::{Channel, ChannelStep, Outgoing};
use crate::os::{ChannelId, Errno, SocketId};
use crate::steps::Steps;

/// What to do about an error number that a write has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The connection to the peer is broken: no write will succeed.
    Broken,
    /// This descriptor cannot travel; the channel is as it was.
    Unfit,
    /// The kernel has no memory or no reference left: the same write may succeed later.
    Shortage,
}

impl Failure {
    /// An error number that a descriptor can cause is blamed on the descriptor first: the next write without one decides
    /// about the channel. An unknown number without a descriptor is no reason to lose anything.
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
    /// A write has failed. After a shortage the same bytes are written again when the owner's timer fires; a connection on
    /// offer returns to its owner instead, which may offer it to another peer. The order of messages is kept.
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

    /// The line that is being written carries a descriptor that was not sent: its owner decides about the message.
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

    /// The peer reads no more. What was to be sent is lost, but for connections on offer, which return to their owner;
    /// what the peer sent before may still arrive.
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

    /// The connections on offer with a descriptor that was certainly not sent.
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

    /// Nothing more is written, and the number of the program's lost messages is reported.
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

    /// Whether the peer has not acknowledged this descriptor: it cannot know of it.
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

    /// Whether the program waits for it.
    pub(super) fn is_counted(self) -> bool {
        match self {
            Source::Program | Source::Wish => true,
            Source::Answer | Source::Cluster => false,
        }
    }
}
