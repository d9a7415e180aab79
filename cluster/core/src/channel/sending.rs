//! The outgoing half of a channel: what waits to be written, Node's handle queue, and back-pressure. After a message
//! with a socket everything waits for its acknowledgement. What a failed write means is in `failing`.
//!
//! # Why two peers that both send never wait for each other
//!
//! *Reading never depends on the peer reading because of what our own program has sent.* Each unsent byte has a source:
//!
//! * **The program** (`send`, and its wish that the peer disconnects). With [`Limits::unsent_bytes`] unsent, `send` fails
//!   with `Full`. Reading continues.
//! * **The peer**: its messages cause answers, which are acknowledgements of descriptors, answers to questions, counts.
//!   With more than [`Limits::answer_bytes`] of answers that could be written, a primary does not read from that peer until
//!   half of them are written. No answer is ever dropped.
//! * **The cluster** itself: at most one offer of a connection for each key, and what a worker reports of its servers.
//!
//! A worker always reads its primary, and so does every program of Node. So of two ends at most one, the primary, does not
//! read, and then only while the other end does: the bytes that it waits for leave, and it reads again. Hence both
//! directions move, whatever the programs have queued, a disconnect included. What a primary causes at an honest worker
//! is bounded without a limit: one acknowledgement, as the next descriptor waits for it, and one answer for each key, as the
//! next offer waits for it.
//!
//! Answers that are *held* behind a descriptor that the peer has not acknowledged are another matter: its acknowledgement
//! may stand behind the very questions that cause them, so that without reading both ends would wait in a circle. Reading
//! continues, and a peer that has asked for more than [`Limits::answer_bytes`] of them breaks the protocol
//! ([`Violation::Unacknowledged`]): tens of thousands of questions before one acknowledgement.
//!
//! The unsent bytes of a channel are bounded by `unsent_bytes` and one message of the program (`send` succeeds while there is
//! room for a byte), twice `answer_bytes`, and what one read may cause. Its memory is up to five times that: a line takes
//! some 200 bytes beside its text, and the number of the program's lines is bounded, too.
//!
//! [`Limits::unsent_bytes`]: crate::settings::Limits::unsent_bytes
//! [`Limits::answer_bytes`]: crate::settings::Limits::answer_bytes
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

/// What one write takes at most, in bytes, so that a long line that goes out in pieces is not copied over and over.
const PIECE: usize = 64 << 10;

/// For how many unsent bytes one line may wait. A line takes some 200 bytes beside its text, so that the shortest messages take
/// four times [`Limits::unsent_bytes`](crate::settings::Limits::unsent_bytes); without this bound they take a hundred times.
const LINE: usize = 64;

/// So many lines may always wait.
const LINES: usize = 64;

/// How often a user's message is sent again when its socket does not arrive. Node: as often.
const RETRANSMISSIONS: u8 = 3;

/// Why a line is written: see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// A message of the program. Counted until it is written whole.
    Program,
    /// The program wants the peer to disconnect. Counted as well, but lost only if it could not be written: a channel that
    /// closes has done what was wanted.
    Wish,
    /// A message of the peer has caused it.
    Answer,
    /// The cluster needs it.
    Cluster,
}

/// A message as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct OutgoingFrame {
    bytes: Vec<u8>,
    /// How much of it is written.
    at: usize,
    /// The descriptor, as long as it has not gone with the first byte.
    pub(super) socket: Option<SocketId>,
    receipt: Option<SocketId>,
    /// The message, if it carries a descriptor: its fate is told.
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
    /// Lines to be written, the first perhaps in part.
    pub(super) outbox: VecDeque<OutgoingFrame>,
    /// What is not written yet, held lines among it, in bytes.
    unsent: usize,
    /// The answers among it that are not held, in bytes.
    answers: usize,
    /// The answers among it that are held, in bytes.
    blocked_answers: usize,
    /// The line the operating system is looking at, or has no room for, and how many bytes it was offered.
    pub(super) writing: Option<(OutgoingFrame, usize)>,
    /// How many lines came to their turn while another was being written.
    deferred: usize,
    /// The peer cannot be written to any more.
    pub(super) broken: bool,
    /// The message whose descriptor is not acknowledged yet.
    pub(super) unacknowledged: Option<Outgoing>,
    /// What waits for that.
    pub(super) blocked_on_ack: VecDeque<OutgoingFrame>,
    /// The peer makes us write more than it reads, and is not read from.
    paused: bool,
    /// Whether the last write without a descriptor, and the last with one, has failed: reported once.
    pub(super) failing: [bool; 2],
    /// How many lines of the program are not written whole. What is given back to the owner is not counted.
    pub(super) unwritten: u64,
    /// Lines of the program were lost.
    pub(super) lossy: bool,
}

impl SendQueue {
    /// A line leaves the queues, not wholly written.
    pub(super) fn forget(&mut self, line: &OutgoingFrame) {
        self.unsent -= line.unsent();
        match line.source {
            Source::Program | Source::Wish => self.unwritten -= 1,
            Source::Answer => self.answers -= line.unsent(),
            Source::Cluster => {}
        }
    }

    /// A held line leaves its queue.
    fn unblock(&mut self, line: &OutgoingFrame) {
        if line.source.is_answer() {
            self.blocked_answers -= line.unsent();
            self.answers += line.unsent();
        }
    }
}

