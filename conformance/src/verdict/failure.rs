//! A contradiction of a claim, in words: the first line that does not fit, both sides, and how to repeat the
//! run.

use std::fmt;
use std::path::Path;

use cluster_sim::Check;
use serde::{Deserialize, Serialize};

use crate::arm::sim::{Divergence, Nearest};
use crate::fixture::{self, FixtureError};
use crate::order;
use crate::scenario::{self, Scenario};
use crate::trace::Trace;
use crate::verdict::Claim;

/// The kind of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// A trace is not in the set.
    Differs,
    /// The search neither found nor excluded a trace.
    Undecided,
    /// A run has no trace: the runtime lacks something, or did not end in time.
    CannotRun,
}

/// A trace that is not in a set, or a run without a trace. Prints several lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The kind.
    pub kind: FailureKind,
    /// What is wrong, where, and what is expected.
    pub text: String,
    /// The number of runs with this failure, and the number of all runs.
    pub seen: Option<(u64, u64)>,
    /// The line for `conformance replay`, if the simulator took part.
    pub replay: Option<String>,
}

impl Failure {
    fn new(text: String) -> Self {
        Failure { kind: FailureKind::Differs, text, seen: None, replay: None }
    }

    pub(super) fn seen_in(self, seen: u64, runs: u64) -> Self {
        Failure { seen: Some((seen, runs)), ..self }
    }

    /// A trace that breaks the contract.
    pub(crate) fn breaks(misfits: &[order::Misfit], trace: &Trace, replay: Option<&String>) -> Self {
        let places: Vec<_> = misfits.iter().map(|misfit| place(misfit, trace)).collect();
        let text = format!("a trace does not keep the contract:\n{}", places.join("\n"));
        Failure { replay: replay.cloned(), ..Failure::new(text) }
    }

    /// A run of the simulator that never ends.
    pub(super) fn hangs(hang: &str, trace: &Trace, replay: &str) -> Self {
        let text = format!("{hang}; the trace until then:\n{}", trace.to_string().trim_end());
        Failure { replay: Some(replay.to_owned()), ..Failure::new(text) }
    }

    /// A trace that no schedule of the simulator produces.
    pub(crate) fn unreached(nearest: &Nearest) -> Self {
        let text = format!("no schedule of the simulator produces the trace:\n{}", sides(nearest));
        Failure { replay: Some(nearest.replay.clone()), ..Failure::new(text) }
    }

    /// A trace that the search neither found nor excluded.
    pub(crate) fn undecided(nearest: &Nearest) -> Self {
        let worlds = nearest.worlds;
        let text = format!(
            "undecided: the trace is not among {worlds} worlds of the simulator; raise `--worlds` to search more:\n{}",
            sides(nearest)
        );
        let kind = FailureKind::Undecided;
        Failure { kind, replay: Some(nearest.replay.clone()), ..Failure::new(text) }
    }

    /// A run of the simulator that fails a check.
    pub(super) fn checked(failure: &cluster_sim::Failure) -> Self {
        let hangs = if failure.check == Check::Liveness { "hangs: " } else { "" };
        let text = format!("{hangs}{}", failure.summary());
        Failure { replay: Some(failure.replay.clone()), ..Failure::new(text) }
    }

    /// A run without a trace.
    pub(crate) fn broken(error: &impl fmt::Display) -> Self {
        let text = error.to_string().trim_end().to_owned();
        Failure { kind: FailureKind::CannotRun, ..Failure::new(text) }
    }

    /// A claim without traces. Another claim about the same traces has the reason.
    pub(crate) fn untried(other: Claim) -> Self {
        let text = format!("no trace to compare; the reason is at: {}", other.words());
        Failure { kind: FailureKind::CannotRun, ..Failure::new(text) }
    }

    /// A missing recording, with the command that makes it.
    pub(crate) fn unrecorded(scenario: &Scenario, directory: &Path, error: &FixtureError) -> Self {
        let (name, ours) = (&scenario.name, [scenario::DIRECTORY, fixture::DIRECTORY].map(Path::new));
        let place = |option, path: Option<&Path>, ours| {
            let own = path.filter(|path| *path != ours);
            own.map_or_else(String::new, |path| format!(" {option} '{}'", path.display()))
        };
        let scenarios = place("--scenarios", scenario.path.parent(), ours[0]);
        let recordings = place("--recordings", directory.parent(), ours[1]);
        Failure::new(format!(
            "no recording: {error}\n  create it with: conformance record --scenario {name}{scenarios}{recordings}"
        ))
    }
}

/// A mismatch, with the line before it.
fn place(misfit: &order::Misfit, trace: &Trace) -> String {
    let Some((observer, number, line)) = &misfit.seen else { return format!("  contract: {misfit}") };
    let before = number.checked_sub(2).and_then(|index| trace.seen_by(*observer).get(index));
    let after = before.map_or_else(String::new, |before| format!("\n    after    {before}"));
    format!("  {observer}, line {number}{after}\n    seen     {line}\n    expected {}", misfit.expected)
}

fn sides(nearest: &Nearest) -> String {
    let Nearest { made, of, misfit, failed, .. } = nearest;
    let there = misfit.as_ref().map(|Divergence { observer, line, found, wanted }| {
        let shown = |line: &Option<String>| line.clone().unwrap_or_else(|| "nothing more".to_owned());
        let (wanted, found) = (shown(wanted), shown(found));
        format!("; then {observer}, line {line}\n    seen      {wanted}\n    simulated {found}")
    });
    let check = failed.as_ref().map(|failed| {
        let cluster_sim::Failure { check, what, step, .. } = failed.as_ref();
        format!("\n  the run fails the check `{check}` at step {step}: {what}")
    });
    let (there, check) = (there.unwrap_or_default(), check.unwrap_or_default());
    format!("  the nearest run has made {made} of all {of} lines{there}{check}")
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((seen, runs)) = self.seen {
            write!(f, "in {seen} of {runs} runs, ")?;
        }
        f.write_str(&self.text)?;
        self.replay.as_ref().map_or(Ok(()), |replay| write!(f, "\n  conformance replay '{replay}'"))
    }
}
