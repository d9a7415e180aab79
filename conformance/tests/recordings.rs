//! The recordings against the contract: what Node was seen to do is allowed, and every exception is needed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cluster_conformance::exceptions::{self, Exception};
use cluster_conformance::fixture::{self, Fixture, Load};
use cluster_conformance::order::{self, Misfit};
use cluster_conformance::scenario::{self, Scenario};

const ENOUGH: u32 = 30;

fn scenarios() -> Vec<Scenario> {
    Scenario::all(Path::new(scenario::DIRECTORY)).unwrap_or_else(|mistake| unreachable!("{mistake}"))
}

fn runtimes() -> Vec<PathBuf> {
    let entries = fs::read_dir(fixture::DIRECTORY).expect("there are recordings");
    let mut runtimes: Vec<_> = entries.map(|entry| entry.expect("a readable directory").path()).collect();
    runtimes.sort();
    runtimes
}

fn recordings() -> impl Iterator<Item = (Scenario, Fixture)> {
    let load = |runtime: &Path, scenario: &Scenario| {
        Fixture::load(runtime, &scenario.name).unwrap_or_else(|error| unreachable!("{error}"))
    };
    runtimes().into_iter().flat_map(move |runtime| {
        scenarios().into_iter().map(move |scenario| {
            let fixture = load(&runtime, &scenario);
            (scenario, fixture)
        })
    })
}

#[test]
fn every_scenario_was_recorded_often_enough_and_nothing_else_was() {
    for (scenario, fixture) in recordings() {
        for load in [Load::Idle, Load::Loaded] {
            assert!(fixture.runs.get(&load) >= Some(&ENOUGH), "{}: too few {load} runs", scenario.name);
            let seen: u32 = fixture.traces.iter().filter_map(|recorded| recorded.seen.get(&load)).sum();
            assert_eq!(Some(&seen), fixture.runs.get(&load), "{}: {load} runs and traces", scenario.name);
        }
        assert_eq!(scenario.name, fixture.scenario);
    }
    let names: BTreeSet<_> =
        scenarios().into_iter().map(|scenario| format!("{}.json", scenario.name)).collect();
    for file in runtimes().iter().flat_map(|runtime| fs::read_dir(runtime).expect("a readable directory")) {
        let name = file.expect("a readable directory").file_name().to_string_lossy().into_owned();
        assert!(names.contains(&name), "a recording of no scenario: {name}");
    }
}

#[test]
fn what_was_recorded_keeps_the_contract_and_every_exception_is_needed() {
    let exceptions =
        Exception::load(Path::new(exceptions::FILE)).unwrap_or_else(|error| unreachable!("{error}"));
    let mut needed = vec![false; exceptions.len()];
    for (scenario, fixture) in recordings() {
        let mut excused = |misfit: &Misfit| {
            let concerns = |exception: &Exception| exception.concerns(&scenario.name, &fixture.runtime);
            let found =
                exceptions.iter().position(|exception| concerns(exception) && exception.excuses(misfit));
            found.inspect(|index| needed[*index] = true).is_some()
        };
        for recorded in &fixture.traces {
            let misfits = order::check(&scenario, &recorded.trace);
            let left: Vec<_> =
                misfits.iter().filter(|misfit| !excused(misfit)).map(ToString::to_string).collect();
            assert!(
                left.is_empty(),
                "{} on {}: {left:#?}\n{}",
                scenario.name,
                fixture.runtime,
                recorded.trace
            );
        }
    }
    for (exception, needed) in exceptions.iter().zip(needed) {
        assert!(needed, "no recording needs the exception `{}`: {}", exception.lines, exception.reason);
    }
}
