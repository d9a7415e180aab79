//! Matches the lines read from one direction of a channel with the lines written.
//!
//! Bytes are written and read in pieces of any size. The arrow of a message begins at the write of the first
//! byte, and ends at the read of the last byte. Lines of a hostile worker match no write.

use std::collections::VecDeque;

/// The messages in flight.
#[derive(Debug, Default)]
pub(super) struct Lane {
    sent: VecDeque<Sent>,
    /// The bytes of an incomplete line.
    part: Vec<u8>,
    /// The number of descriptors that were read before the end of their message.
    arrived: usize,
}

#[derive(Debug)]
struct Sent {
    from: usize,
    text: Vec<u8>,
    is_whole: bool,
    has_descriptor: bool,
}

/// A message, read completely or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    /// The row of the first byte; `None`: no machine wrote the message.
    pub(super) from: Option<usize>,
    /// The complete line.
    pub(super) text: Vec<u8>,
    /// Whether a descriptor was sent with the message.
    pub(super) has_descriptor: bool,
    /// Whether the descriptor arrived.
    pub(super) has_arrived: bool,
}

impl Lane {
    /// Adds the bytes of a write, with a descriptor or without.
    pub(super) fn write(&mut self, row: usize, bytes: &[u8], descriptor: bool) {
        let mut descriptor = descriptor;
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.sent.back().is_none_or(|last| last.is_whole) {
                let text = Vec::new();
                self.sent.push_back(Sent { from: row, text, is_whole: false, has_descriptor: false });
            }
            let Some(last) = self.sent.back_mut() else { continue };
            last.text.extend_from_slice(piece);
            last.is_whole = piece.ends_with(b"\n");
            // A descriptor belongs to the first byte.
            last.has_descriptor |= std::mem::take(&mut descriptor);
        }
    }

    /// Adds the bytes of a read. Returns the messages that are now complete.
    pub(super) fn read(&mut self, bytes: &[u8], descriptor: bool) -> Vec<Delivery> {
        self.arrived += usize::from(descriptor);
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.part.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                complete.push(self.complete());
            }
        }
        complete
    }

    fn complete(&mut self) -> Delivery {
        let text = std::mem::take(&mut self.part);
        let exactly = self.sent.iter().position(|sent| sent.is_whole && text == sent.text);
        // A line of a broken worker may precede a message without a newline; the bytes before the message
        // belong to no message.
        let behind = || self.sent.iter().position(|sent| sent.is_whole && text.ends_with(&sent.text));
        let Some(at) = exactly.or_else(behind) else {
            return Delivery { from: None, text, has_descriptor: false, has_arrived: false };
        };
        let sent = self.sent.drain(..=at).next_back();
        let has_descriptor = sent.as_ref().is_some_and(|sent| sent.has_descriptor);
        let has_arrived = has_descriptor && self.arrived > 0;
        self.arrived -= usize::from(has_arrived);
        Delivery { from: sent.map(|sent| sent.from), text, has_descriptor, has_arrived }
    }

    /// The messages never read completely.
    pub(super) fn rest(self) -> impl Iterator<Item = Delivery> {
        self.sent.into_iter().map(|Sent { from, text, has_descriptor, .. }| Delivery {
            from: Some(from),
            text,
            has_descriptor,
            has_arrived: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(deliveries: &[Delivery]) -> Vec<(Option<usize>, &str)> {
        deliveries.iter().map(|one| (one.from, std::str::from_utf8(&one.text).unwrap_or("?"))).collect()
    }

    #[test]
    fn message_spans_first_to_last_byte() {
        let mut lane = Lane::default();
        lane.write(1, b"one\ntw", false);
        lane.write(2, b"o\n", false);
        assert_eq!(text(&lane.read(b"on", false)), []);
        assert_eq!(text(&lane.read(b"e\ntwo\n", false)), [(Some(1), "one\n"), (Some(1), "two\n")]);
        assert_eq!(lane.rest().count(), 0);
    }

    #[test]
    fn foreign_line_matches_no_write() {
        let mut lane = Lane::default();
        lane.write(1, b"one\n", false);
        assert_eq!(text(&lane.read(b"{}}\none\n", false)), [(None, "{}}\n"), (Some(1), "one\n")]);
    }

    #[test]
    fn descriptor_arrives_or_is_lost() {
        let mut lane = Lane::default();
        for row in 1..=3 {
            lane.write(row, b"take\n", true);
        }
        let kept = lane.read(b"take\n", true);
        assert!(kept[0].has_descriptor && kept[0].has_arrived);
        let lost = lane.read(b"take\n", false);
        assert!(lost[0].has_descriptor && !lost[0].has_arrived);
        assert_eq!(text(&lane.rest().collect::<Vec<_>>()), [(Some(3), "take\n")]);
    }
}
