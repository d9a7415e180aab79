//! A message to send: its cause, its encoded frame, and the encoder of a channel. The queues are in
//! `sending`.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::message::{self, ChannelMessage, HandleType, Request, Supervision};
use crate::os::SocketId;
use crate::passing::IncomingHandle;
use crate::send::SendError;
use crate::serialization::Serialization;
use crate::serialization::advanced::NoJson;
use crate::settings::Limits;
use crate::user_message::Message;

/// The most bytes per write. Without the bound, a long frame written in pieces would be copied again for each
/// piece.
const PIECE: usize = 64 << 10;

/// The most repetitions of a user's message after rejections of the socket, as in Node.
const RETRANSMISSIONS: u8 = 3;

/// The cause of a frame. `sending` explains why causes are distinguished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Source {
    /// A message of the program. Counted until written completely.
    Program,
    /// The program's request that the peer disconnect. It is counted like a message, but is lost only if the
    /// write has failed: a closed channel fulfils the request.
    DisconnectRequest,
    /// Caused by a message of the peer.
    Answer,
    /// Needed by the cluster.
    Cluster,
}

impl Source {
    pub(super) fn is_answer(self) -> bool {
        match self {
            Source::Answer => true,
            Source::Program | Source::DisconnectRequest | Source::Cluster => false,
        }
    }

    /// Whether the program waits for the frame.
    pub(super) fn is_counted(self) -> bool {
        match self {
            Source::Program | Source::DisconnectRequest => true,
            Source::Answer | Source::Cluster => false,
        }
    }
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Outgoing {
    pub(crate) message: ChannelMessage,
    /// The socket to send with the message. The owner keeps its own copy open, and closes it later.
    handle: Option<IncomingHandle>,
    /// Emit [`Written`](super::ChannelEvent::Written) with this socket when the last byte is written.
    receipt: Option<SocketId>,
    source: Source,
    /// The number of repetitions after rejections of the socket.
    retransmissions: u8,
}

impl From<ChannelMessage> for Outgoing {
    fn from(message: ChannelMessage) -> Self {
        let source = match &message {
            ChannelMessage::User(_) => Source::Program,
            ChannelMessage::Cluster(cluster) if cluster.request == Some(Request::Disconnect) => {
                Source::DisconnectRequest
            }
            ChannelMessage::Cluster(cluster) if cluster.reply.is_some() => Source::Answer,
            ChannelMessage::SocketCount(_) | ChannelMessage::Supervision(Supervision::Pong { .. }) => {
                Source::Answer
            }
            ChannelMessage::Cluster(_) | ChannelMessage::Supervision(_) | ChannelMessage::Foreign => {
                Source::Cluster
            }
        };
        Outgoing { message, handle: None, receipt: None, source, retransmissions: 0 }
    }
}

impl Outgoing {
    /// Adds a socket.
    pub(crate) fn with(self, handle: Option<IncomingHandle>) -> Self {
        Outgoing { handle, ..self }
    }

    /// Requests [`Written`](super::ChannelEvent::Written).
    pub(crate) fn with_receipt(self, receipt: Option<SocketId>) -> Self {
        Outgoing { receipt, ..self }
    }

    /// The socket of a user's message.
    pub(crate) fn passes(&self) -> Option<SocketId> {
        match self.message {
            ChannelMessage::User(_) => self.handle.map(|handle| handle.socket),
            ChannelMessage::Cluster(_)
            | ChannelMessage::SocketCount(_)
            | ChannelMessage::Supervision(_)
            | ChannelMessage::Foreign => None,
        }
    }

    pub(super) fn carries(&self, socket: SocketId) -> bool {
        self.handle.is_some_and(|handle| handle.socket == socket)
    }

    /// Whether the message offers a connection. Another peer can take the connection instead.
    pub(super) fn is_offer(&self) -> bool {
        self.message.is_offer()
    }

    /// Counts a repetition, after the socket was rejected. Returns false if the message is not sent again.
    /// Node repeats `net.Socket` only.
    pub(super) fn retransmit(&mut self) -> bool {
        let again = self.retransmissions < RETRANSMISSIONS
            && self.passes().is_some()
            && self.handle.is_some_and(|handle| match handle.kind {
                HandleType::Socket | HandleType::Server | HandleType::Datagram { .. } => true,
                HandleType::Native | HandleType::DatagramNative => false,
            });
        self.retransmissions += u8::from(again);
        again
    }
}

/// An encoded message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct OutgoingFrame {
    text: FrameText,
    /// The number of written bytes.
    at: usize,
    /// The descriptor. Absent once it was sent, with the first byte.
    pub(super) socket: Option<SocketId>,
    pub(super) receipt: Option<SocketId>,
    /// The message, if it has a descriptor. Boxed, because frames move between queues, and few frames have a
    /// descriptor.
    pub(super) carries: Option<Box<Outgoing>>,
    pub(super) source: Source,
}

