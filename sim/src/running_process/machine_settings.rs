//! The settings of a world, and the machine with which a process starts.

use cluster_core::{Primary, Settings, Supervisor, SupervisorSettings, Worker};

#[cfg(feature = "testing")]
use cluster_core::testing::without_requeue;

use super::EitherMachine;
use crate::step::Pid;

/// The settings of the machines of a world.
#[derive(Debug, Clone)]
pub(crate) struct MachineSettings {
    primary: Settings,
    /// The primary is supervised.
    supervision: Option<SupervisorSettings>,
    /// See [`without_requeue`](cluster_core::testing::without_requeue).
    #[cfg(feature = "testing")]
    pub(crate) without_requeue: bool,
}

impl MachineSettings {
    pub(crate) fn of_primary(primary: Settings) -> Self {
        MachineSettings {
            primary,
            supervision: None,
            #[cfg(feature = "testing")]
            without_requeue: false,
        }
    }

    /// Workers have the default serialization and the default limits.
    pub(crate) fn of_supervisor(supervision: SupervisorSettings) -> Self {
        MachineSettings { supervision: Some(supervision), ..MachineSettings::of_primary(Settings::default()) }
    }

    pub(crate) fn is_supervised(&self) -> bool {
        self.supervision.is_some()
    }

    /// The machine of a new process.
    pub(crate) fn machine(&self, pid: Pid) -> EitherMachine {
        #[cfg_attr(not(feature = "testing"), expect(unused_mut, reason = "only tests change the machine"))]
        let mut machine = self.unchanged_machine(pid);
        #[cfg(feature = "testing")]
        if self.without_requeue {
            match &mut machine {
                EitherMachine::Primary(primary) => without_requeue(primary),
                EitherMachine::Supervisor(supervisor) => without_requeue(supervisor.primary_mut()),
                EitherMachine::Worker(_) => {}
            }
        }
        machine
    }

    fn unchanged_machine(&self, pid: Pid) -> EitherMachine {
        match (pid, &self.supervision) {
            (Pid::PRIMARY, Some(supervision)) => {
                let supervisor =
                    Supervisor::new(supervision.clone()).expect("settings without contradiction");
                EitherMachine::Supervisor(Box::new(supervisor))
            }
            (Pid::PRIMARY, None) => EitherMachine::Primary(Box::new(Primary::new(self.primary.clone()))),
            (worker, _) => EitherMachine::Worker(Box::new(Worker::new(
                worker.worker(),
                self.primary.spawn.serialization.unwrap_or_default(),
                self.primary.limits.clone(),
            ))),
        }
    }
}
