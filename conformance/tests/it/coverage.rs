//! The coverage page: rows for claims that hold, that need an exception, that fail, or that did not run; and
//! missing tests.

use std::path::Path;

use cluster_conformance::coverage::{Page, Subjects, statuses};
use cluster_conformance::scenario::{self, Scenario};
use cluster_conformance::verdict::{Claim, Failure, FailureKind, Verdict};

fn verdict(claim: Claim, runtime: &str, holds: bool, excused: bool) -> Verdict {
    let failure = Failure { kind: FailureKind::Differs, text: "a line".to_owned(), seen: None, replay: None };
    Verdict {
        scenario: "basic".to_owned(),
        claim,
        runtime: runtime.to_owned(),
        runs: 1,
        traces: 1,
        excused,
        expected: None,
        failures: (!holds).then_some(failure).into_iter().collect(),
    }
}

fn row(verdicts: &[Verdict]) -> String {
    let scenarios = Scenario::all(Path::new(scenario::DIRECTORY)).expect("valid scenarios");
    let status = statuses(verdicts);
    let subjects = Subjects::ours();
    let page = Page { subjects: &subjects, scenarios: &scenarios, status: &status }.to_string();
    let row = page.lines().find(|line| line.starts_with("| `test-cluster-basic`")).expect("its row");
    row.split(" | ").skip(1).collect::<Vec<_>>().join(" | ")
}

#[test]
fn row_has_worst_mark_per_arm() {
    let node = "node v20.20.2";
    assert_eq!(row(&[]), "`basic` |");
    assert_eq!(
        row(&[
            verdict(Claim::RecordedInContract, node, true, false),
            verdict(Claim::RecordedInSimulator, node, true, true)
        ]),
        "`basic` | ✓* |"
    );
    assert_eq!(
        row(&[
            verdict(Claim::SimulatedInContract, "sim", true, false),
            verdict(Claim::UnixInSimulator, "unix", false, false)
        ]),
        "`basic` | ✓ | ✗ |"
    );
    assert_eq!(row(&[verdict(Claim::LiveInContract, node, true, true)]), "`basic` | ✓ |");
}

#[test]
fn uncovered_tests_are_missing() {
    let mut scenarios = Scenario::all(Path::new(scenario::DIRECTORY)).expect("valid scenarios");
    let subjects = Subjects::ours();
    assert_eq!(subjects.check(&scenarios), Ok(()));
    let before = subjects.missing(&scenarios).len();
    scenarios.retain(|scenario| scenario.name != "basic");
    let missing: Vec<_> = subjects.missing(&scenarios).iter().map(|test| test.test.as_str()).collect();
    assert_eq!((missing.len(), missing.contains(&"test-cluster-basic")), (before + 1, true), "{missing:?}");
    scenarios[0].covers.push("nothing".to_owned());
    assert!(subjects.check(&scenarios).is_err());
}
