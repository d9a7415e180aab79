//! The outgoing half of a channel: what waits to be written, Node's handle queue, and back-pressure. After a message
//! with a socket everything waits for its acknowledgement.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Channel, ChannelStep, Happened, Link, Outgoing};
use crate::message;
use crate::message::advanced::NoJson;
use crate::os::{Call, ChannelId, Errno, SocketId};
use crate::payload;
use crate::steps::Steps;

/// What one write takes at most, in bytes, so that a long line that goes out in pieces is not copied over and over.
const PIECE: usize = 64 << 10;

/// How often a user's message is sent again when its socket does not arrive. Node: as often.
const RETRANSMISSIONS: u8 = 3;

/// A message as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Line {
    bytes: Vec<u8>,
    /// How much of it is written.
    at: usize,
    /// The descriptor, as long as it has not gone with the first byte.
    socket: Option<SocketId>,
    receipt: Option<SocketId>,
    /// The message, if it carries a descriptor: its fate is told.
    carries: Option<Outgoing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Sending {
    /// Lines to be written, the first perhaps in part.
    outbox: VecDeque<Line>,
    /// What is not written yet, held lines among it, in bytes.
    unsent: usize,
    /// The line the operating system is looking at, or has no room for, and how many bytes it was offered.
    writing: Option<(Line, usize)>,
    /// How many lines came to their turn while another was being written.
    late: usize,
    /// The peer cannot be written to any more.
    broken: bool,
    /// The message whose descriptor is not acknowledged yet.
    unacknowledged: Option<Outgoing>,
    /// What waits for that.
    held: VecDeque<Line>,
    /// The peer makes us write more than it reads, and is not read from.
    paused: bool,
}

impl Channel {
    /// Whether the peer can still be written to, as far as is known.
    pub(crate) fn is_broken(&self) -> bool {
        self.sending.broken
    }

    /// Whether so much is unsent that a sender should wait, or more than one message waits for a descriptor's
    /// acknowledgement. Node: `send()` returns false.
    pub(crate) fn is_congested(&self) -> bool {
        self.sending.unsent >= self.limits.congested_bytes || self.sending.held.len() > 1
    }

    /// Whether nothing more may be put into the queue.
    pub(crate) fn is_full(&self) -> bool {
        self.sending.unsent >= self.limits.unsent_bytes
    }

