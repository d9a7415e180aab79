//! The numbers in the names of scenarios, and the error of an unknown name.

use std::fmt;
use std::ops::RangeInclusive;

/// A name that is no scenario of the simulator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownName(pub String);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the simulator has no scenario {:?}; it has standard, serve-<workers>-<clients>[-<replacements>] and \
             plan-<workers>-<clients>-<moves>-<moves>, each with +shared, +sticky, +least, +two, +weighted, +custom, +keep, +<bytes>b or +<connections>q behind it",
            self.0
        )
    }
}

impl std::error::Error for UnknownName {}

/// Parses the numbers of workers and clients. Refuses larger numbers, which could exhaust the memory.
pub(super) fn counts(workers: &str, clients: &str) -> Option<(u32, u32)> {
    let read = |text: &str, of: RangeInclusive<u32>| text.parse().ok().filter(|n| of.contains(n));
    Some((read(workers, 1..=256)?, read(clients, 0..=10_000)?))
}
