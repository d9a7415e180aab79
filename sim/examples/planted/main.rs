//! Searches five async programs with planted mistakes, and prints for each search: the seconds (shrinking and
//! explanation included), the runs up to the first failure, and the rows of the table.
//!
//! `cargo run --release -p cluster-sim --example planted` prints the measurements;
//! `-- "a map of clients leaks"` prints the explained run of this mistake.

#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the measurement is not simulated")]

use std::cell::Cell;
use std::time::Instant;

use programs::{PLANTED, Planted, rows};

mod programs;

/// Searches for a mistake, and prints a line of the table, or the run.
fn measure(planted: &Planted, prints_run: bool) -> Result<(), String> {
    let begin = Instant::now();
    let (runs, has_failed) = (Cell::new(0), Cell::new(false));
    let found = (planted.program)(false).check(|world| {
        let outcome = (planted.property)(world);
        runs.set(runs.get() + u32::from(!has_failed.get()));
        has_failed.set(has_failed.get() || outcome.is_err());
        outcome
    });
    let found = found.err().ok_or("no run fails")?;
    if found.what != planted.violation {
        return Err(found.to_string());
    }
    let (table, rows) = (found.to_string(), rows(&found));
    let seconds = begin.elapsed().as_secs_f64();
    if prints_run {
        println!("{table}");
        return Ok(());
    }
    println!("| {} | {seconds:.2} | {} | {rows} |", planted.mistake, runs.get());
    Ok(())
}

fn main() -> Result<(), String> {
    let wanted = std::env::args().nth(1);
    if wanted.is_none() {
        println!("| mistake | seconds | runs to the failure | rows |\n|---|---|---|---|");
    }
    let is_wanted = |planted: &&Planted| wanted.as_ref().is_none_or(|wanted| *wanted == planted.mistake);
    for planted in PLANTED.iter().filter(is_wanted) {
        measure(planted, wanted.is_some()).map_err(|error| format!("{}: {error}", planted.mistake))?;
    }
    Ok(())
}