    /// Sends, or queues behind an unacknowledged descriptor.
    pub(crate) fn send<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        outgoing: Outgoing,
        steps: &mut Steps<S>,
    ) {
        self.send_line(self.line(outgoing), steps);
    }

    /// The same, of a line that was looked at before.
    pub(crate) fn send_line<S: From<(ChannelId, ChannelStep)>>(&mut self, line: Line, steps: &mut Steps<S>) {
        self.sending.unsent += line.bytes.len();
        if self.sending.unacknowledged.is_none() {
            self.transmit(line, steps);
        } else {
            self.sending.held.push_back(line);
        }
        self.pause_if_full(steps);
    }

    /// Whether the peer has not acknowledged this descriptor: it cannot know of it.
    pub(crate) fn is_carrying(&self, socket: SocketId) -> bool {
        let held = self.sending.held.iter().filter_map(|line| line.carries.as_ref());
        let mut carried = held.chain(&self.sending.unacknowledged);
        carried.any(|outgoing| outgoing.handle.is_some_and(|handle| handle.socket == socket))
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
        self.drop_stray(steps);
        self.withdraw(|line| line.socket.is_some(), steps);
        self.answered(steps);
    }

    fn withdraw<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        carries: impl Fn(&Line) -> bool,
        steps: &mut Steps<S>,
    ) {
        let take = |lines: &mut VecDeque<Line>| -> VecDeque<Line> {
            let (taken, left) = core::mem::take(lines).into_iter().partition(&carries);
            *lines = left;
            taken
        };
        let held = take(&mut self.sending.held);
        let mut next = take(&mut self.sending.outbox);
        if let Some((line, _)) = self.sending.writing.take_if(|(line, _)| carries(line)) {
            next.push_back(line);
            self.next_is_late(steps);
        }
        let unsent = |lines: &VecDeque<Line>| lines.iter().map(|line| line.bytes.len()).sum::<usize>();
        self.sending.unsent -= unsent(&held) + unsent(&next);
        for line in held {
            self.settle(line.carries.as_ref(), steps);
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
        if taken > 0 {
            line.socket = None;
        }
        if line.at == line.bytes.len() {
            let receipt = self.sending.writing.take().and_then(|(line, _)| line.receipt);
            if let Some(socket) = receipt {
                self.step(ChannelStep::Written(socket), steps);
            }
            self.next_is_late(steps);
            self.close_if_done(steps);
        } else if rest.is_empty() {
            self.writable(steps);
        }
        self.resume_if_drained(steps);
    }

    /// There is room for the rest of a line, or it has more pieces.
    pub(crate) fn writable<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if let Some((line, _)) = self.sending.writing.take() {
            self.sending.outbox.push_front(line);
            self.step(ChannelStep::Write, steps);
        }
    }

    /// The peer reads no more. What was to be sent is lost; what it sent before may still arrive.
    pub(crate) fn write_failed<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        errno: Errno,
        steps: &mut Steps<S>,
    ) {
        self.sending.broken = true;
        let lost = self.sending.unsent > 0;
        self.drop_unsent(steps);
        if lost && self.link == Link::Open {
            self.tick(ChannelStep::Lost(errno), steps);
        }
        self.close_if_done(steps);
        self.resume_if_drained(steps);
    }

    pub(super) fn drop_unsent<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        let Sending { broken, paused, .. } = self.sending;
        let unsent = core::mem::replace(&mut self.sending, Sending { broken, paused, ..Sending::default() });
        self.settle(unsent.unacknowledged.as_ref(), steps);
        for line in unsent.held {
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
            self.sending.unsent += bytes.len();
            self.enqueue(Line { bytes, at: 0, socket: None, receipt: None, carries: None }, steps);
            self.pause_if_full(steps);
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
        while self.sending.unacknowledged.is_none() {
            let Some(line) = self.sending.held.pop_front() else { break };
            self.transmit(line, steps);
        }
        self.close_if_done(steps);
    }

    /// The descriptor has not arrived. A user's goes again, before what is held; of any other its owner decides.
    pub(super) fn refused<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        steps: &mut Steps<S>,
    ) -> Option<Happened> {
        let mut outgoing = self.sending.unacknowledged.take()?;
        if outgoing.may_go_again() && outgoing.retransmissions < RETRANSMISSIONS {
            outgoing.retransmissions += 1;
            let line = self.line(outgoing);
            self.sending.unsent += line.bytes.len();
            self.transmit(line, steps);
            return None;
        }
        self.answered(steps);
        Some(Happened::Refused(outgoing))
    }

    fn transmit<S: From<(ChannelId, ChannelStep)>>(&mut self, mut line: Line, steps: &mut Steps<S>) {
        if let Some(outgoing) = line.carries.take() {
            self.sending.unacknowledged = Some(outgoing);
        }
        self.enqueue(line, steps);
    }

    fn enqueue<S: From<(ChannelId, ChannelStep)>>(&mut self, line: Line, steps: &mut Steps<S>) {
        if self.sending.broken {
            return self.drop_unsent(steps);
        }
        self.sending.outbox.push_back(line);
        self.step(ChannelStep::Write, steps);
    }

    fn pause_if_full<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if !self.sending.paused && self.sending.unsent > self.limits.unsent_bytes {
            self.sending.paused = true;
            self.step(ChannelStep::Call(Call::PauseRead { channel: self.id }), steps);
        }
    }

    fn resume_if_drained<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        let drained = self.sending.unsent <= self.limits.unsent_bytes / 2;
        if self.sending.paused && drained && self.link != Link::Closed {
            self.sending.paused = false;
            self.step(ChannelStep::Call(Call::ResumeRead { channel: self.id }), steps);
        }
    }

    /// A line came to its turn while another was being written: it is its turn again.
    fn next_is_late<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if self.sending.late > 0 {
            self.sending.late -= 1;
            self.step(ChannelStep::Write, steps);
        }
    }

    /// The turn of one line: each has one of its own, so that calls are made in the order of what asked for them.
    pub(super) fn next_write(&mut self) -> Option<Call> {
        if self.sending.writing.is_some() {
            self.sending.late += 1;
            return None;
        }
        let line = self.sending.outbox.pop_front()?;
        let piece = line.bytes[line.at..].chunks(PIECE).next().unwrap_or_default().to_vec();
        let (offered, socket) = (piece.len(), line.socket);
        self.sending.writing = Some((line, offered));
        Some(Call::Write { channel: self.id, bytes: piece, socket })
    }

    pub(super) fn close_if_done<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        let Sending { outbox, writing, unacknowledged, broken, .. } = &self.sending;
        // Whatever is held, is held for what is not acknowledged.
        let sent = outbox.is_empty() && writing.is_none() && (unacknowledged.is_none() || *broken);
        if self.link == Link::Closing && sent {
            self.close(steps);
        }
    }

    /// A user's message as this channel writes it.
    pub(crate) fn written(&self, message: &payload::Message) -> Result<payload::Message, NoJson> {
        message.written_as(self.serialization, self.limits.message_bytes)
    }

    /// Whether a peer with the same limits would not read it.
    pub(crate) fn is_too_long(&self, line: &Line) -> bool {
        line.bytes.len() > self.limits.message_bytes
    }

    /// A message as it is written.
    pub(crate) fn line(&self, outgoing: Outgoing) -> Line {
        let Outgoing { message, handle, receipt, .. } = &outgoing;
        let bytes = message::encode(message, handle.map(|handle| handle.kind), self.serialization);
        let (socket, receipt) = (handle.map(|handle| handle.socket), *receipt);
        Line { bytes, at: 0, socket, receipt, carries: handle.is_some().then_some(outgoing) }
    }
}
