//! A map with ascending keys in one ring. Most entries are added at the end and removed near the front, so
//! the ring needs less memory than a tree, and a map that does not grow allocates nothing.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The room for entries that a map keeps in any case.
const SMALL: usize = 16;

/// A map from ids to values, in the order of the ids.
///
/// Adding the greatest id, and removing any id, take constant amortized time; a search takes logarithmic
/// time. Adding a smaller id moves entries, and takes linear time.
///
/// ```
/// use cluster_core::AscendingMap;
///
/// let mut map = AscendingMap::default();
/// map.insert(1, 'a');
/// map.insert(2, 'b');
/// assert_eq!(map.remove(1), Some('a'));
/// assert!(map.iter().eq([(2, &'b')]));
/// ```
pub struct AscendingMap<K, V> {
    /// Ascending by key. `None`: a removed entry. The first and the last entry are present.
    ring: VecDeque<(K, Option<V>)>,
    /// The number of present entries.
    len: usize,
}

impl<K: Ord + Copy, V> AscendingMap<K, V> {
    /// Adds a value. Returns the former value of the key.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let at = match self.ring.back() {
            Some((last, _)) if *last >= key => self.find(key),
            Some(_) | None => Err(self.ring.len()),
        };
        let former = match at {
            Ok(at) => self.ring[at].1.replace(value),
            Err(at) => {
                make_room(&mut self.ring);
                self.ring.insert(at, (key, Some(value)));
                None
            }
        };
        self.len += usize::from(former.is_none());
        former
    }

    /// The value of a key.
    pub fn get(&self, key: K) -> Option<&V> {
        self.ring[self.find(key).ok()?].1.as_ref()
    }

    /// As [`get`](AscendingMap::get), but mutable.
    pub fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let at = self.find(key).ok()?;
        self.ring[at].1.as_mut()
    }

    /// Removes a key, and returns the value.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let at = self.find(key).ok()?;
        let value = self.ring[at].1.take()?;
        self.len -= 1;
        self.tidy();
        Some(value)
    }

    /// Removes the entries that `is_meant` accepts, and returns the values in order.
    pub fn take_if(&mut self, is_meant: impl Fn(K, &V) -> bool) -> Vec<V> {
        let entries = self.ring.iter_mut();
        let taken = entries.filter_map(|(key, value)| value.take_if(|value| is_meant(*key, value)));
        let taken: Vec<V> = taken.collect();
        self.len -= taken.len();
        self.tidy();
        taken
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> + Clone {
        self.ring.iter().filter_map(|(key, value)| Some((*key, value.as_ref()?)))
    }

    /// The values in the order of the keys.
    pub fn values(&self) -> impl Iterator<Item = &V> + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// The greatest key.
    pub fn last_key(&self) -> Option<K> {
        self.ring.back().map(|(key, _)| *key)
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn find(&self, key: K) -> Result<usize, usize> {
        self.ring.binary_search_by_key(&key, |(key, _)| *key)
    }

    /// Drops the removed entries at both ends, and every removed entry if more than half of the entries are
    /// removed. Returns most of the memory of a map that was far larger.
    fn tidy(&mut self) {
        let is_removed = |entry: Option<&(K, Option<V>)>| entry.is_some_and(|(_, value)| value.is_none());
        while is_removed(self.ring.front()) {
            self.ring.pop_front();
        }
        while is_removed(self.ring.back()) {
            self.ring.pop_back();
        }
        if self.ring.len() > 2 * self.len + SMALL {
            self.ring.retain(|(_, value)| value.is_some());
        }
        if self.ring.capacity() > 8 * self.ring.len() + SMALL {
            self.ring.shrink_to(2 * self.ring.len() + SMALL);
        }
    }
}

/// Makes room for one value. A full ring grows by an eighth instead of the usual factor of two, so that a
/// long queue has little unused memory.
pub(crate) fn make_room<T>(ring: &mut VecDeque<T>) {
    if ring.len() == ring.capacity() {
        ring.reserve_exact(ring.len() / 8 + SMALL / 2);
    }
}

impl<K, V> Default for AscendingMap<K, V> {
    fn default() -> Self {
        AscendingMap { ring: VecDeque::new(), len: 0 }
    }
}

impl<K: Ord + Copy, V: Clone> Clone for AscendingMap<K, V> {
    fn clone(&self) -> Self {
        let mut ring = VecDeque::with_capacity(self.len);
        ring.extend(self.iter().map(|(key, value)| (key, Some(value.clone()))));
        AscendingMap { ring, len: self.len }
    }
}

impl<K: Ord + Copy, V> FromIterator<(K, V)> for AscendingMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = AscendingMap::default();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K: Ord + Copy, V: PartialEq> PartialEq for AscendingMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().eq(other.iter())
    }
}

