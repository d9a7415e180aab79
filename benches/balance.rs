//! The balance of the policies: connections, open connections and waiting times of each worker, in virtual
//! time and on the real system.

mod agenda;
mod chart;
mod ideal;
mod kernel;
mod load;
mod model;
mod outcome;
mod real;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use clap::Args;
use cluster_benches::policies::{self, Policy};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use chart::{Curves, Panel, Row};
use load::{CASES, Case, Change, clients};
use outcome::{Figures, Outcome, Sample};

/// Compares the balance of the policies. Prints tables in Markdown.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Measure on the real system instead of in virtual time.
    #[arg(long)]
    real: bool,
    /// Seconds of each load. [default: 200 of virtual time, 8 on the real system]
    #[arg(long)]
    seconds: Option<u64>,
    /// Write the plots into this directory. Only in virtual time.
    #[arg(long, conflicts_with = "real")]
    svg: Option<PathBuf>,
    /// Write every figure to this file, also for each worker.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Serve with this policy instead of measuring.
    #[arg(long, hide = true, requires = "case")]
    serve: Option<String>,
    /// The number of the load of the server.
    #[arg(long, hide = true)]
    case: Option<usize>,
}

/// A load with the results of each policy.
struct Results {
    case: Case,
    outcomes: Vec<(Policy, Outcome)>,
    ideal: Option<Outcome>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if let (Some(policy), Some(case)) = (&options.serve, options.case) {
        let policy = policies::named(policy).context("no such policy")?;
        let case = CASES.get(case).context("no such load")?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        return runtime.block_on(real::serve(policy, case));
    }
    let results = if options.real { on_real_system(options) } else { in_virtual_time(options) }?;
    for results in &results {
        results.print();
    }
    if let Some(directory) = &options.svg {
        draw(&results, directory)?;
    }
    if let Some(path) = &options.json {
        let results: Vec<Value> = results.iter().map(Results::json).collect();
        fs::write(path, format!("{:#}\n", Value::from(results)))?;
    }
    Ok(())
}

fn in_virtual_time(options: &Options) -> anyhow::Result<Vec<Results>> {
    let seconds = options.seconds.unwrap_or(200);
    ensure!(seconds >= 130, "a run needs 130 seconds: the change is at a third, and 40 seconds are drawn");
    let simulate = |case: Case| {
        eprintln!("{}", case.name);
        let clients = clients(&case, seconds);
        let outcomes =
            policies::all().map(|policy| (policy, model::run(&case, policy, clients.clone()))).collect();
        let ideal = case.change.is_none().then(|| ideal::run(&case, clients));
        Results { case, outcomes, ideal }
    };
    Ok(CASES.into_iter().map(simulate).collect())
}

fn on_real_system(options: &Options) -> anyhow::Result<Vec<Results>> {
    let seconds = options.seconds.unwrap_or(8);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut all = Vec::new();
    for (number, case) in CASES.into_iter().enumerate().filter(|(_, case)| case.change.is_none()) {
        let mut outcomes = Vec::new();
        for policy in policies::all() {
            eprintln!("{}: {}", case.name, policy.name);
            let outcome = real::run(number, policy, clients(&case, seconds));
            outcomes.push((policy, runtime.block_on(outcome)?));
        }
        all.push(Results { case, outcomes, ideal: None });
    }
    Ok(all)
}

impl Results {
    fn print(&self) {
        println!("\n**{}**\n", self.case.name);
        println!(
            "| | connections, max / mean | open, max / mean | open, variation | wait p50 | p99 | p99.9 |"
        );
        println!("|---|---|---|---|---|---|---|");
        for (policy, outcome) in &self.outcomes {
            let Figures { connections, open, variation, waits } = outcome.figures();
            let name = policy.name;
            println!("| {name} | {connections:.2} | {open:.2} | {variation:.2} | {} |", cells(waits));
        }
        if let Some(ideal) = &self.ideal {
            println!("| ideal: one queue | | | | {} |", cells(ideal.figures().waits));
        }
        if self.case.change == Some(Change::Scale) {
            let moved = |(policy, outcome): &(Policy, Outcome)| {
                format!("{} {:.0} %", policy.name, 100.0 * outcome.moved())
            };
            let moved: Vec<String> = self.outcomes.iter().map(moved).collect();
            println!("\nClient addresses with another worker after the change: {}.", moved.join(", "));
        }
    }

