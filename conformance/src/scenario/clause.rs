//! A clause: one condition of a scenario's contract. [`crate::order`] checks clauses.

use serde::Deserialize;

use crate::pattern::LinePattern;
use crate::requirement::{self, Requirement};

/// A condition on every run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clause {
    /// The claim in plain words.
    pub because: String,
    /// The requirement behind the claim, which gives the claim its level.
    pub requirement: Option<&'static Requirement>,
    /// The condition.
    pub kind: ClauseKind,
}

/// The kinds of conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClauseKind {
    /// The number of matching lines, of all matching observers together.
    Seen {
        /// The lines.
        line: LinePattern,
        /// The permitted numbers.
        times: Vec<u32>,
    },
    /// Within the sequence of one observer, every line of the first pattern precedes every line of the second
    /// pattern.
    Before {
        /// The earlier lines.
        first: LinePattern,
        /// The later lines, of the same observer.
        then: LinePattern,
    },
    /// The values of a detail, in the order of the observers, cycle through `over` different values.
    Cycle {
        /// The lines.
        lines: LinePattern,
        /// The detail.
        detail: String,
        /// The number of different values.
        over: u32,
    },
    /// All clauses of at least one list hold.
    OneOf(Vec<Vec<Clause>>),
}

/// A clause in a file: `because` and exactly one condition.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    because: String,
    requires: Option<String>,
    seen: Option<LinePattern>,
    times: Option<Times>,
    first: Option<LinePattern>,
    then: Option<LinePattern>,
    cycle: Option<LinePattern>,
    detail: Option<String>,
    over: Option<u32>,
    one_of: Option<Vec<Vec<Clause>>>,
}

/// The permitted numbers.
pub(super) struct Times(pub(super) Vec<u32>);

const UNKNOWN: &str =
    "expected the name of a requirement in `requires`; `src/requirement/sources.rs` has all names";

const FORMS: &str = "expected `because` with one of: `seen` and `times`; `first` and `then`; \
                     `cycle`, `detail` and `over`; `one_of`";

impl TryFrom<Written> for Clause {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { because, requires, seen, times, first, then, cycle, detail, over, one_of } = written;
        let kind = match (seen, times, first, then, cycle, detail, over, one_of) {
            (Some(line), Some(times), None, None, None, None, None, None) => {
                ClauseKind::Seen { line, times: times.0 }
            }
            (None, None, Some(first), Some(then), None, None, None, None) => {
                ClauseKind::Before { first, then }
            }
            (None, None, None, None, Some(lines), Some(detail), Some(over), None) => {
                ClauseKind::Cycle { lines, detail, over }
            }
            (None, None, None, None, None, None, None, Some(lists)) => ClauseKind::OneOf(lists),
            _ => return Err(FORMS),
        };
        let requirement = requires.map(|name| requirement::named(&name).ok_or(UNKNOWN)).transpose()?;
        Ok(Clause { because, requirement, kind })
    }
}
