//! Two runtimes in one cluster, so that each end of the wire is held against Node's other end: our primary with workers
//! on live Node, and a primary on live Node with our workers. Either side plays its part exactly as it does alone; what
//! is new here is only whom the primary is told to start.

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

/// Where the primary of a mixed cluster runs. Its workers run on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// On the real system, in our own executable.
    Unix,
    /// On live Node.
    Node,
}

impl Mixed {
    /// A cluster with its primary on one side of these two and its workers on the other.
    pub fn new(primary: Side, unix: Unix, node: Runtime) -> Self {
        Mixed { primary, unix, node }
    }

    /// Who is mixed, the primary first: `unix with workers on node v20.20.2`. So what a runtime does as a primary is
    /// excused here, too.
    pub fn name(&self) -> String {
        let node = self.node.name();
        match self.primary {
            Side::Unix => format!("unix with workers on {node}"),
            Side::Node => format!("{node} with workers on unix"),
        }
    }

    /// The runtime that is not ours.
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

    /// The primary is started as ever, and told behind its own arguments how the other side is.
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
