//! One IPC channel: bytes to messages and back, one descriptor a write. It knows frames, not what they mean, and it
//! never sees its owner: what is to be done comes back as [`ChannelStep`]s, and what has happened as [`ChannelEvent`].
//! How bytes become frames is in `reading`, how messages wait and are written in `sending`, why reading never waits for
//! the peer's reading in its documentation.

use crate::message::{ChannelMessage, Envelope, Frame, HandleType, Request};
use crate::os::{Call, ChannelId, Errno, SocketId};
use crate::passing::IncomingHandle;
use crate::settings::{Limits, Serialization};
use crate::steps::{IsCall, Steps};
use crate::violation::Violation;

mod failing;
mod reading;
mod sending;

use reading::FrameReader;
use sending::SendQueue;
pub(crate) use sending::Source;

/// A message on its way out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Outgoing {
    pub(crate) message: ChannelMessage,
    /// The socket it carries. The owner's copy stays open until the owner closes it.
    pub(crate) handle: Option<IncomingHandle>,
    /// Say [`ChannelEvent::Written`] when the last byte is written.
    pub(crate) receipt: Option<SocketId>,
    pub(crate) source: Source,
    /// How often it was sent again because its socket did not arrive.
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
    /// The same, with a socket.
    pub(crate) fn with(self, handle: Option<IncomingHandle>) -> Self {
        Outgoing { handle, ..self }
    }

    /// The same, and [`ChannelEvent::Written`] is said.
    pub(crate) fn with_receipt(self, receipt: Option<SocketId>) -> Self {
        Outgoing { receipt, ..self }
    }

    /// The socket that a user passes with it.
    pub(crate) fn passes(&self) -> Option<SocketId> {
        match self.message {
            ChannelMessage::User(_) => self.handle.map(|handle| handle.socket),
            ChannelMessage::Cluster(_) | ChannelMessage::SocketCount(_) | ChannelMessage::Foreign => None,
        }
    }

    /// Whether it offers a connection, which another peer may take as well.
    fn is_offer(&self) -> bool {
        match &self.message {
            ChannelMessage::Cluster(cluster) => matches!(cluster.request, Some(Request::NewConn(_))),
            ChannelMessage::User(_) | ChannelMessage::SocketCount(_) | ChannelMessage::Foreign => false,
        }
    }

    /// Whether it is sent again if its socket does not arrive. Node: the same for `net.Socket` alone.
    fn may_go_again(&self) -> bool {
        self.passes().is_some()
            && self.handle.is_some_and(|handle| match handle.kind {
                HandleType::Socket | HandleType::Server | HandleType::Datagram { .. } => true,
                HandleType::Native | HandleType::DatagramNative => false,
            })
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
    Deliver(Envelope, SocketId),
    /// The last byte of a line is written.
    Written(SocketId),
    /// The peer has the socket of a user's message, or never gets it.
    Settled(SocketId),
    /// Ask the operating system for something.
    Call(Call),
    /// The peer broke the protocol.
    Violated(Violation),
    /// So many of the program's messages are lost.
    Lost(Errno, u64),
    /// The descriptor of this message was not sent, and will not be.
    Unsent(Outgoing),
    /// A write has failed, and the channel is as it was.
    Failing(Errno),
    /// Try the write that has failed again, later.
    Retry,
    /// The peer can no longer be written to.
    Broken,
    /// The channel is closed. Node: the tick of `'disconnect'`.
    Closed,
}

impl IsCall for ChannelStep {
    fn is_call(&self) -> bool {
        matches!(self, ChannelStep::Write | ChannelStep::Call(_))
    }
}

/// What a step of a channel means to its owner.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ChannelEvent {
    Call(Call),
    Received(ChannelMessage),
    /// A message with a socket.
    Arrived(Envelope, SocketId),
    /// The peer did not get the descriptor of this message.
    Refused(Outgoing),
    Written(SocketId),
    /// One copy of a socket that a user has passed is no longer on its way.
    Settled(SocketId),
    Violated(Violation),
    /// So many of the program's messages were accepted and never written whole.
    Lost(Errno, u64),
    /// A write has failed; it is repeated, or its message is refused. Reported once until such a write succeeds.
    Failing(Errno),
    /// [`Channel::writable`] is to be called after a while.
    Retry,
    /// Nothing can be written from now on; what the peer has written can still be read.
    Broken,
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Link {
    Open,
    /// To be closed once everything is sent. Node: `connected` is false, the channel is still there.
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
    /// The peer broke the protocol: nothing it has said since counts.
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

    /// Whether messages can be sent. Node: `connected`.
    pub(crate) fn is_connected(&self) -> bool {
        self.link == Link::Open
    }

    /// Whether it is closed for good.
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

    /// The channel is closed and everything that was written to it has been read.
    pub(crate) fn closed<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        self.link = Link::Closed;
        self.drop_unread(steps);
        // The error is what a write would have given.
        self.lose_unsent(Errno::EPIPE, |source| source == Source::Program, steps);
        self.tick(ChannelStep::Closed, steps);
    }

    /// Does a step, and says what it means.
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
