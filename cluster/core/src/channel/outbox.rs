//! The frames to write, a single write at a time. Each frame has a turn of its own: a step in the queue of
//! the owner. The turns are in the order in which the frames were caused, so the calls of the owner are in
//! this order as well.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::outgoing::OutgoingFrame;
use crate::os::SocketId;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub(super) struct Outbox {
    /// The unwritten frames, in order. A part of the first frame may be written already.
    frames: VecDeque<OutgoingFrame>,
    /// The frame in a write or waiting for room, and the number of bytes in the write.
    writing: Option<(OutgoingFrame, usize)>,
    /// The number of turns that were due during another write, and that follow later.
    deferred: usize,
}

impl Outbox {
    /// Adds a frame. If the frame is the reply to an offer and follows an unwritten answer, the reply is
    /// appended to this answer and shares its turn. Returns whether the frame needs a turn.
    pub(super) fn push(&mut self, frame: OutgoingFrame) -> bool {
        let apart = match self.frames.back_mut() {
            Some(last) => last.join(frame),
            None => Some(frame),
        };
        let needs_turn = apart.is_some();
        self.frames.extend(apart);
        needs_turn
    }

    /// The number of frames behind the frame being written.
    pub(super) fn queued(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.writing.is_none()
    }

    pub(super) fn frames(&self) -> impl Iterator<Item = &OutgoingFrame> + Clone {
        self.writing.iter().map(|(frame, _)| frame).chain(&self.frames)
    }

    /// Whether the frame being written has at least as many bytes as the write, which a restored state may
    /// contradict. (After a partial write, some of these bytes are sent already.)
    pub(super) fn offers_its_bytes(&self) -> bool {
        self.writing.as_ref().is_none_or(|(frame, offered)| *offered <= frame.text_len())
    }

    /// Takes the turn of a frame, and returns the bytes and the descriptor of the next write. A turn during
    /// another write is deferred.
    pub(super) fn next_write(&mut self) -> Option<(Vec<u8>, Option<SocketId>)> {
        if self.writing.is_some() {
            self.deferred += 1;
            return None;
        }
        let frame = self.frames.pop_front()?;
        let (piece, socket) = (frame.piece(), frame.socket);
        self.writing = Some((frame, piece.len()));
        Some((piece, socket))
    }

    /// The frame being written, and the number of bytes in the write.
    pub(super) fn writing(&mut self) -> Option<&mut (OutgoingFrame, usize)> {
        self.writing.as_mut()
    }

    /// Puts the frame being written back, for another write. False: no frame was being written.
    pub(super) fn rewrite(&mut self) -> bool {
        let frame = self.writing.take();
        frame.map(|(frame, _)| self.frames.push_front(frame)).is_some()
    }

    /// Removes the frame being written. Returns true if a deferred turn follows.
    pub(super) fn end_write(&mut self) -> (Option<OutgoingFrame>, bool) {
        let frame = self.writing.take().map(|(frame, _)| frame);
        let follows = frame.is_some() && self.deferred > 0;
        self.deferred -= usize::from(follows);
        (frame, follows)
    }

    /// Removes the frames that `carries` accepts. Returns true if a deferred turn follows.
    pub(super) fn withdraw(
        &mut self,
        carries: impl Fn(&OutgoingFrame) -> bool,
    ) -> (VecDeque<OutgoingFrame>, bool) {
        let mut taken = take_if(&mut self.frames, &carries);
        let is_written = self.writing.as_ref().is_some_and(|(frame, _)| carries(frame));
        let (frame, follows) = if is_written { self.end_write() } else { (None, false) };
        taken.extend(frame);
        (taken, follows)
    }
}

/// Removes the frames that `carries` accepts.
pub(super) fn take_if(
    frames: &mut VecDeque<OutgoingFrame>,
    carries: impl Fn(&OutgoingFrame) -> bool,
) -> VecDeque<OutgoingFrame> {
    let (taken, left) = core::mem::take(frames).into_iter().partition(carries);
    *frames = left;
    taken
}
