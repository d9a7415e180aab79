//! The contradictions of a deserialized supervisor. Most of the parts are safe in any combination: a timer
//! without a process, for example, has no effect.

use super::Supervisor;
use super::process::Process;
use crate::claims::first_false;
use crate::primary::primary_claims;

/// The first field with a value on which a later input could panic, or with a value that no supervisor has.
pub(crate) fn contradiction(supervisor: &Supervisor) -> Option<&'static str> {
    let Supervisor { settings, lifecycle, slots, .. } = supervisor;
    let is_of_slot = |(slot, worker)| lifecycle.processes().get(worker).map(Process::slot) == Some(slot);
    primary_claims::contradiction(lifecycle.primary(), lifecycle.timers.last()).or_else(|| {
        first_false([("settings", settings.check().is_ok()), ("slots", slots.workers().all(is_of_slot))])
    })
}
