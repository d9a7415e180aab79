//! The coverage page: which scenarios show each test of Node's own suite and each topic, and how they stand on each arm.
//!
//! It runs nothing: it is given what the claims came to. What nothing shows stands on the page as missing.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;

use crate::scenario::Scenario;

mod page;
mod status;

pub use page::Page;
pub use status::{Status, statuses};

/// The page of this repository.
pub const FILE: &str = "COVERAGE.md";

/// One test of Node's own suite.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTest {
    /// Its name in Node's tree, without the extension.
    pub test: String,
    /// What it asserts, in our words.
    pub asserts: String,
    /// Whose behaviour that is.
    pub subject: Subject,
    /// What of it is not ours, or is shown otherwise.
    #[serde(default)]
    pub remark: Option<String>,
}

/// Whose behaviour a test of Node is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Subject {
    /// It can be shown with our primary and our workers: some scenario has to show it.
    #[serde(rename = "ours")]
    Ours,
    /// It means something only when one side is live Node.
    #[serde(rename = "live node")]
    LiveNode,
    /// The identity of JavaScript objects, or nothing of `cluster`.
    #[serde(rename = "js only")]
    JsOnly,
}

/// A part of how Node behaves, by our name for it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// What it belongs to.
    pub group: String,
    /// Its name.
    pub topic: String,
    /// What there is to show.
    pub what: String,
}

/// Everything that scenarios are to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    /// Node's own tests, in the order of their names.
    pub tests: Vec<NodeTest>,
    /// The topics, grouped.
    pub topics: Vec<Topic>,
}

impl Subjects {
    /// Those of this repository: `coverage/node-tests.json` and `coverage/topics.json`.
    ///
    /// # Panics
    ///
    /// Never: both files are part of the program and a test reads them.
    pub fn ours() -> Self {
        let tests = serde_json::from_str(include_str!("../coverage/node-tests.json"));
        let topics = serde_json::from_str(include_str!("../coverage/topics.json"));
        Subjects {
            tests: tests.expect("the list of Node's tests is ours"),
            topics: topics.expect("the list of topics is ours"),
        }
    }

    /// Our tests that no scenario shows.
    pub fn missing<'a>(&'a self, scenarios: &[Scenario]) -> Vec<&'a NodeTest> {
        let shown: BTreeSet<&str> = shown(scenarios).map(|(_, name)| name).collect();
        self.tests
            .iter()
            .filter(|test| test.subject == Subject::Ours && !shown.contains(test.test.as_str()))
            .collect()
    }

    /// The first thing a scenario says it shows that is neither a test nor a topic.
    ///
    /// # Errors
    ///
    /// [`UnknownSubject`]: the scenario and the name.
    pub fn check(&self, scenarios: &[Scenario]) -> Result<(), UnknownSubject> {
        let tests = self.tests.iter().map(|test| test.test.as_str());
        let known: BTreeSet<&str> =
            tests.chain(self.topics.iter().map(|topic| topic.topic.as_str())).collect();
        match shown(scenarios).find(|(_, name)| !known.contains(name)) {
            None => Ok(()),
            Some((scenario, name)) => {
                Err(UnknownSubject { scenario: scenario.name.clone(), name: name.to_owned() })
            }
        }
    }
}

fn shown(scenarios: &[Scenario]) -> impl Iterator<Item = (&Scenario, &str)> {
    scenarios.iter().flat_map(|scenario| scenario.covers.iter().map(move |name| (scenario, name.as_str())))
}

/// A scenario says it shows something that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSubject {
    /// Which scenario.
    pub scenario: String,
    /// What it says.
    pub name: String,
}

impl fmt::Display for UnknownSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownSubject { scenario, name } = self;
        write!(
            f,
            "`{scenario}` says that it shows `{name}`, which is neither in coverage/node-tests.json nor in \
             coverage/topics.json"
        )
    }
}

impl std::error::Error for UnknownSubject {}
