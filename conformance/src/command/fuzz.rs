//! `conformance fuzz`: random scenarios, run on real processes and compared with the simulator.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use clap::Args;
use cluster_sim::explore::Budget;

use super::progress::Progress;
use super::{Arm, CliError, NODE, Outcome, Paths, at_least_1, file, interrupt, needs_node, print};
use crate::arm::mixed::{Mixed, Side};
use crate::arm::node::Runtime;
use crate::arm::unix::Unix;
use crate::fuzz::{Generated, Real, Recording, RunChecker, RunOutcome};
use crate::verdict::Failure;

/// The limit of diverging scenarios that are shrunk and printed.
const SHOWN: usize = 5;

/// The arguments of `conformance fuzz`.
#[derive(Debug, Args)]
pub(super) struct Fuzz {
    /// How many random scenarios
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_1::<u64>)]
    runs: u64,
    /// The seed of all scenarios
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// Only the scenario with this number. If undecided, its file is written, and the nearest run of the
    /// simulator is printed
    #[arg(long, value_name = "N")]
    only: Option<u64>,
    /// Arms with real processes; repeatable. Default: `unix` and `node`
    #[arg(long = "arm", value_name = "ARM")]
    arms: Vec<Arm>,
    /// The Node.js of the arms that need one. Default: `node`
    #[arg(long, value_name = "PATH")]
    node: Option<PathBuf>,
    /// Limit of worlds of the simulator per trace
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = at_least_1::<usize>)]
    worlds: usize,
    /// Limit of attempts to shrink a diverging scenario
    #[arg(long, value_name = "N", default_value_t = 100)]
    shrinks: u32,
    /// Directory for recordings of all complete runs
    #[arg(long, value_name = "DIR", conflicts_with = "recorded")]
    record: Option<PathBuf>,
    /// Compare the recordings of this directory; run no processes
    #[arg(long, value_name = "DIR", conflicts_with_all = ["runs", "seed", "only", "arms"])]
    recorded: Option<PathBuf>,
    /// Directory for shrunk diverging scenarios, each ready for the suite
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
}

/// The number of runs with each outcome, by arm.
#[derive(Default)]
struct Tally(BTreeMap<String, BTreeMap<String, u64>>);

impl Tally {
    fn count(&mut self, arm: &str, outcome: &RunOutcome) {
        let how = match outcome {
            RunOutcome::Fits => "fit",
            RunOutcome::Undecided(_) => "undecided: the search was given up, `--worlds` searches more",
            RunOutcome::Known(defect) => defect,
            RunOutcome::Diverges(_) => "DIVERGE",
        };
        *self.0.entry(arm.to_owned()).or_default().entry(how.to_owned()).or_default() += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (arm, counts) in &self.0 {
            writeln!(f, "{arm}: {} scenarios", counts.values().sum::<u64>())?;
            for (how, count) in counts {
                writeln!(f, "  {count:>6}  {how}")?;
            }
        }
        Ok(())
    }
}

/// The result of one scenario on one arm.
struct Finished {
    number: u64,
    arm: String,
    outcome: RunOutcome,
}

