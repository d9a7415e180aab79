//! The report for people: the failures, the legend, the table, and the summary.
//!
//! The table has a row per scenario and a column per source of traces. With details, it has a column per
//! claim, with the numbers of runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use console::style;

use super::Report;
use super::details::Details;
use crate::verdict::Verdict;

/// The limit of printed failures per claim.
const SHOWN: usize = 3;

/// The width if there is no terminal: no name is cut.
const UNLIMITED: usize = usize::MAX;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Printed { report: self, width: UNLIMITED, details: false }.fmt(f)
    }
}

/// A report for a terminal of a given width, with or without the numbers of each claim.
#[derive(Debug)]
pub struct Printed<'a> {
    /// The report.
    pub report: &'a Report,
    /// The width of the terminal.
    pub width: usize,
    /// Whether to print a column per claim, with numbers of runs and traces.
    pub details: bool,
}

impl fmt::Display for Printed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Printed { report, width, details } = *self;
        report.failed().try_for_each(|verdict| failures(f, verdict))?;
        for stale in &report.stale {
            writeln!(f, "{} {stale}\n", style("FAILS").red().bold())?;
        }
        if details {
            Details(&report.verdicts).fmt(f)?;
        } else {
            let foreign = report.verdicts.iter().any(|verdict| verdict.claim.is_foreign());
            let legend = LEGEND.into_iter().chain(foreign.then_some(FOREIGN));
            Table::of(&report.verdicts).print(f, width, legend)?;
        }
        for same in report.absent.chunk_by(|one, next| one.why == next.why) {
            let arms: Vec<_> = same.iter().map(|absent| absent.arm.as_str()).collect();
            writeln!(f, "\n{} {}: {}", style("Not run:").yellow(), arms.join(", "), same[0].why)?;
        }
        report.summary(f)
    }
}

fn failures(f: &mut fmt::Formatter<'_>, verdict: &Verdict) -> fmt::Result {
    let Verdict { scenario, claim, runtime, failures, .. } = verdict;
    let claim = claim.words();
    for failure in failures.iter().take(SHOWN) {
        writeln!(f, "{} {scenario}: {claim} ({runtime}): {failure}\n", style("FAILS").red().bold())?;
    }
    match failures.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "      {scenario}: {claim}: and {more} more; --json has all\n"),
    }
}

/// The meaning of the cells and of the columns.
const LEGEND: [&str; 3] = [
    "ok: every order of events is one that the contract allows and the simulator can produce; *: without the lines in exceptions.json",
    "recorded: what Node did when recorded; simulator: random schedules; this system: our primary and workers on this machine",
    "live Node: the installed Node.js; mixed: our primary with Node workers, and the reverse; `--details` prints the numbers",
];

/// The meaning of the columns of foreign runtimes.
const FOREIGN: &str = "a runtime with its version: compared with Node.js; no run: it cannot run the scenario; known: an expected difference";

/// The state of a cell: the worst state of its claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    Holds,
    Excused,
    Expected,
    CannotRun,
    Fails,
}

impl Mark {
    fn of(verdict: &Verdict) -> Self {
        match (verdict.holds(), verdict.excused) {
            (false, _) if verdict.cannot_run() => Mark::CannotRun,
            (false, _) => Mark::Fails,
            (true, _) if verdict.expected.is_some() => Mark::Expected,
            (true, true) => Mark::Excused,
            (true, false) => Mark::Holds,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Mark::Holds => "ok",
            Mark::Excused => "ok*",
            Mark::Expected => "known",
            Mark::CannotRun => "no run",
            Mark::Fails => "FAILS",
        }
    }
}

struct Table<'a> {
    /// The sources, in the order of the claims.
    columns: Vec<&'a str>,
    rows: BTreeMap<&'a str, BTreeMap<&'a str, Mark>>,
}

const BETWEEN: &str = "  ";

