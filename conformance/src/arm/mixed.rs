//! Two runtimes in one cluster, to test each end of a channel against Node: a Rust primary with workers on
//! live Node, and a primary on live Node with Rust workers. Each side plays the same part as alone; only the
//! executable of the workers differs.

use std::time::Duration;

use super::drive::{self, Launch, RunError};
use super::node::Runtime;
use super::unix::Unix;
use crate::scenario::Scenario;
use crate::trace::Trace;

/// More than any run takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// A cluster of two runtimes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mixed {
    primary: Side,
    unix: Unix,
    node: Runtime,
}

/// The side of the primary in a mixed cluster. The workers run on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The real system, in this executable.
    Unix,
    /// On live Node.
    Node,
}

impl Mixed {
    /// A cluster with the primary on the given side and the workers on the other side.
    pub fn new(primary: Side, unix: Unix, node: Runtime) -> Self {
        Mixed { primary, unix, node }
    }

    /// The name, with the primary first: `unix with workers on node v20.20.2`. Exceptions for the runtime of
    /// the primary also match this name.
    pub fn name(&self) -> String {
        let node = self.node.name();
        match self.primary {
            Side::Unix => format!("unix with workers on {node}"),
            Side::Node => format!("{node} with workers on unix"),
        }
    }

    /// The runtime of Node.
    pub fn node(&self) -> &Runtime {
        &self.node
    }

    /// Runs a scenario once.
    ///
    /// # Errors
    ///
    /// As [`drive::run`].
    pub fn run(&self, scenario: &Scenario) -> Result<Trace, RunError> {
        drive::run(&self.launch(scenario), scenario, DEADLINE)
    }

    /// Runs a scenario once. Also returns the standard error of the processes.
    ///
    /// # Errors
    ///
    /// As [`drive::run`].
    pub fn run_with_stderr(&self, scenario: &Scenario) -> Result<(Trace, String), RunError> {
        drive::run_with_stderr(&self.launch(scenario), scenario, DEADLINE)
    }

    /// The primary starts as in a cluster of one runtime. The command of the workers follows the primary's
    /// own arguments.
    fn launch(&self, scenario: &Scenario) -> Launch {
        let (unix, node) = (self.unix.launch(scenario), self.node.launch(scenario));
        let (mut primary, workers) = match self.primary {
            Side::Unix => (unix, node),
            Side::Node => (node, unix),
        };
        primary.args.push(workers.program);
        primary.args.extend(workers.args);
        primary.files.extend(workers.files);
        primary
    }
}
