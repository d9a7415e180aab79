//! The incoming half of a channel: splits bytes into frames, and assigns each descriptor to its frame. Frames
//! are decoded in `message`.

use alloc::vec::Vec;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::message::{self, Frame};
use crate::os::SocketId;
use crate::serialization::Serialization;
use crate::settings::Limits;
use crate::violation::Violation;

/// Splits bytes into frames.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct FrameReader {
    serialization: Serialization,
    /// The longest message.
    message_bytes: usize,
    /// The beginning of an incomplete frame.
    #[serde(with = "crate::byte_form")]
    partial: Vec<u8>,
    /// A descriptor that has arrived before the end of the envelope (the message that describes the
    /// descriptor).
    pending_fd: Option<SocketId>,
}

/// A payload, and the bytes after it.
type Whole<'a> = (&'a [u8], &'a [u8]);

/// The size of the length that precedes a payload, in bytes.
const LENGTH: usize = 4;

impl FrameReader {
    pub(super) fn new(serialization: Serialization, limits: &Limits) -> Self {
        let message_bytes = limits.message_bytes;
        FrameReader { serialization, message_bytes, partial: Vec::new(), pending_fd: None }
    }

    /// Whether the received part of a frame is incomplete.
    pub(super) fn is_partial(&self) -> bool {
        match (self.serialization, self.partial.split_first_chunk()) {
            (Serialization::Json, _) | (Serialization::Advanced, None) => true,
            (Serialization::Advanced, Some((length, payload))) => {
                self.payload_length(*length).is_ok_and(|length| payload.len() < length)
            }
        }
    }

    /// Keeps a descriptor for the next envelope. Returns an earlier descriptor that had no envelope.
    pub(super) fn attach(&mut self, socket: SocketId) -> Option<SocketId> {
        self.pending_fd.replace(socket)
    }

    /// Takes the descriptor of an envelope that will never be complete.
    pub(super) fn take_pending_fd(&mut self) -> Option<SocketId> {
        self.pending_fd.take()
    }

    /// Called when no further byte arrives.
    pub(super) fn end(&mut self) {
        self.partial = Vec::new();
    }

    /// Calls `found` with each frame, and with the descriptor if the frame is an envelope.
    pub(super) fn read(
        &mut self,
        bytes: &[u8],
        found: &mut impl FnMut(Frame, Option<SocketId>),
    ) -> Result<(), Violation> {
        match self.serialization {
            Serialization::Json => self.read_lines(bytes, found),
            Serialization::Advanced => self.read_payloads(bytes, found),
        }
    }

    /// Reads JSON texts, one per line.
    fn read_lines(
        &mut self,
        bytes: &[u8],
        found: &mut impl FnMut(Frame, Option<SocketId>),
    ) -> Result<(), Violation> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let frame = if self.partial.is_empty() {
                message::decode(&rest[..end], &Bytes::copy_from_slice)
            } else {
                self.add(&rest[..end], usize::MAX);
                let line = Bytes::from(core::mem::take(&mut self.partial));
                message::decode(&line, &|part| line.slice_ref(part))
            };
            rest = &rest[end + 1..];
            self.complete(frame?, found);
        }
        self.add(rest, usize::MAX);
        self.bounded(self.partial.len())
    }

    /// Reads Node's 'advanced' serialization: payloads, each preceded by the length.
    fn read_payloads(
        &mut self,
        bytes: &[u8],
        found: &mut impl FnMut(Frame, Option<SocketId>),
    ) -> Result<(), Violation> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let frame = if self.partial.is_empty()
                && let Some((payload, next)) = self.whole(rest)?
            {
                rest = next;
                message::decode_advanced(payload, &Bytes::copy_from_slice)
            } else {
                let Some(payload) = self.fill(&mut rest)? else { return Ok(()) };
                message::decode_advanced(&payload, &|part| payload.slice_ref(part))
            };
            self.complete(frame?, found);
        }
        Ok(())
    }

    fn complete(&mut self, frame: Frame, found: &mut impl FnMut(Frame, Option<SocketId>)) {
        let socket = match frame {
            Frame::Handle(_) => self.pending_fd.take(),
            Frame::Message(_) | Frame::Ack | Frame::Nack => None,
        };
        found(frame, socket);
    }

    /// Appends bytes to a frame of this length. Allocates at most twice the received bytes, and at most the
    /// length: a claimed length alone allocates nothing.
    fn add(&mut self, bytes: &[u8], length: usize) {
        let needed = self.partial.len() + bytes.len();
        if needed > self.partial.capacity() {
            let room = needed.saturating_mul(2).min(length).max(needed);
            self.partial.reserve_exact(room - self.partial.len());
        }
        self.partial.extend_from_slice(bytes);
    }

    /// The payload at the beginning of the bytes, if complete.
    fn whole<'a>(&self, bytes: &'a [u8]) -> Result<Option<Whole<'a>>, Violation> {
        let Some((length, behind)) = bytes.split_first_chunk() else { return Ok(None) };
        let length = self.payload_length(*length)?;
        Ok(behind.split_at_checked(length))
    }

    /// Moves the bytes of the current payload from `rest`. Returns the payload if complete.
    fn fill(&mut self, rest: &mut &[u8]) -> Result<Option<Bytes>, Violation> {
        let mut length = self.partial.len().max(LENGTH);
        loop {
            let missing = length - self.partial.len();
            let (now, later) = rest.split_at(missing.min(rest.len()));
            self.add(now, length);
            *rest = later;
            if self.partial.len() < length {
                return Ok(None);
            }
            let Some((first, _)) = self.partial.split_first_chunk() else { return Ok(None) };
            length = LENGTH + self.payload_length(*first)?;
            if self.partial.len() == length {
                return Ok(Some(Bytes::from(core::mem::take(&mut self.partial)).slice(LENGTH..)));
            }
        }
    }

    fn payload_length(&self, length: [u8; LENGTH]) -> Result<usize, Violation> {
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        self.bounded(length).map(|()| length)
    }

    fn bounded(&self, length: usize) -> Result<(), Violation> {
        if length > self.message_bytes { Err(Violation::TooLong) } else { Ok(()) }
    }
}
