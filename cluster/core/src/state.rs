//! The whole state of a supervisor as a versioned value: for a program that replaces itself by another version of itself and keeps its
//! workers, channels and listening sockets.
//!
//! The value is the machine between two inputs, with every output that [`Machine::poll`](crate::Machine::poll) has not returned yet.
//! An output that was returned belongs to the caller: calls are performed, and their answers handled, before the value is taken. The
//! operating system keeps what the ids refer to: processes, channels, sockets, and the time that timers have left.
//!
//! # Versions
//!
//! The format is that of serde's derived implementations, of private types as well, and belongs to one number, [`VERSION`]. A test has a state
//! of the current version. A new field of a machine with `#[serde(default)]` keeps the number, if the default
//! is right for every older state; each other change of the format increments the number. A state of another number is not restored.
//!
//! # Trust
//!
//! The value is from a process of the same user, and is no defence against a forged one. [`SupervisorState::restore`] rejects contradictions
//! that a truncated, mixed or edited value may contain and on which a machine would panic later.

use core::fmt;

use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::supervisor::{Supervisor, supervisor_claims};

/// The number of the current format.
const VERSION: u32 = 1;

/// The state of a [`Supervisor`], with the number of its format. Serialize the value with `serde_json`, or another
/// self-describing format.
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
    version: u32,
    /// `None`: the machine has another version, in an unknown format.
    machine: Option<Supervisor>,
}

impl SupervisorState {
    /// The state between two inputs. Outputs that [`Machine::poll`](crate::Machine::poll) has not returned yet are part of the state. An
    /// output that was returned belongs to the caller: calls are performed, and their answers handled, before the state is taken.
    pub fn of(supervisor: &Supervisor) -> Self {
        SupervisorState { version: VERSION, machine: Some(supervisor.clone()) }
    }

    /// The supervisor, equal to the supervisor of [`of`](SupervisorState::of).
    ///
    /// # Errors
    ///
    /// [`StateError`] if the state has another version, or contradicts itself.
    pub fn restore(self) -> Result<Supervisor, StateError> {
        let supervisor =
            self.machine.ok_or(StateError::Version { found: self.version, supported: VERSION })?;
        match supervisor_claims::contradiction(&supervisor) {
            Some(field) => Err(StateError::Contradiction { field }),
            None => Ok(supervisor),
        }
    }
}

impl<'de> Deserialize<'de> for SupervisorState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("SupervisorState", &["version", "machine"], StateVisitor)
    }
}

/// Reads the version first: the machine of another version is skipped.
struct StateVisitor;

impl<'de> Visitor<'de> for StateVisitor {
    type Value = SupervisorState;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a state: the number `version`, then `machine`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<SupervisorState, A::Error> {
        let Some(("version", version)) = fields.next_entry()? else {
            return Err(A::Error::missing_field("version"));
        };
        let machine = if version == VERSION {
            let Some(("machine", machine)) = fields.next_entry()? else {
                return Err(A::Error::missing_field("machine"));
            };
            Some(machine)
        } else {
            None
        };
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(SupervisorState { version, machine })
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
    /// The state is not that of a supervisor.
    Contradiction {
        /// The field that contradicts another field.
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
                write!(f, "the state contradicts itself in `{field}`; it is truncated or was changed")
            }
        }
    }
}

impl core::error::Error for StateError {}
