//! The incoming half of a channel: bytes to frames, and a descriptor to its frame. Frames are delimited here and
//! decoded in `message`.

use alloc::vec::Vec;

use bytes::Bytes;

use super::{Channel, ChannelStep};
use crate::message::{self, Frame};
use crate::os::{Call, ChannelId, SocketId};
use crate::spawn_options::Serialization;
use crate::steps::Steps;
use crate::violation::Violation;

/// The beginning of an incomplete frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct FrameReader {
    partial: Vec<u8>,
    /// A descriptor that arrived before the end of its envelope.
    pending_fd: Option<SocketId>,
}

/// A payload and the bytes behind it.
type Whole<'a> = (&'a [u8], &'a [u8]);

/// The size of the length before a payload, in bytes.
const LENGTH: usize = 4;

impl FrameReader {
    /// Appends bytes to a frame of this length. Allocates at most twice the received bytes and at most the length: a
    /// claimed length alone allocates nothing.
    fn add(&mut self, bytes: &[u8], length: usize) {
        let needed = self.partial.len() + bytes.len();
        if needed > self.partial.capacity() {
            let room = needed.saturating_mul(2).min(length).max(needed);
            self.partial.reserve_exact(room - self.partial.len());
        }
        self.partial.extend_from_slice(bytes);
    }
}

impl Channel {
    /// Splits bytes into frames. Each frame is handled in a tick of its own, as in Node.
    pub(crate) fn read<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        bytes: &[u8],
        socket: Option<SocketId>,
        steps: &mut Steps<S>,
    ) {
        if let Some(stray) = socket.and_then(|socket| self.reading.pending_fd.replace(socket)) {
            self.step(ChannelStep::Call(Call::Close { socket: stray }), steps);
            return self.tick(ChannelStep::Violated(Violation::StrayDescriptor), steps);
        }
        let read = match self.serialization {
            Serialization::Json => self.read_lines(bytes, steps),
            Serialization::Advanced => self.read_payloads(bytes, steps),
        };
        if let Err(violation) = read {
            self.tick(ChannelStep::Violated(violation), steps);
        }
    }

    /// One JSON text per line.
    fn read_lines<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        bytes: &[u8],
        steps: &mut Steps<S>,
    ) -> Result<(), Violation> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let frame = if self.reading.partial.is_empty() {
                message::decode(&rest[..end], &Bytes::copy_from_slice)
            } else {
                self.reading.add(&rest[..end], usize::MAX);
                let line = Bytes::from(core::mem::take(&mut self.reading.partial));
                message::decode(&line, &|part| line.slice_ref(part))
            };
            rest = &rest[end + 1..];
            self.arrived(frame?, steps);
        }
        self.reading.add(rest, usize::MAX);
        self.bounded(self.reading.partial.len())
    }

    /// Node's 'advanced' serialization: payloads, each preceded by its length.
    fn read_payloads<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        bytes: &[u8],
        steps: &mut Steps<S>,
    ) -> Result<(), Violation> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let frame = if self.reading.partial.is_empty()
                && let Some((payload, next)) = self.whole(rest)?
            {
                rest = next;
                message::decode_advanced(payload, &Bytes::copy_from_slice)
            } else {
                let Some(payload) = self.fill(&mut rest)? else { return Ok(()) };
                message::decode_advanced(&payload, &|part| payload.slice_ref(part))
            };
            self.arrived(frame?, steps);
        }
        Ok(())
    }

    /// The payload at the beginning of the bytes, if complete.
    fn whole<'a>(&self, bytes: &'a [u8]) -> Result<Option<Whole<'a>>, Violation> {
        let Some((length, behind)) = bytes.split_first_chunk() else { return Ok(None) };
        let length = self.payload_length(*length)?;
        Ok(behind.split_at_checked(length))
    }

    /// Moves the bytes of the current payload from `rest`, and returns the payload if complete.
    fn fill(&mut self, rest: &mut &[u8]) -> Result<Option<Bytes>, Violation> {
        let mut length = self.reading.partial.len().max(LENGTH);
        loop {
            let missing = length - self.reading.partial.len();
            let (now, later) = rest.split_at(missing.min(rest.len()));
            self.reading.add(now, length);
            *rest = later;
            if self.reading.partial.len() < length {
                return Ok(None);
            }
            let Some((first, _)) = self.reading.partial.split_first_chunk() else { return Ok(None) };
            length = LENGTH + self.payload_length(*first)?;
            if self.reading.partial.len() == length {
                return Ok(Some(Bytes::from(core::mem::take(&mut self.reading.partial)).slice(LENGTH..)));
            }
        }
    }

    fn payload_length(&self, length: [u8; LENGTH]) -> Result<usize, Violation> {
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        self.bounded(length).map(|()| length)
    }

    fn bounded(&self, length: usize) -> Result<(), Violation> {
        if length > self.limits.message_bytes { Err(Violation::TooLong) } else { Ok(()) }
    }

    fn arrived<S: From<(ChannelId, ChannelStep)>>(&mut self, frame: Frame, steps: &mut Steps<S>) {
        let socket = match frame {
            Frame::Handle(_) => self.reading.pending_fd.take(),
            Frame::Message(_) | Frame::Ack | Frame::Nack => None,
        };
        self.tick(ChannelStep::Frame(frame, socket), steps);
    }

    /// No further byte arrives.
    pub(super) fn drop_unread<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        self.drop_pending_fd(steps);
        self.reading.partial = Vec::new();
    }

    /// Closes the descriptor of an envelope that will not be completed.
    pub(super) fn drop_pending_fd<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if let Some(socket) = self.reading.pending_fd.take() {
            self.step(ChannelStep::Call(Call::Close { socket }), steps);
        }
    }
}
