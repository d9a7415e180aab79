//! One IPC channel: bytes to messages and back, with at most one descriptor per write. The channel decodes
//! frames without interpreting messages, and does not depend on its owner. `step` has the pending work of a
//! channel and the reports; `reading` splits bytes into frames; `outgoing` encodes messages; `outbox` orders
//! the writes and `unsent` accounts for them; `sending` queues messages, and the documentation proves that
//! reading never waits for the peer's reading; `failing` handles failed writes.

use alloc::boxed::Box;

use serde::{Deserialize, Serialize};

use crate::claims::first_false;
use crate::message::{Envelope, Frame};
use crate::os::{Call, ChannelId, Errno, SocketId};
use crate::passing::{InFlightHandles, OutgoingHandle};
use crate::send::{SendError, Sent};
use crate::serialization::Serialization;
use crate::settings::Limits;
use crate::user_message::Message;
use crate::violation::Violation;

mod failing;
mod outbox;
mod outgoing;
mod reading;
mod sending;
mod step;
mod unsent;

pub(crate) use outgoing::Outgoing;
use outgoing::Source;
use reading::FrameReader;
use sending::SendQueue;
pub(crate) use step::{ChannelEvent, ChannelStep, MachineStep, Queue};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Link {
    Open,
    /// The channel closes when everything is sent. Node: `connected` is false, but the channel still exists.
    Closing,
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Channel {
    id: ChannelId,
    link: Link,
    reading: FrameReader,
    sending: SendQueue,
    /// Whether the peer has violated the protocol. Later frames are then ignored.
    distrusted: bool,
}

impl Channel {
    pub(crate) fn new(id: ChannelId, serialization: Serialization, limits: &Limits) -> Self {
        Channel {
            id,
            link: Link::Open,
            reading: FrameReader::new(serialization, limits),
            sending: SendQueue::new(id, serialization, limits),
            distrusted: false,
        }
    }

    /// The first field on which a later input could panic, or which contradicts `id`.
    pub(crate) fn contradiction(&self, id: ChannelId) -> Option<&'static str> {
        let claims = [
            ("channel.id", [self.id, self.sending.id] == [id; 2]),
            ("channel.reading", self.reading.is_partial()),
        ];
        first_false(claims).or_else(|| self.sending.contradiction())
    }

    /// The sockets in flight, of the program's messages.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = SocketId> {
        self.sending.in_flight()
    }

    /// Whether messages can be sent. Node: `connected`.
    pub(crate) fn is_connected(&self) -> bool {
        self.link == Link::Open
    }

    /// Whether the channel is closed.
    pub(crate) fn is_over(&self) -> bool {
        self.link == Link::Closed
    }

    /// Whether a failed write has shown that no further write can succeed.
    pub(crate) fn is_broken(&self) -> bool {
        self.sending.broken
    }

    /// Whether the peer has not acknowledged the descriptor yet. Until then, the peer cannot refer to the
    /// socket.
    pub(crate) fn is_carrying(&self, socket: SocketId) -> bool {
        self.sending.is_carrying(socket)
    }

    /// Whether every message is sent.
    pub(crate) fn is_drained(&self) -> bool {
        self.sending.is_done()
    }

    /// The number of the program's messages that are not yet written completely. `None`: messages were lost.
    pub(crate) fn unwritten(&self) -> Option<u64> {
        self.sending.unsent.unwritten()
    }

    /// Closes the channel when everything is sent. Node: `disconnect()`.
    pub(crate) fn disconnect<T>(&mut self, steps: &mut Queue<T>) {
        if self.link == Link::Open {
            self.link = Link::Closing;
            self.close_if_done(steps);
        }
    }

    /// Closes the channel at once and ignores later frames, because the peer has violated the protocol.
    pub(crate) fn abort<T>(&mut self, steps: &mut Queue<T>) {
        self.distrusted = true;
        if self.link != Link::Closed {
            self.close(steps);
        }
    }

    fn close_if_done<T>(&mut self, steps: &mut Queue<T>) {
        if self.link == Link::Closing && self.sending.is_done() {
            self.close(steps);
        }
    }

    fn close<T>(&mut self, steps: &mut Queue<T>) {
        steps.call(Call::CloseChannel { channel: self.id });
        self.closed(steps);
    }

    /// Called when the channel is closed and every received byte was read.
    pub(crate) fn closed<T>(&mut self, steps: &mut Queue<T>) {
        self.link = Link::Closed;
        self.drop_pending_fd(steps);
        self.reading.end();
        // EPIPE, as for a write to a closed channel.
        self.sending.lose_unsent(Errno::EPIPE, |source| source == Source::Program, steps);
        steps.report_tick(self.id, ChannelEvent::Closed);
    }

    fn drop_pending_fd<T>(&mut self, steps: &mut Queue<T>) {
        if let Some(socket) = self.reading.take_pending_fd() {
            steps.call(Call::Close { socket });
        }
    }

    /// Splits bytes into frames. Each frame is handled in its own tick, as in Node.
    pub(crate) fn read<T>(&mut self, bytes: &[u8], socket: Option<SocketId>, steps: &mut Queue<T>) {
        if let Some(socket) = socket.and_then(|socket| self.reading.attach(socket)) {
            steps.call(Call::Close { socket });
            return steps.report_tick(self.id, ChannelEvent::Violated(Violation::StrayDescriptor));
        }
        let id = self.id;
        let read = self.reading.read(bytes, &mut |frame, socket| {
            steps.tick(MachineStep::Channel(id, ChannelStep::Frame(frame, socket)));
        });
        if let Err(violation) = read {
            steps.report_tick(id, ChannelEvent::Violated(violation));
        }
    }

    /// Runs a step. Returns the report to the owner, if any.
    pub(crate) fn run<T>(&mut self, step: ChannelStep, steps: &mut Queue<T>) -> Option<ChannelEvent> {
        match step {
            ChannelStep::Frame(_, socket) if self.distrusted => {
                socket.map(|socket| ChannelEvent::Call(Call::Close { socket }))
            }
            ChannelStep::Deliver(_, socket) if self.distrusted => {
                Some(ChannelEvent::Call(Call::Close { socket }))
            }
            ChannelStep::Write => self.sending.next_write().map(ChannelEvent::Call),
            ChannelStep::Frame(frame, socket) => self.frame(frame, socket, steps),
            ChannelStep::Deliver(envelope, socket) => Some(ChannelEvent::Arrived(envelope, socket)),
            ChannelStep::Report(event) => Some(event),
        }
    }

    fn frame<T>(
        &mut self,
        frame: Frame,
        socket: Option<SocketId>,
        steps: &mut Queue<T>,
    ) -> Option<ChannelEvent> {
        match frame {
            Frame::Message(message) => return Some(ChannelEvent::Received(message)),
            Frame::Handle(envelope) => self.arrived(envelope, socket, steps),
            Frame::Ack | Frame::Nack if !(self.sending.awaits_ack() || self.link == Link::Closed) => {
                return Some(ChannelEvent::Violated(Violation::UnaskedAck));
            }
            Frame::Ack => self.sending.answered(steps),
            Frame::Nack => {
                let rejected = self.sending.rejected(steps);
                self.close_if_done(steps);
                return rejected;
            }
        }
        self.close_if_done(steps);
        None
    }

    /// Acknowledges a descriptor, and delivers its message in a later tick. The acknowledgement of a
    /// connection offer is written after the delivery, in the same write as the owner's reply: the owner
    /// replies without waiting for the program. Any other acknowledgement is written before the delivery,
    /// because the program may take long to handle the message.
    fn arrived<T>(&mut self, envelope: Box<Envelope>, socket: Option<SocketId>, steps: &mut Queue<T>) {
        let needs_turn = self.link != Link::Closed && self.sending.acknowledge(socket.is_some(), steps);
        let waits_for_reply = socket.is_some() && envelope.message.is_offer();
        if needs_turn && !waits_for_reply {
            steps.write(self.id);
        }
        if let Some(socket) = socket {
            steps.tick(MachineStep::Channel(self.id, ChannelStep::Deliver(envelope, socket)));
        }
        if needs_turn && waits_for_reply {
            steps.write_tick(self.id);
        }
    }

    /// Sends a message of the program.
    pub(crate) fn post<T>(
        &mut self,
        message: Message,
        passing: Option<OutgoingHandle>,
        in_flight: &mut InFlightHandles,
        steps: &mut Queue<T>,
    ) -> Result<Sent, SendError> {
        if !self.is_connected() || self.is_broken() {
            return Err(SendError::Closed);
        }
        self.sending.post(message, passing, in_flight, steps)
    }

    /// Sends a message of the cluster, if the channel is connected.
    pub(crate) fn send<T>(&mut self, outgoing: Outgoing, steps: &mut Queue<T>) {
        if self.is_connected() {
            self.sending.send(outgoing, steps);
        }
    }

    /// Called when the owner closes the descriptor: frames with the descriptor are no longer sent. A
    /// descriptor sent before is not revoked.
    pub(crate) fn cancel<T>(&mut self, socket: SocketId, steps: &mut Queue<T>) {
        self.sending.withdraw(|frame| frame.socket == Some(socket), steps);
        self.close_if_done(steps);
    }

    /// Called when the process at the other end has exited. Another process may hold that end open, but must
    /// not receive descriptors for the exited process. A pending descriptor from the exited process is
    /// closed, because it may be the other end of this channel.
    pub(crate) fn cancel_all<T>(&mut self, steps: &mut Queue<T>) {
        self.drop_pending_fd(steps);
        self.sending.withdraw(|frame| frame.socket.is_some(), steps);
        self.sending.answered(steps);
        self.close_if_done(steps);
    }

    /// Called when the operating system has accepted the offered bytes, perhaps in part.
    pub(crate) fn wrote<T>(&mut self, rest: &[u8], steps: &mut Queue<T>) {
        if self.sending.wrote(rest, steps) {
            self.close_or_resume(steps);
        }
    }

    /// Called when the kernel has room, or when a retry is due.
    pub(crate) fn writable<T>(&mut self, steps: &mut Queue<T>) {
        self.sending.writable(steps);
    }

    /// Called when a write has failed.
    pub(crate) fn write_failed<T>(&mut self, errno: Errno, steps: &mut Queue<T>) {
        if self.sending.write_failed(errno, steps) {
            self.close_or_resume(steps);
        } else {
            self.close_if_done(steps);
        }
    }

    fn close_or_resume<T>(&mut self, steps: &mut Queue<T>) {
        self.close_if_done(steps);
        if self.link != Link::Closed {
            self.sending.resume_if_drained(steps);
        }
    }
}
