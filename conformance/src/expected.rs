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
        self.entries.iter().filter_map(ExpectedEntry::exception).collect()
    }

    /// Marks the failing verdicts of whole scenarios as expected.
    pub fn mark(&self, verdicts: &mut [Verdict]) {
        for verdict in verdicts.iter_mut().filter(|verdict| !verdict.failures.is_empty()) {
            let entry = self.whole().find(|entry| entry.concerns(verdict));
            verdict.expected = entry.map(|entry| entry.reason.clone());
        }
    }

    /// An error for each entry that no verdict needed. `unneeded` has the exceptions that removed no line.
    /// Without `all`, some scenarios did not run: then a pattern of scenarios may be needed by another run.
    pub fn stale(&self, verdicts: &[Verdict], unneeded: &[Exception], all: bool) -> Vec<String> {
        let is_stale = |entry: &&ExpectedEntry| {
            let ran = verdicts.iter().filter(|verdict| glob(&entry.runtime, &verdict.runtime));
            let concerned: Vec<_> = ran.clone().filter(|verdict| entry.concerns(verdict)).collect();
            let is_judged =
                if all { ran.count() > 0 } else { !concerned.is_empty() && !entry.scenario.contains('*') };
            let is_needed = match entry.exception() {
                // A run without a trace may have had the lines.
                Some(exception) => {
                    !unneeded.contains(&exception) || concerned.iter().any(|verdict| verdict.runs == 0)
                }
                None => concerned.iter().any(|verdict| !verdict.failures.is_empty()),
            };
            is_judged && !is_needed
        };
        let stale = self.entries.iter().filter(|entry| !entry.rare).filter(is_stale);
        let text = |ExpectedEntry { scenario, runtime, lines, .. }: &ExpectedEntry| {
            let lines = lines.as_ref().map_or_else(String::new, |lines| format!(" by `{lines}`"));
            format!(
                "`{runtime}` is expected to differ in `{scenario}`{lines}, and does not: remove this entry"
            )
        };
        stale.map(text).collect()
    }

    /// The entries about whole scenarios.
    fn whole(&self) -> impl Iterator<Item = &ExpectedEntry> {
        self.entries.iter().filter(|entry| entry.lines.is_none())
    }
}

impl ExpectedEntry {
    /// The entry as an exception, if it is about lines.
    fn exception(&self) -> Option<Exception> {
        let ExpectedEntry { scenario, runtime, lines, lacks, rare, reason } = self.clone();
        Some(Exception { scenario, runtime, lines: lines?, lacks, rare, reason })
    }

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
        assert_eq!(expected.stale(&verdicts, &[], true), [""; 0]);
        let stale = expected.stale(&[verdict("basic", Vec::new())], &[], true);
        assert_eq!(
            stale,
            ["`bun *` is expected to differ in `basic`, and does not: remove this entry".to_owned()]
        );
    }

    #[test]
    fn stale_entries_are_reported() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("expected.json");
        let entry = |scenario: &str, more: &str| {
            format!(r#"{{ "scenario": "{scenario}", "runtime": "bun *", "reason": "None."{more} }}"#)
        };
        let lines = r#", "lines": "primary: setup""#;
        let stale = |entry: &str, verdicts: &[Verdict], is_needed: bool, all: bool| {
            fs::write(&path, format!("[{entry}]")).expect("a file");
            let expected = Expected::load(&path).expect("a valid file");
            let unneeded = if is_needed { Vec::new() } else { expected.exceptions() };
            expected.stale(verdicts, &unneeded, all).len()
        };
        let basic = [verdict("basic", Vec::new())];
        let cannot_run = [Verdict { runs: 0, ..verdict("basic", vec![Failure::broken(&"it hangs")]) }];
        let rare = format!(r#"{lines}, "rare": true"#);
        for (entry, verdicts, is_needed, all, expected) in [
            (entry("basic", lines), &basic[..], true, true, 0),
            (entry("basic", lines), &basic, false, true, 1),
            (entry("basic", lines), &basic, false, false, 1),
            (entry("basic", &rare), &basic, false, true, 0),
            (entry("basic", lines), &cannot_run, false, true, 0),
            (entry("ba*", lines), &basic, false, true, 1),
            // Another scenario may need these.
            (entry("ba*", lines), &basic, false, false, 0),
            (entry("ba*", ""), &basic, false, false, 0),
            (entry("cwd", lines), &basic, false, false, 0),
            // No scenario has the name.
            (entry("basik", ""), &basic, false, true, 1),
            (entry("basik", lines), &basic, false, true, 1),
            // The runtime did not run.
            (entry("basic", lines), &[], false, true, 0),
        ] {
            assert_eq!(stale(&entry, verdicts, is_needed, all), expected, "{entry} {is_needed} {all}");
        }
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
