//! The coverage page: which scenarios cover each test of Node's own suite and each topic, and their status
//! per arm.
//!
//! Nothing runs here, because the verdicts are input. A test without a scenario is listed as missing.

use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;

use crate::scenario::Scenario;

mod page;
mod status;

pub use page::Page;
pub use status::{Status, statuses};

/// The page in the crate's directory.
pub const FILE: &str = "COVERAGE.md";

/// One test of Node's own suite.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeTest {
    /// The test's name in Node's tree, without the extension.
    pub test: String,
    /// A summary of what the test asserts.
    pub asserts: String,
    /// The side that the test is about.
    pub subject: Subject,
    /// The parts that do not apply, or are covered elsewhere.
    #[serde(default)]
    pub remark: Option<String>,
}

/// The side that a test of Node is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
pub enum Subject {
    /// A Rust primary and Rust workers can show the behaviour, so some scenario must cover the test.
    #[serde(rename = "ours")]
    Ours,
    /// The test is meaningful only with live Node on one side.
    #[serde(rename = "live node")]
    LiveNode,
    /// The test is about the identity of JavaScript objects, or is not about `cluster`.
    #[serde(rename = "js only")]
    JsOnly,
}

/// A part of Node's behaviour, with a name of this project.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Topic {
    /// The group of the topic.
    pub group: String,
    /// The topic's name.
    pub topic: String,
    /// The behaviour to cover.
    pub what: String,
}

/// Everything that scenarios can cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subjects {
    /// Node's own tests, sorted by name.
    pub tests: Vec<NodeTest>,
    /// The topics, grouped.
    pub topics: Vec<Topic>,
}

impl Subjects {
    /// The subjects of this suite: `coverage/node-tests.json` and `coverage/topics.json`.
    ///
    /// # Panics
    ///
    /// Never: both files are embedded, and a test reads them.
    pub fn ours() -> Self {
        let tests = serde_json::from_str(include_str!("../coverage/node-tests.json"));
        let topics = serde_json::from_str(include_str!("../coverage/topics.json"));
        Subjects {
            tests: tests.expect("node-tests.json is part of the program"),
            topics: topics.expect("topics.json is part of the program"),
        }
    }

    /// The tests marked `Ours` that no scenario covers.
    pub fn missing<'a>(&'a self, scenarios: &[Scenario]) -> Vec<&'a NodeTest> {
        let shown: BTreeSet<&str> = shown(scenarios).map(|(_, name)| name).collect();
        self.tests
            .iter()
            .filter(|test| test.subject == Subject::Ours && !shown.contains(test.test.as_str()))
            .collect()
    }

    /// The first name in a scenario's `covers` that is neither a test nor a topic.
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

/// A scenario covers an unknown subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownSubject {
    /// The scenario.
    pub scenario: String,
    /// The unknown name.
    pub name: String,
}

impl fmt::Display for UnknownSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let UnknownSubject { scenario, name } = self;
        write!(
            f,
            "`{scenario}` covers `{name}`, which is neither in coverage/node-tests.json nor in \
             coverage/topics.json"
        )
    }
}

impl std::error::Error for UnknownSubject {}
