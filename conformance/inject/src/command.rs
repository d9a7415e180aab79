//! The command line.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use syscalls::Sysno;

use crate::injection::{Failure, Injection, Victim};
use crate::members::{self, Effort, Judged, Member, MemberTable};
use crate::record::{self, Record, Recorder};
use crate::run::{self, Setup};
use crate::server::{self, Cluster};
use crate::sweep::{self, Selection};
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
    /// Write every run with its trace into FILE, one per line
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
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
    /// Search the simulator for the traces of a file of `--record`
    ///
    /// A failure in the simulator takes the place of the injected failure: a fault, the death of the process,
    /// or a connection that the program closes. One run for each process, call and failure.
    Members {
        file: PathBuf,
        /// Every distinct trace
        #[arg(long)]
        all: bool,
        /// The number of worlds of a search
        #[arg(long, value_name = "N", default_value_t = 20_000)]
        budget: usize,
    },
}

pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    let performed = match &cli.verb {
        Some(Verb::Serve { cluster }) => return serve(*cluster),
        Some(Verb::Members { file, all, budget }) => cli.search_members(file, *all, *budget),
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
            jobs: self.jobs(),
        }
    }

    fn sweep(&self) -> anyhow::Result<bool> {
        let done = AtomicUsize::new(0);
        let recorder = self.record.as_deref().map(Recorder::create).transpose()?;
        let report = |record: &Record| -> anyhow::Result<()> {
            if let Some(recorder) = &recorder {
                recorder.write(record)?;
            }
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if record.outcome == Outcome::Fails {
                print_failure(record);
            } else if done.is_multiple_of(500) {
                eprintln!("{done} runs");
            }
            Ok(())
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
        self.write_table(&OUTCOMES, &table.to_string())?;
        Ok(fails == 0)
    }

    /// Searches the simulator for the recorded traces. False: a trace is in no simulated run.
    fn search_members(&self, file: &Path, all: bool, budget: usize) -> anyhow::Result<bool> {
        let records = record::read(file)?;
        let judged = members::judge(&records, Effort { all, budget, jobs: self.jobs() }, print_member);
        let table = MemberTable(&judged).to_string();
        println!("{table}");
        let has = |of: fn(&Member) -> bool| judged.iter().filter(|judged| of(&judged.member)).count();
        let out = has(|member| matches!(member, Member::Out(_)));
        println!("{} traces, {out} in no simulated run", judged.len());
        ensure!(!judged.is_empty(), "no run of {} has an injected failure", file.display());
        self.write_table(&MEMBERS, &table)?;
        Ok(out == 0)
    }

    /// Replaces a table of the file of `--write`.
    fn write_table(&self, marks: &Marks, table: &str) -> anyhow::Result<()> {
        let Some(path) = &self.write else { return Ok(()) };
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(fs::write(path, replace(&text, marks, table)?)?)
    }

    fn jobs(&self) -> usize {
        self.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from))
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

fn print_member(judged: &Judged<'_>) {
    let Judged { member, records } = judged;
    let Some(Record { setup: Setup { cluster, victim }, injection, .. }) = records.first() else { return };
    println!(
        "{} positions, as --cluster {} --victim {victim} {injection}: {member}",
        records.len(),
        cluster.name()
    );
}

fn print_failure(record: &Record) {
    let Record { setup: Setup { cluster, victim }, injection, broken, milliseconds, .. } = record;
    let cluster = cluster.name();
    println!("FAILS after {milliseconds} ms: --cluster {cluster} --victim {victim} {injection}");
    for claim in broken {
        println!("  {claim}");
    }
}

/// The lines around a table in a file.
#[derive(Debug)]
struct Marks {
    begin: &'static str,
    end: &'static str,
}

const OUTCOMES: Marks = Marks { begin: "<!-- outcomes -->\n", end: "<!-- end -->\n" };
const MEMBERS: Marks = Marks { begin: "<!-- members -->\n", end: "<!-- end of members -->\n" };

/// Replaces the text between the marks.
fn replace(text: &str, Marks { begin, end }: &Marks, table: &str) -> anyhow::Result<String> {
    let parts = text.split_once(begin).and_then(|(head, rest)| Some((head, rest.split_once(end)?.1)));
    ensure!(parts.is_some(), "the file has no marks `{}` and `{}`", begin.trim(), end.trim());
    let (head, tail) = parts.unwrap_or_default();
    Ok(format!("{head}{begin}{table}{end}{tail}"))
}
