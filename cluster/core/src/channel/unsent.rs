//! The account of unsent bytes, by source. It decides when `send` is congested or full, and when reading
//! pauses. `sending` proves that these limits block no peer.

use serde::{Deserialize, Serialize};

use super::outgoing::OutgoingFrame;
use crate::settings::Limits;

/// The program may queue one frame for every 64 bytes of `unsent_bytes`. A frame takes some 200 bytes besides
/// its text, so even the shortest messages take only four times
/// [`Limits::unsent_bytes`](crate::settings::Limits::unsent_bytes) of memory; without this bound, the memory
/// would be a hundred times as much.
const LINE: usize = 64;

/// The least limit of frames, however low the limit of bytes is.
const LINES: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Unsent {
    /// [`Limits::congested_bytes`], [`Limits::unsent_bytes`] and [`Limits::answer_bytes`].
    congestion: usize,
    capacity: usize,
    answer_limit: usize,
    /// Unsent bytes of all frames, including blocked frames.
    bytes: usize,
    /// Unsent bytes of answers that are not blocked.
    answers: usize,
    /// Unsent bytes of blocked answers.
    blocked_answers: usize,
    /// The number of the program's frames that are not yet written completely. A frame that has returned to
    /// the owner is not counted.
    unwritten: u64,
    /// Whether frames of the program were lost.
    lossy: bool,
    /// Whether reading is paused, because the peer causes answers faster than it reads them.
    paused: bool,
}

impl Unsent {
    pub(super) fn new(limits: &Limits) -> Self {
        Unsent {
            congestion: limits.congested_bytes,
            capacity: limits.unsent_bytes,
            answer_limit: limits.answer_bytes,
            bytes: 0,
            answers: 0,
            blocked_answers: 0,
            unwritten: 0,
            lossy: false,
            paused: false,
        }
    }

    /// Whether these frames are included in the counts.
    pub(super) fn covers<'a>(
        &self,
        ready: impl Iterator<Item = &'a OutgoingFrame> + Clone,
        blocked: impl Iterator<Item = &'a OutgoingFrame> + Clone,
    ) -> bool {
        let [answers, blocked_answers] = [sum(&mut ready.clone(), true), sum(&mut blocked.clone(), true)];
        let mut all = ready.chain(blocked);
        let counted = all.clone().filter(|frame| frame.source.is_counted()).count() as u64;
        sum(&mut all, false) <= self.bytes
            && answers <= self.answers
            && blocked_answers <= self.blocked_answers
            && counted <= self.unwritten
    }

    /// Whether at least `congested_bytes` are unsent.
    pub(super) fn is_congested(&self) -> bool {
        self.bytes >= self.congestion
    }

    /// Whether no further message of the program fits.
    pub(super) fn is_full(&self, lines: usize) -> bool {
        let limit = self.capacity;
        self.bytes >= limit || lines >= (limit / LINE).max(LINES)
    }

    /// The number of the program's messages not yet written completely; `None` if any were lost.
    pub(super) fn unwritten(&self) -> Option<u64> {
        (!self.lossy).then_some(self.unwritten)
    }

    pub(super) fn add(&mut self, frame: &OutgoingFrame) {
        self.bytes += frame.unsent();
    }

    /// Counts a frame that the program waits for.
    pub(super) fn expect(&mut self, frame: &OutgoingFrame) {
        self.unwritten += u64::from(frame.source.is_counted());
    }

    /// Counts a frame outside of the blocked frames, if the frame is an answer.
    pub(super) fn count_answer(&mut self, frame: &OutgoingFrame) {
        if frame.source.is_answer() {
            self.answers += frame.unsent();
        }
    }

    /// Counts a frame that waits for an acknowledgement. Returns true if this frame exceeds the limit of
    /// blocked answers.
    pub(super) fn block(&mut self, frame: &OutgoingFrame) -> bool {
        let before = self.blocked_answers;
        if frame.source.is_answer() {
            self.blocked_answers += frame.unsent();
        }
        before <= self.answer_limit && self.blocked_answers > self.answer_limit
    }

    /// Called when a blocked frame can be sent.
    pub(super) fn unblock(&mut self, frame: &OutgoingFrame) {
        if frame.source.is_answer() {
            self.blocked_answers -= frame.unsent();
            self.answers += frame.unsent();
        }
    }

    /// Called when the kernel has accepted this number of bytes of the frame.
    pub(super) fn sent(&mut self, frame: &OutgoingFrame, bytes: usize) {
        self.bytes -= bytes;
        if frame.source.is_answer() {
            self.answers -= bytes;
        }
    }

    /// Called when a frame is written completely, or is removed from the queues before.
    pub(super) fn complete(&mut self, frame: &OutgoingFrame) {
        self.sent(frame, frame.unsent());
        self.unwritten -= u64::from(frame.source.is_counted());
    }

    /// Called when every queue is emptied. The count of unwritten messages is kept.
    pub(super) fn clear(&mut self) {
        (self.bytes, self.answers, self.blocked_answers) = (0, 0, 0);
    }

    /// Called when no further frame of the program will be written. `lost`: whether frames were lost.
    pub(super) fn lose(&mut self, lost: bool) {
        self.unwritten = 0;
        self.lossy |= lost;
    }

    /// Returns true if reading is to pause now.
    pub(super) fn pause(&mut self) -> bool {
        let pause = !self.paused && self.answers > self.answer_limit;
        self.paused |= pause;
        pause
    }

    /// Returns true if reading is to resume now.
    pub(super) fn resume(&mut self) -> bool {
        let resume = self.paused && self.answers <= self.answer_limit / 2;
        self.paused &= !resume;
        resume
    }
}

/// The unsent bytes of frames, or only of answers.
fn sum(frames: &mut dyn Iterator<Item = &OutgoingFrame>, only_answers: bool) -> usize {
    frames.filter(|frame| !only_answers || frame.source.is_answer()).map(OutgoingFrame::unsent).sum()
}
