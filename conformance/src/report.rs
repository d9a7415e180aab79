//! What is said at the end: the verdicts, the arms that did not run, and whether everything holds.
//!
//! It decides nothing but that; how it is written is in `report/`, one file a form.

use std::time::Duration;

use crate::verdict::Verdict;

mod columns;
mod json;
mod junit;
mod table;

pub use columns::columns;

/// Everything a run of the suite came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What came of each claim, sorted by scenario and claim.
    pub verdicts: Vec<Verdict>,
    /// Arms that did not run, and why.
    pub absent: Vec<Absent>,
    /// Exceptions that nothing needs; each is a failure.
    pub stale: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// An arm that did not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// Which.
    pub arm: String,
    /// Why, and what would help.
    pub why: String,
    /// Whether the user has asked for it; otherwise nobody need miss it.
    pub asked_for: bool,
}

impl Report {
    /// A report on these verdicts.
    pub fn new(mut verdicts: Vec<Verdict>, absent: Vec<Absent>, stale: Vec<String>, took: Duration) -> Self {
        let key = |verdict: &Verdict| (verdict.scenario.clone(), verdict.claim, verdict.runtime.clone());
        verdicts.sort_by_key(key);
        Report { verdicts, absent, stale, took }
    }

    /// Whether every claim holds and every exception is needed.
    pub fn holds(&self) -> bool {
        self.failed().next().is_none() && self.stale.is_empty()
    }

    /// The verdicts on claims that do not hold.
    pub fn failed(&self) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(|verdict| !verdict.holds())
    }

    /// The arms that were asked for and did not run.
    pub fn missed(&self) -> impl Iterator<Item = &Absent> {
        self.absent.iter().filter(|absent| absent.asked_for)
    }
}
