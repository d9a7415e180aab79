//! Measures whether the simulator finds bugs: makes each small wrong change of `sim/mutants.json` to a copy
//! of the core. A check must then fail.
//!
//! `cargo run --release -p cluster-sim --example mutants` prints the table. The command fails if a mutant
//! survives, if the mutant is found by another check than expected, or if more runs than expected are needed.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the tool is not simulated")]

use std::error::Error;
use std::fs;
use std::process::ExitCode;

use clap::Parser;

mod known;
mod suite;
mod table;
mod workspace;

use suite::{Mutant, Suite};
use table::Row;
use workspace::Workspace;

/// Makes small wrong changes to the core and prints the check of the simulator that detects each
#[derive(Debug, Parser)]
struct Arguments {
    /// Only the mutants with this text in their name
    #[arg(conflicts_with_all = ["write", "check"])]
    name: Option<String>,
    /// Write sim/MUTANTS.md
    #[arg(long, conflicts_with = "check")]
    write: bool,
    /// Fail if sim/MUTANTS.md is outdated
    #[arg(long)]
    check: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Arguments { name, write, check } = Arguments::parse();
    let suite = Suite::load()?;
    let chosen = suite.named(name.as_deref().unwrap_or_default())?;
    let mut workspace = Workspace::open(&suite)?;
    eprintln!("unchanged core: {} runs", suite.runs);
    if let Some(found) = workspace.random_search()? {
        return Err(format!("in the unchanged core {} fails: {}", found.killer, found.what).into());
    }
    let rows = judge(&chosen, &mut workspace)?;
    let page = table::page(&suite, &rows);
    print!("{}", table::table(&rows));
    if write {
        fs::write(table::PAGE, &page)?;
    }
    let is_stale = check && fs::read_to_string(table::PAGE)? != page;
    if is_stale {
        eprintln!("{} is outdated; run with --write and review the difference", table::PAGE);
    }
    let wrong = rows.iter().filter_map(Row::complaint);
    let complaints = wrong.inspect(|complaint| eprintln!("{complaint}")).count();
    Ok(if complaints == 0 && !is_stale { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn judge<'a>(chosen: &[&'a Mutant], workspace: &mut Workspace<'_>) -> Result<Vec<Row<'a>>, Box<dyn Error>> {
    let mut rows = Vec::new();
    for (at, mutant) in chosen.iter().enumerate() {
        eprint!("{}/{} {}: ", at + 1, chosen.len(), mutant.name);
        let row = Row { mutant, kill: workspace.judge(mutant)? };
        eprintln!("{}", row.verdict());
        rows.push(row);
    }
    Ok(rows)
}
