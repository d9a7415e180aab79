//! The report for programs: one JSON value, written and read.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Absent, Report};
use crate::verdict::{Claim, Failure, FailureKind, Verdict};

#[derive(Deserialize)]
struct ReportRecord {
    verdicts: Vec<VerdictRecord>,
    not_run: Vec<Absent>,
    stale_exceptions: Vec<String>,
    seconds: f64,
}

#[derive(Deserialize)]
struct VerdictRecord {
    scenario: String,
    claim: Claim,
    runtime: String,
    runs: u64,
    traces: usize,
    excused: bool,
    expected: Option<String>,
    failures: Vec<FailureRecord>,
}

#[derive(Deserialize)]
struct FailureRecord {
    kind: FailureKind,
    text: String,
    runs: Option<u64>,
    replay: Option<String>,
}

impl From<VerdictRecord> for Verdict {
    fn from(record: VerdictRecord) -> Self {
        let VerdictRecord { scenario, claim, runtime, runs, traces, excused, expected, failures } = record;
        let failure = |record: FailureRecord| {
            let FailureRecord { kind, text, runs: seen, replay } = record;
            Failure { kind, text, seen: seen.map(|seen| (seen, runs)), replay }
        };
        let failures = failures.into_iter().map(failure).collect();
        Verdict { scenario, claim, runtime, runs, traces, excused, expected, failures }
    }
}

impl Report {
    /// Reads the output of `conformance run --json`.
    ///
    /// # Errors
    ///
    /// The text is no such report.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let ReportRecord { verdicts, not_run, stale_exceptions, seconds } = serde_json::from_str(text)?;
        Ok(Report {
            verdicts: verdicts.into_iter().map(Verdict::from).collect(),
            absent: not_run,
            stale: stale_exceptions,
            took: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
        })
    }

    /// The whole report.
    pub fn json(&self) -> Value {
        json!({
            "holds": self.holds(),
            "verdicts": self.verdicts.iter().map(verdict).collect::<Vec<_>>(),
            "not_run": self.absent,
            "stale_exceptions": self.stale,
            "seconds": self.took.as_secs_f64(),
        })
    }
}

fn verdict(verdict: &Verdict) -> Value {
    json!({
        "id": verdict.id(),
        "scenario": verdict.scenario,
        "claim": verdict.claim.to_string(),
        "runtime": verdict.runtime,
        "holds": verdict.holds(),
        "runs": verdict.runs,
        "traces": verdict.traces,
        "excused": verdict.excused,
        "expected": verdict.expected,
        "failures": verdict.failures.iter().map(failure).collect::<Vec<_>>(),
    })
}

fn failure(failure: &Failure) -> Value {
    let Failure { kind, text, seen, replay } = failure;
    json!({ "kind": kind, "text": text, "runs": seen.map(|(seen, _)| seen), "replay": replay })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_round_trips_through_json() {
        let verdict = |claim, failures| Verdict {
            scenario: "basic".to_owned(),
            claim,
            runtime: "unix".to_owned(),
            runs: 3,
            traces: 2,
            excused: true,
            expected: None,
            failures,
        };
        let failure = Failure {
            kind: FailureKind::Differs,
            text: "a line".to_owned(),
            seen: Some((1, 3)),
            replay: None,
        };
        let unseen = Failure {
            kind: FailureKind::CannotRun,
            text: "no trace".to_owned(),
            seen: None,
            replay: Some("sim:v1".to_owned()),
        };
        let mut verdicts: Vec<_> = Claim::ALL.map(|claim| verdict(claim, Vec::new())).into();
        verdicts[0].failures = vec![failure, unseen];
        verdicts[0].expected = Some("a known defect".to_owned());
        let absent = Absent { arm: "node".to_owned(), why: "missing".to_owned(), asked_for: true };
        let report = Report::new(verdicts, vec![absent], vec!["unneeded".to_owned()], Duration::from_secs(9));
        assert_eq!(Report::from_json(&report.json().to_string()).expect("a report"), report);
    }
}
