//! The table with details: a column per claim. A cell has the number of runs and the number of distinct
//! traces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use console::style;

use crate::verdict::{Claim, Verdict};

/// The verdicts with their numbers, after a legend.
pub(super) struct Details<'a>(pub(super) &'a [Verdict]);

type Which = fn(&Verdict) -> bool;

/// The meaning of the cells, each with the verdicts for which the legend needs the explanation.
const CELLS: [(&str, &str, Which); 5] = [
    ("60 (1)", "60 runs with one distinct trace, which is in the set", |_| true),
    (
        "60 (6)",
        "60 runs with 6 distinct traces, all in the set; the runs of several runtimes are added",
        |one| one.traces > 1,
    ),
    ("60 (6)*", "without the lines that an exception names", |one| one.excused),
    ("FAILS 2 of 6", "2 of 6 distinct traces are not in the set", |one| !one.holds() && one.traces > 0),
    ("no trace", "no trace to compare", |one| one.traces == 0),
];

/// The sets of traces.
const LETTERS: [(char, &str); 7] = [
    ('N', "recorded Node"),
    ('U', "this system, just now"),
    ('L', "live Node, just now"),
    ('M', "mixed clusters, just now"),
    ('F', "named runtimes, just now"),
    ('S', "the simulator: S ⊆ C samples schedules, the other claims search for one"),
    ('C', "the order contract: the consequences of causality, and the scenario's own clauses"),
];

impl fmt::Display for Details<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdicts = self.0;
        for (cell, meaning, is_meant) in CELLS {
            if verdicts.iter().any(is_meant) {
                writeln!(f, "  {cell:<12}  {meaning}")?;
            }
        }
        for (letter, meaning) in LETTERS {
            let of_letter = |verdict: &&Verdict| verdict.claim.to_string().contains(letter);
            let meant = verdicts.iter().filter(of_letter);
            let runtimes: BTreeSet<_> = meant.map(|verdict| verdict.runtime.as_str()).collect();
            if !runtimes.is_empty() {
                writeln!(f, "  {letter:<12}  {meaning}{}", names(letter, &runtimes))?;
            }
        }
        writeln!(f)?;
        Table::of(verdicts).fmt(f)
    }
}

/// The runtimes that a letter stands for, if there are several.
fn names(letter: char, runtimes: &BTreeSet<&str>) -> String {
    if !['N', 'L', 'M', 'F'].contains(&letter) {
        return String::new();
    }
    format!(" ({})", runtimes.iter().copied().collect::<Vec<_>>().join(", "))
}

/// One cell. The numbers of several runtimes are added.
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

/// The width of a column, and whether some cell has a mark after its number.
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

    /// A mark extends beyond the width, so that digits are aligned.
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
