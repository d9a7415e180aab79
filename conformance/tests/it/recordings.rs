//! The recordings and the contract: every recorded trace is permitted, and every exception is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cluster_conformance::exceptions::{self, Exceptions};
use cluster_conformance::fixture::{self, Fixture, Load};
use cluster_conformance::order;
use cluster_conformance::scenario::{self, Scenario};

/// The least number of runs of a scenario: under each load, and in total.
const ENOUGH: (u32, u32) = (20, 60);

fn scenarios() -> Vec<Scenario> {
    Scenario::all(Path::new(scenario::DIRECTORY)).expect("a valid scenario")
}

fn runtimes() -> Vec<PathBuf> {
    let entries = fs::read_dir(fixture::DIRECTORY).expect("there are recordings");
    let mut runtimes: Vec<_> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    runtimes.sort();
    runtimes
}

fn recordings() -> impl Iterator<Item = (Scenario, Fixture)> {
    let load =
        |runtime: &Path, scenario: &Scenario| Fixture::load(runtime, &scenario.name).expect("no error");
    runtimes().into_iter().flat_map(move |runtime| {
        let name = runtime.file_name().unwrap_or_default().to_string_lossy().replacen('-', " ", 1);
        scenarios().into_iter().filter(move |scenario| scenario.runs_on(&name)).map({
            let runtime = runtime.clone();
            move |scenario| {
                let fixture = load(&runtime, &scenario);
                (scenario, fixture)
            }
        })
    })
}

#[test]
fn every_scenario_is_recorded_enough() {
    for (scenario, fixture) in recordings() {
        let all: u32 = fixture.runs.values().sum();
        assert!(all >= ENOUGH.1, "{} on {}: too few runs", scenario.name, fixture.runtime);
        for load in [Load::Idle, Load::Loaded] {
            assert!(fixture.runs.get(&load) >= Some(&ENOUGH.0), "{}: too few {load} runs", scenario.name);
            let seen: u32 = fixture.traces.iter().filter_map(|recorded| recorded.seen.get(&load)).sum();
            assert_eq!(Some(&seen), fixture.runs.get(&load), "{}: {load} runs and traces", scenario.name);
        }
        assert_eq!(scenario.name, fixture.scenario);
    }
    let names: BTreeSet<_> =
        scenarios().into_iter().map(|scenario| format!("{}.txt", scenario.name)).collect();
    for file in runtimes().iter().flat_map(|runtime| fs::read_dir(runtime).expect("a readable directory")) {
        let name = file.expect("a readable directory").file_name().to_string_lossy().into_owned();
        assert!(names.contains(&name), "a recording of no scenario: {name}");
    }
}

#[test]
fn recordings_keep_the_contract() {
    let exceptions = Exceptions::load(Path::new(exceptions::FILE));
    let mut exceptions = exceptions.expect("no error");
    for (scenario, fixture) in recordings() {
        for recorded in &fixture.traces {
            // Marks the exceptions for lines that a search does not compare as needed.
            let _ = exceptions.apply(&scenario.name, &fixture.runtime, &recorded.trace);
            let relieved = exceptions.relieve(&scenario, &fixture.runtime);
            let mut misfits = order::check(&relieved, &recorded.trace);
            misfits.retain(|misfit| !exceptions.excuse(&scenario.name, &fixture.runtime, misfit));
            let left: Vec<_> = misfits.iter().map(ToString::to_string).collect();
            assert!(
                left.is_empty(),
                "{} on {}: {left:#?}\n{}",
                scenario.name,
                fixture.runtime,
                recorded.trace
            );
        }
    }
    let stale: Vec<_> = exceptions.stale().map(|exception| &exception.reason).collect();
    assert!(stale.is_empty(), "no recording needs these exceptions: {stale:#?}");
}
