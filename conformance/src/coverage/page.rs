//! The page as Markdown.

use std::fmt;

use super::status::{Column, Mark, Status};
use super::{NodeTest, Subject, Subjects, Topic};
use crate::scenario::Scenario;

/// The content of the page.
#[derive(Debug)]
pub struct Page<'a> {
    /// Tests and topics.
    pub subjects: &'a Subjects,
    /// The scenarios.
    pub scenarios: &'a [Scenario],
    /// The status of each scenario per arm.
    pub status: &'a Status,
}

const HEAD: &str = "\
# What is covered

Made by `conformance coverage --write`; CI checks that it is current. A scenario says in `shows` what it shows. ✓: every
claim about it holds on this arm; ✓*: with an exception that has its reason in `exceptions.json`; ✗: one fails; nothing:
it was not run there. \"Node 20\" and so on are the recordings of that version: they are in the contract, and the
simulator can do all of them.
";

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        self.summary(f)?;
        writeln!(f, "## Node's own tests that are about our subject\n")?;
        self.head(f, "test, and what it asserts")?;
        for test in self.tests(Subject::Ours) {
            self.row(f, &told(test), &test.test)?;
        }
        writeln!(f, "\n## Topics\n")?;
        self.head(f, "topic, and what there is to show")?;
        for Topic { group, topic, what } in &self.subjects.topics {
            self.row(f, &format!("{group}: **{topic}**. {what}"), topic)?;
        }
        writeln!(f, "\n## Node's own tests that mean something only with live Node\n")?;
        self.head(f, "test, and what it asserts")?;
        for test in self.tests(Subject::LiveNode) {
            self.row(f, &told(test), &test.test)?;
        }
        writeln!(f, "\n## Node's own tests that are no subject here\n")?;
        writeln!(f, "| test | why |\n|---|---|")?;
        for NodeTest { test, asserts, remark, .. } in self.tests(Subject::JsOnly) {
            writeln!(f, "| `{test}` | {asserts} {} |", remark.as_deref().unwrap_or("JavaScript only"))?;
        }
        Ok(())
    }
}

impl Page<'_> {
    fn tests(&self, subject: Subject) -> impl Iterator<Item = &NodeTest> {
        self.subjects.tests.iter().filter(move |test| test.subject == subject)
    }

    fn summary(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, missing) = (self.tests(Subject::Ours).count(), self.subjects.missing(self.scenarios).len());
        let shown = self.subjects.topics.iter().filter(|topic| self.showing(&topic.topic).next().is_some());
        let (topics, scenarios) = (self.subjects.topics.len(), self.scenarios.len());
        writeln!(
            f,
            "{scenarios} scenarios show {} of the {all} tests that are about our subject, and {} of {topics} topics.\n",
            all - missing,
            shown.count(),
        )
    }

    fn head(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        let columns: Vec<_> = self.status.keys().map(Column::to_string).collect();
        writeln!(f, "| {what} | scenarios | {} |", columns.join(" | "))?;
        writeln!(f, "|---|---|{}", "---|".repeat(columns.len()))
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, what: &str, subject: &str) -> fmt::Result {
        let scenarios: Vec<_> = self.showing(subject).map(|scenario| scenario.name.as_str()).collect();
        let names = scenarios.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let names = if names.is_empty() { "**missing**" } else { &names };
        write!(f, "| {what} | {names} |")?;
        for marks in self.status.values() {
            let worst: Option<&Mark> = scenarios.iter().filter_map(|name| marks.get(*name)).max();
            write!(f, " {} |", worst.map(Mark::to_string).unwrap_or_default())?;
        }
        writeln!(f)
    }

    fn showing(&self, subject: &str) -> impl Iterator<Item = &Scenario> {
        let shows = move |scenario: &&Scenario| scenario.covers.iter().any(|shown| shown == subject);
        self.scenarios.iter().filter(shows)
    }
}

fn told(NodeTest { test, asserts, remark, .. }: &NodeTest) -> String {
    let remark = remark.as_ref().map(|remark| format!(" ({remark})")).unwrap_or_default();
    format!("`{test}`: {asserts}{remark}")
}
