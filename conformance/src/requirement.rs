//! The requirements behind the order contract, with weights and sources in Node.
//!
//! A rule of [`order`](crate::order) and a clause of a scenario name a requirement. Only the sources
//! decide the level: Node's documentation, or the code in `lib/internal/cluster`.

use std::fmt;

use serde::{Deserialize, Serialize};

mod sources;

pub use sources::ALL;
pub(crate) use sources::*;

/// The weight of a requirement. The heaviest level is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Node's documentation states the behaviour.
    Documented,
    /// The documentation is silent, and Node's code decides the behaviour.
    Code,
    /// Node itself differs by version, or contradicts its documentation; a program has to expect both.
    Tolerated,
    /// Neither the documentation nor Node's code decides the behaviour.
    Unspecified,
}

impl Level {
    /// Every level, the heaviest first.
    pub const ALL: [Level; 4] = [Level::Documented, Level::Code, Level::Tolerated, Level::Unspecified];

    /// The meaning of the level.
    pub fn meaning(self) -> &'static str {
        match self {
            Level::Documented => "Node's documentation states the behaviour",
            Level::Code => "the documentation is silent, and Node's code decides the behaviour",
            Level::Tolerated => "Node itself differs by version, or contradicts its documentation",
            Level::Unspecified => "neither the documentation nor Node's code decides the behaviour",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Level::Documented => "required by the documentation",
            Level::Code => "required by Node's code",
            Level::Tolerated => "tolerated",
            Level::Unspecified => "unspecified",
        })
    }
}

/// The subject of a requirement, in the order of a worker's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Area {
    /// Settings, the start of a worker, and its state.
    Fork,
    /// Servers, addresses and ports.
    Listen,
    /// Connections, and the worker that serves each.
    Distribution,
    /// Messages, and sockets beside messages.
    Messages,
    /// Disconnects, and the end of a channel.
    Disconnect,
    /// The end of a process.
    Exit,
}

impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Area::Fork => "fork",
            Area::Listen => "listen",
            Area::Distribution => "distribution",
            Area::Messages => "messages",
            Area::Disconnect => "disconnect",
            Area::Exit => "exit",
        })
    }
}

/// A requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Requirement {
    /// The stable name.
    pub name: &'static str,
    /// The weight.
    pub level: Level,
    /// The area.
    pub area: Area,
    /// The behaviour of Node, in one sentence.
    pub behaviour: &'static str,
    /// A page and an anchor under `https://nodejs.org/api/`, or a file and a function of Node's repository.
    pub source: &'static str,
}

/// The requirement with a name.
pub fn named(name: &str) -> Option<&'static Requirement> {
    ALL.iter().copied().find(|one| one.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::scenario::{self, Scenario};

    #[test]
    fn requirement_names_are_unique() {
        let names: BTreeSet<_> = ALL.iter().map(|one| one.name).collect();
        assert_eq!(names.len(), ALL.len());
    }

    #[test]
    fn source_fits_the_level() {
        for Requirement { name, level, source, .. } in ALL {
            let is_page = source.contains(".html#");
            match level {
                Level::Documented => assert!(is_page, "{name}: {source}"),
                Level::Code => assert!(source.starts_with("lib/"), "{name}: {source}"),
                Level::Tolerated | Level::Unspecified => assert!(!source.is_empty(), "{name}"),
            }
        }
    }

    /// A clause without a requirement has no weight, so a difference would have none.
    #[test]
    fn every_clause_has_a_level() {
        let mut used = BTreeSet::new();
        for scenario in Scenario::all(Path::new(scenario::DIRECTORY)).expect("valid scenarios") {
            for clause in &scenario.contract {
                let level = clause.requirement.map(|one| one.level);
                assert!(level.is_some(), "{}: `{}` lacks `requires`", scenario.name, clause.because);
                used.extend(clause.requirement.map(|one| one.name));
            }
        }
        assert!(used.len() > 30, "{used:?}");
    }
}
