//! The reason why a structured clone has no JSON form.

use crate::violation::Violation;

/// The reason why a payload has no JSON form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum NoJson {
    /// A big integer: `JSON.stringify` throws as well.
    BigInt,
    /// An object inside itself: `JSON.stringify` throws as well.
    Cycle,
    /// The value is `undefined`.
    Nothing,
    /// The JSON would be longer than the limit.
    TooLong,
    /// The bytes are not a payload.
    Malformed,
}

impl NoJson {
    pub(crate) fn what(self) -> &'static str {
        match self {
            NoJson::BigInt => "a big integer",
            NoJson::Cycle => "an object inside itself",
            NoJson::Nothing => "nothing but `undefined`",
            NoJson::TooLong => "too much",
            NoJson::Malformed => "bytes that V8 has not written",
        }
    }
}

impl From<Violation> for NoJson {
    fn from(_: Violation) -> Self {
        NoJson::Malformed
    }
}
