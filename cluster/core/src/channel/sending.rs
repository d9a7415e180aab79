//! The outgoing half of a channel: the send queue, Node's handle queue, and back-pressure. Behind a message with a
//! socket, every frame waits for the acknowledgement. `failing` handles failed writes.
//!
//! # Why two peers that both send never wait for each other
//!
//! *Reading never depends on the peer's reading because of messages of our own program.* Each unsent byte has a
//! source:
//!
//! * **The program** (`send`, and the request that the peer disconnect). With [`Limits::unsent_bytes`] unsent, `send`
//!   fails with `Full`. Reading continues.
//! * **The peer**: its messages cause answers, namely acknowledgements of descriptors, replies, and counts. With more
//!   than [`Limits::answer_bytes`] of writable answers, a primary stops reading from the peer until half of the
//!   answers are written. No answer is ever dropped.
//! * **The cluster**: at most one connection offer per key, and a worker's reports about its servers.
//!
//! A worker always reads from its primary, and so does every Node program. So at most one of the two ends, the
//! primary, stops reading, and only while the other end reads: the answers are written, and reading resumes. Hence
//! both directions make progress, whatever the programs have queued, a disconnect included. The answers of an honest
//! worker are bounded without a limit: one acknowledgement, because the next descriptor waits for it, and one reply
//! per key, because the next offer waits for it.
//!
//! Answers that are *blocked* behind an unacknowledged descriptor are different: the acknowledgement may be behind
//! the questions that cause the answers, so both ends would wait for each other if reading stopped. Reading
//! continues, and a peer that causes more than [`Limits::answer_bytes`] of blocked answers violates the protocol
//! ([`Violation::Unacknowledged`]): tens of thousands of questions before one acknowledgement.
//!
//! The unsent bytes of a channel are bounded by `unsent_bytes` and one message of the program (`send` succeeds while
//! there is room for one byte), twice `answer_bytes`, and the answers to one read. The memory is up to five times as
//! much: a frame takes some 200 bytes besides its text, and the number of the program's frames is bounded as well.
//!
//! [`Limits::unsent_bytes`]: crate::settings::Limits::unsent_bytes
//!
//! [`Limits::answer_bytes`]: crate::settings::Limits::answer_bytes
//!
//! [`Violation::Unacknowledged`]: crate::violation::Violation::Unacknowledged

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Channel, ChannelEvent, ChannelStep, Link, Outgoing};
use crate::message;
use crate::message::advanced::NoJson;
use crate::os::{Call, ChannelId, SocketId};
use crate::payload::Message;
use crate::steps::Steps;
use crate::violation::Violation;

/// The most bytes per write, so that a long frame written in pieces is not copied repeatedly.
const PIECE: usize = 64 << 10;

/// The program may queue one frame per this many bytes of `unsent_bytes`. A frame takes some 200 bytes besides its
/// text, so the shortest messages take four times [`Limits::unsent_bytes`](crate::settings::Limits::unsent_bytes);
/// without the bound, a hundred times.
const LINE: usize = 64;

/// The least number of frames that may be queued.
const LINES: usize = 64;

/// The retransmissions of a user's message after rejections of its socket. Node: the same.
const RETRANSMISSIONS: u8 = 3;

/// The cause of a frame; see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A message of the program. Counted until written completely.
    Program,
    /// The program's request that the peer disconnect. Counted as well, but lost only if the write failed: a closed
    /// channel fulfils the request.
    Wish,
    /// Caused by a message of the peer.
    Answer,
    /// Needed by the cluster.
    Cluster,
}

/// An encoded message.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OutgoingFrame {
    bytes: Vec<u8>,
    /// The number of written bytes.
    at: usize,
    /// The descriptor, until sent with the first byte.
    pub(super) socket: Option<SocketId>,
    receipt: Option<SocketId>,
    /// The message, if it has a descriptor.
    pub(super) carries: Option<Outgoing>,
    pub(super) source: Source,
}

