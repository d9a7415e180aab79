//! The program before a hand-over, from the side of the new program. `upgrade` has the side of the old
//! program.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Write;
use std::os::fd::{OwnedFd, RawFd};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use cluster_core::Settings;
use serde::de::DeserializeOwned;

use super::Supervisor;
use super::handed_state::HandedState;
use super::waiting::Waiting;
use crate::inputs::Inputs;
use crate::primary;
use crate::requests::OpenRequests;
use crate::unix::adoption::adopt;
use crate::unix::executable;
use crate::unix::hand_over::{Copies, Inherited, Part, Verdict, execute_former, inherited, restore, unblock};

/// The old program of the process, with a running supervisor handed over to this program: see
/// [`SupervisorHandle::prepare_upgrade`](crate::SupervisorHandle::prepare_upgrade).
///
/// ```no_run
/// # async fn program() -> Result<(), Box<dyn std::error::Error>> {
/// use cluster::{Predecessor, Supervisor, SupervisorSettings};
///
/// let supervisor = match Predecessor::find() {
///     Some(predecessor) => predecessor.resume(),
///     None => Supervisor::new(SupervisorSettings::new(4))?,
/// };
/// supervisor.run().await?;
/// # Ok(()) }
/// ```
///
/// If a method fails, or if the value is dropped before [`resume`](Predecessor::resume), the call does not
/// return: the process executes the old program again. The old program resumes with the same state and
/// [reports](Predecessor::failure) the failure. A trial is different: a child of the old program reports the
/// failure to the old program, and exits.
#[derive(Debug)]
pub struct Predecessor {
    inherited: Inherited,
    state: Option<HandedState>,
    /// The arguments of the old program. Until the state is read, the arguments of this process.
    arguments: Vec<OsString>,
    /// Copies of the descriptors, for the return to the old program.
    copies: Copies,
    /// Set when the supervisor runs, or the process returns to the old program.
    is_settled: bool,
}

impl Predecessor {
    /// The old program, on the first call. `None`: the process was not started by a hand-over, or `find` was
    /// called before. Call `find` before the program opens addresses or files of the old program.
    pub fn find() -> Option<Self> {
        static IS_FOUND: AtomicBool = AtomicBool::new(false);
        let inherited = inherited().filter(|_| !IS_FOUND.swap(true, Ordering::Relaxed))?;
        let mut predecessor = Predecessor {
            inherited,
            state: None,
            arguments: env::args_os().collect(),
            copies: Copies::default(),
            is_settled: false,
        };
        match predecessor.read() {
            Ok(()) => Some(predecessor),
            Err(failure) => predecessor.give_up(failure),
        }
    }

    fn read(&mut self) -> Result<(), String> {
        let text = self.inherited.read_state().map_err(|error| format!("cannot read the state: {error}"))?;
        let state = HandedState::read(&text)?;
        self.arguments.clone_from(&state.arguments);
        if let Some(path) = &state.path {
            executable::keep_path(path.clone());
        }
        // Only a new program may have to return. The old program needs no copies, and a full table of
        // descriptors may have no room for copies.
        if let Part::New { .. } = self.inherited.part {
            let copies = Copies::of(&state.all_descriptors());
            self.copies =
                copies.map_err(|error| format!("cannot copy the descriptors of the state: {error}"))?;
        }
        self.state = Some(state);
        Ok(())
    }

    /// Whether the process is a trial. In a trial, [`resume`](Predecessor::resume) ends the process.
    pub fn is_trial(&self) -> bool {
        matches!(self.inherited.part, Part::Trial { .. })
    }

    /// The failure of the new program, if this process has returned to the old program.
    pub fn failure(&self) -> Option<&str> {
        match &self.inherited.part {
            Part::Former { failure } => Some(failure),
            Part::Trial { .. } | Part::New { .. } => None,
        }
    }

    /// The version of the library in the old program.
    pub fn version(&self) -> &str {
        self.state.as_ref().map_or("", |state| &state.version)
    }

