//! What must be true of every run, one property a file, and what a failure says. The checks only look.

pub(crate) mod descriptors;
pub(crate) mod ledger;
pub(crate) mod liveness;
pub(crate) mod order;

use std::fmt;

use cluster_core::Primary;

use crate::kernel::Kernel;
use liveness::Serving;
use order::OrderCheck;

/// A property that is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// No machine finds one of its own invariants broken.
    Assertion,
    /// Every accepted connection is in exactly one place, and no two programs ever have it.
    Ledger,
    /// The events of each worker come in an order and number that Node's documentation and recordings allow.
    Order,
    /// At the end nobody holds a descriptor that is of no use to anybody.
    Descriptors,
    /// When faults stop, everything comes to its end: connections are served or closed, workers that are to go, go.
    Liveness,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Check::Assertion => "assertion",
            Check::Ledger => "ledger",
            Check::Order => "order",
            Check::Descriptors => "descriptors",
            Check::Liveness => "liveness",
        })
    }
}

/// A check that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub check: Check,
    /// What is wrong.
    pub what: String,
    /// After how many steps.
    pub step: u64,
    /// The line that replays the run.
    pub replay: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} fails at step {}: {}\n{}", self.check, self.step, self.what, self.replay)
    }
}

impl std::error::Error for Failure {}

/// What the checks remember.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Checks {
    pub(crate) serving: Serving,
    pub(crate) order: OrderCheck,
}

impl Checks {
    /// Nothing can happen any more.
    pub(crate) fn at_the_end(
        &self,
        kernel: &Kernel,
        primary: Option<&Primary>,
    ) -> Result<(), (Check, String)> {
        descriptors::at_the_end(kernel, primary).map_err(|what| (Check::Descriptors, what))?;
        if let Some(primary) = primary {
            ledger::at_rest(kernel, primary).map_err(|what| (Check::Ledger, what))?;
            ledger::at_the_end(kernel, primary, &self.serving).map_err(|what| (Check::Ledger, what))?;
            self.order.at_the_end(kernel).map_err(|what| (Check::Order, what))?;
        }
        liveness::at_the_end(kernel, primary, &self.serving).map_err(|what| (Check::Liveness, what))
    }
}
