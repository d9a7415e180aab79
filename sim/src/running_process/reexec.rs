//! A re-exec: another program takes over the process, and restores the machine from a text. Only a machine at
//! rest is saved: every output was taken, every call was performed, and every answer was handled.

use cluster_core::SupervisorState;

use super::{EitherMachine, RunningProcess};

impl<P> RunningProcess<P> {
    /// The state of a primary's machine, as a text.
    ///
    /// # Panics
    ///
    /// If the machine is not at rest.
    pub(crate) fn saved(&self) -> String {
        assert!(self.next.is_none() && self.begun, "a half-performed step cannot be saved");
        let text = match &self.machine {
            EitherMachine::Primary(primary) => serde_json::to_string(primary),
            EitherMachine::Supervisor(supervisor) => serde_json::to_string(&SupervisorState::of(supervisor)),
            EitherMachine::Worker(_) => unreachable!("a worker has no state to save"),
        };
        text.expect("a machine has JSON")
    }

    /// Replaces the machine by a machine of the same kind with this state.
    ///
    /// # Panics
    ///
    /// If the text is not a state.
    pub(crate) fn reexec(&mut self, state: &str) {
        match &mut self.machine {
            EitherMachine::Primary(primary) => {
                **primary = serde_json::from_str(state).expect("the state of a primary");
            }
            EitherMachine::Supervisor(supervisor) => {
                let state: SupervisorState = serde_json::from_str(state).expect("the state of a supervisor");
                **supervisor = state.restore().expect("a state without contradictions");
            }
            EitherMachine::Worker(_) => unreachable!("a worker has no state to save"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use cluster_core::Supervisor;
    use foldhash::fast::FixedState;
    use proptest::prelude::*;

    use super::*;
    use crate::scenarios::{SupervisedServer, SupervisorMove};
    use crate::{Faults, Schedule};

    const MOVES: [SupervisorMove; 6] = [
        SupervisorMove::Serve,
        SupervisorMove::Reload,
        SupervisorMove::ReloadAndShutdown,
        SupervisorMove::ScaleDown,
        SupervisorMove::Shutdown,
        SupervisorMove::DisconnectAll,
    ];

    fn restored(supervisor: &Supervisor) -> Supervisor {
        let text = serde_json::to_string(&SupervisorState::of(supervisor)).expect("a state has JSON");
        let state: SupervisorState = serde_json::from_str(&text).expect("a state");
        state.restore().expect("a state without contradictions")
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        /// After every step of a run with every fault, a restored supervisor is equal to the original
        /// supervisor and has the same hash, also within a transition. If a fault occurs that the checks of
        /// supervisors exclude, the run ends.
        #[test]
        fn restored_supervisor_is_equal(seed: u64, command in 0..MOVES.len(), patient: bool) {
            let world = SupervisedServer::new(2, 3, MOVES[command]).world();
            let world = if patient { world.with_patient_timers() } else { world };
            let mut world = world.with_faults(Faults::all()).on(Schedule::seed(seed));
            while world.steps() < 400 && world.step().is_ok_and(|is_taken| is_taken) {
                if let Some(supervisor) = world.state.running.supervisor() {
                    let restored = restored(supervisor);
                    prop_assert_eq!(&restored, supervisor);
                    let hash = |supervisor: &Supervisor| FixedState::default().hash_one(supervisor);
                    prop_assert_eq!(hash(&restored), hash(supervisor));
                }
            }
        }
    }
}
