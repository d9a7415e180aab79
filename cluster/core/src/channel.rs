//! One IPC channel: bytes to messages and back, one descriptor a write, and Node's handle queue: after a descriptor is
//! sent everything waits for its acknowledgement. It knows frames, not what they mean, and it never sees its owner:
//! what is to be done comes back as [`ChannelStep`]s, and what has happened as [`Happened`].

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::event::Violation;
use crate::message::{self, Envelope, Frame, Message};
use crate::os::{Call, ChannelId, Errno, SocketId};
use crate::passing::Passed;
use crate::settings::Limits;
use crate::steps::{IsCall, Steps};

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Outgoing {
    pub(crate) message: Message,
    /// The socket it carries. The owner's copy stays open until the owner closes it.
    pub(crate) handle: Option<Passed>,
    /// Say [`Happened::Written`] when the last byte is written.
    pub(crate) receipt: Option<SocketId>,
}

impl From<Message> for Outgoing {
    fn from(message: Message) -> Self {
        Outgoing { message, handle: None, receipt: None }
    }
}

/// What a channel has still to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ChannelStep {
    /// Offer the next line to the operating system.
    Write,
    /// A line that was read.
    Frame(Frame, Option<SocketId>),
    /// The message inside an envelope, one tick after its acknowledgement.
    Deliver(Message, Passed),
    /// The last byte of a line is written.
    Written(SocketId),
    /// Ask the operating system for something.
    Call(Call),
    /// The peer broke the protocol.
    Violated(Violation),
    /// What was to be sent is lost.
    Lost(Errno),
    /// The channel is closed. Node: the tick of `'disconnect'`.
    Gone,
}

impl IsCall for ChannelStep {
    fn is_call(&self) -> bool {
        matches!(self, ChannelStep::Write | ChannelStep::Call(_))
    }
}

/// What a step of a channel means to its owner.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Happened {
    Call(Call),
    Received(Message, Option<Passed>),
    /// The peer did not get the descriptor of this message.
    Refused(Outgoing),
    Written(SocketId),
    Violated(Violation),
    Lost(Errno),
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Link {
    Open,
    /// To be closed once everything is sent. Node: `connected` is false, the channel is still there.
    Closing,
    Closed,
}

