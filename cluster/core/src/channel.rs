//! One IPC channel: bytes to messages and back, at most one descriptor per write. The channel decodes frames without
//! interpreting messages, and is independent of its owner: pending work is returned as [`ChannelStep`]s, results as
//! [`ChannelEvent`]s. `reading` splits bytes into frames; `sending` queues and writes messages, and its documentation
//! proves that reading never waits for the peer's reading; `failing` handles failed writes.

use crate::message::{ChannelMessage, Envelope, Frame, HandleType, Request};
use crate::os::{Call, ChannelId, Errno, SocketId};
use crate::passing::IncomingHandle;
use crate::settings::Limits;
use crate::spawn_options::Serialization;
use crate::steps::{IsCall, Steps};
use crate::violation::Violation;

mod failing;
mod reading;
mod sending;

use reading::FrameReader;
use sending::SendQueue;
pub(crate) use sending::Source;

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Outgoing {
    pub(crate) message: ChannelMessage,
    /// The socket to send along. The owner's copy stays open until the owner closes the copy.
    pub(crate) handle: Option<IncomingHandle>,
    /// Emit [`ChannelEvent::Written`] when the last byte is written.
    pub(crate) receipt: Option<SocketId>,
    pub(crate) source: Source,
    /// The number of retransmissions after a rejection of the socket.
    retransmissions: u8,
}

impl From<ChannelMessage> for Outgoing {
    fn from(message: ChannelMessage) -> Self {
        let source = match &message {
            ChannelMessage::User(_) => Source::Program,
            ChannelMessage::Cluster(cluster) if cluster.request == Some(Request::Disconnect) => Source::Wish,
            ChannelMessage::Cluster(cluster) if cluster.reply.is_some() => Source::Answer,
            ChannelMessage::SocketCount(_) => Source::Answer,
            ChannelMessage::Cluster(_) | ChannelMessage::Foreign => Source::Cluster,
        };
        Outgoing { message, handle: None, receipt: None, source, retransmissions: 0 }
    }
}

impl Outgoing {
    /// Adds a socket.
    pub(crate) fn with(self, handle: Option<IncomingHandle>) -> Self {
        Outgoing { handle, ..self }
    }

    /// Requests [`ChannelEvent::Written`].
    pub(crate) fn with_receipt(self, receipt: Option<SocketId>) -> Self {
        Outgoing { receipt, ..self }
    }

    /// The socket of a user's message.
    pub(crate) fn passes(&self) -> Option<SocketId> {
        match self.message {
            ChannelMessage::User(_) => self.handle.map(|handle| handle.socket),
            ChannelMessage::Cluster(_) | ChannelMessage::SocketCount(_) | ChannelMessage::Foreign => None,
        }
    }

    /// The message offers a connection, which another peer can take instead.
    fn is_offer(&self) -> bool {
        match &self.message {
            ChannelMessage::Cluster(cluster) => matches!(cluster.request, Some(Request::NewConn(_))),
            ChannelMessage::User(_) | ChannelMessage::SocketCount(_) | ChannelMessage::Foreign => false,
        }
    }

    /// The message is sent again if the peer rejects the socket. Node: `net.Socket` only.
    fn may_go_again(&self) -> bool {
        self.passes().is_some()
            && self.handle.is_some_and(|handle| match handle.kind {
                HandleType::Socket | HandleType::Server | HandleType::Datagram { .. } => true,
                HandleType::Native | HandleType::DatagramNative => false,
            })
    }
}

/// Pending work of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ChannelStep {
    /// Write the next frame.
    Write,
    /// Handle a received frame.
    Frame(Frame, Option<SocketId>),
    /// Deliver the message inside an envelope, one tick after the acknowledgement.
    Deliver(Envelope, SocketId),
    /// The last byte of a frame is written.
    Written(SocketId),
    /// The peer has received the socket of a user's message, or never will.
    Settled(SocketId),
    /// Make a call.
    Call(Call),
    /// The peer violated the protocol.
    Violated(Violation),
    /// A number of the program's messages is lost.
    Lost(Errno, u64),
    /// The descriptor of this message was not sent and will not be.
    Unsent(Outgoing),
    /// A write has failed, and the channel is unchanged.
    Failing(Errno),
    /// Retry the failed write later.
    Retry,
    /// The channel can no longer be written to.
    Broken,
    /// The channel is closed. Node: the tick of `'disconnect'`.
    Closed,
}

impl IsCall for ChannelStep {
    fn is_call(&self) -> bool {
        matches!(self, ChannelStep::Write | ChannelStep::Call(_))
    }
}