impl OutgoingFrame {
    fn unsent(&self) -> usize {
        self.bytes.len() - self.at
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct SendQueue {
    /// The frames to write, the first perhaps in part.
    pub(super) outbox: VecDeque<OutgoingFrame>,
    /// Unsent bytes, blocked frames included.
    unsent: usize,
    /// Unsent bytes of answers that are not blocked.
    answers: usize,
    /// Unsent bytes of blocked answers.
    blocked_answers: usize,
    /// The frame in a write, or waiting for room, and the number of bytes in the write.
    pub(super) writing: Option<(OutgoingFrame, usize)>,
    /// The number of turns that occurred during another write.
    deferred: usize,
    /// The channel can no longer be written to.
    pub(super) broken: bool,
    /// The message with the unacknowledged descriptor.
    pub(super) unacknowledged: Option<Outgoing>,
    /// The frames behind that message.
    pub(super) blocked_on_ack: VecDeque<OutgoingFrame>,
    /// Reading is paused, because the peer causes more answers than it reads.
    paused: bool,
    /// The last write without a descriptor, and the last write with one, has failed: reported once.
    pub(super) failing: [bool; 2],
    /// The number of the program's frames not yet written completely. A frame returned to the owner is not counted.
    pub(super) unwritten: u64,
    /// Frames of the program were lost.
    pub(super) lossy: bool,
}

impl SendQueue {
    /// A frame leaves the queues before it is written completely.
    pub(super) fn forget(&mut self, line: &OutgoingFrame) {
        self.unsent -= line.unsent();
        match line.source {
            Source::Program | Source::Wish => self.unwritten -= 1,
            Source::Answer => self.answers -= line.unsent(),
            Source::Cluster => {}
        }
    }

    /// A blocked frame leaves its queue.
    fn unblock(&mut self, line: &OutgoingFrame) {
        if line.source.is_answer() {
            self.blocked_answers -= line.unsent();
            self.answers += line.unsent();
        }
    }
}

impl Channel {
    /// A write has shown that the channel can no longer be written to.
    pub(crate) fn is_broken(&self) -> bool {
        self.sending.broken
    }

    /// A sender should wait: `congested_bytes` are unsent, or more than one message waits for an acknowledgement.
    /// Node: `send()` returns false.
    pub(crate) fn is_congested(&self) -> bool {
        self.sending.unsent >= self.limits.congested_bytes || self.sending.blocked_on_ack.len() > 1
    }

    /// The queue accepts no further message of the program.
    pub(crate) fn is_full(&self) -> bool {
        let lines = self.sending.outbox.len() + self.sending.blocked_on_ack.len();
        self.sending.unsent >= self.limits.unsent_bytes
            || lines >= (self.limits.unsent_bytes / LINE).max(LINES)
    }

    /// Sends a message, or queues it behind an unacknowledged descriptor.
    pub(crate) fn send<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        outgoing: Outgoing,
        steps: &mut Steps<S>,
    ) {
        self.send_frame(self.to_frame(outgoing), steps);
    }

    /// [`Channel::send`] for an encoded message.
    pub(crate) fn send_frame<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        line: OutgoingFrame,
        steps: &mut Steps<S>,
    ) {
        self.sending.unsent += line.bytes.len();
        self.sending.unwritten += u64::from(line.source.is_counted() && !self.sending.broken);
        if self.sending.unacknowledged.is_none() {
            self.count_answer(&line, steps);
            self.transmit(line, steps);
        } else {
            self.hold(line, steps);
        }
    }

    fn hold<S: From<(ChannelId, ChannelStep)>>(&mut self, line: OutgoingFrame, steps: &mut Steps<S>) {
        if line.source.is_answer() {
            let (before, limit) = (self.sending.blocked_answers, self.limits.answer_bytes);
            self.sending.blocked_answers = before + line.unsent();
            if before <= limit && self.sending.blocked_answers > limit {
                self.tick(ChannelStep::Violated(Violation::Unacknowledged), steps);
            }
        }
        self.sending.blocked_on_ack.push_back(line);
    }

    /// The number of the program's messages not yet written completely; `None` if any were lost.
    pub(crate) fn unwritten(&self) -> Option<u64> {
        (!self.sending.lossy).then_some(self.sending.unwritten)
    }

