//! The status of each scenario per arm, from the verdicts of a report.

use std::collections::BTreeMap;
use std::fmt;

use crate::suite::UNIX;
use crate::verdict::{Claim, Verdict};

/// A column of the page.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// The recordings of this major version of Node.
    Recorded(u32),
    /// The simulator.
    Sim,
    /// The real system.
    Unix,
    /// Our primary with Node's workers.
    RustNode,
    /// Node's primary with our workers.
    NodeRust,
    /// The installed Node.
    Node,
}

impl Column {
    /// Whether every run gives the same result. On a live arm, an exception may be needed in some runs only.
    fn is_certain(&self) -> bool {
        match self {
            Column::Recorded(_) | Column::Sim => true,
            Column::Unix | Column::RustNode | Column::NodeRust | Column::Node => false,
        }
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Column::Recorded(major) => write!(f, "Node {major}"),
            Column::Sim => f.write_str("sim"),
            Column::Unix => f.write_str("unix"),
            Column::RustNode => f.write_str("rust-node"),
            Column::NodeRust => f.write_str("node-rust"),
            Column::Node => f.write_str("node"),
        }
    }
}

/// The status of a scenario, a test or a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// All claims hold.
    Holds,
    /// All claims hold, some with an exception.
    Excused,
    /// A claim fails.
    Fails,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mark::Holds => "✓",
            Mark::Excused => "✓*",
            Mark::Fails => "✗",
        })
    }
}

/// The status of each scenario per arm. An arm that did not run has no entry.
pub type Status = BTreeMap<Column, BTreeMap<String, Mark>>;

/// The status of every scenario in these verdicts.
pub fn statuses(verdicts: &[Verdict]) -> Status {
    let mut status = Status::new();
    for verdict in verdicts {
        let Some(column) = column(verdict) else { continue };
        let mark = match (verdict.holds(), verdict.excused && column.is_certain()) {
            (false, _) => Mark::Fails,
            (true, true) => Mark::Excused,
            (true, false) => Mark::Holds,
        };
        let marks = status.entry(column).or_default();
        let worst = marks.entry(verdict.scenario.clone()).or_insert(mark);
        *worst = mark.max(*worst);
    }
    status
}

/// The column of a verdict. `None`: the page has no foreign runtimes.
fn column(verdict: &Verdict) -> Option<Column> {
    Some(match verdict.claim {
        Claim::RecordedInContract | Claim::RecordedInSimulator => Column::Recorded(major(&verdict.runtime)),
        Claim::SimulatedInContract => Column::Sim,
        Claim::UnixInContract | Claim::UnixInSimulator => Column::Unix,
        Claim::LiveInContract | Claim::LiveInSimulator => Column::Node,
        Claim::MixedInContract | Claim::MixedInSimulator if verdict.runtime.starts_with(UNIX) => {
            Column::RustNode
        }
        Claim::MixedInContract | Claim::MixedInSimulator => Column::NodeRust,
        Claim::ForeignInContract | Claim::ForeignInSimulator => return None,
    })
}

/// The major version: 20 for `node v20.20.2`.
fn major(runtime: &str) -> u32 {
    let version = runtime.rsplit('v').next().unwrap_or_default();
    version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0)
}
