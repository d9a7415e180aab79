//! How a simulated process writes a line: canonical for everybody to compare, and as it is for the driver who needs
//! real ports. It makes no lines.

use cluster_sim::Process;

use super::player::observer;
use crate::observation::Observation;
use crate::trace::Canon;

/// One process's pen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Pen {
    canon: Canon,
}

impl Pen {
    /// Writes a line down.
    pub(super) fn write(&mut self, process: &mut Process<'_>, seen: &Observation) {
        if has_port(seen) {
            process.note(seen.to_string());
        }
        let canonical = self.canon.make(observer(process.actor()), seen.clone());
        process.observe(canonical.to_string());
    }
}

/// Whether the driver reads this line in a note, with its port, and not where it is written down.
pub(super) fn has_port(seen: &Observation) -> bool {
    seen.detail("port").is_some()
}
