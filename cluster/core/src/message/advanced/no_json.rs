//! Why a structured clone has no JSON.

use crate::violation::Violation;

/// Why a payload has no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum NoJson {
    /// `JSON.stringify` throws, too.
    BigInt,
    /// An object inside itself: `JSON.stringify` throws, too.
    Cycle,
    /// `undefined` alone.
    Nothing,
    /// Longer than it may be.
    TooLong,
    /// The bytes are no payload.
    Malformed,
}

impl NoJson {
    pub(crate) fn what(self) -> &'static str {
        match self {
            NoJson::BigInt => "a big integer",
            NoJson::Cycle => "an object inside itself",
            NoJson::Nothing => "nothing but `undefined`",
            NoJson::TooLong => "too much",
            NoJson::Malformed => "what V8 has not written",
        }
    }
}

impl From<Violation> for NoJson {
    fn from(_: Violation) -> Self {
        NoJson::Malformed
    }
}