    /// The state of the program: see [`Kept::state`](crate::Kept::state).
    pub fn state<T: DeserializeOwned>(&mut self) -> T {
        let program = self.state.as_ref().and_then(|state| state.program.as_ref());
        let text = program.map_or("null", |program| program.get());
        match serde_json::from_str(text) {
            Ok(state) => state,
            Err(error) => self.fail(&format!("the state of the program is not readable: {error}")),
        }
    }

    /// Takes a descriptor: see [`Kept::descriptor`](crate::Kept::descriptor). The number is unchanged, and
    /// close-on-exec is set. A trial has no descriptors.
    pub fn descriptor(&mut self, number: RawFd) -> OwnedFd {
        match adopt(number) {
            Ok(descriptor) => descriptor,
            Err(error) => self.fail(&format!("descriptor {number} was not handed over: {error}")),
        }
    }

    /// Continues the supervisor of the old program, with the same workers, connections, timers and settings.
    /// Afterwards the process cannot return to the old program. In a trial the process exits here.
    ///
    /// Signals that the old program handled remain blocked until the supervisor is first awaited, so the
    /// program can install handlers before.
    pub fn resume(mut self) -> Supervisor {
        let Some(state) = self.state.take() else { self.fail("the state was taken") };
        match self.restore(state) {
            Ok(supervisor) => {
                self.is_settled = true;
                std::mem::take(&mut self.copies).close_unadopted();
                let former = if let Part::New { former } = self.inherited.part { Some(former) } else { None };
                for number in [self.inherited.state].into_iter().chain(former) {
                    drop(adopt(number));
                }
                supervisor
            }
            Err(failure) => self.fail(&failure),
        }
    }

    fn restore(&self, state: HandedState) -> Result<Supervisor, String> {
        let mut machine = state.machine.restore().map_err(|error| error.to_string())?;
        let runtime = primary::prepare(&mut Settings::default()).map_err(|error| error.to_string())?;
        if let Part::Trial { verdict } = self.inherited.part {
            report(verdict, &Verdict::Ready { version: env!("CARGO_PKG_VERSION").to_owned() });
            process::exit(0);
        }
        let unix = restore(state.driver).map_err(|error| format!("cannot take a resource over: {error}"))?;
        for socket in state.received {
            machine.primary_mut().release(socket);
        }
        Ok(Supervisor {
            machine: machine.into(),
            system: unix.into(),
            inputs: Inputs::default(),
            runtime,
            signals: None,
            waiting: Waiting::default(),
            unclaimed: None,
            requests: OpenRequests::after(state.last_request),
            blocked_signals: state.signals,
        })
    }

    /// Returns to the old program, because the new program cannot continue.
    pub fn give_up(mut self, failure: impl fmt::Display) -> ! {
        self.fail(&failure.to_string())
    }

    fn fail(&mut self, failure: &str) -> ! {
        self.is_settled = true;
        match self.inherited.part {
            Part::Trial { verdict } => {
                report(verdict, &Verdict::Refused { error: failure.to_owned() });
            }
            Part::New { former } => {
                let arguments = std::mem::take(&mut self.arguments);
                let part = Part::Former { failure: failure.to_owned() };
                let returning = Inherited { state: self.inherited.state, part };
                let returned = self.copies.put_back();
                let executed = returned.and_then(|()| execute_former(former, &returning, arguments));
                let Err(error) = executed;
                eprintln!("cannot resume: {failure}; cannot return to the old program: {error}");
            }
            Part::Former { .. } => eprintln!("cannot resume: {failure}"),
        }
        process::exit(1)
    }
}

fn report(pipe: RawFd, verdict: &Verdict) {
    let text = serde_json::to_vec(verdict).expect("texts");
    if let Err(error) = adopt(pipe).and_then(|pipe| File::from(pipe).write_all(&text)) {
        // Without a verdict, the old program reports the standard error of the trial.
        eprintln!("cannot report the trial of an upgrade: {error}");
    }
}

impl Drop for Predecessor {
    fn drop(&mut self) {
        if !self.is_settled {
            self.fail("the program has not resumed");
        }
    }
}

impl Supervisor {
    /// Unblocks the signals of the old program.
    pub(super) fn unblock_signals(&mut self) {
        if !self.blocked_signals.is_empty() {
            unblock(&std::mem::take(&mut self.blocked_signals));
        }
    }
}
