//! The hand-over of a supervisor to a new program, from the side of the old program. `predecessor` has the
//! side of the new program.

use std::time::Duration;
use std::{io, path::PathBuf};

use cluster_core::SupervisorState;
use tokio::time::{Instant, sleep};

use super::handed_state::HandedState;
use super::kept::{Keep, Kept};
use super::{HandleError, Supervisor, SupervisorHandle, UpgradeError};
use crate::unix::executable::{self, FileVersion};
use crate::unix::hand_over::{Execution, HeldSignals, TrialFailure, state_of, try_program};

/// The pause before the next attempt of a postponed hand-over.
const RETRY: Duration = Duration::from_millis(10);

/// The time for the runtime to deliver the signals from before the hold: a turn of the IO driver.
const TURN: Duration = Duration::from_millis(1);

/// A new program after the trial: see [`SupervisorHandle::prepare_upgrade`].
#[derive(Debug)]
#[must_use = "the old program continues until `execute`"]
pub struct Upgrade {
    handle: SupervisorHandle,
    keep: Option<Keep>,
    version: String,
    /// The version of the file in the trial.
    file: Option<FileVersion>,
    limit: Duration,
}

/// The result of an attempt: a success does not return.
enum Attempt {
    Postponed,
    Failed(UpgradeError),
}

impl From<io::Error> for Attempt {
    fn from(error: io::Error) -> Self {
        Attempt::Failed(UpgradeError::Execute(error))
    }
}

impl SupervisorHandle {
    /// Tries the program at the path of the running program; the file may be newer by now. A child runs the
    /// program with the present state: the child restores the state, reports success and exits. The
    /// supervisor continues meanwhile.
    ///
    /// `keep` collects the parts of the program. The calls happen now and in [`Upgrade::execute`], between
    /// two inputs of the supervisor. The new program must call
    /// [`Predecessor::find`](crate::Predecessor::find) first. `limit` bounds the trial, and later the delay
    /// of a postponed hand-over.
    ///
    /// Linux only: elsewhere the trial fails.
    ///
    /// # Errors
    /// The new program does not start, or fails in the trial: see [`UpgradeError`].
    pub async fn prepare_upgrade(
        &self,
        limit: Duration,
        keep: impl FnMut(&mut Kept) + Send + 'static,
    ) -> Result<Upgrade, UpgradeError> {
        let mut keep = Keep(Box::new(keep));
        let asked = self.ask(move |supervisor| (supervisor.trial_state(&mut keep), keep)).await;
        let (state, keep) = asked.map_err(dropped)?;
        let (state, _) = text_of(&state?)?;
        let file = present_file();
        let refused = |failure: TrialFailure| rejected(failure.to_string());
        let version = try_program(&state, limit).await.map_err(refused)?;
        Ok(Upgrade { handle: self.clone(), keep: Some(keep), version, file, limit })
    }
}

impl Upgrade {
    /// The version of the library in the new program.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Executes the new program in place of the running program, in the same process. Returns only after a
    /// failure; then nothing has changed. A new program that fails after the execution executes the old
    /// program again: see [`Predecessor::failure`](crate::Predecessor::failure).
    ///
    /// The hand-over waits while a handle awaits a reload, a restart or a change of the number of workers.
    /// Other tasks of the old program end without a notice, as at an exit.
    pub async fn execute(mut self) -> UpgradeError {
        let begin = Instant::now();
        loop {
            match self.attempt().await {
                Attempt::Postponed if begin.elapsed() < self.limit => sleep(RETRY).await,
                Attempt::Postponed => return UpgradeError::Busy { limit: self.limit },
                Attempt::Failed(error) => return error,
            }
        }
    }

    async fn attempt(&mut self) -> Attempt {
        match self.handle.ask(|supervisor| supervisor.waiting.is_busy()).await {
            Ok(true) => return Attempt::Postponed,
            Ok(false) => {}
            Err(error) => return Attempt::Failed(dropped(error)),
        }
        let held = match HeldSignals::hold() {
            Ok(held) => held,
            // Another upgrade is about to execute.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => return Attempt::Postponed,
            Err(error) => return error.into(),
        };
        sleep(TURN).await;
        if present_file() != self.file {
            return Attempt::Failed(rejected("has changed since the trial; repeat the upgrade".to_owned()));
        }
        let Some(mut keep) = self.keep.take() else { return Attempt::Failed(UpgradeError::Dropped) };
        let asked = self.handle.ask(move |supervisor| (supervisor.hand_over(&held, &mut keep), keep)).await;
        match asked {
            Ok((attempt, keep)) => {
                self.keep = Some(keep);
                attempt
            }
            Err(error) => Attempt::Failed(dropped(error)),
        }
    }
}

fn rejected(reason: String) -> UpgradeError {
    UpgradeError::Rejected { program: executable::path().map(PathBuf::from).unwrap_or_default(), reason }
}

fn present_file() -> Option<FileVersion> {
    executable::path().ok().and_then(FileVersion::of)
}

fn dropped(_: HandleError) -> UpgradeError {
    UpgradeError::Dropped
}

/// The text of a state, and the numbers of the descriptors.
fn text_of(state: &HandedState) -> Result<(Vec<u8>, Vec<i32>), UpgradeError> {
    let text = serde_json::to_vec(state).map_err(|error| UpgradeError::State(error.to_string()))?;
    Ok((text, state.all_descriptors()))
}

impl Supervisor {
    /// The state for a trial.
    fn trial_state(&self, Keep(keep): &mut Keep) -> Result<HandedState, UpgradeError> {
        let mut kept = Kept::of_trial();
        keep(&mut kept);
        self.state_with(kept)
    }

    /// The state between two inputs, with the parts of the program.
    fn state_with(&self, kept: Kept) -> Result<HandedState, UpgradeError> {
        let unix = self.system.as_unix().ok_or(UpgradeError::ForkingThread)?;
        Ok(HandedState {
            last_request: self.requests.last(),
            received: self.inputs.releases.taken(),
            descriptors: kept.descriptors,
            program: kept.state.transpose().map_err(UpgradeError::State)?,
            ..HandedState::new(SupervisorState::of(&self.machine), state_of(unix))
        })
    }

    /// Executes the new program. Postponed while a handle waits for a command, or while the program postpones
    /// the hand-over.
    fn hand_over(&mut self, held: &HeldSignals, Keep(keep): &mut Keep) -> Attempt {
        if self.machine.is_shutting_down() {
            return Attempt::Failed(UpgradeError::ShuttingDown);
        }
        if !Execution::keeps_workers() {
            return Attempt::Failed(UpgradeError::ForkingThread);
        }
        let mut kept = Kept::default();
        keep(&mut kept);
        if kept.is_postponed || self.waiting.is_busy() {
            return Attempt::Postponed;
        }
        let prepared = self.state_with(kept).and_then(|mut state| {
            state.signals = held.numbers();
            text_of(&state)
        });
        match prepared {
            Ok((state, descriptors)) => {
                let execution = Execution::new(&state, &descriptors);
                match execution.and_then(|execution| execution.execute(held)) {
                    Ok(never) => match never {},
                    Err(error) => error.into(),
                }
            }
            Err(error) => Attempt::Failed(error),
        }
    }
}
