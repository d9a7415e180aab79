//! A part of a world, shared by the copies of the world until one of them changes it, and hashed once for all of them.
//!
//! It makes worlds cheap to copy, to hash and to compare; what the parts are, the world and its kernel say.

use std::hash::{BuildHasher, Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, OnceLock};

use foldhash::fast::FixedState;

/// A fingerprint of 128 bits. Two values with one print are taken for the same: among a thousand million of them, the
/// chance that any two are mistaken for each other is below 10^-20.
pub(crate) type Print = u128;

/// The fingerprint of a value, the same in every run and on every 64-bit machine.
pub(crate) fn print(value: &impl Hash) -> Print {
    let halves = [1, 2].map(|seed| FixedState::with_seed(seed).hash_one(value));
    Print::from(halves[0]) << 64 | Print::from(halves[1])
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Part<T>(Arc<Inner<T>>);

#[derive(Debug, Default)]
struct Inner<T> {
    value: T,
    print: OnceLock<Print>,
}

/// A copy is made to be changed.
impl<T: Clone> Clone for Inner<T> {
    fn clone(&self) -> Self {
        Inner { value: self.value.clone(), print: OnceLock::new() }
    }
}

impl<T> From<T> for Part<T> {
    fn from(value: T) -> Self {
        Part(Arc::new(Inner { value, print: OnceLock::new() }))
    }
}

impl<T> Deref for Part<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Clone> DerefMut for Part<T> {
    fn deref_mut(&mut self) -> &mut T {
        let inner = Arc::make_mut(&mut self.0);
        inner.print = OnceLock::new();
        &mut inner.value
    }
}

impl<T> Part<T> {
    /// Whether neither has changed since one was copied from the other.
    pub(crate) fn is_shared_with(&self, other: &Part<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether a copy of it exists.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }
}

/// Parts are equal if their values are.
impl<T: PartialEq> PartialEq for Part<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_shared_with(other) || self.0.value == other.0.value
    }
}

impl<T: Eq> Eq for Part<T> {}

impl<T: Hash> Part<T> {
    pub(crate) fn print(&self) -> Print {
        *self.0.print.get_or_init(|| print(&self.0.value))
    }
}

impl<T: Hash> Hash for Part<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.print().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_changes_alone_and_its_print_with_it() {
        let one = Part::from(vec![1, 2]);
        let mut other = one.clone();
        assert_eq!(one.print(), other.print());
        other.push(3);
        assert_eq!((one.len(), other.len()), (2, 3));
        assert_ne!(one.print(), other.print());
        other.pop();
        assert_eq!(one.print(), other.print());
    }
}
