//! `conformance explore`: searches for failing runs of a scenario, and explains the smallest run.
//!
//! Tries random schedules, or all schedules, and reports the coverage. Stores a failing replay line in the
//! file of regressions. A later search runs the lines of this file first.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use cluster_sim::Program;
use cluster_sim::explore::{Bound, Budget, UNLIKE_ITSELF, exhaustive};
use cluster_sim::prop::Run;
use cluster_sim::replay::Line;
use cluster_sim::scenarios::{self, RandomProgram, ReplyServer};

use super::progress::Progress;
use super::{CliError, Outcome, Paths, at_least_1, interrupt, print};

mod difference;
mod faults;
mod random_search;
mod regressions;
mod target;

use regressions::Regressions;
use target::{ExploreTarget, Finding, schedule};

/// The number of worlds that an exhaustive search has visited.
static SEEN: AtomicUsize = AtomicUsize::new(0);

/// The limit of threads.
const MOST_JOBS: usize = 256;

/// The target, the schedules, and the limits.
#[derive(Debug, Args)]
pub(super) struct Explore {
    /// A scenario, or one of the simulator's own: standard, serve-<workers>-<clients>, or
    /// plan-<workers>-<clients>-<moves of the primary>-<moves of each worker>, such as plan-1-1--cl (the
    /// worker closes the server, and listens again). `cargo doc -p cluster-sim`, module `scenarios`, lists
    /// the letters
    scenario: String,
    /// Number of random schedules
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = at_least_1::<u64>)]
    seeds: u64,
    /// Try every schedule and every strike of the faults, not a sample
    #[arg(long, conflicts_with_all = ["seeds", "jobs"])]
    exhaustive: bool,
    /// Faults: names with commas between them, `all` or `none`. A wrong name prints the list
    #[arg(long, value_name = "FAULTS", value_delimiter = ',', default_value = "none")]
    faults: Vec<String>,
    /// Limit of faults per run. Faults that lose nothing do not count
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_1::<u8>)]
    strikes: u8,
    /// Threads for random schedules, at most 256. Default: one per core. The result does not depend on the
    /// number
    #[arg(long, value_name = "N", value_parser = at_least_1::<usize>)]
    jobs: Option<usize>,
    /// With --exhaustive: limit of worlds
    #[arg(long, value_name = "N", default_value_t = 10_000_000, value_parser = at_least_1::<usize>)]
    worlds: usize,
    /// With --exhaustive: limit of memory for visited worlds
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = at_least_1::<usize>)]
    memory: usize,
    /// Limit of seconds for shrinking a failing run; prints the smallest run until then
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    shrink_seconds: u64,
    /// The file of failing replay lines, which run first. Default: the file of the checkout around the
    /// working directory, or `regressions.txt`
    #[arg(long, value_name = "FILE")]
    regressions: Option<PathBuf>,
}

impl Explore {
    pub(super) fn perform(&self, paths: &Paths) -> Result<Outcome, CliError> {
        let faults = faults::read(&self.faults)?;
        let named = self.regressions.clone().or_else(|| paths.in_checkout(regressions::FILE));
        let file = named.unwrap_or_else(|| PathBuf::from(regressions::FILE));
        let unknown = match paths.scenario(&self.scenario) {
            Ok(scenario) => {
                let exceptions = paths.exceptions()?;
                return self.explore(&ExploreTarget::of(&scenario, exceptions, faults, self.strikes), &file);
            }
            Err(unknown) => unknown,
        };
        if let Ok(serve) = self.scenario.parse::<scenarios::Scenario<ReplyServer>>() {
            return self.explore(&ExploreTarget::own(&serve, faults, self.strikes), &file);
        }
        if let Ok(plan) = self.scenario.parse::<scenarios::Scenario<RandomProgram>>() {
            return self.explore(&ExploreTarget::own(&plan, faults, self.strikes), &file);
        }
        Err(CliError(format!(
            "{unknown}\nor one of the simulator's own: standard, serve-<workers>-<clients>, or plan-... (`explore --help`)"
        )))
    }

