//! The claims of the suite. Each claim states that one set of traces is part of another set. A verdict is the
//! result of a claim.
//!
//! Each letter is a set of traces. *N*: recorded from Node. *S*: of the simulator. *U*: of the real system.
//! *L*: of the installed Node. *M*: of mixed clusters. *F*: of a runtime that the user has named. *C*:
//! permitted by the contract, which is [`order`] together with the clauses of the scenario. Traces are input.
//! A [`Failure`] describes a trace that is not in a set.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cluster_sim::explore::Budget;

use crate::arm::sim::{self, Reach, Sim};
use crate::exceptions::{Exception, Exceptions};
use crate::fixture::{Fixture, Recorded};
use crate::order::{self, Misfit};
use crate::scenario::Scenario;
use crate::text::read_as_text;
use crate::trace::Trace;

mod failure;

pub use failure::{Failure, FailureKind};

/// A claim about a scenario: one set of traces is part of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Claim {
    /// N ⊆ C: the contract is true of Node.
    RecordedInContract,
    /// S ⊆ C: no schedule breaks the contract. Only a sample of the schedules runs.
    SimulatedInContract,
    /// N ⊆ S: the simulator can produce every recorded trace.
    RecordedInSimulator,
    /// U ⊆ C: the contract is true of the real system.
    UnixInContract,
    /// U ⊆ S: the simulator can produce every trace of the real system.
    UnixInSimulator,
    /// L ⊆ C: the contract is true of the installed Node.
    LiveInContract,
    /// L ⊆ S: the simulator can produce every trace of the installed Node.
    LiveInSimulator,
    /// M ⊆ C: the contract is true of clusters of the real system and Node.
    MixedInContract,
    /// M ⊆ S: the simulator can produce every trace of a mixed cluster.
    MixedInSimulator,
    /// F ⊆ C: the contract is true of a runtime that the user has named.
    ForeignInContract,
    /// F ⊆ S: the simulator can produce every trace of a runtime that the user has named.
    ForeignInSimulator,
}

impl Claim {
    /// All claims, in the order of a report.
    pub const ALL: [Claim; 11] = [
        Claim::RecordedInContract,
        Claim::SimulatedInContract,
        Claim::RecordedInSimulator,
        Claim::UnixInContract,
        Claim::UnixInSimulator,
        Claim::LiveInContract,
        Claim::LiveInSimulator,
        Claim::MixedInContract,
        Claim::MixedInSimulator,
        Claim::ForeignInContract,
        Claim::ForeignInSimulator,
    ];

    /// Whether the traces are of a runtime that the user has named.
    pub(crate) fn is_foreign(self) -> bool {
        self.source() == Claim::ForeignInContract.source()
    }

    /// Whether the larger set is the contract, rather than the traces of the simulator.
    pub(crate) fn is_in_contract(self) -> bool {
        match self {
            Claim::RecordedInContract
            | Claim::SimulatedInContract
            | Claim::UnixInContract
            | Claim::LiveInContract
            | Claim::MixedInContract
            | Claim::ForeignInContract => true,
            Claim::RecordedInSimulator
            | Claim::UnixInSimulator
            | Claim::LiveInSimulator
            | Claim::MixedInSimulator
            | Claim::ForeignInSimulator => false,
        }
    }
}

impl Claim {
    /// The claim in words.
    pub fn words(self) -> &'static str {
        match self {
            Claim::RecordedInContract => "recorded Node keeps the contract",
            Claim::SimulatedInContract => "simulator keeps the contract",
            Claim::RecordedInSimulator => "recorded Node stays within the simulator",
            Claim::UnixInContract => "this system keeps the contract",
            Claim::UnixInSimulator => "this system stays within the simulator",
            Claim::LiveInContract => "live Node keeps the contract",
            Claim::LiveInSimulator => "live Node stays within the simulator",
            Claim::MixedInContract => "mixed cluster keeps the contract",
            Claim::MixedInSimulator => "mixed cluster stays within the simulator",
            Claim::ForeignInContract => "the runtime keeps the contract",
            Claim::ForeignInSimulator => "the runtime stays within the simulator",
        }
    }

    /// The source of the traces, as the head of a column.
    pub fn source(self) -> &'static str {
        match self {
            Claim::RecordedInContract | Claim::RecordedInSimulator => "recorded",
            Claim::SimulatedInContract => "simulator",
            Claim::UnixInContract | Claim::UnixInSimulator => "this system",
            Claim::LiveInContract | Claim::LiveInSimulator => "live Node",
            Claim::MixedInContract | Claim::MixedInSimulator => "mixed",
            Claim::ForeignInContract | Claim::ForeignInSimulator => "runtime",
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Claim::RecordedInContract => "N ⊆ C",
            Claim::SimulatedInContract => "S ⊆ C",
            Claim::RecordedInSimulator => "N ⊆ S",
            Claim::UnixInContract => "U ⊆ C",
            Claim::UnixInSimulator => "U ⊆ S",
            Claim::LiveInContract => "L ⊆ C",
            Claim::LiveInSimulator => "L ⊆ S",
            Claim::MixedInContract => "M ⊆ C",
            Claim::MixedInSimulator => "M ⊆ S",
            Claim::ForeignInContract => "F ⊆ C",
            Claim::ForeignInSimulator => "F ⊆ S",
        })
    }
}

