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

#[test]
fn scratch_reach() {
    let dir = Path::new(crate::fixture::DIRECTORY).join("node-v20.20.2");
    for scenario in Scenario::all(Path::new(DIRECTORY)).expect("good") {
        let Ok(fixture) = crate::fixture::Fixture::load(&dir, &scenario.name) else {
            println!("== {} none", scenario.name);
            continue;
        };
        let sim = Sim::new(&scenario);
        for (n, recorded) in fixture.traces.iter().enumerate() {
            let t = std::time::Instant::now();
            let reach = sim.reaches(&recorded.trace, 200_000);
            match reach {
                Reach::Yes(_) => {
                    println!("== {} {n} {:?} yes {:?}", scenario.name, recorded.seen, t.elapsed())
                }
                Reach::No(near) => {
                    println!("== {} {n} {:?} NO {:?} {near:?}", scenario.name, recorded.seen, t.elapsed())
                }
                Reach::Unknown(near) => println!(
                    "== {} {n} {:?} UNKNOWN {:?} {near:?}",
                    scenario.name,
                    recorded.seen,
                    t.elapsed()
                ),
            }
        }
    }
}
