//! Does the simulator find bugs? Every small wrong change of `sim/mutants.json` is made to a copy of the core, and the
//! checks must see it.
//!
//! `cargo run --release -p cluster-sim --example mutants` prints the table. It fails if a mutant survives, or if another
//! check than the one that is named kills it, or later than it is said.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it is outside of what is simulated"
)]

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

/// Makes small wrong changes to the core, one after the other, and says which check of the simulator sees each of them
#[derive(Debug, Parser)]
struct Arguments {
    /// Only the mutants whose name has this in it
    #[arg(conflicts_with_all = ["write", "check"])]
    name: Option<String>,
    /// Write sim/MUTANTS.md anew
    #[arg(long, conflicts_with = "check")]
    write: bool,
    /// Fail if sim/MUTANTS.md says something else
    #[arg(long)]
    check: bool,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let Arguments { name, write, check } = Arguments::parse();
    let suite = Suite::load()?;
    let chosen = suite.named(name.as_deref().unwrap_or_default())?;
    let mut workspace = Workspace::open(&suite)?;
    eprintln!("the core as it is: {} runs", suite.runs);
    if let Some(found) = workspace.random_search()? {
        return Err(format!("without any mutant, {} fails: {}", found.killer, found.what).into());
    }
    let rows = judge(&chosen, &mut workspace)?;
    let page = table::page(&suite, &rows);
    print!("{}", table::table(&rows));
    if write {
        fs::write(table::PAGE, &page)?;
    }
    let is_stale = check && fs::read_to_string(table::PAGE)? != page;
    if is_stale {
        eprintln!("{} says something else: --write, and read the difference", table::PAGE);
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
