//! The difference between a failing run and a passing run: finds the nearest passing run, and the first step
//! in which the two runs differ.
//!
//! The nearest run shares the longest beginning of choices: one choice differs, as late as possible, and the
//! later choices are those of a quiet machine.

use std::fmt::Write as _;

use cluster_sim::prop::Run;
use cluster_sim::{Crossing, Program, Row, Schedule, Trace};

use super::super::interrupt;
use super::target::ExploreTarget;

/// The limit of tried runs.
const TRIES: usize = 20_000;
/// The limit of steps of all tried runs.
const EFFORT: u64 = 2_000_000;
/// The limit of printed rows of each side.
const SHOWN: usize = 4;

/// The passing run that shares the longest beginning of choices.
pub(super) fn nearest<P: Program>(target: &ExploreTarget<P>, run: &Run<P>) -> Option<Run<P>> {
    let schedule = run.world().schedule();
    let taken = schedule.taken();
    let values: Vec<u32> = taken.iter().map(|choice| choice.value).collect();
    let positions = (0..taken.len()).rev();
    let others = positions.flat_map(|at| {
        (0..taken[at].of).filter(move |other| *other != taken[at].value).map(move |other| (at, other))
    });
    let schedules = others.take(TRIES).map(|(at, other)| {
        let choices = values[..at].iter().copied().chain([other]).collect();
        Schedule::replay(choices)
    });
    let mut left = EFFORT;
    let runs = schedules.map(|other| target.run(schedule.armed(), other));
    let mut runs = runs.take_while(|run| {
        let is_within = left > 0 && !interrupt::is_stopped();
        left = left.saturating_sub(run.world().steps());
        is_within
    });
    runs.find(|run| target.finding(run.world(), &run.outcome()).is_none())
}

/// The first step in which two runs differ, and how each run continues.
pub(super) fn between(fails: &Trace, passes: &Trace) -> String {
    let [fails, passes] = [fails, passes].map(crossings);
    let common = fails.iter().zip(&passes).take_while(|(one, other)| one == other).count();
    let step = [&fails, &passes].iter().filter_map(|rows| rows.get(common)).map(|row| row.step).min();
    let mut text =
        step.map_or_else(String::new, |step| format!("The nearest passing run parts at step {step}:\n"));
    for (side, rows) in [("fails", &fails), ("passes", &passes)] {
        let mut side = side;
        for row in rows.iter().skip(common).take(SHOWN) {
            let _ = writeln!(text, "  {side:<8}  {:>4}  {}: {}", row.step, row.actor, row.what);
            side = "";
        }
        if rows.len() <= common {
            let _ = writeln!(text, "  {side:<8}        nothing more happens");
        }
    }
    text
}

fn crossings(trace: &Trace) -> Vec<&Row> {
    trace.rows().iter().filter(|row| !matches!(row.what, Crossing::Observation(_))).collect()
}
