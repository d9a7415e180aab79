//! The part of the program in a hand-over.

use std::fmt;
use std::os::fd::{AsRawFd, RawFd};

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// The state and the descriptors kept by the program in a hand-over: see
/// [`SupervisorHandle::prepare_upgrade`](crate::SupervisorHandle::prepare_upgrade).
#[derive(Debug, Default)]
pub struct Kept {
    pub(super) descriptors: Vec<RawFd>,
    pub(super) state: Option<Result<Box<RawValue>, String>>,
    pub(super) is_postponed: bool,
    is_trial: bool,
}

impl Kept {
    pub(super) fn of_trial() -> Self {
        Kept { is_trial: true, ..Kept::default() }
    }

    /// Whether the state is for a trial. After a trial the program continues.
    pub fn is_trial(&self) -> bool {
        self.is_trial
    }

    /// Keeps a descriptor open in the new program, under the returned number: see
    /// [`Predecessor::descriptor`](crate::Predecessor::descriptor). All other descriptors of the program are
    /// closed.
    pub fn descriptor(&mut self, descriptor: &impl AsRawFd) -> RawFd {
        let number = descriptor.as_raw_fd();
        self.descriptors.push(number);
        number
    }

    /// Sets the state for [`Predecessor::state`](crate::Predecessor::state). If the state cannot be
    /// serialized, the upgrade fails.
    pub fn state(&mut self, state: &impl Serialize) {
        self.state = Some(to_raw_value(state).map_err(|error| error.to_string()));
    }

    /// Postpones the hand-over, because the new program could not complete the present action of the program.
    /// The program is called again, until the limit of the upgrade is over. Has no effect in a trial.
    pub fn postpone(&mut self) {
        self.is_postponed = true;
    }
}

/// Calls the program for each hand-over.
pub(super) struct Keep(pub(super) Box<dyn FnMut(&mut Kept) + Send>);

impl fmt::Debug for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keep").finish_non_exhaustive()
    }
}
