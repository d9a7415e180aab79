//! The suite: the claims about the scenarios, tried on one thread per core.
//!
//! Passes the traces of the arms to the [`Checker`], and reports each verdict at once. Prints nothing.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use crate::arm::drive::RunError;
use crate::arm::mixed::Mixed;
use crate::arm::node::Runtime;
use crate::arm::unix::Unix;
use crate::fixture::{Fixture, Load};
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::verdict::{Checker, Claim, Failure, Verdict};

/// The name of the real system as a runtime.
pub const UNIX: &str = "unix";

/// The claims to run.
#[derive(Debug)]
pub struct Suite {
    /// The scenarios.
    pub scenarios: Vec<Scenario>,
    /// The directories of recordings, one per runtime.
    pub recordings: Vec<PathBuf>,
    /// Whether the simulator is an arm. Without the simulator, the claims S ⊆ C and N ⊆ S do not run.
    pub sim: bool,
    /// The real system, as an arm.
    pub unix: Option<Unix>,
    /// The installed Node, as an arm.
    pub node: Option<Runtime>,
    /// The runtimes that the user has named, as arms.
    pub foreign: Vec<Runtime>,
    /// The clusters of the real system and Node, as arms.
    pub mixed: Vec<Mixed>,
    /// The number of sampled schedules of the simulator per scenario.
    pub samples: u64,
    /// The number of runs per scenario of the real system, of live Node and of each mixed cluster.
    pub runs: u32,
}

/// Claims about the same traces. They run together.
#[derive(Debug, Clone, Copy)]
struct Job<'a> {
    scenario: &'a Scenario,
    source: Source<'a>,
}

/// The source of the traces of a job.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    Recorded(&'a Path),
    Sampled,
    Unix(&'a Unix),
    Live(&'a Runtime),
    Foreign(&'a Runtime),
    Mixed(&'a Mixed),
}

impl Source<'_> {
    /// Whether the runtime is recent enough for this scenario.
    fn can_run(self, scenario: &Scenario) -> bool {
        match self {
            Source::Recorded(directory) => scenario.runs_on(&recorded_runtime(directory)),
            Source::Live(node) | Source::Foreign(node) => scenario.runs_on(&node.name()),
            Source::Mixed(mixed) => scenario.runs_on(&mixed.node().name()),
            Source::Sampled | Source::Unix(_) => true,
        }
    }
}

impl Suite {
    /// The number of verdicts that [`run`](Suite::run) reports, unless stopped.
    pub fn claims(&self) -> usize {
        self.jobs().iter().map(|job| self.claims_of(*job).len()).sum()
    }

    /// Runs everything, and reports each verdict. After `stopped` is set, no further job starts, and the
    /// verdicts of interrupted runs mean nothing.
    pub fn run(&self, checker: &Checker, stopped: &AtomicBool, report: impl FnMut(Verdict)) {
        let (jobs, next) = (self.jobs(), AtomicUsize::new(0));
        let (sender, verdicts) = mpsc::channel();
        let work = |verdicts: mpsc::Sender<Verdict>| {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                for verdict in self.work(*job, checker, stopped) {
                    verdicts.send(verdict).expect("the receiver outlives the senders");
                }
            }
        };
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
                let (work, sender) = (&work, sender.clone());
                scope.spawn(move || work(sender));
            }
            drop(sender);
            verdicts.iter().for_each(report);
        });
    }

    /// The jobs, with the slow jobs first: otherwise a thread could run a slow job alone at the end.
    fn jobs(&self) -> Vec<Job<'_>> {
        let foreign = self.foreign.iter().map(Source::Foreign);
        let live = self.node.iter().map(Source::Live);
        let mixed = self.mixed.iter().map(Source::Mixed);
        let unix = self.unix.iter().map(Source::Unix);
        let recorded = self.recordings.iter().map(|directory| Source::Recorded(directory));
        let sampled = self.sim.then_some(Source::Sampled);
        let sources = foreign.chain(live).chain(mixed).chain(unix).chain(recorded).chain(sampled);
        let jobs = |source| self.scenarios.iter().map(move |scenario| Job { scenario, source });
        sources.flat_map(jobs).filter(|job| job.source.can_run(job.scenario)).collect()
    }

    fn claims_of(&self, job: Job<'_>) -> &'static [Claim] {
        match job.source {
            Source::Recorded(_) if self.sim => &[Claim::RecordedInContract, Claim::RecordedInSimulator],
            Source::Recorded(_) => &[Claim::RecordedInContract],
            Source::Sampled => &[Claim::SimulatedInContract],
            Source::Unix(_) => &[Claim::UnixInContract, Claim::UnixInSimulator],
            Source::Live(_) => &[Claim::LiveInContract, Claim::LiveInSimulator],
            Source::Foreign(_) => &[Claim::ForeignInContract, Claim::ForeignInSimulator],
            Source::Mixed(_) => &[Claim::MixedInContract, Claim::MixedInSimulator],
        }
    }

    fn work(&self, job: Job<'_>, checker: &Checker, stopped: &AtomicBool) -> Vec<Verdict> {
        let Job { scenario, source } = job;
        if stopped.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let traces = match source {
            Source::Sampled => return vec![checker.samples(scenario, self.samples)],
            Source::Recorded(directory) => Fixture::load(directory, &scenario.name).map_err(|error| {
                (recorded_runtime(directory), Failure::unrecorded(scenario, directory, &error))
            }),
            Source::Unix(unix) => self.runs(scenario, UNIX, stopped, || unix.run(scenario)),
            Source::Live(node) | Source::Foreign(node) => {
                self.runs(scenario, &node.name(), stopped, || node.run(scenario))
            }
            Source::Mixed(mixed) => self.runs(scenario, &mixed.name(), stopped, || mixed.run(scenario)),
        };
        let claims = self.claims_of(job);
        let judged = |claim: &Claim| match &traces {
            Ok(traces) if claim.is_in_contract() => checker.contract(scenario, *claim, traces),
            Ok(traces) => checker.simulator(scenario, *claim, traces),
            Err((runtime, failure)) if *claim == claims[0] => {
                failed(scenario, *claim, runtime, failure.clone())
            }
            Err((runtime, _)) => failed(scenario, *claim, runtime, Failure::untried(claims[0])),
        };
        claims.iter().map(judged).collect()
    }

    fn runs(
        &self,
        scenario: &Scenario,
        runtime: &str,
        stopped: &AtomicBool,
        run: impl Fn() -> Result<Trace, RunError>,
    ) -> Result<Fixture, (String, Failure)> {
        let mut traces = Fixture::new(&scenario.name, runtime);
        for _ in 0..self.runs {
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            traces.add(Load::Idle, run().map_err(|error| (runtime.to_owned(), Failure::broken(&error)))?);
        }
        Ok(traces)
    }
}

/// The runtime of a directory: `node v20.20.2` for `.../node-v20.20.2`.
fn recorded_runtime(directory: &Path) -> String {
    directory.file_name().unwrap_or_default().to_string_lossy().replacen('-', " ", 1)
}

fn failed(scenario: &Scenario, claim: Claim, runtime: &str, failure: Failure) -> Verdict {
    Verdict {
        scenario: scenario.name.clone(),
        claim,
        runtime: runtime.to_owned(),
        runs: 0,
        traces: 0,
        excused: false,
        expected: None,
        failures: vec![failure],
    }
}
