//! The machine of a process that runs its inputs again.

use cluster::simulated::Created;
use cluster_core::{Limits, Machine, OsEvent, Primary, Serialization, SocketId, Supervisor, Worker};

use super::live::{Definition, Role};
use crate::program::MachineMut;

/// The machine of a process that runs its inputs again.
pub(super) enum OwnMachine {
    Primary(Box<Primary>),
    Supervisor(Box<Supervisor>),
    Worker(Box<Worker>),
    None,
}

impl OwnMachine {
    pub(super) fn new(definition: &Definition, role: Role) -> Self {
        match (role, &definition.created) {
            (Role::Primary, Created::Primary(settings)) => {
                OwnMachine::Primary(Box::new(Primary::new(settings.clone())))
            }
            (Role::Primary, Created::Supervisor(settings)) => {
                let supervisor = Supervisor::new(settings.clone()).expect("settings without contradiction");
                OwnMachine::Supervisor(Box::new(supervisor))
            }
            (Role::Worker { id, .. }, created) => {
                let (serialization, limits) = worker_settings(created);
                OwnMachine::Worker(Box::new(Worker::new(id, serialization, limits)))
            }
            (Role::Driver, _) => OwnMachine::None,
        }
    }

    pub(super) fn poll(&mut self, input: Option<OsEvent>, only_commands: bool) {
        match self {
            OwnMachine::Primary(machine) => poll(&mut **machine, input, only_commands),
            OwnMachine::Supervisor(machine) => poll(&mut **machine, input, only_commands),
            OwnMachine::Worker(machine) => poll(&mut **machine, input, only_commands),
            OwnMachine::None => {}
        }
    }

    pub(super) fn as_mut(&mut self) -> Option<MachineMut<'_>> {
        match self {
            OwnMachine::Primary(machine) => Some(MachineMut::Primary(machine)),
            OwnMachine::Supervisor(machine) => Some(MachineMut::Supervisor(machine)),
            OwnMachine::Worker(machine) => Some(MachineMut::Worker(machine)),
            OwnMachine::None => None,
        }
    }

    pub(super) fn release(&mut self, socket: SocketId) {
        match self {
            OwnMachine::Primary(machine) => machine.release(socket),
            OwnMachine::Supervisor(machine) => machine.primary_mut().release(socket),
            OwnMachine::Worker(machine) => machine.release(socket),
            OwnMachine::None => {}
        }
    }
}

pub(super) fn poll(machine: &mut impl Machine, input: Option<OsEvent>, only_commands: bool) {
    if let Some(input) = input {
        machine.handle(input);
    }
    // The output is dropped: later records have its effects.
    if only_commands {
        machine.poll_call();
    } else {
        machine.poll();
    }
}

/// The serialization and the limits of workers, as the world has them.
pub(super) fn worker_settings(created: &Created) -> (Serialization, Limits) {
    match created {
        Created::Primary(settings) => {
            (settings.spawn.serialization.unwrap_or_default(), settings.limits.clone())
        }
        Created::Supervisor(_) => (Serialization::default(), Limits::default()),
    }
}
