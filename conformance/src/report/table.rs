//! The report for people: what fails, one after another, then a table, its legend, and one last line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use console::style;

use super::Report;
use crate::verdict::{Inclusion, Verdict};

/// Of one claim, so many failures are told in full.
const TOLD: usize = 3;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failed().try_for_each(|verdict| failures(f, verdict))?;
        for stale in &self.stale {
            writeln!(f, "{} exceptions.json: {stale}\n", style("FAILS").red().bold())?;
        }
        Table::of(&self.verdicts).fmt(f)?;
        self.legend(f)?;
        for absent in &self.absent {
            writeln!(f, "\n{} the arm {}: {}", style("Not run:").yellow(), absent.arm, absent.why)?;
        }
        self.last_line(f)
    }
}

fn failures(f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    let Verdict { scenario, inclusion, runtime, failures, .. } = verdict;
    for failure in failures.iter().take(TOLD) {
        writeln!(f, "{} {inclusion} {scenario} ({runtime}): {failure}\n", style("FAILS").red().bold())?;
    }
    match failures.len().saturating_sub(TOLD) {
        0 => Ok(()),
        more => writeln!(f, "      {inclusion} {scenario}: and {more} more; --json tells all\n"),
    }
}

/// What the letters mean.
const LETTERS: [(char, &str); 6] = [
    ('N', "what Node was recorded to do"),
    ('U', "what the real system did just now"),
    ('L', "what live Node did just now"),
    ('M', "what clusters of both did just now"),
    ('S', "what the simulator can do: S ⊆ C samples it, the other claims search it"),
    ('C', "the order contract: what causality asks of every scenario, and the scenario's own claims"),
];

impl Report {
    fn legend(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for (letter, meaning) in LETTERS {
            let of_letter = |verdict: &&Verdict| verdict.inclusion.to_string().contains(letter);
            let meant = self.verdicts.iter().filter(of_letter);
            let runtimes: BTreeSet<_> = meant.map(|verdict| verdict.runtime.as_str()).collect();
            if !runtimes.is_empty() {
                writeln!(f, "  {letter}  {meaning}{}", told(letter, &runtimes))?;
            }
        }
        writeln!(
            f,
            "  6/60: six different traces in sixty runs, all in the set. FAILS 2/6: two of the six are not."
        )
    }

    fn last_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (claims, failed) = (self.verdicts.len(), self.failed().count());
        let scenarios: BTreeSet<_> = self.verdicts.iter().map(|verdict| &verdict.scenario).collect();
        let seconds = self.took.as_secs_f64();
        let (claims_made, about) = (count(claims, "claim"), count(scenarios.len(), "scenario"));
        write!(f, "\n{claims_made} about {about} in {seconds:.1} s: ")?;
        if self.holds() {
            return writeln!(f, "{}.", style("all hold").green().bold());
        }
        let fail = style(format!("{failed} fail")).red().bold();
        write!(f, "{} hold, {fail}", claims - failed)?;
        match self.stale.len() {
            0 => writeln!(f, "."),
            stale => writeln!(f, ", and of the exceptions {stale} {}.", style("not needed").red().bold()),
        }
    }
}

/// Whose traces a letter stands for, where that is not said by the letter.
fn told(letter: char, runtimes: &BTreeSet<&str>) -> String {
    if !['N', 'L', 'M'].contains(&letter) {
        return String::new();
    }
    format!(" ({})", runtimes.iter().copied().collect::<Vec<_>>().join(", "))
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

/// What stands in one place of the table; several runtimes are added up.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    runs: u64,
    traces: usize,
    failures: usize,
}

impl Cell {
    fn add(&mut self, verdict: &Verdict) {
        self.runs += verdict.runs;
        self.traces += verdict.traces;
        self.failures += verdict.failures.len();
    }

    fn text(self) -> String {
        let Cell { runs, traces, failures } = self;
        if failures == 0 { format!("{traces}/{runs}") } else { format!("FAILS {failures}/{traces}") }
    }
}

struct Table<'a> {
    inclusions: BTreeSet<Inclusion>,
    rows: BTreeMap<&'a str, BTreeMap<Inclusion, Cell>>,
}

impl<'a> Table<'a> {
    fn of(verdicts: &'a [Verdict]) -> Self {
        let mut table = Table { inclusions: BTreeSet::new(), rows: BTreeMap::new() };
        for verdict in verdicts {
            table.inclusions.insert(verdict.inclusion);
            let row = table.rows.entry(&verdict.scenario).or_default();
            row.entry(verdict.inclusion).or_default().add(verdict);
        }
        table
    }

    fn width(&self, inclusion: Inclusion) -> usize {
        let texts = self.rows.values().filter_map(|row| row.get(&inclusion)).map(|cell| cell.text().len());
        texts.max().unwrap_or(0).max(inclusion.to_string().chars().count())
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.rows.keys().map(|name| name.len()).max().unwrap_or(0).max("scenario".len());
        write!(f, "{:<longest$}", "scenario")?;
        for inclusion in &self.inclusions {
            write!(f, "  {inclusion:>width$}", width = self.width(*inclusion))?;
        }
        writeln!(f)?;
        for (name, row) in &self.rows {
            write!(f, "{name:<longest$}")?;
            for inclusion in &self.inclusions {
                let cell = row.get(inclusion);
                let text = cell.map_or_else(|| "-".to_owned(), |cell| cell.text());
                let text = style(format!("{text:>width$}", width = self.width(*inclusion)));
                let holds = cell.is_none_or(|cell| cell.failures == 0);
                write!(f, "  {}", if holds { text } else { text.red() })?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
