//! The contradictions of a deserialized supervisor.

use super::Supervisor;
use crate::primary::primary_claims;

/// The first field on which a later input could panic.
pub(crate) fn contradiction(supervisor: &Supervisor) -> Option<&'static str> {
    primary_claims::contradiction(supervisor.primary())
}