impl<K: Ord + Copy, V: Eq> Eq for AscendingMap<K, V> {}

impl<K: Ord + Copy + Hash, V: Hash> Hash for AscendingMap<K, V> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.len.hash(state);
        self.iter().for_each(|entry| entry.hash(state));
    }
}

impl<K: Ord + Copy + fmt::Debug, V: fmt::Debug> fmt::Debug for AscendingMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Ord + Copy + Serialize, V: Serialize> Serialize for AscendingMap<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de, K: Ord + Copy + Deserialize<'de>, V: Deserialize<'de>> Deserialize<'de> for AscendingMap<K, V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An operation on a map: insert, or remove.
    fn operations() -> impl Strategy<Value = Vec<(bool, u8)>> {
        proptest::collection::vec((any::<bool>(), any::<u8>()), 0..400)
    }

    proptest! {
        /// Every operation has the result of `BTreeMap`, and equal contents are equal.
        #[test]
        fn map_agrees_with_a_tree(operations in operations()) {
            let (mut map, mut tree) = (AscendingMap::default(), BTreeMap::new());
            for (at, (is_insert, key)) in operations.into_iter().enumerate() {
                if is_insert {
                    prop_assert_eq!(map.insert(key, at), tree.insert(key, at));
                } else {
                    prop_assert_eq!(map.remove(key), tree.remove(&key));
                }
                prop_assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
                prop_assert_eq!(map.last_key(), tree.last_key_value().map(|(key, _)| *key));
                prop_assert_eq!(map.get(key).copied(), tree.get(&key).copied());
            }
            prop_assert!(map.iter().eq(tree.iter().map(|(key, value)| (*key, value))));
            prop_assert_eq!(&map, &tree.into_iter().collect());
        }
    }

    /// One old entry does not keep the memory of later ones, and an emptied map returns most memory.
    #[test]
    fn removed_entries_return_memory() {
        let mut map: AscendingMap<u32, u32> = (0..10_000).map(|key| (key, key)).collect();
        for key in 1..10_000 {
            assert_eq!(map.remove(key), Some(key));
        }
        assert!(map.ring.capacity() < 64, "{}", map.ring.capacity());
        for key in 10_000..20_000 {
            map.insert(key, key);
            map.remove(key);
        }
        assert!(map.ring.capacity() < 64, "{}", map.ring.capacity());
        assert!(map.iter().eq([(0, &0)]));
    }

    #[test]
    fn taken_values_are_in_order() {
        let mut map: AscendingMap<u32, u32> = (0..10).map(|key| (key, 10 * key)).collect();
        assert_eq!(map.take_if(|key, _| key % 4 == 3), [30, 70]);
        assert_eq!((map.len(), map.get(3), map.get(4)), (8, None, Some(&40)));
    }

    /// The form is that of any map, so a state from before this type is still read.
    #[test]
    fn map_is_serialized_as_a_map() {
        let map: AscendingMap<u32, bool> = [(2, true), (1, false)].into_iter().collect();
        let text = serde_json::to_string(&map).expect("a value");
        assert_eq!(text, r#"{"1":false,"2":true}"#);
        assert_eq!(serde_json::from_str::<AscendingMap<u32, bool>>(&text).ok(), Some(map));
    }
}
