//! The order contract: what causes and effects ask of every trace, whatever the schedule, and the scenario's own claims.
//!
//! A process does one thing before another; a message is sent before it arrives; an event is told once. Nothing
//! here says that something "was always so": between lines of different observers there are only numbers to compare.

use std::fmt;

use crate::observation::{Observation, Observer};
use crate::scenario::{PrimaryAction, Scenario, WorkerAction};
use crate::trace::Trace;

mod clauses;
mod client;
mod numbers;
mod primary;
mod worker;

/// A line that the contract does not allow, or one that it misses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Where: the observer, the number of its line from 1, and the line. `None` if something is missing.
    pub seen: Option<(Observer, usize, Observation)>,
    /// What the contract allows or asks for there.
    pub expected: String,
}

impl Misfit {
    fn missing(expected: impl Into<String>) -> Self {
        Misfit { seen: None, expected: expected.into() }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.seen {
            Some((observer, number, line)) => {
                write!(f, "{observer}, line {number}: seen `{line}`, expected {}", self.expected)
            }
            None => write!(f, "missing: {}", self.expected),
        }
    }
}

/// What does not fit, the first line of each observer first. Empty if the trace keeps the contract.
pub fn check(scenario: &Scenario, trace: &Trace) -> Vec<Misfit> {
    let farewells = Farewells::of(scenario);
    let passes = |action: &WorkerAction| matches!(action, WorkerAction::SendHandle { what: None, .. });
    let passes = scenario.worker_programs().flatten().flat_map(|rule| &rule.actions).any(passes);
    let unknown = worker::Unknown { servers: scenario.exclusive_servers(), passes };
    let mut misfits = Vec::new();
    for (observer, lines) in &trace.observers {
        let broken = match observer {
            Observer::Primary => primary::check(lines, farewells, !scenario.primary_may_die()),
            Observer::Worker(_) => worker::check(lines, farewells, &unknown),
            Observer::Client(_) => client::check(lines),
        };
        misfits.extend(broken.map(|broken| broken.at(*observer, lines)));
    }
    let told = trace.seen_by(Observer::Primary);
    let apart = [primary::check_all_disconnected(scenario, told), primary::check_codes(scenario, told)];
    misfits.extend(apart.into_iter().flatten().map(|broken| broken.at(Observer::Primary, told)));
    misfits.extend(numbers::check(trace, !scenario.primary_may_die()));
    misfits.extend(scenario.contract.iter().filter_map(|clause| clauses::check(clause, trace)));
    misfits
}

/// What an observer's rules say about its own lines: which one is wrong, or `None` for the end.
struct Broken {
    line: Option<usize>,
    expected: String,
}

impl Broken {
    fn at(self, observer: Observer, lines: &[Observation]) -> Misfit {
        let expected = self.expected;
        match self.line {
            Some(index) => Misfit { seen: Some((observer, index + 1, lines[index].clone())), expected },
            None => Misfit::missing(format!("{observer}: {expected}")),
        }
    }
}

/// Walks through an observer's lines up to the first that breaks a rule.
fn walk(lines: &[Observation], mut rule: impl FnMut(&Observation) -> Result<(), String>) -> Option<Broken> {
    let broken = |(index, line)| rule(line).err().map(|expected| Broken { line: Some(index), expected });
    lines.iter().enumerate().find_map(broken)
}

/// `Err(expected)` unless the rule is kept.
fn expect(kept: bool, expected: &str) -> Result<(), String> {
    if kept { Ok(()) } else { Err(expected.to_owned()) }
}

/// Who in the scenario can make a worker go on purpose: without a cause there is no effect.
#[derive(Debug, Clone, Copy)]
struct Farewells {
    /// Node: `worker.disconnect()` or `cluster.disconnect()` in the primary.
    by_primary: bool,
    /// Node: `cluster.worker.disconnect()`.
    by_worker: bool,
    /// Node: `cluster.worker.kill()`.
    by_kill: bool,
}

impl Farewells {
    fn of(scenario: &Scenario) -> Self {
        let in_primary = |action: &PrimaryAction| {
            matches!(action, PrimaryAction::Disconnect(_) | PrimaryAction::DisconnectAll)
        };
        let in_worker = |wanted: WorkerAction| {
            scenario
                .worker_programs()
                .flatten()
                .flat_map(|rule| &rule.actions)
                .any(|action| *action == wanted)
        };
        Farewells {
            by_primary: scenario.primary.iter().flat_map(|rule| &rule.actions).any(in_primary),
            by_worker: in_worker(WorkerAction::Disconnect),
            by_kill: in_worker(WorkerAction::Kill),
        }
    }

    fn any(self) -> bool {
        self.by_primary || self.by_worker || self.by_kill
    }
}

#[cfg(test)]
mod tests;