    fn explore<P: Program + Send + Sync>(
        &self,
        target: &ExploreTarget<P>,
        file: &Path,
    ) -> Result<Outcome, CliError> {
        let regressions = Regressions::load(file)?;
        let _home = interrupt::listen()?;
        if let Some((finding, run)) = again(target, &regressions)? {
            print("A regression: this run has failed before.\n")?;
            return explain(target, &finding, &run, NearestSearch::Searched).map(|()| Outcome::Fails);
        }
        let found = if self.exhaustive { self.all(target)? } else { self.sample(target)? };
        match found {
            Found::Nothing => Ok(Outcome::Holds),
            Found::Interrupted => Ok(Outcome::Interrupted),
            Found::Wrong(finding, run) => {
                let shrunk = self.shrink(target, &finding, *run);
                let line = shrunk.line();
                if regressions.add(&line)? {
                    print(format_args!("Kept in {}, which runs first from now on.\n", file.display()))?;
                }
                if interrupt::is_stopped() {
                    eprintln!("interrupted: shrinking ended early");
                    return explain(target, &finding, &shrunk, NearestSearch::Untried)
                        .map(|()| Outcome::Interrupted);
                }
                explain(target, &finding, &shrunk, NearestSearch::Searched).map(|()| Outcome::Fails)
            }
        }
    }

    /// The smallest run that fails in the same way, among the runs that were tried until an interruption or
    /// the deadline.
    fn shrink<P: Program>(&self, target: &ExploreTarget<P>, finding: &Finding, run: Run<P>) -> Run<P> {
        let progress = Progress::endless("shrinking");
        let fails = |run: &Run<P>| {
            target.finding(run.world(), &run.outcome()).is_some_and(|one: Finding| one.kind == finding.kind)
        };
        watch(Duration::from_secs(self.shrink_seconds));
        let shrunk = run.shrunk_until(&ENOUGH, fails);
        drop(progress);
        shrunk
    }

    fn sample<P: Program + Send + Sync>(&self, target: &ExploreTarget<P>) -> Result<Found<P>, CliError> {
        let jobs = self.jobs.or_else(|| thread::available_parallelism().ok().map(NonZero::get)).unwrap_or(1);
        let progress = Progress::of_many(self.seeds, "runs");
        let jobs = jobs.min(MOST_JOBS).min(usize::try_from(self.seeds).unwrap_or(usize::MAX));
        let result = random_search::search(target, self.seeds, jobs, &|done| progress.reach(done));
        drop(progress);
        if let Some(seed) = result.found {
            let run = target.run(target.armed(seed), schedule(seed));
            let finding = target.finding(run.world(), &run.outcome());
            let finding =
                finding.ok_or_else(|| CliError(format!("run {seed} has failed. {UNLIKE_ITSELF}")))?;
            print(format_args!("Run {seed} of {}: {}\n", self.seeds, finding.text))?;
            return Ok(Found::Wrong(finding, Box::new(run)));
        }
        if interrupt::is_stopped() {
            eprintln!("interrupted: {} of {} runs; no failure found", result.runs, self.seeds);
            return Ok(Found::Interrupted);
        }
        let random_search::SearchResult { runs, steps, struck, .. } = result;
        let judged = target.promise();
        print(format_args!(
            "{runs} runs, {steps} steps, {struck} runs with a fault: bounded by --seeds. {judged}\n"
        ))?;
        Ok(Found::Nothing)
    }