impl Channel {
    /// Whether the peer can still be written to, as far as is known.
    pub(crate) fn is_broken(&self) -> bool {
        self.sending.broken
    }

    /// Whether so much is unsent that a sender should wait, or more than one message waits for a descriptor's
    /// acknowledgement. Node: `send()` returns false.
    pub(crate) fn is_congested(&self) -> bool {
        self.sending.unsent >= self.limits.congested_bytes || self.sending.blocked_on_ack.len() > 1
    }

    /// Whether nothing more may be put into the queue.
    pub(crate) fn is_full(&self) -> bool {
        let lines = self.sending.outbox.len() + self.sending.blocked_on_ack.len();
        self.sending.unsent >= self.limits.unsent_bytes
            || lines >= (self.limits.unsent_bytes / LINE).max(LINES)
    }

    /// Sends, or queues behind an unacknowledged descriptor.
    pub(crate) fn send<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        outgoing: Outgoing,
        steps: &mut Steps<S>,
    ) {
        self.send_frame(self.to_frame(outgoing), steps);
    }

    /// The same, of a line that was looked at before.
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

    /// How many messages of the program are not written whole; `None` if some were lost.
    pub(crate) fn unwritten(&self) -> Option<u64> {
        (!self.sending.lossy).then_some(self.sending.unwritten)
    }

    /// The descriptor is being closed: what would have carried it is not sent. One that has gone is not called back.
    pub(crate) fn cancel<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        socket: SocketId,
        steps: &mut Steps<S>,
    ) {
        self.withdraw(|line| line.socket == Some(socket), steps);
    }

    /// The process at the other end is dead: whoever keeps its end open gets no descriptors in its place, and of the
    /// process's own none is kept, as it may be that very end.
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
            // It was the one to be acknowledged.
            self.answered(steps);
        }
    }

    /// The operating system took what it was offered, perhaps in part.
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

    /// There is room for the rest of a line, or it has more pieces, or it is time to try again.
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

    /// Nothing more becomes of the socket of a user's message.
    fn settle<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        outgoing: Option<&Outgoing>,
        steps: &mut Steps<S>,
    ) {
        if let Some(socket) = outgoing.and_then(Outgoing::passes) {
            self.step(ChannelStep::Settled(socket), steps);
        }
    }

    /// Answers for a descriptor. The answer passes the handle queue, or two peers would wait for each other.
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

    /// Whether an acknowledgement is owed to us. One that comes after the rest was given up is none too many.
    pub(super) fn awaits_ack(&self) -> bool {
        self.sending.unacknowledged.is_some() || self.sending.broken || self.link == Link::Closed
    }

    /// The descriptor has arrived, or will not: what was held goes out, up to the next descriptor.
    pub(super) fn answered<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        let answered = self.sending.unacknowledged.take();
        self.settle(answered.as_ref(), steps);
        self.release_blocked(steps);
    }

    /// What is held leaves, up to the next descriptor.
    pub(super) fn release_blocked<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        while self.sending.unacknowledged.is_none() {
            let Some(line) = self.sending.blocked_on_ack.pop_front() else { break };
            self.sending.unblock(&line);
            self.transmit(line, steps);
        }
        self.pause_if_full(steps);
        self.close_if_done(steps);
    }

    /// The descriptor has not arrived. A user's goes again, before what is held; of any other its owner decides.
    pub(super) fn refused<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        steps: &mut Steps<S>,
    ) -> Option<ChannelEvent> {
        let mut outgoing = self.sending.unacknowledged.take()?;
        if outgoing.may_go_again() && outgoing.retransmissions < RETRANSMISSIONS {
            outgoing.retransmissions += 1;
            // The message was written before: only its socket is still to arrive.
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

    /// A line came to its turn while another was being written: it is its turn again.
    pub(super) fn run_deferred_write<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if self.sending.deferred > 0 {
            self.sending.deferred -= 1;
            self.step(ChannelStep::Write, steps);
        }
    }

    /// The turn of one line: each has one of its own, so that calls are made in the order of what asked for them.
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
        // Whatever is held, is held for what is not acknowledged.
        let sent = outbox.is_empty() && writing.is_none() && (unacknowledged.is_none() || *broken);
        if self.link == Link::Closing && sent {
            self.close(steps);
        }
    }

    /// A user's message as this channel writes it.
    pub(crate) fn written(&self, message: &Message) -> Result<Message, NoJson> {
        message.written_as(self.serialization, self.limits.message_bytes)
    }

    /// Whether a peer with the same limits would not read it.
    pub(crate) fn is_too_long(&self, line: &OutgoingFrame) -> bool {
        line.bytes.len() > self.limits.message_bytes
    }

    /// A message as it is written.
    pub(crate) fn to_frame(&self, outgoing: Outgoing) -> OutgoingFrame {
        let Outgoing { message, handle, receipt, source, .. } = &outgoing;
        let bytes = message::encode(message, handle.map(|handle| handle.kind), self.serialization);
        let (socket, receipt, source) = (handle.map(|handle| handle.socket), *receipt, *source);
        OutgoingFrame { bytes, at: 0, socket, receipt, carries: handle.is_some().then_some(outgoing), source }
    }
}