impl Fuzz {
    pub(super) fn perform(&self, paths: &Paths) -> Result<Outcome, CliError> {
        if let Some(directory) = &self.recorded {
            return Self::compare_recorded(&self.checker(paths)?, directory);
        }
        needs_node(&self.arms, self.node.as_deref())?;
        std::fs::create_dir_all(&self.out).map_err(|error| file::cli_error(&self.out, &error))?;
        file::writable(&self.out.join("fuzz.json"))?;
        if let Some(directory) = &self.record {
            std::fs::create_dir_all(directory).map_err(|error| file::cli_error(directory, &error))?;
            file::writable(&directory.join("recording.json"))?;
        }
        let checker = self.checker(paths)?;
        let reals = self.reals()?;
        let _home = interrupt::listen()?;
        let directory = tempfile::tempdir()?;
        let mut tally = Tally::default();
        let (mut diverging, mut open) = (Vec::new(), Vec::new());
        self.run_all(&reals, &checker, directory.path(), |Finished { number, arm, outcome }| {
            tally.count(&arm, &outcome);
            match outcome {
                RunOutcome::Diverges(failure) => diverging.push((number, arm, failure)),
                RunOutcome::Undecided(nearest) if self.only.is_some() => open.push((number, arm, nearest)),
                RunOutcome::Undecided(_) | RunOutcome::Fits | RunOutcome::Known(_) => {}
            }
        });
        print(tally)?;
        if interrupt::is_stopped() {
            return Ok(Outcome::Interrupted);
        }
        for (number, arm, nearest) in open {
            let scenario = Generated::new(self.seed, number).write(&self.out)?;
            print(format_args!("{arm}, {}: {nearest}\n\n", scenario.path.display()))?;
        }
        diverging.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        for (number, arm, failure) in diverging.iter().take(SHOWN) {
            let real = reals.iter().find(|real| real.name() == *arm).expect("a run on the arm");
            self.explain(*number, real, &checker, failure)?;
            if interrupt::is_stopped() {
                return Ok(Outcome::Interrupted);
            }
        }
        Ok(if diverging.is_empty() { Outcome::Holds } else { Outcome::Fails })
    }

    fn checker(&self, paths: &Paths) -> Result<RunChecker, CliError> {
        Ok(RunChecker {
            exceptions: paths.exceptions()?,
            defects: paths.defects()?,
            budget: Budget::from(self.worlds).until(&interrupt::STOPPED),
            record: self.record.clone(),
        })
    }

