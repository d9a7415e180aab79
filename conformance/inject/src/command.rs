//! The command line.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use syscalls::Sysno;

use crate::injection::{Failure, Injection, Victim};
use crate::run::{self, Setup};
use crate::server::{self, Cluster};
use crate::sweep::{self, Record, Selection};
use crate::table::Table;
use crate::verdict::{self, Outcome};

/// Run a real cluster once per position, and make a system call of a process fail there
#[derive(Debug, Parser)]
#[command(name = "inject", version, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    /// Only the named clusters; repeatable
    #[arg(long = "cluster", value_name = "NAME")]
    clusters: Vec<Cluster>,
    /// Only the named process; repeatable
    #[arg(long = "victim", value_name = "NAME")]
    victims: Vec<Victim>,
    /// Only the named system call; repeatable
    #[arg(long = "call", value_name = "NAME", value_parser = call)]
    calls: Vec<Sysno>,
    /// Only the named failure: an errno, `ERRNO*3`, `short`, `kill` or `stop`; repeatable
    #[arg(long = "failure", value_name = "NAME")]
    failures: Vec<Failure>,
    /// Only the N-th occurrence of each call
    #[arg(long, value_name = "N")]
    nth: Option<u32>,
    /// Only the first occurrence of each call, and the first error
    #[arg(long)]
    quick: bool,
    /// The number of parallel runs. Default: the number of cores
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Print everything observed in each run
    #[arg(long)]
    evidence: bool,
    /// Write the table of outcomes into FILE, between the marks of the file
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

const AFTER: &str = "\
Exit codes:
  0  every run keeps every claim
  1  a run breaks a claim
  2  wrong usage, or processes cannot be traced";

#[derive(Debug, Subcommand)]
enum Verb {
    /// Run a process of the cluster: started by the runs
    #[command(hide = true)]
    Serve { cluster: Cluster },
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let performed = match cli.verb {
        Some(Verb::Serve { cluster }) => return serve(cluster),
        None if cli.evidence => cli.print_evidence(),
        None => cli.sweep(),
    };
    match performed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn call(name: &str) -> Result<Sysno, String> {
    name.parse().map_err(|()| format!("`{name}` is no system call"))
}

fn serve(cluster: Cluster) -> ExitCode {
    match server::serve(cluster) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A closed standard error loses the reason; a panic would hide the exit code, too.
            writeln!(io::stderr(), "Error: {error:#}").unwrap_or_default();
            ExitCode::from(1)
        }
    }
}

impl Cli {
    fn selection(&self) -> Selection {
        let clusters = if self.clusters.is_empty() { Cluster::ALL.to_vec() } else { self.clusters.clone() };
        let victims = if self.victims.is_empty() {
            vec![Victim::Primary, Victim::Worker]
        } else {
            self.victims.clone()
        };
        Selection {
            clusters,
            victims,
            calls: self.calls.clone(),
            failures: self.failures.clone(),
            nth: self.nth,
            quick: self.quick,
            jobs: self.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)),
        }
    }

    fn sweep(&self) -> anyhow::Result<bool> {
        let done = AtomicUsize::new(0);
        let report = |record: &Record| {
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if record.outcome == Outcome::Fails {
                print_failure(record);
            } else if done.is_multiple_of(500) {
                eprintln!("{done} runs");
            }
        };
        let records = sweep::sweep(&self.selection(), report)?;
        let table = Table(&records);
        println!("{table}");
        let slowest = records.iter().max_by_key(|record| record.milliseconds);
        if let Some(Record { injection, milliseconds, .. }) = slowest {
            println!("slowest run: {milliseconds} ms with {injection}");
        }
        let (injected, fails) = (table.injected().count(), table.fails().count());
        println!("{injected} injected positions in {} runs, {fails} fail", records.len());
        ensure!(injected > 0, "no position has these options; write other --call, --failure or --nth");
        if let Some(path) = &self.write {
            let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
            fs::write(path, replace(&text, &table.to_string())?)?;
        }
        Ok(fails == 0)
    }

    /// Runs each selected position once, and prints the observations; without a call, an undisturbed run.
    fn print_evidence(&self) -> anyhow::Result<bool> {
        let selection = self.selection();
        ensure!(
            selection.calls.is_empty() || !selection.failures.is_empty(),
            "`--evidence` with `--call` needs `--failure`"
        );
        let mut keeps = true;
        for &cluster in &selection.clusters {
            for &victim in &selection.victims {
                let setup = Setup { cluster, victim };
                let (_, undisturbed) = sweep::profile(setup)?;
                for injection in injections(&selection) {
                    let evidence = run::run(setup, injection, Some(undisturbed.sockets))?;
                    let (outcome, broken) = verdict::judge(setup, injection, &evidence, undisturbed);
                    println!("{evidence}\n{}\n{broken:#?}", outcome.name());
                    keeps &= broken.is_empty();
                }
            }
        }
        Ok(keeps)
    }
}

fn injections(selection: &Selection) -> Vec<Option<Injection>> {
    if selection.calls.is_empty() {
        return vec![None];
    }
    let nth = selection.nth.unwrap_or(1);
    let of = |call: Sysno| {
        selection.failures.iter().map(move |failure| Some(Injection { call, nth, failure: *failure }))
    };
    selection.calls.iter().flat_map(|call| of(*call)).collect()
}

fn print_failure(record: &Record) {
    let Record { setup: Setup { cluster, victim }, injection, broken, milliseconds, .. } = record;
    let cluster = cluster.name();
    println!("FAILS after {milliseconds} ms: --cluster {cluster} --victim {victim} {injection}");
    for claim in broken {
        println!("  {claim}");
    }
}

const BEGIN: &str = "<!-- outcomes -->\n";
const END: &str = "<!-- end -->\n";

/// Replaces the text between the marks.
fn replace(text: &str, table: &str) -> anyhow::Result<String> {
    let parts = text.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    ensure!(parts.is_some(), "the file has no marks `{}` and `{}`", BEGIN.trim(), END.trim());
    let (head, tail) = parts.unwrap_or_default();
    Ok(format!("{head}{BEGIN}{table}{END}{tail}"))
}
