//! `conformance coverage`: the page of the covered tests and topics, per arm. Without a report, all claims
//! run first, and failures are printed as in `run`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use super::run::Run;
use super::{CliError, Outcome, Paths, file, print};
use crate::coverage::{self, Page, Subjects};
use crate::report::Report;

/// The report, and the destination of the page.
#[derive(Debug, Args)]
pub(super) struct Coverage {
    /// The output of `conformance run --json`. Default: run everything first
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write the page to its file in the checkout instead of printing
    #[arg(long, conflicts_with = "check")]
    write: bool,
    /// Fail if the page in the checkout is out of date, and print the first difference
    #[arg(long)]
    check: bool,
}

impl Coverage {
    pub(super) fn perform(&self, paths: &Paths) -> Result<Outcome, CliError> {
        let subjects = Subjects::ours();
        if self.report.is_none() {
            paths.need_recordings()?;
        }
        let stored = paths.in_checkout(coverage::FILE).filter(|_| self.check || self.write);
        if stored.is_none() && (self.check || self.write) {
            let (file, without) = (coverage::FILE, "without `--check` and `--write` the page is printed");
            return Err(CliError(format!(
                "{file} is in a checkout, and the working directory is not in one; {without}"
            )));
        }
        let scenarios = paths.scenarios(&[])?;
        subjects.check(&scenarios)?;
        let report = match &self.report {
            Some(path) => read(path)?,
            None => match Run::all().report(paths)? {
                Some(report) if report.holds() => report,
                Some(report) => return print(&report).map(|()| Outcome::Fails),
                None => return Ok(Outcome::Interrupted),
            },
        };
        let status = coverage::statuses(&report.verdicts);
        let page = Page { subjects: &subjects, scenarios: &scenarios, status: &status }.to_string();
        match stored {
            Some(path) if self.check => return check(&path, &page),
            Some(path) => file::write(&path, page.as_bytes())?,
            None => print(&page)?,
        }
        Ok(Outcome::Holds)
    }
}

fn read(path: &Path) -> Result<Report, CliError> {
    let text = fs::read_to_string(path).map_err(|error| file::cli_error(path, &error))?;
    let no_report = |error| CliError(format!("the file is no output of `conformance run --json`: {error}"));
    Report::from_json(&text).map_err(no_report)
}

/// Compares the page in the checkout with the present page, and prints the first difference.
fn check(path: &Path, page: &str) -> Result<Outcome, CliError> {
    let stored = fs::read_to_string(path).unwrap_or_default();
    if stored == page {
        print(format_args!("every claim holds, and {} is current\n", path.display()))?;
        return Ok(Outcome::Holds);
    }
    let line = stored.lines().zip(page.lines()).take_while(|(stored, made)| stored == made).count();
    let at = |text: &str| text.lines().nth(line).unwrap_or("(nothing)").to_owned();
    print(format_args!(
        "{} is out of date; `conformance coverage --write` updates it. Line {}:\n- {}\n+ {}\n",
        path.display(),
        line + 1,
        at(&stored),
        at(page),
    ))?;
    Ok(Outcome::Fails)
}
