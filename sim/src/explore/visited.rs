//! Which worlds a search has seen, and which of their steps it has not taken: a flat table of fingerprints that knows
//! what it weighs. It keeps no world.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::mem::size_of;

use crate::cow::Fingerprint;

/// In how many pieces. A set that grows is there twice for a moment: so only a piece of it is.
const PIECES: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Visited {
    pieces: Vec<HashMap<Key, Steps, BuildHasherDefault<AsItIs>>>,
    len: usize,
    bytes: usize,
}

impl Visited {
    pub(super) fn new() -> Self {
        Visited { pieces: (0..PIECES).map(|_| HashMap::default()).collect(), len: 0, bytes: 0 }
    }

    /// Sees a world and leaves these steps of it asleep. Gives what slept each time until now; `None`: it is new.
    pub(super) fn see(&mut self, fingerprint: Fingerprint, asleep: Steps) -> Option<Steps> {
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

    /// What it takes of the memory, empty places and bookkeeping included.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A table has a byte beside each place, and leaves one place in eight empty.
fn weight(capacity: usize) -> usize {
    (capacity * 8).div_ceil(7) * (size_of::<(Key, Steps)>() + 1)
}

/// Steps of one world, a bit for each. Two may have the same: then both are taken for asleep, and tried again.
pub(super) type Steps = u32;

/// A fingerprint in pieces, which stand closer.
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

/// A fingerprint is a hash already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
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
    fn it_remembers_what_it_saw_and_takes_less_than_64_bytes_for_it() {
        let mut visited = Visited::new();
        for n in 0..200_000 {
            assert_eq!(visited.see(fingerprint(&n), 6), None);
            assert!(n < 10_000 || visited.bytes() < 64 * visited.len(), "{n}: {}", visited.bytes());
        }
        assert!((0..200_000).all(|n| visited.see(fingerprint(&n), 3) == Some(6)));
        assert!((0..200_000).all(|n| visited.see(fingerprint(&n), 0) == Some(2)));
        assert_eq!(visited.len(), 200_000);
    }
}