    /// The owner closes the descriptor: frames that would have carried it are not sent. A descriptor that was sent
    /// stays sent.
    pub(crate) fn cancel<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        socket: SocketId,
        steps: &mut Steps<S>,
    ) {
        self.withdraw(|line| line.socket == Some(socket), steps);
    }

    /// The process at the other end has exited. Another process may hold that end open, and gets no descriptors in
    /// its place; a pending descriptor of the process is closed, because it may be that very end.
    pub(crate) fn cancel_all<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        self.drop_pending_fd(steps);
        self.withdraw(|line| line.socket.is_some(), steps);
        self.answered(steps);
    }

    fn withdraw<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        carries: impl Fn(&OutgoingFrame) -> bool,
        steps: &mut Steps<S>,
    ) {
        let take = |lines: &mut VecDeque<OutgoingFrame>| -> VecDeque<OutgoingFrame> {
            let (taken, left) = core::mem::take(lines).into_iter().partition(&carries);
            *lines = left;
            taken
        };
        let blocked_on_ack = take(&mut self.sending.blocked_on_ack);
        let mut next = take(&mut self.sending.outbox);
        if let Some((line, _)) = self.sending.writing.take_if(|(line, _)| carries(line)) {
            next.push_back(line);
            self.run_deferred_write(steps);
        }
        for line in blocked_on_ack {
            self.sending.unblock(&line);
            self.sending.forget(&line);
            self.settle(line.carries.as_ref(), steps);
        }
        for line in &next {
            self.sending.forget(line);
        }
        if !next.is_empty() {
            // The cancelled frame was the one to be acknowledged.
            self.answered(steps);
        }
    }

    /// The operating system has accepted the offered bytes, perhaps in part.
    pub(crate) fn wrote<S: From<(ChannelId, ChannelStep)>>(&mut self, rest: &[u8], steps: &mut Steps<S>) {
        let Some((line, offered)) = &mut self.sending.writing else { return };
        let taken = *offered - rest.len();
        self.sending.unsent -= taken;
        line.at += taken;
        if line.source.is_answer() {
            self.sending.answers -= taken;
        }
        if taken > 0 {
            self.sending.failing[usize::from(line.socket.take().is_some())] = false;
        }
        if line.at == line.bytes.len() {
            self.sending.unwritten -= u64::from(line.source.is_counted());
            let receipt = self.sending.writing.take().and_then(|(line, _)| line.receipt);
            if let Some(socket) = receipt {
                self.step(ChannelStep::Written(socket), steps);
            }
            self.run_deferred_write(steps);
            self.close_if_done(steps);
        } else if rest.is_empty() {
            self.writable(steps);
        }
        self.resume_if_drained(steps);
    }

    /// Continues the current frame: there is room, another piece, or a retry is due.
    pub(crate) fn writable<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if let Some((line, _)) = self.sending.writing.take() {
            self.sending.outbox.push_front(line);
            self.step(ChannelStep::Write, steps);
        }
    }

    pub(super) fn drop_unsent<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        let SendQueue { broken, paused, unwritten, lossy, .. } = self.sending;
        let empty = SendQueue { broken, paused, unwritten, lossy, ..SendQueue::default() };
        let unsent = core::mem::replace(&mut self.sending, empty);
        self.settle(unsent.unacknowledged.as_ref(), steps);
        for line in unsent.blocked_on_ack {
            self.settle(line.carries.as_ref(), steps);
        }
    }

    /// The socket of a user's message is no longer in flight.
    fn settle<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        outgoing: Option<&Outgoing>,
        steps: &mut Steps<S>,
    ) {
        if let Some(socket) = outgoing.and_then(Outgoing::passes) {
            self.step(ChannelStep::Settled(socket), steps);
        }
    }

    /// Acknowledges a descriptor. The acknowledgement overtakes blocked frames, or two peers would wait for each
    /// other.
    pub(super) fn acknowledge<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        arrived: bool,
        steps: &mut Steps<S>,
    ) {
        if self.link != Link::Closed {
            let bytes = message::encode_ack(arrived, self.serialization);
            let line = OutgoingFrame {
                bytes,
                at: 0,
                socket: None,
                receipt: None,
                carries: None,
                source: Source::Answer,
            };
            self.sending.unsent += line.unsent();
            self.count_answer(&line, steps);
            self.enqueue(line, steps);
        }
    }

    /// An acknowledgement is expected. One that arrives after the channel broke is tolerated.
    pub(super) fn awaits_ack(&self) -> bool {
        self.sending.unacknowledged.is_some() || self.sending.broken || self.link == Link::Closed
    }

    /// The descriptor was received or never will be: the blocked frames are sent, up to the next descriptor.
    pub(super) fn answered<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        let answered = self.sending.unacknowledged.take();
        self.settle(answered.as_ref(), steps);
        self.release_blocked(steps);
    }

    /// Sends the blocked frames, up to the next descriptor.
    pub(super) fn release_blocked<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        while self.sending.unacknowledged.is_none() {
            let Some(line) = self.sending.blocked_on_ack.pop_front() else { break };
            self.sending.unblock(&line);
            self.transmit(line, steps);
        }
        self.pause_if_full(steps);
        self.close_if_done(steps);
    }

    /// The peer has rejected the descriptor. A user's message is sent again, before the blocked frames; any other is
    /// returned to the owner.
    pub(super) fn refused<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        steps: &mut Steps<S>,
    ) -> Option<ChannelEvent> {
        let mut outgoing = self.sending.unacknowledged.take()?;
        if outgoing.may_go_again() && outgoing.retransmissions < RETRANSMISSIONS {
            outgoing.retransmissions += 1;
            // The message was written before; only its socket is repeated.
            let line = OutgoingFrame { source: Source::Cluster, ..self.to_frame(outgoing) };
            self.sending.unsent += line.unsent();
            self.transmit(line, steps);
            return None;
        }
        self.answered(steps);
        Some(ChannelEvent::Refused(outgoing))
    }

    fn transmit<S: From<(ChannelId, ChannelStep)>>(&mut self, mut line: OutgoingFrame, steps: &mut Steps<S>) {
        if self.sending.broken
            && let Some(offer) = line.carries.take_if(|outgoing| outgoing.is_offer())
        {
            self.step(ChannelStep::Unsent(offer), steps);
        }
        if let Some(outgoing) = line.carries.take() {
            self.sending.unacknowledged = Some(outgoing);
        }
        self.enqueue(line, steps);
    }

    fn enqueue<S: From<(ChannelId, ChannelStep)>>(&mut self, line: OutgoingFrame, steps: &mut Steps<S>) {
        if self.sending.broken {
            return self.drop_unsent(steps);
        }
        self.sending.outbox.push_back(line);
        self.step(ChannelStep::Write, steps);
    }

    fn count_answer<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        line: &OutgoingFrame,
        steps: &mut Steps<S>,
    ) {
        if line.source.is_answer() {
            self.sending.answers += line.unsent();
            self.pause_if_full(steps);
        }
    }

    fn pause_if_full<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if !self.sending.paused && self.sending.answers > self.limits.answer_bytes {
            self.sending.paused = true;
            self.step(ChannelStep::Call(Call::PauseRead { channel: self.id }), steps);
        }
    }

    pub(super) fn resume_if_drained<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        let drained = self.sending.answers <= self.limits.answer_bytes / 2;
        if self.sending.paused && drained && self.link != Link::Closed {
            self.sending.paused = false;
            self.step(ChannelStep::Call(Call::ResumeRead { channel: self.id }), steps);
        }
    }

    /// Runs the turn of a frame that was deferred during a write.
    pub(super) fn run_deferred_write<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if self.sending.deferred > 0 {
            self.sending.deferred -= 1;
            self.step(ChannelStep::Write, steps);
        }
    }

    /// The turn of one frame: each frame has a turn of its own, so that calls are made in the order of their causes.
    pub(super) fn next_write(&mut self) -> Option<Call> {
        if self.sending.writing.is_some() {
            self.sending.deferred += 1;
            return None;
        }
        let line = self.sending.outbox.pop_front()?;
        let piece = line.bytes[line.at..].chunks(PIECE).next().unwrap_or_default().to_vec();
        let (offered, socket) = (piece.len(), line.socket);
        self.sending.writing = Some((line, offered));
        Some(Call::Write { channel: self.id, bytes: piece, socket })
    }

    pub(super) fn close_if_done<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        let SendQueue { outbox, writing, unacknowledged, broken, .. } = &self.sending;
        // A blocked frame implies an unacknowledged one.
        let sent = outbox.is_empty() && writing.is_none() && (unacknowledged.is_none() || *broken);
        if self.link == Link::Closing && sent {
            self.close(steps);
        }
    }

    /// Converts a user's message to the channel's serialization.
    pub(crate) fn written(&self, message: &Message) -> Result<Message, NoJson> {
        message.written_as(self.serialization, self.limits.message_bytes)
    }

    /// The longest frame that a peer with the same limits accepts, in bytes.
    pub(crate) fn message_limit(&self) -> usize {
        self.limits.message_bytes
    }

    /// A peer with the same limits would reject the frame.
    pub(crate) fn is_too_long(&self, line: &OutgoingFrame) -> bool {
        line.bytes.len() > self.limits.message_bytes
    }

    /// Encodes a message.
    pub(crate) fn to_frame(&self, outgoing: Outgoing) -> OutgoingFrame {
        let Outgoing { message, handle, receipt, source, .. } = &outgoing;
        let bytes = message::encode(message, handle.map(|handle| handle.kind), self.serialization);
        let (socket, receipt, source) = (handle.map(|handle| handle.socket), *receipt, *source);
        OutgoingFrame { bytes, at: 0, socket, receipt, carries: handle.is_some().then_some(outgoing), source }
    }
}