/// Parses a claim as printed.
impl FromStr for Claim {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let claim = Claim::ALL.into_iter().find(|claim| claim.to_string() == text);
        claim.ok_or_else(|| format!("`{text}`: expected a claim, such as `{}`", Claim::ALL[0]))
    }
}

read_as_text!(Claim);

/// The result of one claim about one scenario.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The scenario.
    pub scenario: String,
    /// The claim.
    pub claim: Claim,
    /// The runtime of the traces: `node v20.20.2`, `unix`, `sim`.
    pub runtime: String,
    /// The number of runs.
    pub runs: u64,
    /// The number of distinct traces.
    pub traces: usize,
    /// Whether an exception was needed. Then some lines were not compared.
    pub excused: bool,
    /// The reason why the user expects the failures, if so.
    pub expected: Option<String>,
    /// The traces, or runs, that contradict the claim.
    pub failures: Vec<Failure>,
}

impl Verdict {
    /// Whether the runtime could not run the scenario: a run has no trace.
    pub fn cannot_run(&self) -> bool {
        self.failures.iter().any(|failure| failure.kind == FailureKind::CannotRun)
    }

    /// The source of the traces, as the head of a column: a foreign runtime has a column of its own.
    pub fn source(&self) -> &str {
        if self.claim.is_foreign() { &self.runtime } else { self.claim.source() }
    }

    /// Whether no failure was found, or every failure is expected.
    pub fn holds(&self) -> bool {
        self.failures.is_empty() || self.expected.is_some()
    }

    /// A stable name, unless the scenario is renamed: `bun/contract/basic`.
    /// The name has no version except the major version of Node.js.
    pub fn id(&self) -> String {
        format!("{}/{}/{}", self.runtime_id(), self.set(), self.scenario)
    }

    /// The runtime in an [`id`](Verdict::id).
    pub(crate) fn runtime_id(&self) -> String {
        let sides = self.runtime.split(" with workers on ").map(|side| {
            let (name, version) = side.split_once(' ').unwrap_or((side, ""));
            let major = version.trim_start_matches('v').split('.').next().filter(|_| name == "node");
            major.map_or_else(|| name.to_owned(), |major| format!("{name}-{major}"))
        });
        let name = sides.collect::<Vec<_>>().join("-with-");
        match self.claim {
            Claim::RecordedInContract | Claim::RecordedInSimulator => format!("recorded-{name}"),
            Claim::LiveInContract | Claim::LiveInSimulator => format!("live-{name}"),
            Claim::SimulatedInContract
            | Claim::UnixInContract
            | Claim::UnixInSimulator
            | Claim::MixedInContract
            | Claim::MixedInSimulator
            | Claim::ForeignInContract
            | Claim::ForeignInSimulator => name,
        }
    }

    /// The larger set in an [`id`](Verdict::id).
    pub(crate) fn set(&self) -> &'static str {
        if self.claim.is_in_contract() { "contract" } else { "simulator" }
    }
}

/// Compares traces with the contract, and searches for them in the simulator.
#[derive(Debug)]
pub struct Checker {
    exceptions: Mutex<Exceptions>,
    budget: Budget,
}

impl Checker {
    /// A checker with these exceptions and this budget of worlds per search.
    pub fn new(exceptions: Exceptions, budget: impl Into<Budget>) -> Self {
        Checker { exceptions: Mutex::new(exceptions), budget: budget.into() }
    }

