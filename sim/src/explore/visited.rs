//! The visited worlds of a search, as fingerprints, with the steps that slept at every visit. The table
//! measures its own memory, and stores no world.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::mem::size_of;

use crate::cow::Fingerprint;

/// The number of maps. A map that grows needs the old and the new allocation for a moment, so each map is a
/// small part of the whole.
const PIECES: usize = 64;

/// Fingerprints of worlds, and the steps that slept at every visit.
#[derive(Debug)]
pub(super) struct Visited {
    pieces: Vec<HashMap<Key, Steps, BuildHasherDefault<IdentityHasher>>>,
    len: usize,
    bytes: usize,
}

impl Visited {
    pub(super) fn new() -> Self {
        Visited { pieces: (0..PIECES).map(|_| HashMap::default()).collect(), len: 0, bytes: 0 }
    }

    /// Records a visit with these sleeping steps. Returns the steps that slept at every earlier visit;
    /// `None`: the world is new.
    pub(super) fn visit(&mut self, fingerprint: Fingerprint, asleep: Steps) -> Option<Steps> {
        let key = Key::from(fingerprint);
        let piece = &mut self.pieces[key.0[0] as usize % PIECES];
        let before = piece.capacity();
        let slept = match piece.entry(key) {
            Entry::Occupied(mut entry) => {
                let slept = *entry.get();
                *entry.get_mut() &= asleep;
                Some(slept)
            }
            Entry::Vacant(entry) => {
                entry.insert(asleep);
                self.len += 1;
                None
            }
        };
        if piece.capacity() != before {
            self.bytes += weight(piece.capacity()) - weight(before);
        }
        slept
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The memory in bytes, including empty entries and control bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The bytes of a map. A hash map has a control byte per entry and keeps one entry in eight empty.
fn weight(capacity: usize) -> usize {
    (capacity * 8).div_ceil(7) * (size_of::<(Key, Steps)>() + 1)
}

/// Steps of one world as bits. If two steps share a bit, the search only takes more steps than necessary.
pub(super) type Steps = u32;

/// A fingerprint as four words: the alignment of 4 bytes saves padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key([u32; 4]);

impl From<Fingerprint> for Key {
    fn from(fingerprint: Fingerprint) -> Self {
        Key([96, 64, 32, 0].map(|at| u32::try_from(fingerprint >> at & 0xFFFF_FFFF).expect("32 bits")))
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.0[1]) << 32 | u64::from(self.0[2]));
    }
}

/// A hasher without work: the fingerprint itself is a hash.
#[derive(Debug, Default)]
struct IdentityHasher(u64);

impl Hasher for IdentityHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |hash, &byte| hash << 8 | u64::from(byte));
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cow::fingerprint;

    #[test]
    fn visited_world_takes_under_64_bytes() {
        let mut visited = Visited::new();
        for n in 0..200_000 {
            assert_eq!(visited.visit(fingerprint(&n), 6), None);
            assert!(n < 10_000 || visited.bytes() < 64 * visited.len(), "{n}: {}", visited.bytes());
        }
        assert!((0..200_000).all(|n| visited.visit(fingerprint(&n), 3) == Some(6)));
        assert!((0..200_000).all(|n| visited.visit(fingerprint(&n), 0) == Some(2)));
        assert_eq!(visited.len(), 200_000);
    }
}
