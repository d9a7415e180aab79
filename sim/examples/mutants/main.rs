//! Does the simulator find bugs? Every small wrong change of `sim/mutants.json` is made to a copy of the core, and the
//! checks must see it.
//!
//! `cargo run --release -p cluster-sim --example mutants` prints the table, with a name behind it only those mutants
//! whose name has it in it; `--write` writes `sim/MUTANTS.md` anew, `--check` compares with it. It fails if a mutant
//! survives, or if another check than the one that is named kills it, or later than it is said.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it is outside of what is simulated"
)]

use std::env;
use std::error::Error;
use std::fs;
use std::process::ExitCode;

mod known;
mod lab;
mod suite;
mod table;

use lab::Lab;
use suite::{Mutant, Suite};
use table::Row;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let (write, check) = (has("--write"), has("--check"));
    let only = arguments.iter().find(|argument| !argument.starts_with("--")).map_or("", String::as_str);
    if !only.is_empty() && (write || check) {
        return Err("the page is about all mutants: leave out the name, or --write and --check".into());
    }
    let suite = Suite::load()?;
    let mut lab = Lab::open(&suite)?;
    eprintln!("the core as it is: {} runs", suite.runs);
    if let Some(found) = lab.hunt()? {
        return Err(format!("without any mutant, {} fails: {}", found.killer, found.what).into());
    }
    let rows = judge(&suite, &mut lab, only)?;
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

fn judge<'a>(suite: &'a Suite, lab: &mut Lab<'_>, only: &str) -> Result<Vec<Row<'a>>, Box<dyn Error>> {
    let chosen: Vec<&Mutant> = suite.mutants.iter().filter(|mutant| mutant.name.contains(only)).collect();
    let mut rows = Vec::new();
    for (at, mutant) in chosen.iter().enumerate() {
        eprint!("{}/{} {}: ", at + 1, chosen.len(), mutant.name);
        let row = Row { mutant, kill: lab.judge(mutant)? };
        eprintln!("{}", row.verdict());
        rows.push(row);
    }
    Ok(rows)
}
