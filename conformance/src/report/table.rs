//! The report for people: the failures, the legend, the table, and the summary.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use console::style;

use super::Report;
use crate::verdict::{Claim, Verdict};

/// The limit of printed failures per claim.
const TOLD: usize = 3;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.failed().try_for_each(|verdict| failures(f, verdict))?;
        for stale in &self.stale {
            writeln!(f, "{} exceptions.json: {stale}\n", style("FAILS").red().bold())?;
        }
        self.legend(f)?;
        Table::of(&self.verdicts).fmt(f)?;
        for absent in &self.absent {
            writeln!(f, "\n{} the arm {}: {}", style("Not run:").yellow(), absent.arm, absent.why)?;
        }
        self.last_line(f)
    }
}

fn failures(f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    let Verdict { scenario, claim, runtime, failures, .. } = verdict;
    for failure in failures.iter().take(TOLD) {
        writeln!(f, "{} {claim} {scenario} ({runtime}): {failure}\n", style("FAILS").red().bold())?;
    }
    match failures.len().saturating_sub(TOLD) {
        0 => Ok(()),
        more => writeln!(f, "      {claim} {scenario}: and {more} more; --json tells all\n"),
    }
}

type Which = fn(&Verdict) -> bool;

/// What the cells mean, and for which verdicts they stand.
const CELLS: [(&str, &str, Which); 5] = [
    ("60 (1)", "sixty runs, which showed one trace, and it is in the set", |_| true),
    (
        "60 (6)",
        "sixty runs, which showed six different traces, all of them in the set; several runtimes are added up",
        |one| one.traces > 1,
    ),
    ("60 (6)*", "lines that an exception names were not compared", |one| one.excused),
    ("FAILS 2 of 6", "two of six different traces are not in the set", |one| !one.holds() && one.traces > 0),
    ("no trace", "there was nothing to hold against the set", |one| one.traces == 0),
];

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
        for (cell, meaning, is_meant) in CELLS {
            if self.verdicts.iter().any(is_meant) {
                writeln!(f, "  {cell:<12}  {meaning}")?;
            }
        }
        for (letter, meaning) in LETTERS {
            let of_letter = |verdict: &&Verdict| verdict.claim.to_string().contains(letter);
            let meant = self.verdicts.iter().filter(of_letter);
            let runtimes: BTreeSet<_> = meant.map(|verdict| verdict.runtime.as_str()).collect();
            if !runtimes.is_empty() {
                writeln!(f, "  {letter:<12}  {meaning}{}", told(letter, &runtimes))?;
            }
        }
        writeln!(f)
    }

    fn last_line(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (claims, failed) = (self.verdicts.len(), self.failed().count());
        let scenarios: BTreeSet<_> = self.verdicts.iter().map(|verdict| &verdict.scenario).collect();
        let seconds = self.took.as_secs_f64();
        let (claims_made, about) = (count(claims, "claim"), count(scenarios.len(), "scenario"));
        write!(f, "\n{claims_made} about {about} in {seconds:.1} s: ")?;
        if self.holds() {
            write!(f, "{}", style("all hold").green().bold())?;
        } else {
            let fail = style(format!("{failed} fail")).red().bold();
            write!(f, "{} hold, {fail}", claims - failed)?;
        }
        if !self.stale.is_empty() {
            let not_needed = style("not needed").red().bold();
            write!(f, ", and of the exceptions {} {not_needed}", self.stale.len())?;
        }
        let missed: Vec<_> = self.missed().map(|absent| absent.arm.as_str()).collect();
        if !missed.is_empty() {
            let not_run = style("did not run").red().bold();
            write!(f, "; what was asked for {not_run}: {}", missed.join(", "))?;
        }
        writeln!(f, ".")
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
    excused: bool,
    has_gap: bool,
}

impl Cell {
    fn add(&mut self, verdict: &Verdict) {
        self.runs += verdict.runs;
        self.traces += verdict.traces;
        self.failures += verdict.failures.len();
        self.excused |= verdict.excused;
        self.has_gap |= verdict.traces == 0;
    }

    fn text(self) -> String {
        let Cell { runs, traces, failures, excused, has_gap } = self;
        let mark = if excused { "*" } else { "" };
        match failures {
            _ if has_gap => "no trace".to_owned(),
            0 => format!("{runs} ({traces}){mark}"),
            _ => format!("FAILS {failures} of {traces}{mark}"),
        }
    }
}

struct Table<'a> {
    columns: BTreeMap<Claim, Column>,
    rows: BTreeMap<&'a str, BTreeMap<Claim, Cell>>,
}

/// How wide its cells are, and whether there is room for a mark behind them.
#[derive(Debug, Clone, Copy, Default)]
struct Column {
    width: usize,
    marked: bool,
}

impl Column {
    fn fit(&mut self, text: &str) {
        self.width = self.width.max(text.trim_end_matches('*').chars().count());
        self.marked |= text.ends_with('*');
    }

    /// The mark stands behind the others' end, so that their digits are below each other.
    fn pad(self, text: &str) -> String {
        let Column { width, marked } = self;
        let (text, mark) = text.strip_suffix('*').map_or((text, " "), |text| (text, "*"));
        format!("  {text:>width$}{}", if marked { mark } else { "" })
    }
}

impl<'a> Table<'a> {
    fn of(verdicts: &'a [Verdict]) -> Self {
        let mut table = Table { columns: BTreeMap::new(), rows: BTreeMap::new() };
        for verdict in verdicts {
            let row = table.rows.entry(&verdict.scenario).or_default();
            row.entry(verdict.claim).or_default().add(verdict);
        }
        for (claim, cell) in table.rows.values().flatten() {
            let column = table.columns.entry(*claim).or_default();
            column.fit(&claim.to_string());
            column.fit(&cell.text());
        }
        table
    }
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let longest = self.rows.keys().map(|name| name.len()).max().unwrap_or(0).max("scenario".len());
        let heads = self.columns.iter().map(|(claim, column)| column.pad(&claim.to_string()));
        writeln!(f, "{}", format!("{:<longest$}{}", "scenario", heads.collect::<String>()).trim_end())?;
        for (name, row) in &self.rows {
            let cells = self.columns.iter().map(|(claim, column)| shown(row.get(claim), *column));
            writeln!(f, "{}", format!("{name:<longest$}{}", cells.collect::<String>()).trim_end())?;
        }
        Ok(())
    }
}

fn shown(cell: Option<&Cell>, column: Column) -> String {
    let text = column.pad(&cell.map_or_else(|| "-".to_owned(), |cell| cell.text()));
    let holds = cell.is_none_or(|cell| cell.failures == 0);
    if holds { text } else { style(text).red().to_string() }
}
