//! Detects a livelock: only machines and channels act, and no step has an effect that a program, a client or
//! an observer could notice.
//!
//! States never repeat exactly, because sequence numbers, socket ids and the clock advance in every round.
//! Therefore the detector counts the steps without visible progress. It reads no clock.

use std::fmt;

use crate::step::Step;

/// A run with this many steps without progress counts as endless. The longest stretch without progress in a
/// finite run is a message that crosses a channel in pieces, with a few steps for each piece.
pub(crate) const LIMIT: u32 = 20_000;

/// The report counts repetitions among this number of last steps.
const NAMED: u32 = 120;

/// The greatest number of different steps in the report.
const SHOWN: usize = 8;

/// The number of steps since the last progress, and the last of these steps.
#[derive(Debug, Clone, Default)]
pub(crate) struct LivelockDetector {
    steps: u32,
    last: Vec<Step>,
}

impl LivelockDetector {
    /// Counts a step. Returns `false` for a livelock.
    pub(crate) fn is_short_after(&mut self, step: Step, is_progress: bool) -> bool {
        if is_progress {
            self.steps = 0;
            self.last.clear();
            return true;
        }
        self.steps += 1;
        if self.steps > LIMIT - NAMED {
            self.last.push(step);
        }
        self.steps < LIMIT
    }

    /// Copies `other`, and reuses the memory of `self`.
    pub(crate) fn copy_from(&mut self, other: &LivelockDetector) {
        self.steps = other.steps;
        self.last.clone_from(&other.last);
    }
}

/// The repeated steps, each with its number.
impl fmt::Display for LivelockDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut different: Vec<Step> = Vec::new();
        for step in &self.last {
            if !different.contains(step) {
                different.push(*step);
            }
        }
        let of = self.last.len();
        let counted = different.iter().take(SHOWN).map(|step| {
            let times = self.last.iter().filter(|other| *other == step).count();
            format!("{step} ({times} of the last {of})")
        });
        f.write_str(&counted.collect::<Vec<_>>().join(", "))?;
        match different.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Pid;

    #[test]
    fn progress_resets_the_count() {
        let mut quiet = LivelockDetector::default();
        let run = Step::Run(Pid::PRIMARY);
        for _ in 0..3 {
            assert!((1..LIMIT).all(|_| quiet.is_short_after(run, false)));
            assert!(quiet.is_short_after(run, true));
        }
        let ends =
            (0..LIMIT).filter(|n| !quiet.is_short_after(if n % 3 == 0 { Step::Timer } else { run }, false));
        assert_eq!(ends.count(), 1, "only the last step");
        assert_eq!(
            quiet.to_string(),
            "the primary acts (80 of the last 120), a timer fires (40 of the last 120)"
        );
    }
}
