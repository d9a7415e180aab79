//! The outgoing half of a channel: the send queue, Node's handle queue, and back-pressure. After a message
//! with a socket, every frame waits until the peer has acknowledged the socket. `failing` handles failed
//! writes.
//!
//! # Why two peers that both send never wait for each other
//!
//! *Whatever our own program sends, this process continues to read, even if the peer does not read.* Each
//! unsent byte has one of three sources:
//!
//! * **The program** (`send`, and the request that the peer disconnect). With [`Limits::unsent_bytes`]
//!   unsent, `send` fails with `Full`. Reading continues.
//! * **The peer**: its messages cause answers, namely acknowledgements of descriptors, replies, and counts.
//!   When more than [`Limits::answer_bytes`] of answers wait for the kernel, a primary stops reading from
//!   this peer until half of the answers are written. No answer is ever dropped.
//! * **The cluster**: at most one connection offer per key, and a worker's reports about its servers.
//!
//! A worker always reads from the primary, and so does every Node program. Thus at most one of the two ends
//! stops reading, the primary, and the other end reads at that time: the answers are written, and the primary
//! reads again. Hence both directions make progress, whatever the programs have queued, even during a
//! disconnect. A worker that keeps the protocol causes few answers anyway: one acknowledgement, because it
//! sends the next descriptor only afterwards, and one reply per key, because the next offer waits for the
//! reply.
//!
//! Answers that are *blocked* behind an unacknowledged descriptor are different. The peer may have written
//! the acknowledgement after the questions, so both ends would wait for each other if the primary stopped
//! reading. Therefore reading continues, and a peer that causes more than [`Limits::answer_bytes`] of blocked
//! answers violates the protocol ([`Violation::Unacknowledged`]): this takes tens of thousands of questions
//! before one acknowledgement.
//!
//! The unsent bytes of a channel are bounded by the sum of `unsent_bytes`, one message of the program (`send`
//! succeeds while there is room for one byte), twice `answer_bytes`, and the answers to one read. The memory
//! is up to five times as much, because a frame takes some 200 bytes besides its text; the number of the
//! program's frames is bounded as well.
//!
//! [`Limits::unsent_bytes`]: crate::settings::Limits::unsent_bytes
//!
//! [`Limits::answer_bytes`]: crate::settings::Limits::answer_bytes
//!
//! [`Violation::Unacknowledged`]: crate::violation::Violation::Unacknowledged

use alloc::boxed::Box;
use alloc::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::outbox::{Outbox, take_if};
use super::outgoing::{Encoder, Outgoing, OutgoingFrame};
use super::unsent::Unsent;
use super::{ChannelEvent, Queue};
use crate::claims::first_false;
use crate::os::{Call, ChannelId, SocketId};
use crate::passing::{InFlightHandles, IncomingHandle, OutgoingHandle};
use crate::send::{SendError, Sent};
use crate::serialization::Serialization;
use crate::settings::Limits;
use crate::user_message::Message;
use crate::violation::Violation;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct SendQueue {
    pub(super) id: ChannelId,
    encoder: Encoder,
    pub(super) unsent: Unsent,
    pub(super) outbox: Outbox,
    /// Whether no further write can succeed.
    pub(super) broken: bool,
    /// The message with the unacknowledged descriptor.
    pub(super) unacknowledged: Option<Box<Outgoing>>,
    /// The frames behind the message with the unacknowledged descriptor.
    pub(super) blocked_on_ack: VecDeque<OutgoingFrame>,
    /// Whether the last write without a descriptor, and the last write with a descriptor, has failed. A
    /// failure is reported once, until such a write succeeds.
    pub(super) failing: [bool; 2],
}

impl SendQueue {
    pub(super) fn new(id: ChannelId, serialization: Serialization, limits: &Limits) -> Self {
        SendQueue {
            id,
            encoder: Encoder::new(serialization, limits),
            unsent: Unsent::new(limits),
            outbox: Outbox::default(),
            broken: false,
            unacknowledged: None,
            blocked_on_ack: VecDeque::new(),
            failing: [false; 2],
        }
    }

