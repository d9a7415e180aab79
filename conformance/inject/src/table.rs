//! The counts of a sweep, by process, call, failure and outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::injection::Failure;
use crate::record::Record;
use crate::verdict::Outcome;

/// The counts of all records.
#[derive(Debug)]
pub(crate) struct Table<'a>(pub(crate) &'a [Record]);

/// The process, the call, and the kind of failure: the errors of a call share a row.
type Row = (String, &'static str, String);

type Counts = BTreeMap<Outcome, usize>;

impl Table<'_> {
    /// The injected positions: runs in which a call was changed.
    pub(crate) fn injected(&self) -> impl Iterator<Item = &Record> {
        self.0.iter().filter(|record| Outcome::COUNTED.contains(&record.outcome))
    }

    pub(crate) fn fails(&self) -> impl Iterator<Item = &Record> {
        self.0.iter().filter(|record| record.outcome == Outcome::Fails)
    }

    fn rows(&self) -> BTreeMap<Row, (BTreeSet<String>, Counts)> {
        let mut rows: BTreeMap<Row, (BTreeSet<String>, Counts)> = BTreeMap::new();
        for record in self.injected() {
            let Record { setup, injection, .. } = record;
            let failure = injection.failure.to_string();
            let kind = match injection.failure {
                Failure::Error(_) => String::new(),
                Failure::Repeated(_) => "*".to_owned(),
                Failure::Short | Failure::Kill | Failure::Stop => failure.clone(),
            };
            let row = (setup.victim.to_string(), injection.call.name(), kind);
            let (failures, counts) = rows.entry(row).or_default();
            failures.insert(failure);
            *counts.entry(record.outcome).or_default() += 1;
        }
        rows
    }
}

/// Markdown.
impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Outcome::COUNTED.map(Outcome::name);
        writeln!(f, "| process | call | failures | positions | {} |", names.join(" | "))?;
        writeln!(f, "|---|---|---|{}", "---:|".repeat(names.len() + 1))?;
        let mut all = Counts::new();
        for ((victim, call, _), (failures, counts)) in self.rows() {
            let failures = failures.into_iter().collect::<Vec<_>>().join(" ").replace('*', "\\*");
            write!(f, "| {victim} | {call} | {failures} ")?;
            row(f, &counts)?;
            for (outcome, count) in counts {
                *all.entry(outcome).or_default() += count;
            }
        }
        write!(f, "| all | | ")?;
        row(f, &all)
    }
}

fn row(f: &mut fmt::Formatter<'_>, counts: &Counts) -> fmt::Result {
    write!(f, "| {} |", counts.values().sum::<usize>())?;
    for outcome in Outcome::COUNTED {
        match counts.get(&outcome) {
            Some(count) => write!(f, " {count} |")?,
            None => write!(f, " |")?,
        }
    }
    writeln!(f)
}
