//! The report for CI systems, as `JUnit` XML: a suite per claim, and a test per scenario.

use std::collections::BTreeMap;

use quick_junit::{NonSuccessKind, TestCase, TestCaseStatus, TestSuite};

use super::Report;
use crate::verdict::{Claim, Verdict};

impl Report {
    /// The report as `JUnit` XML.
    pub fn junit(&self) -> quick_junit::Report {
        let mut suites = BTreeMap::<Claim, TestSuite>::new();
        for verdict in &self.verdicts {
            let suite =
                suites.entry(verdict.claim).or_insert_with(|| TestSuite::new(verdict.claim.to_string()));
            suite.add_test_case(case(verdict));
        }
        let mut report = quick_junit::Report::new("conformance");
        report.set_time(self.took).add_test_suites(suites.into_values());
        if !self.stale.is_empty() {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_description(self.stale.join("\n"));
            let mut suite = TestSuite::new("exceptions");
            suite.add_test_case(TestCase::new("every exception is needed", status));
            report.add_test_suite(suite);
        }
        report
    }
}

/// A test: the class is the runtime and the set, the name is the scenario. An expected failure is skipped.
fn case(verdict: &Verdict) -> TestCase {
    let texts = || verdict.failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n");
    let status = match &verdict.expected {
        _ if verdict.failures.is_empty() => TestCaseStatus::success(),
        Some(reason) => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(format!("expected: {reason}")).set_description(texts());
            status
        }
        None => {
            let cannot_run = verdict.cannot_run();
            let kind = if cannot_run { NonSuccessKind::Error } else { NonSuccessKind::Failure };
            let mut status = TestCaseStatus::non_success(kind);
            let message =
                if cannot_run { "cannot run".to_owned() } else { format!("{} does not hold", verdict.claim) };
            status.set_message(message).set_description(texts());
            status
        }
    };
    let mut case = TestCase::new(verdict.scenario.clone(), status);
    case.set_classname(format!("{}.{}", verdict.runtime_id(), verdict.set()));
    case
}
