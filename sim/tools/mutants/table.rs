//! The results as a table and as the page `MUTANTS.md`.

use std::fmt::Write as _;

use super::known::{Fate, Kill};
use super::suite::{Mutant, NONE, Suite};

/// The path of the page.
pub(crate) const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/MUTANTS.md");

/// A mutant, and the detector of the mutant.
pub(crate) struct Row<'a> {
    pub(crate) mutant: &'a Mutant,
    pub(crate) kill: Fate,
}

impl Row<'_> {
    pub(crate) fn verdict(&self) -> String {
        let Some(kill) = &self.kill else { return "survives".to_owned() };
        match &kill.found {
            Some(found) => {
                format!("{} in run {}, {} steps: {}", kill.killer, found.runs, found.steps, kill.what)
            }
            None => format!("{}: {}", kill.killer, kill.what),
        }
    }

    /// The difference from the expected result.
    pub(crate) fn complaint(&self) -> Option<String> {
        let Mutant { name, killer, within, .. } = self.mutant;
        let is_expected = match &self.kill {
            None => killer == NONE,
            Some(kill) => {
                kill.killer == *killer && kill.found.as_ref().map_or(0, |found| found.runs) <= *within
            }
        };
        let verdict = self.verdict();
        (!is_expected).then(|| format!("`{name}`: {verdict}; expected: {killer} within {within} runs"))
    }

    fn cells(&self) -> [String; 4] {
        let none = || "-".to_owned();
        let (killer, runs, length) = match &self.kill {
            None => (NONE, none(), none()),
            Some(Kill { killer, found: None, .. }) => (killer.as_str(), "a test".to_owned(), none()),
            Some(Kill { killer, found: Some(found), .. }) => {
                // At this number of steps `random_search` stops shrinking.
                let length = match found.steps {
                    0..20_000 => format!("{} ({}, {})", found.steps, found.faults, found.switches),
                    _ => "endless".to_owned(),
                };
                (killer.as_str(), found.runs.to_string(), length)
            }
        };
        [self.mutant.name.clone(), killer.to_owned(), runs, length]
    }
}

const TITLES: [&str; 4] = ["mutant", "killed by", "runs", "steps (faults, switches)"];

/// The table for a terminal.
pub(crate) fn table(rows: &[Row<'_>]) -> String {
    let mut cells = vec![TITLES.map(str::to_owned)];
    cells.extend(rows.iter().map(Row::cells));
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2].map(width);
    let mut text = String::new();
    for [name, killer, runs, length] in &cells {
        let [wide, middle, narrow] = widths;
        let _ = writeln!(text, "{name:<wide$}  {killer:<middle$}  {runs:>narrow$}  {length}");
    }
    text
}

/// The page for the repository.
pub(crate) fn page(suite: &Suite, rows: &[Row<'_>]) -> String {
    let by_checks = rows.iter().filter(|row| row.kill.as_ref().is_some_and(|kill| kill.found.is_some()));
    let by_checks = by_checks.count();
    let killed = rows.iter().filter(|row| row.kill.is_some()).count();
    let mut text = format!(
        "# Does the simulator find bugs?\n\n\
         Small wrong changes to `cluster/core/src`, each built and run; `mutants.json` has the changes.\n\
         `cargo run --release -p cluster-sim --example mutants -- --write` writes this page, `--check` compares it.\n\n\
         {} mutants, {killed} killed: {by_checks} by a check of the simulator (`sim/src/check`), {} by a test of the core.\n\
         A survivor has passed {} runs of {} scenarios, taken cyclically, every third without faults; of the core's own tests only the\n\
         named ones were run. Steps, faults and switches between processes are those of the shrunk run.\n\n\
         | {} |\n|---|---|---|---|\n",
        rows.len(),
        killed - by_checks,
        suite.runs,
        suite.scenarios.len(),
        TITLES.join(" | "),
    );
    for row in rows {
        let _ = writeln!(text, "| {} |", row.cells().join(" | "));
    }
    let explained: Vec<_> = rows.iter().filter(|row| !row.mutant.reason.is_empty()).collect();
    if !explained.is_empty() {
        text.push_str("\nNot detected by a check:\n\n");
    }
    for row in explained {
        let _ = writeln!(text, "* {}: {}", row.mutant.name, row.mutant.reason);
    }
    text
}
