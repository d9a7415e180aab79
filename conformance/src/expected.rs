//! Expected differences of a runtime, in a file of the user: the format of [`exceptions`](crate::exceptions),
//! in which an entry may also name a whole scenario.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::exceptions::{Exception, ExceptionError, glob};
use crate::pattern::LinePattern;
use crate::verdict::Verdict;

/// One expected difference.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedEntry {
    scenario: String,
    runtime: String,
    /// `None`: the whole scenario.
    lines: Option<LinePattern>,
    #[serde(default)]
    lacks: bool,
    #[serde(default)]
    rare: bool,
    reason: String,
}

/// An entry for a whole scenario, as written by [`Expected::of`].
#[derive(Debug, Serialize)]
struct WholeEntry<'a> {
    scenario: &'a str,
    runtime: String,
    reason: &'a str,
}

/// All expected differences.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    entries: Vec<ExpectedEntry>,
}

impl Expected {
    /// Reads a file of expected differences.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is malformed: the line and the expectation.
    pub fn load(path: &Path) -> Result<Self, ExceptionError> {
        let failed = |what: String| ExceptionError::new(path, what);
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let entries = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
        Ok(Expected { entries })
    }

    /// The text of a file in which every failing scenario of these verdicts is expected to differ.
    pub fn of(verdicts: &[Verdict]) -> String {
        let mut entries: Vec<WholeEntry<'_>> = Vec::new();
        for verdict in verdicts.iter().filter(|verdict| !verdict.failures.is_empty()) {
            let name = verdict.runtime.split(' ').next().unwrap_or_default();
            let runtime = format!("{name} *");
            if entries.iter().any(|one| one.scenario == verdict.scenario && one.runtime == runtime) {
                continue;
            }
            let text = verdict.failures[0].text.as_str();
            let reason = verdict.expected.as_deref().unwrap_or_else(|| text.lines().next().unwrap_or(text));
            entries.push(WholeEntry { scenario: &verdict.scenario, runtime, reason });
        }
        serde_json::to_string_pretty(&entries).expect("entries are plain data") + "\n"
    }

    /// The entries about lines, as exceptions.
    pub fn exceptions(&self) -> Vec<Exception> {
        let exception = |entry: &ExpectedEntry| {
            let ExpectedEntry { scenario, runtime, lines, lacks, rare, reason } = entry.clone();
            Some(Exception { scenario, runtime, lines: lines?, lacks, rare, reason })
        };
        self.entries.iter().filter_map(exception).collect()
    }

    /// Marks the failing verdicts of whole scenarios as expected.
    pub fn mark(&self, verdicts: &mut [Verdict]) {
        for verdict in verdicts.iter_mut().filter(|verdict| !verdict.failures.is_empty()) {
            let entry = self.whole().find(|entry| entry.concerns(verdict));
            verdict.expected = entry.map(|entry| entry.reason.clone());
        }
    }

    /// An error for each whole scenario that ran and did not differ.
    pub fn stale(&self, verdicts: &[Verdict]) -> Vec<String> {
        let is_stale = |entry: &&ExpectedEntry| {
            let mut concerned = verdicts.iter().filter(|verdict| entry.concerns(verdict)).peekable();
            concerned.peek().is_some() && concerned.all(|verdict| verdict.failures.is_empty())
        };
        let stale = self.whole().filter(|entry| !entry.rare).filter(is_stale);
        let text = |ExpectedEntry { scenario, runtime, .. }: &ExpectedEntry| {
            format!("`{runtime}` is expected to differ in `{scenario}`, and does not: remove this entry")
        };
        stale.map(text).collect()
    }

    /// The entries about whole scenarios.
    fn whole(&self) -> impl Iterator<Item = &ExpectedEntry> {
        self.entries.iter().filter(|entry| entry.lines.is_none())
    }
}

impl ExpectedEntry {
    fn concerns(&self, verdict: &Verdict) -> bool {
        glob(&self.scenario, &verdict.scenario) && glob(&self.runtime, &verdict.runtime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Claim, Failure};

    fn verdict(scenario: &str, failures: Vec<Failure>) -> Verdict {
        Verdict {
            scenario: scenario.to_owned(),
            claim: Claim::ForeignInContract,
            runtime: "bun 1.4.4".to_owned(),
            runs: 1,
            traces: 1,
            excused: false,
            expected: None,
            failures,
        }
    }

    #[test]
    fn written_differences_are_expected() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("expected.json");
        let mut verdicts = [verdict("basic", vec![Failure::broken(&"it hangs")]), verdict("cwd", Vec::new())];
        fs::write(&path, Expected::of(&verdicts)).expect("a new file");
        let expected = Expected::load(&path).expect("just written");
        expected.mark(&mut verdicts);
        assert_eq!(verdicts[0].expected.as_deref(), Some("it hangs"));
        assert!(verdicts.iter().all(Verdict::holds));
        assert_eq!(expected.stale(&verdicts), [""; 0]);
        let stale = expected.stale(&[verdict("basic", Vec::new())]);
        assert_eq!(
            stale,
            ["`bun *` is expected to differ in `basic`, and does not: remove this entry".to_owned()]
        );
    }

    #[test]
    fn expected_lines_are_exceptions() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("expected.json");
        let text =
            r#"[{ "scenario": "*", "runtime": "bun *", "lines": "primary: setup", "reason": "None." }]"#;
        fs::write(&path, text).expect("a new file");
        let expected = Expected::load(&path).expect("a valid file");
        assert_eq!(expected.exceptions().len(), 1);
        let mut verdicts = [verdict("basic", vec![Failure::broken(&"it hangs")])];
        expected.mark(&mut verdicts);
        assert_eq!(verdicts[0].expected, None, "only a whole scenario is expected to differ");
    }
}
