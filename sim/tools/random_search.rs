//! Searches for a run in which a check fails, and prints how many runs were needed. `mutants` builds and runs
//! this program for each mutant.
//!
//! `random_search RUNS SCENARIO...`: run `n` takes the `n`th scenario, cyclically, and the seed `n`. Every
//! third run has no faults, the other runs have independent faults. The output is one line of JSON.

#![expect(clippy::disallowed_methods, reason = "the tool is not simulated")]

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

use cluster_sim::prop::Run;
use cluster_sim::scenarios::{RandomProgram, ReplyServer, Scenario};
use cluster_sim::{Faults, Program, Schedule, World};
use serde_json::{Value, json};

/// A run with this many steps counts as endless.
const ENDLESS: u64 = 20_000;

/// The largest number of steps for all attempts to shrink a run. The number is small because the program is
/// built without optimization.
const EFFORT: u64 = 150_000;

/// A scenario to search in.
enum Target {
    ReplyServer(World<ReplyServer>),
    RandomProgram(World<RandomProgram>),
}

impl Target {
    fn of(name: &str) -> Result<Self, Box<dyn Error>> {
        if let Ok(plan) = Scenario::<RandomProgram>::from_str(name) {
            return Ok(Target::RandomProgram(plan.world()));
        }
        Ok(Target::ReplyServer(Scenario::<ReplyServer>::from_str(name)?.world()))
    }

    fn search(&self, seed: u64) -> Option<Value> {
        match self {
            Target::ReplyServer(world) => search(world, seed),
            Target::RandomProgram(world) => search(world, seed),
        }
    }
}

fn search<P: Program + Display>(start: &World<P>, seed: u64) -> Option<Value> {
    let faults = if seed.is_multiple_of(3) { Faults::none() } else { Faults::independent(seed) };
    let start = start.clone().with_faults(faults);
    let failure = start.clone().on(Schedule::independent(seed)).run().err()?;
    let fails = |run: &Run<P>| run.outcome().is_err_and(|other| other.check == failure.check);
    let run = Run::new(start, Schedule::independent(seed));
    // An endless run is not shrunk: the smaller runs would be endless as well.
    let run = if failure.step < ENDLESS { run.shrunk_within(EFFORT, fails) } else { run };
    let what = run.outcome().err().map(|failure| failure.what);
    Some(json!({
        "check": failure.check.to_string(), "what": what, "runs": seed + 1, "steps": run.world().steps(),
        "faults": run.faults(), "switches": run.switches(), "line": run.line(),
    }))
}

fn main() -> Result<(), Box<dyn Error>> {
    // A failed assertion is a result, so no message of a panic is printed.
    std::panic::set_hook(Box::new(|_| {}));
    let mut arguments = env::args().skip(1);
    let runs: usize = arguments.next().ok_or("usage: random_search RUNS SCENARIO...")?.parse()?;
    let targets = arguments.map(|name| Target::of(&name)).collect::<Result<Vec<_>, _>>()?;
    let found = targets.iter().cycle().take(runs).zip(0..).find_map(|(target, seed)| target.search(seed));
    println!("{}", found.unwrap_or_else(|| json!({ "survives": runs })));
    Ok(())
}
