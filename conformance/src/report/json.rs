//! The report for programs: one JSON value.

use serde_json::{Value, json};

use super::Report;
use crate::verdict::{Failure, Verdict};

impl Report {
    /// The whole report.
    pub fn json(&self) -> Value {
        let absent = self
            .absent
            .iter()
            .map(|absent| json!({ "arm": absent.arm, "why": absent.why, "asked_for": absent.asked_for }));
        json!({
            "holds": self.holds(),
            "verdicts": self.verdicts.iter().map(verdict).collect::<Vec<_>>(),
            "not_run": absent.collect::<Vec<_>>(),
            "stale_exceptions": self.stale,
            "seconds": self.took.as_secs_f64(),
        })
    }
}

fn verdict(verdict: &Verdict) -> Value {
    json!({
        "scenario": verdict.scenario,
        "claim": verdict.claim.to_string(),
        "runtime": verdict.runtime,
        "holds": verdict.holds(),
        "runs": verdict.runs,
        "traces": verdict.traces,
        "excused": verdict.excused,
        "failures": verdict.failures.iter().map(failure).collect::<Vec<_>>(),
    })
}

fn failure(failure: &Failure) -> Value {
    let Failure { text, seen, replay } = failure;
    json!({ "text": text, "runs": seen.map(|(seen, _)| seen), "replay": replay })
}
