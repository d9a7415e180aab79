//! Failed writes. The cause is the end of the channel, a descriptor that cannot be sent, or a shortage after
//! which the write is repeated. Messages are lost only at the end of the channel.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::outgoing::{Outgoing, Source};
use super::sending::SendQueue;
use super::{ChannelEvent, Queue};
use crate::os::{Errno, SocketId};

/// What a failed write means, by error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The channel is broken: no write will succeed.
    Broken,
    /// The descriptor cannot be sent. The channel itself still works.
    Unfit,
    /// The kernel is short of memory or references. The same write may succeed later.
    Shortage,
}

impl Failure {
    /// If the write had a descriptor, and a descriptor can cause the error, the descriptor counts as the
    /// cause: the next write without a descriptor shows whether the channel works. An unknown error of a
    /// write without a descriptor counts as a shortage, so no message is lost.
    fn of(errno: Errno, with_socket: bool) -> Failure {
        match errno {
            _ if errno.breaks_channel(with_socket) => Failure::Broken,
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

impl SendQueue {
    /// Called when a write has failed. After a shortage, the same bytes are written again when the owner's
    /// timer fires; a connection offer returns to the owner instead, for another peer. The order of messages
    /// is preserved. Returns true if the channel is broken now.
    pub(super) fn write_failed<T>(&mut self, errno: Errno, steps: &mut Queue<T>) -> bool {
        let with_socket = self.outbox.writing().is_some_and(|(frame, _)| frame.socket.is_some());
        let failure = Failure::of(errno, with_socket);
        if failure == Failure::Broken {
            return self.break_off(errno, steps);
        }
        if !core::mem::replace(&mut self.failing[usize::from(with_socket)], true) {
            steps.report(self.id, ChannelEvent::Failing(errno));
        }
        let is_offer = self.unacknowledged.as_ref().is_some_and(|outgoing| outgoing.is_offer());
        if failure == Failure::Unfit || is_offer && with_socket {
            self.give_back(steps);
        } else {
            steps.report(self.id, ChannelEvent::Retry);
        }
        false
    }

    /// Returns the message of the current frame to the owner, because its descriptor was not sent.
    fn give_back<T>(&mut self, steps: &mut Queue<T>) {
        let Some(frame) = self.end_write(steps) else { return };
        self.unsent.complete(&frame);
        if let Some(outgoing) = self.unacknowledged.take() {
            steps.report(self.id, ChannelEvent::Refused(outgoing));
        }
        self.release_blocked(steps);
    }

    /// Breaks the channel, because the peer no longer reads. Unsent messages are lost, except connection
    /// offers, which return to the owner. Earlier messages of the peer may still arrive. False: the channel
    /// was broken before.
    fn break_off<T>(&mut self, errno: Errno, steps: &mut Queue<T>) -> bool {
        if core::mem::replace(&mut self.broken, true) {
            return false;
        }
        steps.report(self.id, ChannelEvent::Broken);
        for offer in self.unsent_offers() {
            steps.report(self.id, ChannelEvent::Refused(Box::new(offer)));
        }
        self.lose_unsent(errno, Source::is_counted, steps);
        true
    }

    /// Takes the connection offers with descriptors that were certainly not sent.
    fn unsent_offers(&mut self) -> Vec<Outgoing> {
        let first = self.outbox.frames().any(|frame| frame.socket.is_some());
        let first = self.unacknowledged.take_if(|outgoing| first && outgoing.is_offer());
        let blocked = self.blocked_on_ack.iter_mut();
        first
            .into_iter()
            .chain(blocked.filter_map(|frame| frame.carries.take_if(|outgoing| outgoing.is_offer())))
            .map(|offer| *offer)
            .collect()
    }

    /// Drops every unsent frame and reports the number of lost messages.
    pub(super) fn lose_unsent<T>(&mut self, errno: Errno, is_loss: fn(Source) -> bool, steps: &mut Queue<T>) {
        let frames = self.outbox.frames().chain(&self.blocked_on_ack);
        let lost = frames.filter(|frame| is_loss(frame.source)).count() as u64;
        self.unsent.lose(lost > 0);
        self.drop_unsent(steps);
        if lost > 0 {
            steps.report_tick(self.id, ChannelEvent::Lost(errno, lost));
        }
    }

    /// Whether the peer has not acknowledged the descriptor yet. Until then, no message of the peer can refer
    /// to the socket.
    pub(super) fn is_carrying(&self, socket: SocketId) -> bool {
        let blocked = self.blocked_on_ack.iter().filter_map(|frame| frame.carries.as_ref());
        blocked.chain(&self.unacknowledged).any(|outgoing| outgoing.carries(socket))
    }
}
