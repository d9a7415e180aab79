//! A channel: two bounded streams of bytes, with descriptors in flight. Reads are cut where the kernel would
//! cut them.
//!
//! A descriptor in flight belongs to a write. A read can return earlier bytes together with the descriptor,
//! but no bytes of later writes. The kernel, not the channel, counts references and wakes processes.

use std::collections::VecDeque;

use super::socket::FileId;
use crate::cow::CowArc;

/// A side of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    Primary,
    Worker,
}

impl Side {
    pub(crate) fn other(self) -> Side {
        match self {
            Side::Primary => Side::Worker,
            Side::Worker => Side::Primary,
        }
    }
}

/// A pair of connected ends.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Channel {
    ends: [End; 2],
}

/// An end of a channel, and its inbox.
#[expect(clippy::struct_excessive_bools, reason = "each flag changes alone")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct End {
    pub(crate) open: bool,
    pub(crate) paused: bool,
    /// A write was incomplete: the process waits for room.
    pub(crate) write_blocked: bool,
    /// The direction to this end is broken: bytes in flight still arrive, but the end takes no further bytes.
    pub(crate) cut: bool,
    /// The last byte written from this end is inside a line.
    pub(crate) mid_line: bool,
    inbox: CowArc<Inbox>,
}

/// The bytes written to an end. The two directions change independently, so each inbox is a copy-on-write
/// part.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Inbox {
    writes: VecDeque<Write>,
    bytes: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Write {
    bytes: Vec<u8>,
    socket: Option<FileId>,
}

impl Channel {
    pub(crate) fn new() -> Self {
        let end = End {
            open: true,
            paused: false,
            write_blocked: false,
            cut: false,
            mid_line: false,
            inbox: CowArc::default(),
        };
        Channel { ends: [end.clone(), end] }
    }

    pub(crate) fn end(&self, side: Side) -> &End {
        &self.ends[side as usize]
    }

    pub(crate) fn end_mut(&mut self, side: Side) -> &mut End {
        &mut self.ends[side as usize]
    }

    /// Whether bytes written by `side` can arrive.
    pub(crate) fn is_connected(&self, side: Side) -> bool {
        let peer = self.end(side.other());
        peer.open && !peer.cut
    }

    /// Whether no byte beyond the bytes in flight can arrive at `side`.
    pub(crate) fn has_ended(&self, side: Side) -> bool {
        !self.end(side.other()).open || self.end(side).cut
    }

    /// Breaks the connection for both ends.
    pub(crate) fn cut(&mut self) {
        for end in &mut self.ends {
            end.cut = true;
        }
    }

    /// Breaks the direction in which `side` writes.
    pub(crate) fn end_writing(&mut self, side: Side) {
        self.end_mut(side.other()).cut = true;
    }

    /// Whether any direction is broken.
    pub(crate) fn is_cut(&self) -> bool {
        self.ends.iter().any(|end| end.cut)
    }

    /// The number of bytes that `side` can write.
    pub(crate) fn room(&self, side: Side, capacity: usize) -> usize {
        capacity.saturating_sub(self.end(side.other()).inbox.bytes)
    }

    /// Writes the first `take` of `bytes` from `side`; returns the rest.
    pub(crate) fn write(
        &mut self,
        side: Side,
        mut bytes: Vec<u8>,
        take: usize,
        socket: Option<FileId>,
    ) -> Vec<u8> {
        let rest = bytes.split_off(take);
        self.end_mut(side).write_blocked = !rest.is_empty();
        if let Some(&last) = bytes.last() {
            self.end_mut(side).mid_line = last != b'\n';
            let inbox = &mut *self.end_mut(side.other()).inbox;
            inbox.bytes += bytes.len();
            inbox.writes.push_back(Write { bytes, socket });
        }
        rest
    }

    /// Closes an end; returns the descriptors in flight to it.
    pub(crate) fn close(&mut self, side: Side) -> Vec<FileId> {
        let end = self.end_mut(side);
        end.open = false;
        end.write_blocked = false;
        std::mem::take(&mut *end.inbox).writes.into_iter().filter_map(|write| write.socket).collect()
    }
}

impl End {
    pub(crate) fn is_drained(&self) -> bool {
        self.inbox.writes.is_empty()
    }

    /// Whether a descriptor is in flight to this end: no read returns bytes behind it.
    pub(crate) fn holds_descriptor(&self) -> bool {
        self.inbox.writes.iter().any(|write| write.socket.is_some())
    }

    /// Whether the bytes of a waiting write contain `part`.
    pub(crate) fn contains(&self, part: &[u8]) -> bool {
        let mut writes = self.inbox.writes.iter();
        writes.any(|write| write.bytes.windows(part.len()).any(|bytes| bytes == part))
    }

