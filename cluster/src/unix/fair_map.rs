//! An ordered map with entries that take turns: an entry that is always ready does not starve the others.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::task::Poll;

#[derive(Debug)]
pub(super) struct FairMap<K, V> {
    entries: BTreeMap<K, V>,
    /// The last ready entry.
    last: Option<K>,
}

impl<K: Ord + Copy, V> FairMap<K, V> {
    pub(super) fn new() -> Self {
        FairMap { entries: BTreeMap::new(), last: None }
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

    /// The keys, ascending.
    pub(super) fn keys(&self) -> impl Iterator<Item = K> {
        self.entries.keys().copied()
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = (K, &V)> {
        self.entries.iter().map(|(key, value)| (*key, value))
    }

    /// The entries, in the order of the keys.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.values()
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.entries.values_mut()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Polls the entries in order, beginning after the last ready entry, until an entry is ready.
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
    fn ready_entries_take_equal_turns() {
        let mut map = FairMap::new();
        for key in 1..=3 {
            map.insert(key, 0);
        }
        for _ in 0..9 {
            let asked = map.poll(|key, count| {
                *count += 1;
                Poll::Ready(key)
            });
            assert!(asked.is_ready());
        }
        assert!((1..=3).all(|key| map.find(key) == Some(&mut 3)));
    }

    #[test]
    fn single_ready_entry_is_polled_again() {
        let mut map = FairMap::new();
        for key in 1..=3 {
            map.insert(key, ());
        }
        for _ in 0..2 {
            assert_eq!(
                map.poll(|key, ()| if key == 2 { Poll::Ready(key) } else { Poll::Pending }),
                Poll::Ready(2)
            );
        }
    }

    /// A removed entry is returned, and neither found nor polled again.
    #[test]
    fn removed_entry_is_returned() {
        let mut map = FairMap::new();
        map.insert(1, 'a');
        map.insert(2, 'b');
        assert_eq!((map.remove(1), map.remove(1), map.find(1)), (Some('a'), None, None));
        assert_eq!(map.poll(|key, value| Poll::Ready((key, *value))), Poll::Ready((2, 'b')));
        assert!(map.keys().eq([2]) && map.values().eq(&['b']) && map.values_mut().count() == 1);
        assert!(!map.is_empty());
        assert!(map.remove(2).is_some() && map.is_empty());
    }
}
