//! The interpreter of scenarios for every Rust arm: receives observations, and returns actions. Both are
//! plain values.
//!
//! A [`Primary`] and a [`Worker`] receive only their own observations. The [`clients::ClientScript`] receives
//! the observations of all. `recorder/recorder.cjs` is the counterpart in JavaScript. An arm translates its
//! events to observations (see [`crate::vocabulary`]), writes them, and performs the actions. The arguments
//! of the actions are complete.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::observation::Observation;
use crate::scenario::{Part, PrimaryAction, Property, Rule, Scenario, ScenarioVerb, Target, WorkerAction};
use crate::vocabulary::ServerAddress;

pub mod clients;
pub mod lines;

/// The program of a primary.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Primary {
    rules: Rules<PrimaryAction>,
}

impl Primary {
    /// The primary of a scenario. The line `start` is not written yet.
    pub fn new(scenario: &Scenario) -> Self {
        Primary { rules: Rules::new(&scenario.primary) }
    }

    /// The actions after an observation.
    pub fn react(&mut self, seen: &Observation) -> Vec<PrimaryAction> {
        let (worker, port) = (seen.worker(), seen.detail("port"));
        due(&mut self.rules, seen, |part| match part {
            Part::Worker(target @ Target::Same) => *target = worker.map_or(Target::Same, Target::Id),
            Part::Variable(value) => {
                if let Some(port) = port {
                    value.fill("$port", port);
                }
            }
            Part::Worker(Target::Id(_))
            | Part::Opens(_)
            | Part::Server(_)
            | Part::Connection
            | Part::Text(_) => {}
        })
    }
}

/// The due actions with complete arguments. An action that ends the process is the last.
fn due<Action: ScenarioVerb>(
    rules: &mut Rules<Action>,
    seen: &Observation,
    mut complete: impl FnMut(Part<'_>),
) -> Vec<Action> {
    let mut actions: Vec<_> = rules.due(seen).cloned().collect();
    if let Some(last) = actions.iter().position(|action| action.has(Property::Ends)) {
        actions.truncate(last + 1);
    }
    for action in &mut actions {
        action.complete(&mut complete);
    }
    actions
}

/// The program of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Worker {
    id: u64,
    rules: Rules<WorkerAction>,
    known: Known,
}

/// The ports and descriptors of servers, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
struct Known {
    ports: BTreeMap<String, u16>,
    fds: BTreeMap<String, u32>,
}

impl Worker {
    /// The worker with this id. The line `start` is not written yet.
    pub fn new(scenario: &Scenario, id: u64) -> Self {
        Worker { id, rules: Rules::new(scenario.worker_rules(id)), known: Known::default() }
    }

    /// The worker in an environment: `PORT_web` is the port of the server `web`, `FD_web` its descriptor in
    /// the primary.
    #[must_use]
    pub(crate) fn with_env(mut self, env: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in env {
            if let (Some(server), Ok(port)) = (name.strip_prefix("PORT_"), value.parse()) {
                self.known.ports.insert(server.to_owned(), port);
            } else if let (Some(server), Ok(fd)) = (name.strip_prefix("FD_"), value.parse()) {
                self.known.fds.insert(server.to_owned(), fd);
            }
        }
        self
    }

    /// The actions after an observation.
    pub fn react(&mut self, seen: &Observation) -> Vec<WorkerAction> {
        if let ("listening", Some(server), Some(port)) =
            (seen.what.as_str(), seen.detail("server"), seen.port())
        {
            self.known.ports.insert(server.to_owned(), port);
        }
        let (id, known) = (self.id, &self.known);
        due(&mut self.rules, seen, |part| match part {
            Part::Text(text) => text.fill(id),
            Part::Server(server) => {
                server.address = known.ports.get(server.as_str()).copied().map(ServerAddress::Port);
                server.fd = known.fds.get(server.as_str()).copied();
            }
            Part::Worker(_) | Part::Opens(_) | Part::Connection | Part::Variable(_) => {}
        })
    }
}

/// The rules, and how often each rule has matched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules<Action> {
    rules: Arc<[Rule<Action>]>,
    met: Vec<u32>,
}

/// Rules never change, so the hash leaves them out. This saves time, because a simulator hashes often.
impl<Action> Hash for Rules<Action> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.met.hash(state);
    }
}

impl<Action: Clone> Rules<Action> {
    pub(crate) fn new(rules: &[Rule<Action>]) -> Self {
        Rules { rules: rules.into(), met: vec![0; rules.len()] }
    }

    /// Counts each rule that matches, and returns the actions of the rules that are due.
    pub(crate) fn due(&mut self, seen: &Observation) -> impl Iterator<Item = &Action> {
        let counted = self.rules.iter().zip(&mut self.met).filter(|(rule, _)| rule.on.fits(seen));
        let due = counted.filter_map(|(rule, met)| {
            *met += 1;
            rule.on.nth.is_none_or(|nth| nth == *met).then_some(rule)
        });
        due.flat_map(|rule| &rule.actions)
    }
}

#[cfg(test)]
mod tests;
