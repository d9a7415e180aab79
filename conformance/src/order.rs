//! The order contract: what follows from causality in every trace, under any schedule; and the clauses of the
//! scenario itself.
//!
//! The sources of rules: a process does one thing before another, a message is sent before it arrives, and an
//! event is emitted once. An order that merely occurred in every recording is not a rule. Lines of different
//! observers have no order, and are only counted.

use std::fmt;

use crate::observation::{Observation, Observer};
use crate::requirement::Requirement;
use crate::scenario::{PrimaryAction, Scenario, WorkerAction};
use crate::trace::Trace;

mod clauses;
mod client;
mod numbers;
mod primary;
mod worker;

/// A line that the contract forbids, or a line that is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The observer, the number of the line from 1, and the line. `None`: a line is missing.
    pub seen: Option<(Observer, usize, Observation)>,
    /// The expectation of the contract.
    pub expected: String,
    /// The requirement that is broken. `None`: the clause of a scenario without a level.
    pub requirement: Option<&'static Requirement>,
}

impl Misfit {
    fn missing(requirement: Option<&'static Requirement>, expected: impl Into<String>) -> Self {
        Misfit { seen: None, expected: expected.into(), requirement }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.seen {
            Some((observer, number, line)) => {
                write!(f, "{observer}, line {number}: seen `{line}`, expected {}", self.expected)
            }
            None => write!(f, "expected {}", self.expected),
        }
    }
}

/// The first mismatch of each observer with the contract.
pub fn check(scenario: &Scenario, trace: &Trace) -> Vec<Misfit> {
    let exit_requests = ExitRequests::of(scenario);
    let passes =
        |action: &WorkerAction| matches!(action, WorkerAction::SendHandle(send) if send.what.is_none());
    let passes = scenario.worker_programs().flatten().flat_map(|rule| &rule.actions).any(passes);
    let unknown = worker::Unknown { servers: scenario.exclusive_servers(), passes };
    let mut misfits = Vec::new();
    for (observer, lines) in &trace.observers {
        let broken = match observer {
            Observer::Primary => primary::check(lines, exit_requests, !scenario.primary_may_die()),
            Observer::Worker(_) => worker::check(lines, exit_requests, &unknown),
            Observer::Client(_) => client::check(lines),
        };
        misfits.extend(broken.map(|broken| broken.at(*observer, lines)));
    }
    let primary = trace.seen_by(Observer::Primary);
    let apart = [primary::check_all_disconnected(scenario, primary), primary::check_codes(scenario, primary)];
    misfits.extend(apart.into_iter().flatten().map(|broken| broken.at(Observer::Primary, primary)));
    misfits.extend(numbers::check(trace, !scenario.primary_may_die()));
    misfits.extend(scenario.contract.iter().filter_map(|clause| clauses::check(clause, trace)));
    misfits
}

/// A rule that is broken within the lines of one observer. `None` instead of a line: broken at the end.
struct Broken {
    line: Option<usize>,
    breach: Breach,
}

impl Broken {
    fn at(self, observer: Observer, lines: &[Observation]) -> Misfit {
        let Breach { requirement, expected } = self.breach;
        let requirement = Some(requirement);
        match self.line {
            Some(index) => {
                Misfit { seen: Some((observer, index + 1, lines[index].clone())), expected, requirement }
            }
            None => Misfit::missing(requirement, format!("{observer}: {expected}")),
        }
    }
}

/// The requirement that a line breaks, and what the rule expects.
struct Breach {
    requirement: &'static Requirement,
    expected: String,
}

impl Breach {
    fn new(requirement: &'static Requirement, expected: impl Into<String>) -> Self {
        Breach { requirement, expected: expected.into() }
    }
}

/// `Err`: a line breaks a rule.
type Checked = Result<(), Breach>;

/// Applies a rule up to the first line that breaks it.
fn walk(lines: &[Observation], mut rule: impl FnMut(&Observation) -> Checked) -> Option<Broken> {
    let broken = |(index, line)| rule(line).err().map(|breach| Broken { line: Some(index), breach });
    lines.iter().enumerate().find_map(broken)
}

/// `Err(expected)` if the condition is false.
fn expect(kept: bool, requirement: &'static Requirement, expected: &str) -> Checked {
    if kept { Ok(()) } else { Err(Breach::new(requirement, expected)) }
}

/// What in the scenario asks workers to exit, or to disconnect.
#[derive(Debug, Clone, Copy)]
struct ExitRequests {
    /// Node: `worker.disconnect()` or `cluster.disconnect()` in the primary.
    by_primary: bool,
    /// Node: `cluster.worker.disconnect()`.
    by_worker: bool,
    /// Node: `cluster.worker.kill()`.
    by_kill: bool,
}

impl ExitRequests {
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
        ExitRequests {
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
