//! The whole state of a supervisor as a versioned value: a newer version of the program can replace the
//! program while workers, channels and listening sockets continue.
//!
//! The value is the machine between two inputs, including every output that
//! [`Machine::poll`](crate::Machine::poll) has not returned yet. The caller has performed every returned call
//! and handled every answer before the value is made. What the ids stand for remains in the operating system:
//! processes, channels, sockets, and the remaining time of timers.
//!
//! # Versions
//!
//! The format is that of serde's derived implementations, including those of private types, and has one
//! number, [`FORMAT`]. A test contains a state of the current format. A new field of a machine with
//! `#[serde(default)]` does not change the number, if the default is right for every older state; every other
//! change of the format increments the number. A state with another number is not restored.
//!
//! # Trust
//!
//! The value is from a process of the same user, so nothing here resists a forged value.
//! [`SupervisorState::restore`] rejects a truncated, mixed or edited value if its contradictions could make a
//! machine panic later.

use core::fmt;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::supervisor::{Supervisor, supervisor_claims};

/// The number of the current format.
const FORMAT: u32 = 2;

/// The state of a [`Supervisor`], with the number of its format. Serialize the value with `serde_json`, or
/// another self-describing format.
///
/// ```
/// use cluster_core::{Supervisor, SupervisorSettings, SupervisorState};
///
/// let supervisor = Supervisor::new(SupervisorSettings::new(2))?;
/// let text = serde_json::to_string(&SupervisorState::of(&supervisor))?;
/// let state: SupervisorState = serde_json::from_str(&text)?;
/// assert_eq!(state.restore()?, supervisor);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct SupervisorState {
    format: u32,
    /// The machine. `None`: another version has written it, in an unknown format.
    machine: Option<Supervisor>,
}

impl SupervisorState {
    /// The state between two inputs, including the outputs that [`Machine::poll`](crate::Machine::poll) has
    /// not returned yet. The caller must first perform every returned call and handle every answer.
    pub fn of(supervisor: &Supervisor) -> Self {
        SupervisorState { format: FORMAT, machine: Some(supervisor.clone()) }
    }

    /// Restores the supervisor. The result is equal to the supervisor that was passed to
    /// [`of`](SupervisorState::of).
    ///
    /// # Errors
    ///
    /// [`StateError`]: the state has another version, or a contradiction.
    pub fn restore(self) -> Result<Supervisor, StateError> {
        let supervisor = self.machine.ok_or(StateError::Version { found: self.format, supported: FORMAT })?;
        match supervisor_claims::contradiction(&supervisor) {
            Some(field) => Err(StateError::Contradiction { field }),
            None => Ok(supervisor),
        }
    }
}

impl<'de> Deserialize<'de> for SupervisorState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("SupervisorState", &["format", "machine"], StateVisitor)
    }
}

/// A field of a state. The format is first in alphabetical order, so a map with sorted keys can be read as
/// well.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum StateField {
    Format,
    Machine,
}

/// Reads the format first. A machine in another format is skipped.
struct StateVisitor;

impl<'de> Visitor<'de> for StateVisitor {
    type Value = SupervisorState;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a state: the number `format`, then `machine`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<SupervisorState, A::Error> {
        let Some(StateField::Format) = fields.next_key()? else {
            return Err(A::Error::missing_field("format"));
        };
        let format = fields.next_value()?;
        let mut machine = None;
        while let Some(field) = fields.next_key()? {
            match field {
                StateField::Machine if format == FORMAT => machine = Some(fields.next_value()?),
                StateField::Format | StateField::Machine => _ = fields.next_value::<IgnoredAny>()?,
            }
        }
        if format == FORMAT && machine.is_none() {
            return Err(A::Error::missing_field("machine"));
        }
        Ok(SupervisorState { format, machine })
    }
}

/// The reason why a state was not restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// The state was made by a program with another format.
    Version {
        /// The version of the state.
        found: u32,
        /// The version of this program.
        supported: u32,
    },
    /// The state is not the state of a supervisor.
    Contradiction {
        /// A field that contradicts another field.
        field: &'static str,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StateError::Version { found, supported } => write!(
                f,
                "the state has format {found}, and this program reads format {supported}; restart instead of handing over"
            ),
            StateError::Contradiction { field } => {
                write!(
                    f,
                    "the state has a contradiction in `{field}`: the text was changed, or is a mixture of two; restart instead of handing over"
                )
            }
        }
    }
}

impl core::error::Error for StateError {}