    /// Compares the traces of a runtime with the contract.
    pub fn contract(&self, scenario: &Scenario, claim: Claim, traces: &Fixture) -> Verdict {
        verdict(scenario, claim, traces, |recorded| {
            let (misfits, excused) = self.misfits(scenario, &recorded.trace, &traces.runtime);
            ((!misfits.is_empty()).then(|| Failure::breaks(&misfits, &recorded.trace, None)), excused)
        })
    }

    /// Searches the simulator for the traces of a runtime.
    pub fn simulator(&self, scenario: &Scenario, claim: Claim, traces: &Fixture) -> Verdict {
        let (name, runtime) = (&scenario.name, &traces.runtime);
        let hidden: Vec<_> =
            self.exceptions().concerning(name, runtime).map(|exception| exception.lines.clone()).collect();
        let sim = Sim::new(scenario).like(runtime).hiding(hidden);
        verdict(scenario, claim, traces, |recorded| {
            let compared = self.exceptions().apply(name, runtime, &recorded.trace);
            let failure = match sim.reaches(&compared, self.budget) {
                Reach::Yes(_) => None,
                Reach::No(nearest) => Some(Failure::unreached(&nearest)),
                Reach::Unknown(nearest) => Some(Failure::undecided(&nearest)),
            };
            (failure, compared != recorded.trace)
        })
    }

    /// Compares `samples` schedules of the simulator with the contract.
    pub fn samples(&self, scenario: &Scenario, samples: u64) -> Verdict {
        let sim = Sim::new(scenario);
        let mut failures = Vec::new();
        let mut distinct = BTreeMap::new();
        let mut any_excused = false;
        for seed in (0..samples).take_while(|_| !self.budget.is_stopped()) {
            match sim.sample(seed) {
                Ok(run) => drop(distinct.entry(run.trace).or_insert(run.replay)),
                Err(failure) => failures.push(Failure::checked(&failure)),
            }
        }
        failures.extend(distinct.iter().filter_map(|(trace, replay)| {
            if let Some(hang) = sim.hang(trace) {
                return Some(Failure::hangs(&hang, trace, replay));
            }
            let (misfits, excused) = self.misfits(scenario, trace, sim::NAME);
            any_excused |= excused;
            (!misfits.is_empty()).then(|| Failure::breaks(&misfits, trace, Some(replay)))
        }));
        Verdict {
            scenario: scenario.name.clone(),
            claim: Claim::SimulatedInContract,
            runtime: sim::NAME.to_owned(),
            runs: samples,
            traces: distinct.len(),
            excused: any_excused,
            expected: None,
            failures,
        }
    }

    /// The exceptions that no trace needed. Only meaningful after everything was compared.
    pub fn stale(&self) -> Vec<Exception> {
        self.exceptions().stale().cloned().collect()
    }

    /// The mismatches of a trace that no exception excuses, and whether an exception has excused a mismatch.
    fn misfits(&self, scenario: &Scenario, trace: &Trace, runtime: &str) -> (Vec<Misfit>, bool) {
        let relieved = self.exceptions().relieve(scenario, runtime);
        let mut misfits = order::check(&relieved, trace);
        let all = misfits.len();
        misfits.retain(|misfit| !self.exceptions().excuse(&scenario.name, runtime, misfit));
        let excused = misfits.len() < all || relieved.contract.len() < scenario.contract.len();
        (misfits, excused)
    }

    fn exceptions(&self) -> MutexGuard<'_, Exceptions> {
        self.exceptions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn verdict(
    scenario: &Scenario,
    claim: Claim,
    fixture: &Fixture,
    checker: impl Fn(&Recorded) -> (Option<Failure>, bool),
) -> Verdict {
    let runs = fixture.runs.values().copied().map(u64::from).sum();
    let (mut failures, mut excused) = (Vec::new(), false);
    for recorded in &fixture.traces {
        let seen: u64 = recorded.seen.values().copied().map(u64::from).sum();
        let (failure, needed) = checker(recorded);
        failures.extend(failure.map(|failure| failure.seen_in(seen, runs)));
        excused |= needed;
    }
    let (scenario, runtime) = (scenario.name.clone(), fixture.runtime.clone());
    let traces = fixture.traces.len();
    Verdict { scenario, claim, runtime, runs, traces, excused, expected: None, failures }
}