impl<'a> Table<'a> {
    fn of(verdicts: &'a [Verdict]) -> Self {
        let sources: BTreeSet<_> = verdicts.iter().map(|verdict| (verdict.claim, verdict.source())).collect();
        let mut table = Table { columns: Vec::new(), rows: BTreeMap::new() };
        for (_, source) in sources {
            if !table.columns.contains(&source) {
                table.columns.push(source);
            }
        }
        for verdict in verdicts {
            let mark = Mark::of(verdict);
            let cell = table.rows.entry(&verdict.scenario).or_default().entry(verdict.source());
            let worst = cell.or_insert(mark);
            *worst = mark.max(*worst);
        }
        table
    }

    /// Prints the table. The names of scenarios are cut if the terminal is too narrow.
    fn print(
        &self,
        f: &mut fmt::Formatter<'_>,
        width: usize,
        legend: impl Iterator<Item = &'static str>,
    ) -> fmt::Result {
        let longest = self.rows.keys().map(|name| name.len()).max().unwrap_or(0).max("scenario".len());
        let cells: usize = self.columns.iter().map(|column| BETWEEN.len() + column.len()).sum();
        let names = longest.min(width.saturating_sub(cells).max("scenario".len()));
        for line in legend {
            crate::text::wrapped(line, width, BETWEEN).iter().try_for_each(|row| writeln!(f, "{row}"))?;
        }
        let heads: String = self.columns.iter().flat_map(|column| [BETWEEN, column]).collect();
        writeln!(f, "\n{}", style(format!("{:<names$}{heads}", "scenario")).bold())?;
        for (name, row) in &self.rows {
            let cells = self.columns.iter().map(|column| cell(row.get(column).copied(), column.len()));
            writeln!(f, "{:<names$}{}", cut(name, names), cells.collect::<String>().trim_end())?;
        }
        Ok(())
    }
}

fn cell(mark: Option<Mark>, width: usize) -> String {
    let text = format!("{:<width$}", mark.map_or("-", Mark::text));
    let text = match mark {
        Some(Mark::Holds) => style(text).green().to_string(),
        Some(Mark::Excused | Mark::Expected) => style(text).yellow().to_string(),
        Some(Mark::Fails | Mark::CannotRun) => style(text).red().bold().to_string(),
        None => text,
    };
    format!("{BETWEEN}{text}")
}

fn cut(name: &str, width: usize) -> String {
    let is_short = name.chars().count() <= width;
    if is_short { name.to_owned() } else { name.chars().take(width - 1).chain(['~']).collect() }
}

impl Report {
    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (claims, failed) = (self.verdicts.len(), self.failed().count());
        let scenarios: BTreeSet<_> = self.verdicts.iter().map(|verdict| &verdict.scenario).collect();
        let runs: u64 = self
            .verdicts
            .iter()
            .filter(|verdict| verdict.claim.is_in_contract())
            .map(|verdict| verdict.runs)
            .sum();
        let seconds = self.took.as_secs_f64();
        let (claims_made, about) = (count(claims, "claim"), count(scenarios.len(), "scenario"));
        write!(f, "\n{claims_made} about {about}, {runs} runs, in {seconds:.1} s: ")?;
        if self.holds() {
            write!(f, "{}", style("all hold").green().bold())?;
        } else {
            let fail = style(format!("{failed} fail")).red().bold();
            write!(f, "{} hold, {fail}", claims - failed)?;
        }
        if !self.stale.is_empty() {
            let not_needed = style("not needed").red().bold();
            write!(f, ", and {} {not_needed}", count(self.stale.len(), "exception"))?;
        }
        let missed: Vec<_> = self.missed().map(|absent| absent.arm.as_str()).collect();
        if !missed.is_empty() {
            let not_run = style("did not run").red().bold();
            write!(f, "; requested, but {not_run}: {}", missed.join(", "))?;
        }
        writeln!(f, ".")
    }
}

fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
