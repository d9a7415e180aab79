//! The result of the traces of one runtime in one scenario.
//!
//! A trace holds if the contract allows the trace, and if Node was recorded with the trace or the simulator
//! can produce it. The simulator is searched within a small budget; an undecided trace counts as allowed,
//! and the note of the cell names the budget.

use cluster_sim::explore::Budget;

use super::nearest::RecordedTraces;
use super::{CellResult, Deviation};
use crate::arm::sim::{Nearest, Reach, Sim};
use crate::exceptions::Exceptions;
use crate::fixture::Fixture;
use crate::order::{self, Misfit};
use crate::requirement::{Level, RUN_ENDS, SIMULATED};
use crate::scenario::Scenario;
use crate::trace::Trace;

/// The scenario, the recordings and the exceptions.
pub(super) struct TraceJudge<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) recorded: &'a RecordedTraces,
    pub(super) exceptions: &'a Exceptions,
    pub(super) budget: Budget,
}

/// The worst trace of a runtime.
pub(super) struct Judged {
    pub(super) result: CellResult,
    pub(super) trace: Trace,
    /// The number of runs with the trace.
    pub(super) seen: u64,
    pub(super) note: Option<String>,
    pub(super) differences: Vec<Deviation>,
    /// The replay line of the nearest run of the simulator, if the simulator was searched.
    pub(super) replay: Option<String>,
}

/// A trace after the comparison with the contract.
struct Compared {
    /// The mismatches without an exception.
    misfits: Vec<Misfit>,
    /// The reason of the first excused mismatch.
    reason: Option<String>,
    /// Whether an excused mismatch is about a requirement of the documentation or of Node's code.
    has_defect: bool,
}

impl TraceJudge<'_> {
    /// The worst of the traces. `None`: there is none.
    pub(super) fn worst(&self, traces: &Fixture) -> Option<Judged> {
        let judged = traces.traces.iter().map(|recorded| {
            let seen = recorded.seen.values().copied().map(u64::from).sum();
            self.judge(&traces.runtime, &recorded.trace, seen)
        });
        judged.max_by_key(|judged| (judged.result, judged.differences.len()))
    }

    fn judge(&self, runtime: &str, trace: &Trace, seen: u64) -> Judged {
        let Compared { misfits, reason, has_defect } = self.contract(runtime, trace);
        let mut differences: Vec<_> = misfits.iter().map(Deviation::of).collect();
        differences.sort_by_key(|one| (one.seen.is_none(), one.level));
        let mut note = reason;
        let mut replay = None;
        if !self.recorded.has(trace) {
            match self.search(runtime, trace) {
                Reach::Yes(run) => replay = Some(run.replay),
                Reach::No(nearest) => {
                    differences.extend(differences.is_empty().then(|| Deviation::unreached(&nearest)));
                    replay = Some(nearest.replay);
                }
                Reach::Unknown(nearest) => {
                    note = note.or_else(|| Some(unknown(&nearest)));
                    replay = Some(nearest.replay);
                }
            }
        }
        let result = match (differences.is_empty(), has_defect) {
            (false, _) => CellResult::Differs,
            (true, true) => CellResult::KnownDefect,
            (true, false) => CellResult::Holds,
        };
        Judged { result, trace: trace.clone(), seen, note, differences, replay }
    }

    fn contract(&self, runtime: &str, trace: &Trace) -> Compared {
        let name = &self.scenario.name;
        let relieved = self.exceptions.relieve(self.scenario, runtime);
        let mut misfits = order::check(&relieved, trace);
        let mut reasons = Vec::new();
        misfits.retain(|misfit| {
            let excuse = self.exceptions.excuse_for(name, runtime, misfit);
            reasons.extend(excuse.map(|exception| exception.reason.clone()));
            excuse.is_none()
        });
        let all = order::check(self.scenario, trace);
        let mut excused = all.iter().filter(|misfit| !misfits.contains(misfit)).peekable();
        if excused.peek().is_some() {
            let lacking = self.exceptions.concerning(name, runtime).filter(|exception| exception.lacks);
            reasons.extend(lacking.map(|exception| exception.reason.clone()));
        }
        // A difference between versions of Node is no defect.
        let has_defect = excused.any(|one| one.requirement.is_none_or(|it| it.level < Level::Tolerated));
        Compared { misfits, reason: reasons.into_iter().next(), has_defect }
    }

    fn search(&self, runtime: &str, trace: &Trace) -> Reach {
        let name = &self.scenario.name;
        let hidden: Vec<_> =
            self.exceptions.concerning(name, runtime).map(|exception| exception.lines.clone()).collect();
        let compared = self.exceptions.clone().apply(name, runtime, trace);
        Sim::new(self.scenario).like(runtime).hiding(hidden).reaches(&compared, self.budget)
    }
}

fn unknown(nearest: &Nearest) -> String {
    let worlds = nearest.worlds;
    format!(
        "The contract allows the trace. Whether a schedule of the simulator has the trace is undecided: {worlds} worlds were searched."
    )
}

impl Deviation {
    fn of(misfit: &Misfit) -> Self {
        let (observer, line, seen) = match &misfit.seen {
            Some((observer, line, seen)) => (Some(observer.to_string()), Some(*line), Some(seen.to_string())),
            None => (None, None, None),
        };
        Deviation {
            requirement: misfit.requirement.map(|one| one.name.to_owned()),
            level: misfit.requirement.map_or(Level::Unspecified, |one| one.level),
            observer,
            line,
            seen,
            expected: misfit.expected.clone(),
        }
    }

    /// The contract allows the trace, but no schedule of the simulator has the trace.
    fn unreached(nearest: &Nearest) -> Self {
        let place = nearest.misfit.as_ref();
        let expected = place.and_then(|place| place.found.clone()).map(|found| format!("`{found}`"));
        Deviation {
            requirement: Some(SIMULATED.name.to_owned()),
            level: SIMULATED.level,
            observer: place.map(|place| place.observer.to_string()),
            line: place.map(|place| place.line),
            seen: place.and_then(|place| place.wanted.clone()),
            expected: expected.unwrap_or_else(|| "nothing more".to_owned()),
        }
    }
}

impl Judged {
    /// A run that did not end differs, even if every line fits.
    pub(super) fn with_hang(mut self, hang: Option<String>) -> Self {
        let Some(hang) = hang else { return self };
        self.result = CellResult::Differs;
        if self.differences.is_empty() {
            self.differences.push(Deviation {
                requirement: Some(RUN_ENDS.name.to_owned()),
                level: RUN_ENDS.level,
                observer: None,
                line: None,
                seen: None,
                expected: "the end of every process".to_owned(),
            });
        }
        self.note = Some(hang);
        self
    }
}