/// The bytes of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum FrameText {
    Encoded(#[serde(with = "crate::byte_form")] Vec<u8>),
    /// A program's message in JSON, sharing the bytes of the message. The newline follows.
    Line(#[serde(with = "crate::byte_form")] Bytes),
}

impl FrameText {
    fn len(&self) -> usize {
        match self {
            FrameText::Encoded(bytes) => bytes.len(),
            FrameText::Line(line) => line.len() + 1,
        }
    }

    /// A copy of some bytes.
    fn copy(&self, range: Range<usize>) -> Vec<u8> {
        match self {
            FrameText::Encoded(bytes) => bytes[range].to_vec(),
            FrameText::Line(line) if range.end <= line.len() => line[range].to_vec(),
            FrameText::Line(line) => {
                let mut bytes = Vec::with_capacity(range.len());
                bytes.extend_from_slice(&line[range.start..]);
                bytes.push(b'\n');
                bytes
            }
        }
    }
}

impl OutgoingFrame {
    /// A frame without a descriptor.
    fn plain(text: FrameText, source: Source) -> Self {
        OutgoingFrame { text, at: 0, socket: None, receipt: None, carries: None, source }
    }

    /// Appends the reply to an offer to this answer, usually the acknowledgement of the offer's descriptor.
    /// Returns any other frame, which is written apart.
    pub(super) fn join(&mut self, reply: OutgoingFrame) -> Option<OutgoingFrame> {
        let is_plain_answer = self.source.is_answer() && self.receipt.is_none() && self.socket.is_none();
        match (&mut self.text, &reply.text) {
            (FrameText::Encoded(text), FrameText::Encoded(more))
                if is_plain_answer && reply.source.is_answer() && reply.receipt.is_some() =>
            {
                text.extend_from_slice(more);
                self.receipt = reply.receipt;
                None
            }
            (FrameText::Encoded(_) | FrameText::Line(_), _) => Some(reply),
        }
    }

    /// Whether the frame has at least as many bytes as were written.
    pub(super) fn is_within_text(&self) -> bool {
        self.at <= self.text.len()
    }

    pub(super) fn text_len(&self) -> usize {
        self.text.len()
    }

    pub(super) fn unsent(&self) -> usize {
        self.text.len() - self.at
    }

    /// The bytes of the next write.
    pub(super) fn piece(&self) -> Vec<u8> {
        self.text.copy(self.at..self.at + self.unsent().min(PIECE))
    }

    /// Called when the operating system has accepted this number of bytes.
    pub(super) fn advance(&mut self, taken: usize) {
        self.at += taken;
    }
}

/// The encoding of a channel, and the longest frame that a peer with the same limits accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Encoder {
    serialization: Serialization,
    message_bytes: usize,
}

impl Encoder {
    pub(super) fn new(serialization: Serialization, limits: &Limits) -> Self {
        Encoder { serialization, message_bytes: limits.message_bytes }
    }

    /// Encodes a message.
    pub(super) fn frame(self, outgoing: Outgoing) -> OutgoingFrame {
        let Outgoing { message, handle, receipt, source, .. } = &outgoing;
        let bytes = message::encode(message, handle.map(|handle| handle.kind), self.serialization);
        let (socket, receipt, source) = (handle.map(|handle| handle.socket), *receipt, *source);
        let carries = socket.is_some().then(|| Box::new(outgoing));
        OutgoingFrame { text: FrameText::Encoded(bytes), at: 0, socket, receipt, carries, source }
    }

    /// Encodes a message written before, in order to send its socket again.
    pub(super) fn repeat(self, outgoing: Outgoing) -> OutgoingFrame {
        OutgoingFrame { source: Source::Cluster, ..self.frame(outgoing) }
    }

    /// The acknowledgement of a descriptor: whether it has arrived.
    pub(super) fn acknowledgement(self, arrived: bool) -> OutgoingFrame {
        let bytes = message::encode_ack(arrived, self.serialization);
        OutgoingFrame::plain(FrameText::Encoded(bytes), Source::Answer)
    }

    /// Encodes a user's message, in the channel's serialization.
    pub(super) fn user_frame(
        self,
        message: Message,
        handle: Option<IncomingHandle>,
    ) -> Result<OutgoingFrame, SendError> {
        let limit = self.message_bytes;
        let message = message.written_as(self.serialization, limit).map_err(|error| match error {
            NoJson::TooLong => SendError::TooLong { limit },
            NoJson::BigInt | NoJson::Cycle | NoJson::Nothing | NoJson::Malformed => SendError::NoJson,
        })?;
        let frame = match (handle, self.serialization) {
            (None, Serialization::Json) => {
                OutgoingFrame::plain(FrameText::Line(message.into_bytes()), Source::Program)
            }
            (None, Serialization::Advanced) | (Some(_), _) => {
                self.frame(Outgoing::from(ChannelMessage::User(message)).with(handle))
            }
        };
        if frame.unsent() > limit { Err(SendError::TooLong { limit }) } else { Ok(frame) }
    }
}
