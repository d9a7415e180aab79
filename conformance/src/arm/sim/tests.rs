//! The arm on the scenarios of the suite: all of them come to their end, and the search and the runs agree.

use std::path::Path;

use super::*;
use crate::scenario::DIRECTORY;

#[test]
fn scratch() {
    for scenario in Scenario::all(Path::new(DIRECTORY)).expect("good") {
        let sim = Sim::new(&scenario);
        match sim.quiet() {
            Ok(run) => println!("== {}\n{}\n{}", scenario.name, run.trace, run.replay),
            Err(f) => println!("== {} FAIL {f}", scenario.name),
        }
        for seed in 0..2000 {
            if let Err(f) = sim.sample(seed) {
                println!("seed {seed} FAIL {f}");
                break;
            }
        }
    }
}