/// What one write takes at most, in bytes, so that a long line that goes out in pieces is not copied over and over.
const PIECE: usize = 64 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Line {
    bytes: Vec<u8>,
    /// How much of it is written.
    at: usize,
    /// The descriptor, as long as it has not gone with the first byte.
    socket: Option<SocketId>,
    receipt: Option<SocketId>,
    /// The message, if it carries a descriptor: its fate is told.
    carries: Option<Outgoing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Channel {
    id: ChannelId,
    link: Link,
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    /// A descriptor that arrived before the end of its envelope.
    stray: Option<SocketId>,
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
    /// The peer broke the protocol: nothing it has said since counts.
    distrusted: bool,
    /// The message whose descriptor is not acknowledged yet.
    unacknowledged: Option<Outgoing>,
    /// What waits for that.
    held: VecDeque<Line>,
    /// The peer makes us write more than it reads, and is not read from.
    paused: bool,
    limits: Limits,
}

impl Channel {
    pub(crate) fn new(id: ChannelId, limits: Limits) -> Self {
        Channel {
            id,
            link: Link::Open,
            partial: Vec::new(),
            stray: None,
            outbox: VecDeque::new(),
            unsent: 0,
            writing: None,
            late: 0,
            broken: false,
            distrusted: false,
            unacknowledged: None,
            held: VecDeque::new(),
            paused: false,
            limits,
        }
    }

    /// Whether messages can be sent. Node: `connected`.
    pub(crate) fn is_connected(&self) -> bool {
        self.link == Link::Open
    }

    /// Whether it is closed for good.
    pub(crate) fn is_over(&self) -> bool {
        self.link == Link::Closed
    }

    /// Whether so much is unsent that a sender should wait. Node: `send()` returns false.
    pub(crate) fn is_congested(&self) -> bool {
        self.unsent >= self.limits.congested_bytes
    }

    /// Whether nothing more may be put into the queue.
    pub(crate) fn is_full(&self) -> bool {
        self.unsent >= self.limits.unsent_bytes
    }

    /// Sends, or queues behind an unacknowledged descriptor.
    pub(crate) fn send<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        outgoing: Outgoing,
        steps: &mut Steps<S>,
    ) {
        let bytes = message::encode(&outgoing.message, outgoing.handle.map(|handle| handle.kind));
        let Outgoing { handle, receipt, .. } = outgoing;
        let socket = handle.map(|handle| handle.socket);
        let carries = handle.is_some().then_some(outgoing);
        let line = Line { bytes, at: 0, socket, receipt, carries };
        if self.unacknowledged.is_none() {
            self.unsent += line.bytes.len();
            self.transmit(line, steps);
        } else if !self.broken {
            self.unsent += line.bytes.len();
            self.held.push_back(line);
        }
        self.pause_if_full(steps);
    }

    /// Whether the peer has not acknowledged this descriptor: it cannot know of it.
    pub(crate) fn is_carrying(&self, socket: SocketId) -> bool {
        let carried = self.held.iter().filter_map(|line| line.carries.as_ref()).chain(&self.unacknowledged);
        carried.filter_map(|outgoing| outgoing.handle).any(|handle| handle.socket == socket)
    }

    /// The descriptor is being closed: what would have carried it is not sent. One that has gone is not called back.
    pub(crate) fn cancel<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        socket: SocketId,
        steps: &mut Steps<S>,
    ) {
        self.withdraw(|line| line.socket == Some(socket), steps);
    }

    /// The process at the other end is dead: whoever keeps its end open gets no descriptors in its place.
    pub(crate) fn cancel_all<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        self.withdraw(|line| line.socket.is_some(), steps);
        self.release(steps);
    }

    fn withdraw<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        carries: impl Fn(&Line) -> bool,
        steps: &mut Steps<S>,
    ) {
        let lines = |lines: &mut VecDeque<Line>| {
            let before: usize = lines.iter().map(|line| line.bytes.len()).sum();
            lines.retain(|line| !carries(line));
            before - lines.iter().map(|line| line.bytes.len()).sum::<usize>()
        };
        self.unsent -= lines(&mut self.held);
        let mut next = lines(&mut self.outbox);
        if let Some((line, _)) = self.writing.take_if(|(line, _)| carries(line)) {
            next += line.bytes.len();
            self.next_is_late(steps);
        }
        self.unsent -= next;
        if next > 0 {
            // It was the one to be acknowledged.
            self.release(steps);
        }
    }

    /// Closes once everything is sent. Node: `disconnect()`.
    pub(crate) fn disconnect<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if self.link == Link::Open {
            self.link = Link::Closing;
            self.close_if_done(steps);
        }
    }

    /// Closes at once and believes nothing more: the peer broke the protocol.
    pub(crate) fn abort<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        self.distrusted = true;
        if self.link != Link::Closed {
            self.close(steps);
        }
    }

    fn close<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        self.step(ChannelStep::Call(Call::CloseChannel { channel: self.id }), steps);
        self.closed(steps);
    }

    /// Bytes have arrived. Every line is read now, and each is handled in a tick of its own, as in Node.
    pub(crate) fn read<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        bytes: &[u8],
        socket: Option<SocketId>,
        steps: &mut Steps<S>,
    ) {
        if let Some(stray) = socket.and_then(|socket| self.stray.replace(socket)) {
            self.step(ChannelStep::Call(Call::Close { socket: stray }), steps);
            return self.tick(ChannelStep::Violated(Violation::StrayDescriptor), steps);
        }
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let frame = if self.partial.is_empty() {
                message::decode(&rest[..end])
            } else {
                self.partial.extend_from_slice(&rest[..end]);
                message::decode(&core::mem::take(&mut self.partial))
            };
            rest = &rest[end + 1..];
            match frame {
                Ok(frame @ Frame::Handle(_)) => {
                    let socket = self.stray.take();
                    self.tick(ChannelStep::Frame(frame, socket), steps);
                }
                Ok(frame) => self.tick(ChannelStep::Frame(frame, None), steps),
                Err(violation) => return self.tick(ChannelStep::Violated(violation), steps),
            }
        }
        self.partial.extend_from_slice(rest);
        if self.partial.len() > self.limits.message_bytes {
            self.tick(ChannelStep::Violated(Violation::TooLong), steps);
        }
    }

    /// The operating system took what it was offered, perhaps in part.
    pub(crate) fn wrote<S: From<(ChannelId, ChannelStep)>>(&mut self, rest: &[u8], steps: &mut Steps<S>) {
        let Some((line, offered)) = &mut self.writing else { return };
        let taken = *offered - rest.len();
        self.unsent -= taken;
        line.at += taken;
        if taken > 0 {
            line.socket = None;
        }
        if line.at == line.bytes.len() {
            let receipt = self.writing.take().and_then(|(line, _)| line.receipt);
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
        if let Some((line, _)) = self.writing.take() {
            self.outbox.push_front(line);
            self.step(ChannelStep::Write, steps);
        }
    }

    /// The peer reads no more. What was to be sent is lost; what it sent before may still arrive.
    pub(crate) fn write_failed<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        errno: Errno,
        steps: &mut Steps<S>,
    ) {
        self.broken = true;
        let lost = self.unsent > 0;
        self.drop_unsent();
        if lost && self.link == Link::Open {
            self.tick(ChannelStep::Lost(errno), steps);
        }
        self.close_if_done(steps);
        self.resume_if_drained(steps);
    }

    fn drop_unsent(&mut self) {
        self.writing = None;
        self.outbox.clear();
        self.held.clear();
        self.late = 0;
        self.unsent = 0;
        self.unacknowledged = None;
    }

    /// The channel is closed and everything that was written to it has been read.
    pub(crate) fn closed<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        self.link = Link::Closed;
        if let Some(socket) = self.stray.take() {
            self.step(ChannelStep::Call(Call::Close { socket }), steps);
        }
        self.partial = Vec::new();
        self.drop_unsent();
        self.tick(ChannelStep::Gone, steps);
    }

    /// Does a step, and says what it means.
    pub(crate) fn run<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        step: ChannelStep,
        steps: &mut Steps<S>,
    ) -> Option<Happened> {
        match step {
            ChannelStep::Frame(_, socket) if self.distrusted => {
                socket.map(|socket| Happened::Call(Call::Close { socket }))
            }
            ChannelStep::Deliver(_, Passed { socket, .. }) if self.distrusted => {
                Some(Happened::Call(Call::Close { socket }))
            }
            ChannelStep::Write => self.next_write().map(Happened::Call),
            ChannelStep::Frame(frame, socket) => self.frame(frame, socket, steps),
            ChannelStep::Deliver(message, handle) => Some(Happened::Received(message, Some(handle))),
            ChannelStep::Written(socket) => Some(Happened::Written(socket)),
            ChannelStep::Call(call) => Some(Happened::Call(call)),
            ChannelStep::Violated(violation) => Some(Happened::Violated(violation)),
            ChannelStep::Lost(errno) => Some(Happened::Lost(errno)),
            ChannelStep::Gone => Some(Happened::Gone),
        }
    }

    fn frame<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        frame: Frame,
        socket: Option<SocketId>,
        steps: &mut Steps<S>,
    ) -> Option<Happened> {
        match frame {
            Frame::Message(message) => Some(Happened::Received(message, None)),
            Frame::Handle(Envelope { message, kind, .. }) => {
                self.acknowledge(socket.is_some(), steps);
                if let Some(socket) = socket {
                    self.tick(ChannelStep::Deliver(message, Passed { socket, kind }), steps);
                }
                None
            }
            Frame::Ack | Frame::Nack if self.unacknowledged.is_none() && self.link != Link::Closed => {
                Some(Happened::Violated(Violation::UnaskedAck))
            }
            Frame::Ack => {
                self.release(steps);
                None
            }
            Frame::Nack => self.release(steps).map(Happened::Refused),
        }
    }

    /// Answers for a descriptor. The answer passes the handle queue, or two peers would wait for each other.
    fn acknowledge<S: From<(ChannelId, ChannelStep)>>(&mut self, arrived: bool, steps: &mut Steps<S>) {
        if self.link != Link::Closed {
            let bytes = message::encode_ack(arrived);
            self.unsent += bytes.len();
            self.enqueue(Line { bytes, at: 0, socket: None, receipt: None, carries: None }, steps);
            self.pause_if_full(steps);
        }
    }

    /// The descriptor was answered for: what was held goes out, up to the next descriptor.
    fn release<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) -> Option<Outgoing> {
        let answered = self.unacknowledged.take();
        while self.unacknowledged.is_none() {
            let Some(line) = self.held.pop_front() else { break };
            self.transmit(line, steps);
        }
        self.close_if_done(steps);
        answered
    }

    fn transmit<S: From<(ChannelId, ChannelStep)>>(&mut self, mut line: Line, steps: &mut Steps<S>) {
        if let Some(outgoing) = line.carries.take() {
            self.unacknowledged = Some(outgoing);
        }
        self.enqueue(line, steps);
    }

    fn enqueue<S: From<(ChannelId, ChannelStep)>>(&mut self, line: Line, steps: &mut Steps<S>) {
        if self.broken {
            return self.drop_unsent();
        }
        self.outbox.push_back(line);
        self.step(ChannelStep::Write, steps);
    }

    fn pause_if_full<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if !self.paused && self.unsent > self.limits.unsent_bytes {
            self.paused = true;
            self.step(ChannelStep::Call(Call::PauseRead { channel: self.id }), steps);
        }
    }

    /// A line came to its turn while another was being written: it is its turn again.
    fn next_is_late<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if self.late > 0 {
            self.late -= 1;
            self.step(ChannelStep::Write, steps);
        }
    }

    fn resume_if_drained<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if self.paused && self.unsent <= self.limits.unsent_bytes / 2 && self.link != Link::Closed {
            self.paused = false;
            self.step(ChannelStep::Call(Call::ResumeRead { channel: self.id }), steps);
        }
    }

    /// The turn of one line: each has one of its own, so that calls are made in the order of what asked for them.
    fn next_write(&mut self) -> Option<Call> {
        if self.writing.is_some() {
            self.late += 1;
            return None;
        }
        let line = self.outbox.pop_front()?;
        let piece = line.bytes[line.at..].chunks(PIECE).next().unwrap_or_default().to_vec();
        let (offered, socket) = (piece.len(), line.socket);
        self.writing = Some((line, offered));
        Some(Call::Write { channel: self.id, bytes: piece, socket })
    }

    fn close_if_done<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        let sent = self.outbox.is_empty() && self.writing.is_none() && self.held.is_empty();
        if self.link == Link::Closing && sent && (self.unacknowledged.is_none() || self.broken) {
            self.close(steps);
        }
    }

    fn step<S: From<(ChannelId, ChannelStep)>>(&self, step: ChannelStep, steps: &mut Steps<S>) {
        steps.push(S::from((self.id, step)));
    }

    fn tick<S: From<(ChannelId, ChannelStep)>>(&self, step: ChannelStep, steps: &mut Steps<S>) {
        steps.tick(S::from((self.id, step)));
    }
}
