//! A copy-on-write part of a world. The copies of the world share a part until one copy changes it, and the
//! hash of a part is computed once for all copies.
//!
//! This makes worlds cheap to copy, to hash and to compare.

use std::hash::{Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

use triomphe::Arc;

/// A fingerprint of 128 bits. Values with equal fingerprints count as equal: among 10^9 values the chance of
/// any collision is below 10^-20.
pub(crate) type Fingerprint = u128;

/// The fingerprint of a value, the same in every run and on every 64-bit machine.
pub(crate) fn fingerprint(value: &(impl Hash + ?Sized)) -> Fingerprint {
    let [upper, lower] = halves(value);
    Fingerprint::from(upper) << 64 | Fingerprint::from(lower)
}

fn halves(value: &(impl Hash + ?Sized)) -> [u64; 2] {
    let mut printer = FingerprintHasher { halves: SEEDS, small: EMPTY };
    value.hash(&mut printer);
    printer.complete()
}

/// Digits of pi, as arbitrary numbers. The factors are odd, so a multiplication loses no bits.
const SEEDS: [u64; 2] = [0x243F_6A88_85A3_08D3, 0x1319_8A2E_0370_7344];
const FACTORS: [u64; 2] = [0xA409_3822_299F_31D1, 0x082E_FA98_EC4E_6C89];

/// Small numbers are collected in a word, after a 1 bit that marks the beginning. `EMPTY` is a word without
/// numbers, and `FULL` is the smallest full word.
const EMPTY: u64 = 1;
const FULL: u64 = 1 << 56;

/// Stands in the word of small numbers for a large number, which is folded as a word of its own.
const LARGE: u8 = 0xFF;

/// Computes both halves of a fingerprint at once. Each word, and each pair of words of an inner fingerprint,
/// is folded into each half with a multiplication for that half.
///
/// Most parts of a world are flags, discriminants and small numbers. Seven of them are folded as one word,
/// with the factors exchanged.
struct FingerprintHasher {
    halves: [u64; 2],
    small: u64,
}

/// The product, with the upper half folded onto the lower half.
fn fold(word: u64, factor: u64) -> u64 {
    let product = u128::from(word) * u128::from(factor);
    half(product, 0) ^ half(product, 64)
}

fn half(number: u128, from: u32) -> u64 {
    u64::try_from(number >> from & u128::from(u64::MAX)).expect("64 bits")
}

impl FingerprintHasher {
    #[inline]
    fn fold_word(&mut self, word: u64) {
        let [one, other] = self.halves;
        self.halves = [fold(one ^ word, FACTORS[0]), fold(other ^ word, FACTORS[1])];
    }

    /// Both halves, including the small numbers not folded yet.
    fn complete(&self) -> [u64; 2] {
        let [one, other] = self.halves;
        [fold(one ^ self.small, FACTORS[1]), fold(other ^ self.small, FACTORS[0])]
    }
}

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.complete()[0]
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.small = self.small << 8 | u64::from(number);
        if self.small >= FULL {
            (self.halves, self.small) = (self.complete(), EMPTY);
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        match u8::try_from(number) {
            Ok(small) if small < LARGE => self.write_u8(small),
            Ok(_) | Err(_) => {
                self.fold_word(number);
                self.write_u8(LARGE);
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.fold_word(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[7] = u8::try_from(rest.len()).expect("fewer than 8");
        self.fold_word(u64::from_le_bytes(last));
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u128(&mut self, number: u128) {
        let [one, other] = self.halves;
        let [low, high] = [0, 64].map(|from| half(number, from));
        self.halves = [fold(one ^ high, FACTORS[0] ^ low), fold(other ^ low, FACTORS[1] ^ high)];
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

/// A copy-on-write reference with a cached fingerprint.
#[derive(Debug, Default)]
pub(crate) struct CowArc<T>(Arc<CowInner<T>>);

impl<T> Clone for CowArc<T> {
    fn clone(&self) -> Self {
        CowArc(Arc::clone(&self.0))
    }

    /// Does nothing if both already share the value: no reference count changes.
    fn clone_from(&mut self, other: &Self) {
        if !self.is_shared_with(other) {
            self.0 = Arc::clone(&other.0);
        }
    }
}

#[derive(Debug, Default)]
struct CowInner<T> {
    value: T,
    cached: CachedFingerprint,
}

/// The fingerprint of a value, cached at the first request. Every thread computes the same fingerprint, so a
/// second write has no effect, and no lock is needed.
#[derive(Debug, Default)]
struct CachedFingerprint([AtomicU64; 2]);

impl CachedFingerprint {
    fn get_or_compute(&self, value: &impl Hash) -> Fingerprint {
        let cached = [0, 1].map(|half| self.0[half].load(Ordering::Relaxed));
        // A half of 0 looks like an empty cache, and is computed at every request. The probability is 2^-63.
        let [upper, lower] = if cached.contains(&0) { self.store(halves(value)) } else { cached };
        Fingerprint::from(upper) << 64 | Fingerprint::from(lower)
    }

    fn store(&self, halves: [u64; 2]) -> [u64; 2] {
        for (word, half) in self.0.iter().zip(halves) {
            word.store(half, Ordering::Relaxed);
        }
        halves
    }
}

/// A value is cloned to be changed, so the clone starts without a fingerprint. Not inlined: most changed
/// values are not shared, and are not cloned.
impl<T: Clone> Clone for CowInner<T> {
    #[inline(never)]
    fn clone(&self) -> Self {
        CowInner { value: self.value.clone(), cached: CachedFingerprint::default() }
    }
}

impl<T> From<T> for CowArc<T> {
    fn from(value: T) -> Self {
        CowArc(Arc::new(CowInner { value, cached: CachedFingerprint::default() }))
    }
}

impl<T> Deref for CowArc<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: Clone> DerefMut for CowArc<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        let inner = Arc::make_mut(&mut self.0);
        inner.cached = CachedFingerprint::default();
        &mut inner.value
    }
}

impl<T> CowArc<T> {
    /// Whether both refer to the same value: one was cloned from the other, and neither has changed since.
    pub(crate) fn is_shared_with(&self, other: &CowArc<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether another reference to the value exists.
    pub(crate) fn is_shared(&self) -> bool {
        !self.0.is_unique()
    }
}

impl<'a, T> IntoIterator for &'a CowArc<Vec<T>> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// Parts with equal values are equal.
impl<T: PartialEq> PartialEq for CowArc<T> {
    fn eq(&self, other: &Self) -> bool {
        self.is_shared_with(other) || self.0.value == other.0.value
    }
}

impl<T: Eq> Eq for CowArc<T> {}

impl<T: Hash> CowArc<T> {
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.0.cached.get_or_compute(&self.0.value)
    }
}

impl<T: Hash> Hash for CowArc<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_values_have_different_fingerprints() {
        let texts = ["", "\0", "\0\0", "1234567", "1234567\0", "12345678", "12345678\0", "123456780"];
        for (n, one) in texts.iter().enumerate() {
            assert!(texts[n + 1..].iter().all(|other| fingerprint(one) != fingerprint(other)), "{one:?}");
        }
        assert_ne!(fingerprint(&[1_u8, 2]), fingerprint(&[2_u8, 1]));
        assert_ne!(fingerprint(&(1_u128 << 64)), fingerprint(&1_u128));
        let halves =
            |fingerprint: Fingerprint| [fingerprint >> 64, fingerprint & Fingerprint::from(u64::MAX)];
        let prints: Vec<[u128; 2]> = (0..100_000_u64).map(|n| halves(fingerprint(&n))).collect();
        for half in 0..2 {
            let different: std::collections::BTreeSet<u128> =
                prints.iter().map(|fingerprint| fingerprint[half]).collect();
            assert_eq!(different.len(), prints.len(), "each half alone has no collision");
        }
        let pairs: std::collections::BTreeSet<Fingerprint> =
            (0..300_u128).flat_map(|a| (0..300_u128).map(move |b| fingerprint(&(a << 64 | b)))).collect();
        assert_eq!(pairs.len(), 90_000);
    }

    #[test]
    fn changed_copy_has_another_fingerprint() {
        let one = CowArc::from(vec![1, 2]);
        let mut other = one.clone();
        assert_eq!(one.fingerprint(), other.fingerprint());
        other.push(3);
        assert_eq!((one.len(), other.len()), (2, 3));
        assert_ne!(one.fingerprint(), other.fingerprint());
        other.pop();
        assert_eq!(one.fingerprint(), other.fingerprint());
    }
}
