//! Nondeterminism that a program takes from outside of its world: threads, the wall clock, the order of a
//! hash map with random state. Two runs on the same schedule then differ.

use super::Futures;
use crate::schedule::Schedule;
use crate::trace::Trace;
use crate::world::World;

/// The number of schedules that run twice.
const SCHEDULES: u64 = 4;

/// Runs the world twice on a few schedules. Returns the first difference of two runs.
pub(super) fn divergence(world: &World<Futures>) -> Option<String> {
    (0..SCHEDULES).find_map(|seed| {
        let [first, second] = [(); 2].map(|()| trace(world, seed));
        parting(&first, &second)
    })
}

fn trace(world: &World<Futures>, seed: u64) -> Trace {
    let mut world = world.clone().on(Schedule::seed(seed)).traced();
    // A failure is part of the trace, and is reported by the search.
    let _ = world.run();
    world.trace().cloned().unwrap_or_default()
}

fn parting(first: &Trace, second: &Trace) -> Option<String> {
    let [ours, theirs] = [first, second].map(|trace| format!("{trace:#}"));
    let (mut ours, mut theirs) = (ours.lines(), theirs.lines());
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return None,
            (one, other) if one == other => {}
            (one, other) => {
                let [one, other] = [one, other].map(|line| line.unwrap_or("(the run has ended)").trim_end());
                return Some(format!(
                    "the program is not deterministic: two runs on one schedule part at\n{one}\n{other}\n\
                     look for a thread, the wall clock, a random number, or the order of a hash map"
                ));
            }
        }
    }
}