/// The result of a step, for the channel's owner.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ChannelEvent {
    Call(Call),
    Received(ChannelMessage),
    /// A message with a socket.
    Arrived(Envelope, SocketId),
    /// The peer did not receive the descriptor of this message.
    Refused(Outgoing),
    Written(SocketId),
    /// One copy of a socket that the program has sent is no longer in flight.
    Settled(SocketId),
    Violated(Violation),
    /// A number of the program's messages was accepted and never written completely.
    Lost(Errno, u64),
    /// A write has failed; it is retried, or its message returned to the owner. Reported once until such a write
    /// succeeds.
    Failing(Errno),
    /// Call [`Channel::writable`] after a pause.
    Retry,
    /// Nothing can be written from now on; earlier bytes of the peer can still be read.
    Broken,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Link {
    Open,
    /// Closes once everything is sent. Node: `connected` is false, the channel still exists.
    Closing,
    Closed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Channel {
    id: ChannelId,
    serialization: Serialization,
    link: Link,
    reading: FrameReader,
    sending: SendQueue,
    /// The peer violated the protocol: later frames are ignored.
    distrusted: bool,
    limits: Limits,
}

impl Channel {
    pub(crate) fn new(id: ChannelId, serialization: Serialization, limits: Limits) -> Self {
        Channel {
            id,
            serialization,
            link: Link::Open,
            reading: FrameReader::default(),
            sending: SendQueue::default(),
            distrusted: false,
            limits,
        }
    }

    /// Messages can be sent. Node: `connected`.
    pub(crate) fn is_connected(&self) -> bool {
        self.link == Link::Open
    }

    /// The channel is closed.
    pub(crate) fn is_over(&self) -> bool {
        self.link == Link::Closed
    }

    /// Closes once everything is sent. Node: `disconnect()`.
    pub(crate) fn disconnect<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if self.link == Link::Open {
            self.link = Link::Closing;
            self.close_if_done(steps);
        }
    }

    /// Closes at once and ignores later frames: the peer violated the protocol.
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

    /// The channel is closed and every received byte was read.
    pub(crate) fn closed<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        self.link = Link::Closed;
        self.drop_unread(steps);
        // The error of a write to a closed channel.
        self.lose_unsent(Errno::EPIPE, |source| source == Source::Program, steps);
        self.tick(ChannelStep::Closed, steps);
    }

    /// Runs a step, and returns its result for the owner.
    pub(crate) fn run<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        step: ChannelStep,
        steps: &mut Steps<S>,
    ) -> Option<ChannelEvent> {
        match step {
            ChannelStep::Frame(_, socket) if self.distrusted => {
                socket.map(|socket| ChannelEvent::Call(Call::Close { socket }))
            }
            ChannelStep::Deliver(_, socket) if self.distrusted => {
                Some(ChannelEvent::Call(Call::Close { socket }))
            }
            ChannelStep::Write => self.next_write().map(ChannelEvent::Call),
            ChannelStep::Frame(frame, socket) => self.frame(frame, socket, steps),
            ChannelStep::Deliver(envelope, socket) => Some(ChannelEvent::Arrived(envelope, socket)),
            ChannelStep::Written(socket) => Some(ChannelEvent::Written(socket)),
            ChannelStep::Settled(socket) => Some(ChannelEvent::Settled(socket)),
            ChannelStep::Call(call) => Some(ChannelEvent::Call(call)),
            ChannelStep::Violated(violation) => Some(ChannelEvent::Violated(violation)),
            ChannelStep::Lost(errno, lost) => Some(ChannelEvent::Lost(errno, lost)),
            ChannelStep::Unsent(outgoing) => Some(ChannelEvent::Refused(outgoing)),
            ChannelStep::Failing(errno) => Some(ChannelEvent::Failing(errno)),
            ChannelStep::Retry => Some(ChannelEvent::Retry),
            ChannelStep::Broken => Some(ChannelEvent::Broken),
            ChannelStep::Closed => Some(ChannelEvent::Closed),
        }
    }

    fn frame<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        frame: Frame,
        socket: Option<SocketId>,
        steps: &mut Steps<S>,
    ) -> Option<ChannelEvent> {
        match frame {
            Frame::Message(message) => Some(ChannelEvent::Received(message)),
            Frame::Handle(envelope) => {
                self.acknowledge(socket.is_some(), steps);
                if let Some(socket) = socket {
                    self.tick(ChannelStep::Deliver(envelope, socket), steps);
                }
                None
            }
            Frame::Ack | Frame::Nack if !self.awaits_ack() => {
                Some(ChannelEvent::Violated(Violation::UnaskedAck))
            }
            Frame::Ack => {
                self.answered(steps);
                None
            }
            Frame::Nack => self.refused(steps),
        }
    }

    fn step<S: From<(ChannelId, ChannelStep)>>(&self, step: ChannelStep, steps: &mut Steps<S>) {
        steps.push(S::from((self.id, step)));
    }

    fn tick<S: From<(ChannelId, ChannelStep)>>(&self, step: ChannelStep, steps: &mut Steps<S>) {
        steps.tick(S::from((self.id, step)));
    }
}
