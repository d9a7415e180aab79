//! The report of a run: the verdicts, the arms that did not run, and whether everything holds. The files in
//! `report/` each have one format.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::verdict::Verdict;

mod columns;
mod details;
mod json;
mod junit;
mod table;

pub use columns::columns;
pub use table::Printed;

/// The result of a run of the suite.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The verdicts, sorted by scenario and claim.
    pub verdicts: Vec<Verdict>,
    /// The arms that did not run, and the reasons.
    pub absent: Vec<Absent>,
    /// Exceptions that no claim needed; each is a failure.
    pub stale: Vec<String>,
    /// The duration.
    pub took: Duration,
}

/// An arm that did not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absent {
    /// The arm.
    pub arm: String,
    /// The reason, and the remedy.
    pub why: String,
    /// Whether the user asked for the arm. Only then the absence of the arm is a failure.
    pub asked_for: bool,
}

impl Report {
    /// A report of these verdicts.
    pub fn new(mut verdicts: Vec<Verdict>, absent: Vec<Absent>, stale: Vec<String>, took: Duration) -> Self {
        let key = |verdict: &Verdict| (verdict.scenario.clone(), verdict.claim, verdict.runtime.clone());
        verdicts.sort_by_key(key);
        Report { verdicts, absent, stale, took }
    }

    /// Whether every claim holds and every exception is needed.
    pub fn holds(&self) -> bool {
        self.failed().next().is_none() && self.stale.is_empty()
    }

    /// The verdicts of claims that fail.
    pub fn failed(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| !verdict.holds())
    }

    /// The requested arms that did not run.
    pub fn missed(&self) -> impl Iterator<Item = &Absent> {
        self.absent.iter().filter(|absent| absent.asked_for)
    }
}
