//! The contradictions of a deserialized primary.

use super::Primary;

/// The first field on which a later input could panic.
pub(crate) fn contradiction(primary: &Primary) -> Option<&'static str> {
    primary.distribution.ledger.contradiction()
}
