//! Scripts that say less than another: what is worth trying when a run has failed.
//!
//! It only proposes. Whether a proposal is smaller is seen when it has run, and whether it still fails is asked elsewhere.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::schedule::Point;
use crate::script::{Scribe, Script, Segment};

/// How much a run takes to tell, what matters most first. A shrunk run is smaller in this order than the one before, so
/// no two passes undo each other for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Measure {
    /// How many faults struck.
    pub(crate) faults: usize,
    /// How often somebody was interrupted in the middle of a reaction.
    pub(crate) preemptions: u32,
    /// How often something happened before what a quiet machine would have done.
    pub(crate) switches: u32,
    segments: usize,
    /// How many lengths and errors were out of the ordinary.
    odd: usize,
    sizes: u64,
    /// How long it takes until everything is quiet.
    scripted: u64,
    steps: u64,
}

impl Measure {
    pub(crate) fn of(scribe: &Scribe, script: &Script, steps: u64) -> Self {
        let faults = script.odd.keys().filter(|site| matches!(site.point, Point::Fault(_))).count();
        Measure {
            faults,
            preemptions: scribe.preemptions,
            switches: scribe.switches,
            segments: script.segments.len(),
            odd: script.odd.len() - faults,
            sizes: script.odd.values().copied().map(u64::from).sum(),
            scripted: script.segments.iter().map(|segment| u64::from(segment.steps)).sum(),
            steps,
        }
    }
}

/// The proposals of one kind: the `at`th of them, `None` after the last.
type Pass = fn(&Script, usize) -> Option<Script>;

const PASSES: [Pass; 10] = [
    less_odd,
    without_process,
    cut,
    quieted,
    whole,
    joined,
    smaller,
    less_odd_and_cut,
    // What no single change makes smaller: there are many of these.
    moved,
    two_cut,
];

/// Where the search for something smaller stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cursor {
    pass: usize,
    at: usize,
    went_well: bool,
}

impl Cursor {
    /// What to try next. `None`: everything was tried and nothing is smaller.
    pub(crate) fn next(&mut self, best: &Script) -> Option<Script> {
        loop {
            if let Some(proposal) = PASSES.get(self.pass)?(best, self.at) {
                self.at += 1;
                return Some(proposal);
            }
            self.at = 0;
            self.pass += 1;
            if self.pass == PASSES.len() && std::mem::take(&mut self.went_well) {
                self.pass = 0;
            }
        }
    }

    /// The last proposal is the best from now on. What stood behind it has moved up.
    pub(crate) fn accepted(&mut self) {
        self.went_well = true;
        self.at = self.at.saturating_sub(1);
    }
}

/// Without the faults and odd lengths of this piece.
fn less_odd(script: &Script, at: usize) -> Option<Script> {
    let piece = piece(script.odd.len(), at)?;
    let mut less = script.clone();
    let mut at = 0..;
    less.odd.retain(|_, _| at.next().is_none_or(|at| !piece.contains(&at)));
    Some(less)
}

fn without_process(script: &Script, at: usize) -> Option<Script> {
    let everybody: BTreeSet<_> = script.segments.iter().filter_map(|segment| segment.who()).collect();
    let who = everybody.into_iter().nth(at)?;
    let mut less = script.clone();
    less.segments.retain(|segment| segment.who() != Some(who));
    less.odd.retain(|site, _| site.who != who);
    Some(less)
}

fn cut(script: &Script, at: usize) -> Option<Script> {
    let piece = piece(script.segments.len(), at)?;
    let mut less = script.clone();
    less.segments.drain(piece);
    Some(less)
}

/// In this piece a quiet machine goes on for as long.
fn quieted(script: &Script, at: usize) -> Option<Script> {
    let piece = piece(script.segments.len(), at)?;
    let steps = script.segments[piece.clone()].iter().map(|segment| segment.steps).sum();
    let mut less = script.clone();
    less.segments.splice(piece, [Segment::quiet(steps)]);
    Some(less)
}

/// In this piece nobody is interrupted in the middle of a reaction.
fn whole(script: &Script, at: usize) -> Option<Script> {
    let piece = piece(script.segments.len(), at)?;
    let mut less = script.clone();
    less.segments[piece].iter_mut().for_each(|segment| segment.until = None);
    Some(less)
}

/// A segment beside the next of its process: that comes earlier, or it comes later.
fn joined(script: &Script, at: usize) -> Option<Script> {
    let (here, later) = (at / 2, at % 2 == 1);
    let who = script.segments.get(here)?.who();
    let next = script.segments.iter().skip(here + 1).position(|segment| segment.who() == who);
    let mut less = script.clone();
    if let Some(next) = next.map(|after| here + 1 + after) {
        let (from, to) = if later { (here, next - 1) } else { (next, here + 1) };
        let segment = less.segments.remove(from);
        less.segments.insert(to, segment);
    }
    Some(less)
}

/// An odd length half as large.
fn smaller(script: &Script, at: usize) -> Option<Script> {
    let mut less = script.clone();
    let value = less.odd.values_mut().nth(at)?;
    *value /= 2;
    less.odd.retain(|_, value| *value > 0);
    Some(less)
}

/// What a fault has cut into several segments is one when it is gone: both at once.
fn less_odd_and_cut(script: &Script, at: usize) -> Option<Script> {
    let pieces = (0..).map_while(|at| piece(script.segments.len(), at)).count();
    let less = less_odd(script, at.checked_div(pieces)?)?;
    cut(&less, at % pieces)
}

/// A segment at another place.
fn moved(script: &Script, at: usize) -> Option<Script> {
    let (from, to) = pair(script.segments.len(), at)?;
    let mut less = script.clone();
    let segment = less.segments.remove(from);
    less.segments.insert(to, segment);
    Some(less)
}

/// Without two segments.
fn two_cut(script: &Script, at: usize) -> Option<Script> {
    let (one, other) = pair(script.segments.len(), at)?;
    let mut less = script.clone();
    let mut nth = 0..;
    less.segments.retain(|_| nth.next().is_none_or(|nth| nth != one && nth != other));
    Some(less)
}

/// Any of `n` things, and any other.
fn pair(n: usize, at: usize) -> Option<(usize, usize)> {
    let one = at.checked_div(n)?;
    (one < n).then_some((one, at % n))
}

/// All of `n` things, then their halves, quarters and so on, then each.
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
    fn pieces_become_smaller_and_cover_everything_each_time() {
        let pieces: Vec<_> = (0..).map_while(|at| piece(5, at)).collect();
        assert_eq!(pieces, [0..5, 0..2, 2..4, 4..5, 0..1, 1..2, 2..3, 3..4, 4..5]);
        assert_eq!(piece(0, 0), None);
    }

    #[test]
    fn a_search_without_success_ends() {
        let mut cursor = Cursor::default();
        let segment = || Segment { first: None, until: None, steps: 4 };
        let script = Script { segments: (0..3).map(|_| segment()).collect(), ..Script::default() };
        let proposed = (0..10_000).map_while(|_| cursor.next(&script)).count();
        assert!((3..10_000).contains(&proposed), "{proposed}");
    }
}
