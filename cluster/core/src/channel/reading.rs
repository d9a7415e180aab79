//! The incoming half of a channel: bytes to frames, and a descriptor to the frame it came with. It knows where a frame
//! ends, not what it means.

use alloc::vec::Vec;

use super::{Channel, ChannelStep};
use crate::message::{self, Frame, Violation};
use crate::os::{Call, ChannelId, SocketId};
use crate::settings::Serialization;
use crate::steps::Steps;

/// What has arrived of a frame whose end has not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Reading {
    partial: Vec<u8>,
    /// A descriptor that arrived before the end of its envelope.
    stray: Option<SocketId>,
}

impl Channel {
    /// Bytes have arrived. Every frame is read now, and each is handled in a tick of its own, as in Node.
    pub(crate) fn read<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        bytes: &[u8],
        socket: Option<SocketId>,
        steps: &mut Steps<S>,
    ) {
        if let Some(stray) = socket.and_then(|socket| self.reading.stray.replace(socket)) {
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

    /// One JSON text a line.
    fn read_lines<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        bytes: &[u8],
        steps: &mut Steps<S>,
    ) -> Result<(), Violation> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let frame = if self.reading.partial.is_empty() {
                message::decode(&rest[..end])
            } else {
                self.reading.partial.extend_from_slice(&rest[..end]);
                message::decode(&core::mem::take(&mut self.reading.partial))
            };
            rest = &rest[end + 1..];
            self.arrived(frame?, steps);
        }
        self.reading.partial.extend_from_slice(rest);
        self.bounded(self.reading.partial.len())
    }

    /// Node's 'advanced' serialization: payloads, each behind its length.
    fn read_payloads<S: From<(ChannelId, ChannelStep)>>(
        &mut self,
        bytes: &[u8],
        steps: &mut Steps<S>,
    ) -> Result<(), Violation> {
        let mut unread = core::mem::take(&mut self.reading.partial);
        unread.extend_from_slice(bytes);
        let mut rest = &unread[..];
        // One for all: they are read before the first is handled.
        let mut spare = self.limits.message_bytes;
        while let Some((length, behind)) = rest.split_first_chunk() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            self.bounded(length)?;
            let Some((payload, next)) = behind.split_at_checked(length) else { break };
            rest = next;
            self.arrived(message::decode_advanced(payload, &mut spare)?, steps);
        }
        let read = unread.len() - rest.len();
        unread.drain(..read);
        self.reading.partial = unread;
        Ok(())
    }

    fn bounded(&self, length: usize) -> Result<(), Violation> {
        if length > self.limits.message_bytes { Err(Violation::TooLong) } else { Ok(()) }
    }

    fn arrived<S: From<(ChannelId, ChannelStep)>>(&mut self, frame: Frame, steps: &mut Steps<S>) {
        let socket = match frame {
            Frame::Handle(_) => self.reading.stray.take(),
            Frame::Message(_) | Frame::Ack | Frame::Nack => None,
        };
        self.tick(ChannelStep::Frame(frame, socket), steps);
    }

    /// Nothing more arrives.
    pub(super) fn drop_unread<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        self.drop_stray(steps);
        self.reading.partial = Vec::new();
    }

    /// The end of its envelope does not come any more.
    pub(super) fn drop_stray<S: From<(ChannelId, ChannelStep)>>(&mut self, steps: &mut Steps<S>) {
        if let Some(socket) = self.reading.stray.take() {
            self.step(ChannelStep::Call(Call::Close { socket }), steps);
        }
    }
}