    /// The number of writes that one read can return: up to the first write with a descriptor.
    pub(crate) fn readable_writes(&self) -> usize {
        let before = self.inbox.writes.iter().take_while(|write| write.socket.is_none()).count();
        (before + 1).min(self.inbox.writes.len())
    }

    /// The number of bytes in the first `writes` writes.
    pub(crate) fn readable_bytes(&self, writes: usize) -> usize {
        self.inbox.writes.iter().take(writes).map(|write| write.bytes.len()).sum()
    }

    /// Takes exactly `limit` bytes. The bytes are available, and have at most one descriptor.
    pub(crate) fn read(&mut self, limit: usize) -> (Vec<u8>, Option<FileId>) {
        let (mut bytes, mut socket) = self.read_one(limit);
        while bytes.len() < limit {
            let (more, with) = self.read_one(limit - bytes.len());
            bytes.extend_from_slice(&more);
            socket = socket.or(with);
        }
        self.inbox.bytes -= bytes.len();
        (bytes, socket)
    }

    fn read_one(&mut self, limit: usize) -> (Vec<u8>, Option<FileId>) {
        let inbox = &mut *self.inbox;
        let write = inbox.writes.front_mut().expect("the caller counted the bytes");
        let socket = write.socket.take();
        if write.bytes.len() > limit {
            let rest = write.bytes.split_off(limit);
            return (std::mem::replace(&mut write.bytes, rest), socket);
        }
        let bytes = std::mem::take(&mut write.bytes);
        inbox.writes.pop_front();
        (bytes, socket)
    }

    /// Whether this end is the same as `before`, apart from the inbox.
    pub(crate) fn is_unchanged_since(&self, before: &End) -> bool {
        let End { open, paused, write_blocked, cut, mid_line, inbox: _ } = self;
        (*open, *paused, *write_blocked, *cut, *mid_line)
            == (before.open, before.paused, before.write_blocked, before.cut, before.mid_line)
    }

    /// Whether the inbox is the same as that of `before`.
    pub(crate) fn has_inbox_of(&self, before: &End) -> bool {
        self.inbox.is_shared_with(&before.inbox)
    }

    /// The descriptors in flight to the end.
    pub(crate) fn in_flight(&self) -> impl Iterator<Item = FileId> {
        self.inbox.writes.iter().filter_map(|write| write.socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(channel: &mut Channel, text: &str, socket: Option<FileId>) {
        assert!(channel.write(Side::Primary, text.into(), text.len(), socket).is_empty());
    }

    #[test]
    fn read_ends_behind_a_descriptor() {
        let mut channel = Channel::new();
        send(&mut channel, "ab", None);
        send(&mut channel, "cd", Some(FileId(5)));
        send(&mut channel, "ef", None);
        let end = channel.end_mut(Side::Worker);
        assert_eq!((end.readable_writes(), end.readable_bytes(2)), (2, 4));
        assert_eq!(end.read(3), (b"abc".to_vec(), Some(FileId(5))));
        assert_eq!(end.readable_writes(), 2, "the rest of a write and the next write");
        assert_eq!(end.read(3), (b"def".to_vec(), None));
        assert!(end.is_drained());
    }

    #[test]
    fn short_write_blocks_until_read() {
        let mut channel = Channel::new();
        assert_eq!(channel.room(Side::Primary, 4), 4);
        assert_eq!(channel.write(Side::Primary, b"abcdef".to_vec(), 4, None), b"ef");
        assert!(channel.end(Side::Primary).write_blocked);
        assert_eq!(channel.room(Side::Primary, 4), 0);
        assert_eq!(channel.room(Side::Worker, 4), 4, "each direction has its own capacity");
    }

    #[test]
    fn broken_direction_ends_one_reader() {
        let mut channel = Channel::new();
        send(&mut channel, "a", None);
        channel.end_writing(Side::Primary);
        assert!(channel.has_ended(Side::Worker) && !channel.end(Side::Worker).is_drained());
        assert!(!channel.is_connected(Side::Primary) && channel.is_connected(Side::Worker));
        assert!(!channel.has_ended(Side::Primary));
        channel.close(Side::Worker);
        assert!(channel.has_ended(Side::Primary), "the peer closes after the end");
    }

    #[test]
    fn close_returns_descriptors_in_flight() {
        let mut channel = Channel::new();
        send(&mut channel, "a", Some(FileId(1)));
        send(&mut channel, "b", None);
        send(&mut channel, "c", Some(FileId(2)));
        assert_eq!(channel.close(Side::Worker), [FileId(1), FileId(2)]);
        assert!(!channel.end(Side::Worker).open && channel.end(Side::Primary).open);
    }
}
