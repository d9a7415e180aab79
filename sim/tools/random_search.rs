//! Looks for a run in which a check fails, and says what it takes: the program that is built with each mutant.
//!
//! `hunt RUNS SCENARIO...`: run `n` is of the `n`th scenario, over and over, with seed `n`; every third without faults,
//! the others with a swarm of them. It writes one line of JSON. It knows nothing of mutants; `mutants` runs it.

#![expect(clippy::disallowed_methods, reason = "it is outside of what is simulated")]

use std::env;
use std::error::Error;
use std::fmt::Display;
use std::str::FromStr;

use cluster_sim::prop::Run;
use cluster_sim::scenarios::{RandomProgram, ReplyServer, Scenario};
use cluster_sim::{Faults, Program, Schedule, World};
use serde_json::{Value, json};

/// A run of so many steps has gone round in circles.
const ENDLESS: u64 = 20_000;

/// How many steps all attempts to shrink a run may take: it is built to be built quickly.
const EFFORT: u64 = 150_000;

/// Where to look.
enum Ground {
    ReplyServer(World<ReplyServer>),
    RandomProgram(World<RandomProgram>),
}

impl Ground {
    fn of(name: &str) -> Result<Self, Box<dyn Error>> {
        if let Ok(plan) = Scenario::<RandomProgram>::from_str(name) {
            return Ok(Ground::RandomProgram(plan.world()));
        }
        Ok(Ground::ReplyServer(Scenario::<ReplyServer>::from_str(name)?.world()))
    }

    fn hunt(&self, seed: u64) -> Option<Value> {
        match self {
            Ground::ReplyServer(world) => hunt(world, seed),
            Ground::RandomProgram(world) => hunt(world, seed),
        }
    }
}

fn hunt<P: Program + Display>(start: &World<P>, seed: u64) -> Option<Value> {
    let faults = if seed.is_multiple_of(3) { Faults::none() } else { Faults::swarm(seed) };
    let start = start.clone().with_faults(faults);
    let failure = start.clone().on(Schedule::seed(seed)).run().err()?;
    let fails = |run: &Run<P>| run.outcome().is_err_and(|other| other.check == failure.check);
    let run = Run::new(start, Schedule::seed(seed));
    // One that never comes to rest is as long as it may be, whatever is left out.
    let run = if failure.step < ENDLESS { run.shrunk_within(EFFORT, fails) } else { run };
    let what = run.outcome().err().map(|failure| failure.what);
    Some(json!({
        "check": failure.check.to_string(), "what": what, "runs": seed + 1, "steps": run.world().steps(),
        "faults": run.faults(), "switches": run.switches(), "line": run.line(),
    }))
}

fn main() -> Result<(), Box<dyn Error>> {
    // A broken assertion is an answer, and no news.
    std::panic::set_hook(Box::new(|_| {}));
    let mut arguments = env::args().skip(1);
    let runs: usize = arguments.next().ok_or("usage: hunt RUNS SCENARIO...")?.parse()?;
    let grounds = arguments.map(|name| Ground::of(&name)).collect::<Result<Vec<_>, _>>()?;
    let found = grounds.iter().cycle().take(runs).zip(0..).find_map(|(ground, seed)| ground.hunt(seed));
    println!("{}", found.unwrap_or_else(|| json!({ "survives": runs })));
    Ok(())
}
