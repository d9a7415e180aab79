//! An ordered map whose entries take turns, so that one that always has something to say does not silence the others.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::task::Poll;

/// Entries by their key, and whose turn it was last.
#[derive(Debug)]
pub(super) struct Turns<K, V> {
    entries: BTreeMap<K, V>,
    last: Option<K>,
}

impl<K: Ord + Copy, V> Turns<K, V> {
    pub(super) fn new() -> Self {
        Turns { entries: BTreeMap::new(), last: None }
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.entries.insert(key, value);
    }

    pub(super) fn remove(&mut self, key: K) -> Option<V> {
        self.entries.remove(&key)
    }

    pub(super) fn find(&mut self, key: K) -> Option<&mut V> {
        self.entries.get_mut(&key)
    }

    /// All keys, ascending.
    pub(super) fn keys(&self) -> impl Iterator<Item = K> {
        self.entries.keys().copied()
    }

    /// All entries, in the order of their keys.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Asks each entry once, beginning after the one that answered last time, until one is ready.
    pub(super) fn poll<T>(&mut self, mut ask: impl FnMut(K, &mut V) -> Poll<T>) -> Poll<T> {
        let after = self.last.map_or(Unbounded, Excluded);
        let mut ready = first_ready(self.entries.range_mut((after, Unbounded)), &mut ask);
        if let (None, Some(last)) = (&ready, self.last) {
            ready = first_ready(self.entries.range_mut(..=last), &mut ask);
        }
        let Some((key, answer)) = ready else { return Poll::Pending };
        self.last = Some(key);
        Poll::Ready(answer)
    }
}

fn first_ready<'a, K: Copy + 'a, V: 'a, T>(
    entries: impl Iterator<Item = (&'a K, &'a mut V)>,
    ask: &mut impl FnMut(K, &mut V) -> Poll<T>,
) -> Option<(K, T)> {
    for (key, value) in entries {
        if let Poll::Ready(answer) = ask(*key, value) {
            return Some((*key, answer));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everyone_who_always_speaks_gets_the_same_number_of_turns() {
        let mut turns = Turns::new();
        for key in 1..=3 {
            turns.insert(key, 0);
        }
        for _ in 0..9 {
            let asked = turns.poll(|key, count| {
                *count += 1;
                Poll::Ready(key)
            });
            assert!(asked.is_ready());
        }
        assert!((1..=3).all(|key| turns.find(key) == Some(&mut 3)));
    }

    #[test]
    fn the_last_speaker_is_asked_again_when_nobody_else_speaks() {
        let mut turns = Turns::new();
        for key in 1..=3 {
            turns.insert(key, ());
        }
        for _ in 0..2 {
            assert_eq!(
                turns.poll(|key, ()| if key == 2 { Poll::Ready(key) } else { Poll::Pending }),
                Poll::Ready(2)
            );
        }
    }
}
