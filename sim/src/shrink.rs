//! Proposals of smaller scripts for a run that has failed.
//!
//! The complexity of a proposal is known only after its run, and the caller decides whether the run still
//! fails.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::schedule::Point;
use crate::schedule::script::{Burst, Recorder, Script};

/// The complexity of a run; the most important measure is first. Each accepted run is less complex than the
/// run before, so no two passes undo each other forever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Complexity {
    /// The number of faults that struck.
    pub(crate) faults: usize,
    /// The number of reactions that another process interrupted.
    pub(crate) preemptions: u32,
    /// The number of steps that a quiet machine would have taken later.
    pub(crate) switches: u32,
    bursts: usize,
    /// The number of lengths and errors that differ from the default.
    non_default: usize,
    sizes: u64,
    /// The number of steps until the rest of the run is that of a quiet machine.
    scripted: u64,
    steps: u64,
}

impl Complexity {
    pub(crate) fn of(recorder: &Recorder, script: &Script, steps: u64) -> Self {
        let faults = script.non_default.keys().filter(|site| matches!(site.point, Point::Fault(_))).count();
        Complexity {
            faults,
            preemptions: recorder.preemptions,
            switches: recorder.switches,
            bursts: script.bursts.len(),
            non_default: script.non_default.len() - faults,
            sizes: script.non_default.values().copied().map(u64::from).sum(),
            scripted: script.bursts.iter().map(|burst| u64::from(burst.steps)).sum(),
            steps,
        }
    }
}

/// The proposals of one kind, by number. `None`: there are no more.
type Pass = fn(&Script, usize) -> Option<Script>;

const PASSES: [Pass; 10] = [
    drop_choices,
    drop_owner,
    drop_bursts,
    make_quiet,
    remove_preemptions,
    move_adjacent,
    halve_choice,
    drop_choices_and_bursts,
    // The following passes have many proposals. They are for runs that no single change makes smaller.
    move_anywhere,
    drop_two_bursts,
];

/// Where the search for a smaller run stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cursor {
    pass: usize,
    at: usize,
    has_improved: bool,
}

impl Cursor {
    /// The next proposal. `None`: every proposal for the best script was tried.
    pub(crate) fn next(&mut self, best: &Script) -> Option<Script> {
        loop {
            if let Some(proposal) = PASSES.get(self.pass)?(best, self.at) {
                self.at += 1;
                return Some(proposal);
            }
            self.at = 0;
            self.pass += 1;
            if self.pass == PASSES.len() && std::mem::take(&mut self.has_improved) {
                self.pass = 0;
            }
        }
    }

    /// The last proposal is now the best script, so the numbers of later proposals have decreased by one.
    pub(crate) fn accepted(&mut self) {
        self.has_improved = true;
        self.at = self.at.saturating_sub(1);
    }
}

/// Resets a part of the choices to the default.
fn drop_choices(script: &Script, at: usize) -> Option<Script> {
    let piece = piece(script.non_default.len(), at)?;
    let mut less = script.clone();
    let mut at = 0..;
    less.non_default.retain(|_, _| at.next().is_none_or(|at| !piece.contains(&at)));
    Some(less)
}

fn drop_owner(script: &Script, at: usize) -> Option<Script> {
    let everybody: BTreeSet<_> = script.bursts.iter().filter_map(|burst| burst.owner()).collect();
    let owner = everybody.into_iter().nth(at)?;
    let mut less = script.clone();
    less.bursts.retain(|burst| burst.owner() != Some(owner));
    less.non_default.retain(|site, _| site.owner != owner);
    Some(less)
}

fn drop_bursts(script: &Script, at: usize) -> Option<Script> {
    let piece = piece(script.bursts.len(), at)?;
    let mut less = script.clone();
    less.bursts.drain(piece);
    Some(less)
}

