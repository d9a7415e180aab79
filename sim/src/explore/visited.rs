//! Which worlds a search has seen: a flat set of fingerprints that knows what it weighs. It keeps no world.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::mem::size_of;

use crate::part::Print;

/// In how many pieces. A set that grows is there twice for a moment: so only a piece of it is.
const PIECES: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Visited {
    pieces: Vec<HashSet<Print, BuildHasherDefault<AsItIs>>>,
    len: usize,
    bytes: usize,
}

impl Visited {
    pub(super) fn new() -> Self {
        Visited { pieces: (0..PIECES).map(|_| HashSet::default()).collect(), len: 0, bytes: 0 }
    }

    /// Whether it was not seen before.
    pub(super) fn insert(&mut self, print: Print) -> bool {
        let piece = &mut self.pieces[(print >> 122) as usize % PIECES];
        let before = piece.capacity();
        let is_new = piece.insert(print);
        self.len += usize::from(is_new);
        if piece.capacity() != before {
            self.bytes += weight(piece.capacity()) - weight(before);
        }
        is_new
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// What it takes of the memory, empty places and bookkeeping included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A table has a byte beside each place, and leaves one place in eight empty.
fn weight(capacity: usize) -> usize {
    (capacity * 8).div_ceil(7) * (size_of::<Print>() + 1)
}

/// A fingerprint is a hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| hash << 8 | u64::from(byte));
    }

    fn write_u128(&mut self, print: u128) {
        self.0 = u64::try_from(print & u128::from(u64::MAX)).expect("64 bits");
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::part::print;

    #[test]
    fn it_remembers_what_it_saw_and_takes_less_than_64_bytes_for_it() {
        let mut visited = Visited::new();
        for n in 0..200_000 {
            assert!(visited.insert(print(&n)));
            assert!(n < 10_000 || visited.bytes() < 64 * visited.len(), "{n}: {}", visited.bytes());
        }
        assert!((0..200_000).all(|n| !visited.insert(print(&n))));
        assert_eq!(visited.len(), 200_000);
    }
}