    /// Compares all recordings on one thread per core, and prints the names of the recordings that do not
    /// fit.
    fn compare_recorded(checker: &RunChecker, directory: &Path) -> Result<Outcome, CliError> {
        let cli_error = |error: io::Error| file::cli_error(directory, &error);
        let recordings = Recording::all(directory).map_err(cli_error)?;
        let parsed = recordings.iter().try_for_each(|recording| recording.scenario().map(drop));
        parsed.map_err(cli_error)?;
        let _home = interrupt::listen()?;
        let (progress, next, (sender, finished)) =
            (Progress::new(recordings.len()), AtomicUsize::new(0), mpsc::channel());
        let work = |sender: mpsc::Sender<_>| {
            while let Some(recording) = recordings.get(next.fetch_add(1, Ordering::Relaxed)) {
                let outcome = checker.check_recorded(recording);
                if interrupt::is_stopped() {
                    return;
                }
                sender.send((recording, outcome)).expect("the receiver outlives the senders");
            }
        };
        let (mut tally, mut others) = (Tally::default(), BTreeMap::new());
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
                let (work, sender) = (&work, sender.clone());
                scope.spawn(move || work(sender));
            }
            drop(sender);
            for (recording, outcome) in finished {
                let outcome = outcome.map_err(cli_error)?;
                let name = recording.scenario().map_err(cli_error)?.name;
                progress.step(&format!("{name} on {}: {}", recording.runtime, word(&outcome)));
                tally.count(&recording.runtime, &outcome);
                if let RunOutcome::Diverges(failure) | RunOutcome::Undecided(failure) = &outcome {
                    let text = format!("{}, {}: {failure}\n\n", recording.runtime, word(&outcome));
                    others.insert(name, (matches!(outcome, RunOutcome::Diverges(_)), text));
                }
            }
            Ok::<_, CliError>(())
        })?;
        print(tally)?;
        if interrupt::is_stopped() {
            return Ok(Outcome::Interrupted);
        }
        for (name, (_, text)) in &others {
            print(format_args!("{name} on {text}"))?;
        }
        let diverge = others.values().any(|(diverges, _)| *diverges);
        Ok(if diverge { Outcome::Fails } else { Outcome::Holds })
    }

    fn reals(&self) -> Result<Vec<Real>, CliError> {
        let arms = if self.arms.is_empty() { vec![Arm::Unix, Arm::Node] } else { self.arms.clone() };
        arms.into_iter().map(|arm| self.real(arm)).collect()
    }

    fn real(&self, arm: Arm) -> Result<Real, CliError> {
        let node = || Runtime::find(self.node.as_deref().unwrap_or(Path::new(NODE)));
        let mixed = |side| Ok(Real::Mixed(Mixed::new(side, Unix::this()?, node()?)));
        match arm {
            Arm::Unix => Ok(Real::Unix(Unix::this()?)),
            Arm::Node => Ok(Real::Node(node()?)),
            Arm::RustNode => mixed(Side::Unix),
            Arm::NodeRust => mixed(Side::Node),
            Arm::Sim => Err(CliError(
                "the simulator is the reference of the other arms; choose another arm".to_owned(),
            )),
        }
    }

    /// Runs on one thread per core, and reports each outcome at once.
    fn run_all(
        &self,
        reals: &[Real],
        checker: &RunChecker,
        directory: &Path,
        mut report: impl FnMut(Finished),
    ) {
        let (first, count) = self.only.map_or((0, self.runs), |only| (only, 1));
        let progress =
            Progress::new(usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(reals.len()));
        let (next, (sender, finished)) = (AtomicU64::new(0), mpsc::channel());
        let work = |sender: mpsc::Sender<Finished>| {
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= count || interrupt::is_stopped() {
                    return;
                }
                let number = first + nth;
                for real in reals {
                    let outcome = self.one(number, real, checker, directory);
                    if interrupt::is_stopped() {
                        // A signal may have killed the processes of this run, so the run has no result.
                        return;
                    }
                    let finished = Finished { number, arm: real.name(), outcome };
                    sender.send(finished).expect("the receiver outlives the senders");
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
                let (work, sender) = (&work, sender.clone());
                scope.spawn(move || work(sender));
            }
            drop(sender);
            for one in finished {
                progress.step(&format!("scenario {} on {}: {}", one.number, one.arm, word(&one.outcome)));
                report(one);
            }
        });
    }

    fn one(&self, number: u64, real: &Real, checker: &RunChecker, directory: &Path) -> RunOutcome {
        match Generated::new(self.seed, number).write(directory) {
            Ok(scenario) => checker.check(&scenario, real),
            Err(error) => unreachable!("an accepted plan is a scenario: {error}"),
        }
    }

    /// Shrinks a diverging scenario, writes it to a file, and prints the failure of the shrunk scenario. If
    /// the shrunk scenario does not fail again, prints the first failure.
    fn explain(
        &self,
        number: u64,
        real: &Real,
        checker: &RunChecker,
        first: &Failure,
    ) -> Result<(), CliError> {
        let directory = tempfile::tempdir()?;
        let mut generated = Generated::new(self.seed, number);
        let judged = |scenario: &_| checker.check(scenario, real);
        generated.shrink(self.shrinks, directory.path(), |scenario| {
            !interrupt::is_stopped() && matches!(judged(scenario), RunOutcome::Diverges(_))
        });
        let scenario = generated.write(&self.out)?;
        let again =
            (0..20).take_while(|_| !interrupt::is_stopped()).map(|_| judged(&scenario)).find_map(|outcome| {
                match outcome {
                    RunOutcome::Diverges(failure) => Some(failure),
                    RunOutcome::Fits | RunOutcome::Undecided(_) | RunOutcome::Known(_) => None,
                }
            });
        let again = again.map_or_else(
            || format!("the shrunk scenario did not diverge again; the original did:\n{first}"),
            |failure| failure.to_string(),
        );
        let (seed, name) = (self.seed, real.name());
        print(format_args!(
            "{name}, scenario {number} of seed {seed} (`--seed {seed} --only {number}`), shrunk: {}\n{again}\n\n",
            scenario.path.display()
        ))
    }
}

fn word(outcome: &RunOutcome) -> &'static str {
    match outcome {
        RunOutcome::Fits => "fits",
        RunOutcome::Undecided(_) => "undecided",
        RunOutcome::Known(_) => "shows a known defect",
        RunOutcome::Diverges(_) => "DIVERGES",
    }
}