    /// The first field on which a later input could panic.
    pub(super) fn contradiction(&self) -> Option<&'static str> {
        let (ready, blocked) = (self.outbox.frames(), self.blocked_on_ack.iter());
        let are_within = self.outbox.frames().chain(&self.blocked_on_ack).all(OutgoingFrame::is_within_text);
        if !are_within {
            return Some("channel.sending.frames");
        }
        first_false([
            ("channel.sending.outbox.writing", self.outbox.offers_its_bytes()),
            ("channel.sending.unsent", self.unsent.covers(ready, blocked)),
        ])
    }

    /// The sockets in flight: the socket to be acknowledged, and the sockets of the messages behind it.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = SocketId> {
        let blocked = self.blocked_on_ack.iter().filter_map(|frame| frame.carries.as_ref());
        self.unacknowledged.iter().chain(blocked).filter_map(|outgoing| outgoing.passes())
    }

    /// Whether every frame is written and acknowledged, or the channel is broken. Blocked frames need no
    /// check: they wait for an unacknowledged frame.
    pub(super) fn is_done(&self) -> bool {
        self.outbox.is_empty() && (self.unacknowledged.is_none() || self.broken)
    }

    /// Whether an acknowledgement is expected. On a broken channel, an unexpected acknowledgement is
    /// tolerated.
    pub(super) fn awaits_ack(&self) -> bool {
        self.unacknowledged.is_some() || self.broken
    }

    /// Sends a message of the program. Returns `Congested` if `congested_bytes` are unsent, or if more than
    /// one message waits behind an unacknowledged descriptor.
    pub(super) fn post<T>(
        &mut self,
        message: Message,
        passing: Option<OutgoingHandle>,
        in_flight: &mut InFlightHandles,
        steps: &mut Queue<T>,
    ) -> Result<Sent, SendError> {
        if message.is_reserved() {
            return Err(SendError::Reserved);
        }
        if self.unsent.is_full(self.outbox.queued() + self.blocked_on_ack.len()) {
            return Err(SendError::Full);
        }
        if passing.is_some_and(|passing| in_flight.is_given(passing.socket)) {
            return Err(SendError::HandleAlreadySent);
        }
        let handle = passing.map(|OutgoingHandle { socket, kind, .. }| IncomingHandle { socket, kind });
        let frame = self.encoder.user_frame(message, handle)?;
        if let Some(passing) = passing {
            in_flight.start(passing);
        }
        self.send_frame(frame, steps);
        let congested = self.unsent.is_congested() || self.blocked_on_ack.len() > 1;
        Ok(if congested { Sent::Congested } else { Sent::Buffered })
    }

    /// Sends a message. Behind an unacknowledged descriptor, the message is queued.
    pub(super) fn send<T>(&mut self, outgoing: Outgoing, steps: &mut Queue<T>) {
        self.send_frame(self.encoder.frame(outgoing), steps);
    }

    fn send_frame<T>(&mut self, frame: OutgoingFrame, steps: &mut Queue<T>) {
        self.unsent.add(&frame);
        if !self.broken {
            self.unsent.expect(&frame);
        }
        if self.unacknowledged.is_none() {
            self.count_answer(&frame, steps);
            self.transmit(frame, steps);
        } else {
            if self.unsent.block(&frame) {
                steps.report_tick(self.id, ChannelEvent::Violated(Violation::Unacknowledged));
            }
            self.blocked_on_ack.push_back(frame);
        }
    }

    /// Queues the acknowledgement of a descriptor, before all blocked frames, because otherwise two peers
    /// could wait for each other. Returns whether the caller must queue a turn of writing.
    #[must_use]
    pub(super) fn acknowledge<T>(&mut self, arrived: bool, steps: &mut Queue<T>) -> bool {
        let frame = self.encoder.acknowledgement(arrived);
        self.unsent.add(&frame);
        self.count_answer(&frame, steps);
        if self.broken {
            self.drop_unsent(steps);
            return false;
        }
        self.outbox.push(frame)
    }

    fn transmit<T>(&mut self, mut frame: OutgoingFrame, steps: &mut Queue<T>) {
        if self.broken
            && let Some(offer) = frame.carries.take_if(|outgoing| outgoing.is_offer())
        {
            steps.report(self.id, ChannelEvent::Refused(offer));
        }
        if let Some(outgoing) = frame.carries.take() {
            self.unacknowledged = Some(outgoing);
        }
        self.enqueue(frame, steps);
    }

    fn enqueue<T>(&mut self, frame: OutgoingFrame, steps: &mut Queue<T>) {
        if self.broken {
            return self.drop_unsent(steps);
        }
        if self.outbox.push(frame) {
            steps.write(self.id);
        }
    }

    fn count_answer<T>(&mut self, frame: &OutgoingFrame, steps: &mut Queue<T>) {
        self.unsent.count_answer(frame);
        self.pause_if_full(steps);
    }

    fn pause_if_full<T>(&mut self, steps: &mut Queue<T>) {
        if self.unsent.pause() {
            steps.call(Call::PauseRead { channel: self.id });
        }
    }

    pub(super) fn resume_if_drained<T>(&mut self, steps: &mut Queue<T>) {
        if self.unsent.resume() {
            steps.call(Call::ResumeRead { channel: self.id });
        }
    }

    /// Takes the turn of a frame.
    pub(super) fn next_write(&mut self) -> Option<Call> {
        let (bytes, socket) = self.outbox.next_write()?;
        Some(Call::Write { channel: self.id, bytes, socket })
    }

    /// Called when the operating system has accepted the offered bytes, perhaps in part. Returns false if the
    /// write was cancelled.
    pub(super) fn wrote<T>(&mut self, rest: &[u8], steps: &mut Queue<T>) -> bool {
        let Some((frame, offered)) = self.outbox.writing() else { return false };
        let taken = *offered - rest.len();
        self.unsent.sent(frame, taken);
        frame.advance(taken);
        if taken > 0 {
            self.failing[usize::from(frame.socket.take().is_some())] = false;
        }
        if frame.unsent() == 0 {
            self.unsent.complete(frame);
            if let Some(socket) = frame.receipt {
                steps.report(self.id, ChannelEvent::Written(socket));
            }
            self.end_write(steps);
        } else if rest.is_empty() {
            self.writable(steps);
        }
        true
    }

    /// Continues the current frame: there is room, the next piece follows, or a retry is due.
    pub(super) fn writable<T>(&mut self, steps: &mut Queue<T>) {
        if self.outbox.rewrite() {
            steps.write(self.id);
        }
    }

    /// Removes the frame being written. If a frame's turn was deferred during the write, its turn follows.
    pub(super) fn end_write<T>(&mut self, steps: &mut Queue<T>) -> Option<OutgoingFrame> {
        let (frame, turn_follows) = self.outbox.end_write();
        if turn_follows {
            steps.write(self.id);
        }
        frame
    }

    /// Cancels the frames that `carries` accepts. A descriptor that was sent before is not revoked.
    pub(super) fn withdraw<T>(&mut self, carries: impl Fn(&OutgoingFrame) -> bool, steps: &mut Queue<T>) {
        let blocked_on_ack = take_if(&mut self.blocked_on_ack, &carries);
        let (next, turn_follows) = self.outbox.withdraw(carries);
        if turn_follows {
            steps.write(self.id);
        }
        for frame in &blocked_on_ack {
            self.unsent.unblock(frame);
            self.unsent.complete(frame);
            self.end_flight(frame.carries.as_deref(), steps);
        }
        for frame in &next {
            self.unsent.complete(frame);
        }
        if !next.is_empty() {
            // The acknowledgement of the cancelled frame is no longer expected.
            self.answered(steps);
        }
    }

    /// Called when the peer has received the descriptor, or never will. Sends the blocked frames, up to the
    /// next descriptor.
    pub(super) fn answered<T>(&mut self, steps: &mut Queue<T>) {
        let answered = self.unacknowledged.take();
        self.end_flight(answered.as_deref(), steps);
        self.release_blocked(steps);
    }

    /// Sends the blocked frames, up to the next descriptor.
    pub(super) fn release_blocked<T>(&mut self, steps: &mut Queue<T>) {
        while self.unacknowledged.is_none() {
            let Some(frame) = self.blocked_on_ack.pop_front() else { break };
            self.unsent.unblock(&frame);
            self.transmit(frame, steps);
        }
        self.pause_if_full(steps);
    }

    /// Called when the peer has rejected the descriptor. A user's message is sent again, before the blocked
    /// frames. Any other message returns to the owner.
    pub(super) fn rejected<T>(&mut self, steps: &mut Queue<T>) -> Option<ChannelEvent> {
        let mut outgoing = self.unacknowledged.take()?;
        if outgoing.retransmit() {
            // The message was written before; only its socket is sent again.
            let frame = self.encoder.repeat(*outgoing);
            self.unsent.add(&frame);
            self.transmit(frame, steps);
            return None;
        }
        self.answered(steps);
        Some(ChannelEvent::Refused(outgoing))
    }

    /// Called when the socket of a user's message is no longer in flight.
    fn end_flight<T>(&self, outgoing: Option<&Outgoing>, steps: &mut Queue<T>) {
        if let Some(socket) = outgoing.and_then(Outgoing::passes) {
            steps.report(self.id, ChannelEvent::FlightEnded(socket));
        }
    }

    pub(super) fn drop_unsent<T>(&mut self, steps: &mut Queue<T>) {
        self.unsent.clear();
        self.failing = [false; 2];
        self.outbox = Outbox::default();
        let unacknowledged = self.unacknowledged.take();
        self.end_flight(unacknowledged.as_deref(), steps);
        for frame in core::mem::take(&mut self.blocked_on_ack) {
            self.end_flight(frame.carries.as_deref(), steps);
        }
    }
}