    fn json(&self) -> Value {
        let outcomes: serde_json::Map<String, Value> =
            self.outcomes.iter().map(|(policy, outcome)| (policy.name.to_owned(), outcome.json())).collect();
        json!({ "load": self.case.name, "policies": outcomes, "ideal": self.ideal.as_ref().map(Outcome::json) })
    }

    /// Waiting times by policy.
    fn waits(&self) -> Panel {
        let row = |(policy, outcome): &(Policy, Outcome)| Row {
            name: policy.name.to_owned(),
            values: outcome.figures().waits.to_vec(),
        };
        Panel {
            title: self.case.name.to_owned(),
            rows: self.outcomes.iter().map(row).collect(),
            ideal: self.ideal.as_ref().map(|ideal| ideal.figures().waits[1]),
        }
    }

    /// The open connections of the new worker, divided by the mean of the others, around the change.
    fn newcomer(&self, slot: u32) -> Curves {
        let line = |(policy, outcome): &(Policy, Outcome)| {
            let shift = outcome.changed_at.unwrap_or_default();
            let is_near = |sample: &&Sample| (-5.0..=40.0).contains(&(sample.at - shift));
            let samples = outcome.samples.iter().filter(is_near);
            let points = samples.map(|sample| {
                let others = sample.open.iter().filter(|(other, _)| **other != slot);
                let own = sample.open.get(&slot).copied().unwrap_or(0);
                let mean = outcome::mean(others.map(|(_, open)| f64::from(*open)));
                (sample.at - shift, f64::from(own) / mean.max(1.0))
            });
            (policy.name.to_owned(), smooth(&points.collect::<Vec<_>>()))
        };
        Curves { title: self.case.name.to_owned(), lines: self.outcomes.iter().map(line).collect() }
    }
}

/// Means of ten samples.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    points
        .chunks(10)
        .map(|chunk| (chunk[0].0, outcome::mean(chunk.iter().map(|(_, value)| *value))))
        .collect()
}

fn cells(waits: [f64; 3]) -> String {
    waits.map(|wait| format!("{wait:.1} ms")).join(" | ")
}

fn draw(all: &[Results], directory: &std::path::Path) -> anyhow::Result<()> {
    fs::create_dir_all(directory)?;
    let constant = all.iter().filter(|results| results.case.change.is_none() && results.case.mean > 1000.0);
    let panels: Vec<Panel> = constant.map(Results::waits).collect();
    let axis = "wait in ms: p50, p99 (large), p99.9 (ring); vertical line: p99 of the ideal";
    fs::write(directory.join("waiting.svg"), chart::rows(&panels, axis, [0.1, 100_000.0])?)?;
    let newcomers = all.iter().filter_map(|results| match results.case.change {
        Some(Change::Respawn) => Some(results.newcomer(0)),
        Some(Change::Scale) => Some(results.newcomer(load::WORKERS)),
        None => None,
    });
    let panels: Vec<Curves> = newcomers.collect();
    let svg = chart::curves(&panels, "seconds after the change", "new worker / mean of the others", 2.0)?;
    fs::write(directory.join("newcomer.svg"), svg)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two runs of the same load have the same results, every request is answered, and round robin gives free
    /// workers the same number of connections.
    #[test]
    fn runs_are_repeatable() {
        for policy in policies::all() {
            for case in &CASES {
                let clients = clients(case, 2);
                let first = model::run(case, policy, clients.clone());
                assert_eq!(first, model::run(case, policy, clients), "{}: {}", policy.name, case.name);
            }
        }
        let free = model::run(&CASES[0], policies::ASSIGNED[0], clients(&CASES[0], 5));
        assert!(free.figures().connections <= 1.01, "{:?}", free.figures());
    }

    /// Under uniform short requests, no policy has a lower p99 than the ideal.
    #[test]
    fn ideal_waits_least() {
        let clients = clients(&CASES[1], 20);
        let ideal = ideal::run(&CASES[1], clients.clone()).figures().waits[1];
        for policy in policies::all() {
            let waits = model::run(&CASES[1], policy, clients.clone()).figures().waits[1];
            assert!(waits >= ideal, "{}: {waits} and {ideal}", policy.name);
        }
    }
}
