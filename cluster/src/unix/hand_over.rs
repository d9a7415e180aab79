//! The hand-over of a primary to another program in the same process, by `execve`: process id, children and
//! descriptors remain, memory and threads do not. `driver_state` has the resources of the driver,
//! `descriptors` the descriptors across `execve`, `held_signals` the signals meanwhile, `trial` the trial of
//! the new program, `execute` the call, and `inherited` the view of the new program. The module does not look
//! into the states of the machine and of the program.

mod descriptors;
mod driver_state;
mod execute;
mod held_signals;
mod inherited;
mod trial;
mod verdict;

pub(crate) use descriptors::Copies;
pub(crate) use driver_state::{DriverState, restore, state_of};
pub(crate) use execute::{Execution, execute_former};
pub(crate) use held_signals::{HeldSignals, unblock};
pub(crate) use inherited::{Inherited, Part, inherited};
pub(crate) use trial::try_program;
pub(crate) use verdict::{TrialFailure, Verdict};