    fn all<P: Program>(&self, target: &ExploreTarget<P>) -> Result<Found<P>, CliError> {
        let memory = self.memory.saturating_mul(1 << 20);
        let budget = Budget::from(self.worlds).in_bytes(memory).until(&interrupt::STOPPED).counted_in(&SEEN);
        let progress = Progress::of_many(self.worlds as u64, "worlds, at most");
        eprintln!("every run of {} ...", self.scenario);
        let covered = progress.follow(&SEEN, || exhaustive(target.world(), budget));
        drop(progress);
        match covered {
            Ok(coverage) if coverage.cut == Some(Bound::Stopped) => {
                eprintln!("interrupted: {coverage}; no failure found");
                Ok(Found::Interrupted)
            }
            Ok(coverage) => {
                print(format_args!(
                    "{coverage}. Every check of the simulator passes; contracts do not apply to exhaustive searches.\n"
                ))?;
                Ok(Found::Nothing)
            }
            Err(failure) => {
                let line: Line = failure.replay.parse()?;
                let run = target.run(line.faults(), line.schedule());
                let finding =
                    target.finding(run.world(), &run.outcome()).ok_or_else(|| CliError(failure.summary()))?;
                print(format_args!("Found: {}\n", finding.text))?;
                Ok(Found::Wrong(finding, Box::new(run)))
            }
        }
    }
}

/// Set when shrinking has taken long enough.
static ENOUGH: AtomicBool = AtomicBool::new(false);

/// The interval at which the clock is read.
const GLANCE: Duration = Duration::from_millis(50);

/// Ends shrinking at the deadline, or at an interruption. The simulator itself has no clock.
fn watch(at_most: Duration) {
    let begun = Instant::now();
    thread::spawn(move || {
        while begun.elapsed() < at_most && !interrupt::is_stopped() {
            thread::sleep(GLANCE);
        }
        ENOUGH.store(true, Ordering::Relaxed);
    });
}

/// Whether to search for the nearest passing run. This takes time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum NearestSearch {
    Searched,
    Untried,
}

/// The result of a search.
enum Found<P: Program> {
    Nothing,
    Wrong(Finding, Box<Run<P>>),
    Interrupted,
}

/// The first known regression that fails again.
fn again<P: Program>(
    target: &ExploreTarget<P>,
    regressions: &Regressions,
) -> Result<Option<(Finding, Run<P>)>, CliError> {
    let lines = regressions.of(target.name());
    let mut others = 0;
    for line in lines.iter().take_while(|_| !interrupt::is_stopped()) {
        let run = target.run(line.faults(), line.schedule());
        if let Some(finding) = target.finding(run.world(), &run.outcome()) {
            return Ok(Some((finding, run)));
        }
        others += usize::from(run.line() != line.to_string());
    }
    if !lines.is_empty() {
        let of = lines.len();
        print(format_args!("Known regressions: {of}, all pass; {others} took another path than before.\n"))?;
    }
    Ok(None)
}

/// Prints the run, the difference from the nearest passing run, and the replay line last.
fn explain<P: Program>(
    target: &ExploreTarget<P>,
    finding: &Finding,
    run: &Run<P>,
    nearest: NearestSearch,
) -> Result<(), CliError> {
    let trace = run.trace();
    let finding = target
        .finding(run.world(), &run.outcome())
        .map_or_else(|| finding.text.clone(), |finding| finding.text);
    let (faults, switches, interruptions) = (run.faults(), run.switches(), run.preemptions());
    let steps = run.world().steps();
    print(format_args!("\nThe smallest failing run, {steps} steps:\n\n{trace}\n"))?;
    print(format_args!(
        "faults: {faults}, switches: {switches}, interruptions: {interruptions}\n{finding}\n\n"
    ))?;
    let is_searched = nearest == NearestSearch::Searched;
    match is_searched.then(|| difference::nearest(target, run)) {
        Some(Some(other)) => print(difference::between(&trace, &other.trace()))?,
        Some(None) => print("No near run passes.\n")?,
        None => {}
    }
    print(format_args!("\nAdd --html FILE for a diagram:\n  conformance replay '{}'\n", run.line()))
}