/// Replaces a part of the bursts by as many steps as on a quiet machine.
fn make_quiet(script: &Script, at: usize) -> Option<Script> {
    let piece = piece(script.bursts.len(), at)?;
    let steps = script.bursts[piece.clone()].iter().map(|burst| burst.steps).sum();
    let mut less = script.clone();
    less.bursts.splice(piece, [Burst::quiet(steps)]);
    Some(less)
}

/// Lets the processes of a part of the bursts finish their reactions.
fn remove_preemptions(script: &Script, at: usize) -> Option<Script> {
    let piece = piece(script.bursts.len(), at)?;
    let mut less = script.clone();
    less.bursts[piece].iter_mut().for_each(|burst| burst.until = None);
    Some(less)
}

/// Joins two successive bursts of an owner: moves the first to the second, or the second to the first.
fn move_adjacent(script: &Script, at: usize) -> Option<Script> {
    let (here, later) = (at / 2, at % 2 == 1);
    let owner = script.bursts.get(here)?.owner();
    let next = script.bursts.iter().skip(here + 1).position(|burst| burst.owner() == owner);
    let mut less = script.clone();
    if let Some(next) = next.map(|after| here + 1 + after) {
        let (from, to) = if later { (here, next - 1) } else { (next, here + 1) };
        let burst = less.bursts.remove(from);
        less.bursts.insert(to, burst);
    }
    Some(less)
}

/// Halves a choice.
fn halve_choice(script: &Script, at: usize) -> Option<Script> {
    let mut less = script.clone();
    let value = less.non_default.values_mut().nth(at)?;
    *value /= 2;
    less.non_default.retain(|_, value| *value > 0);
    Some(less)
}

/// Drops choices and bursts at the same time: a fault may have divided one burst into several.
fn drop_choices_and_bursts(script: &Script, at: usize) -> Option<Script> {
    let pieces = (0..).map_while(|at| piece(script.bursts.len(), at)).count();
    let less = drop_choices(script, at.checked_div(pieces)?)?;
    drop_bursts(&less, at % pieces)
}

/// Moves a burst to any other place.
fn move_anywhere(script: &Script, at: usize) -> Option<Script> {
    let (from, to) = pair(script.bursts.len(), at)?;
    let mut less = script.clone();
    let burst = less.bursts.remove(from);
    less.bursts.insert(to, burst);
    Some(less)
}

/// Drops two bursts.
fn drop_two_bursts(script: &Script, at: usize) -> Option<Script> {
    let (one, other) = pair(script.bursts.len(), at)?;
    let mut less = script.clone();
    let mut nth = 0..;
    less.bursts.retain(|_| nth.next().is_none_or(|nth| nth != one && nth != other));
    Some(less)
}

/// The `at`th pair of `n` things.
fn pair(n: usize, at: usize) -> Option<(usize, usize)> {
    let one = at.checked_div(n)?;
    (one < n).then_some((one, at % n))
}

/// The `at`th part of `n` things: all, then the halves, the quarters and so on, and finally each.
fn piece(n: usize, mut at: usize) -> Option<Range<usize>> {
    let mut size = n;
    while size > 0 {
        let pieces = n.div_ceil(size);
        if at < pieces {
            return Some(at * size..n.min((at + 1) * size));
        }
        at -= pieces;
        size /= 2;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_halve_and_cover_everything() {
        let pieces: Vec<_> = (0..).map_while(|at| piece(5, at)).collect();
        assert_eq!(pieces, [0..5, 0..2, 2..4, 4..5, 0..1, 1..2, 2..3, 3..4, 4..5]);
        assert_eq!(piece(0, 0), None);
    }

    #[test]
    fn search_without_success_ends() {
        let mut cursor = Cursor::default();
        let burst = || Burst { first: None, until: None, steps: 4 };
        let script = Script { bursts: (0..3).map(|_| burst()).collect(), ..Script::default() };
        let proposed = (0..10_000).map_while(|_| cursor.next(&script)).count();
        assert!((3..10_000).contains(&proposed), "{proposed}");
    }
}
