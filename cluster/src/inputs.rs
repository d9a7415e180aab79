//! The inputs of a primary or a supervisor: commands from other tasks alternate with events of the operating
//! system. Signals and the order of outputs are elsewhere.

use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::Notify;

use crate::command_queue::{Command, CommandQueue};
use crate::received::Releases;
use crate::system::{FaceMachine, Held, System};

/// The machine of a primary, or a machine that contains a primary.
pub(crate) trait PrimaryMachine: FaceMachine {
    fn primary_mut(&mut self) -> &mut cluster_core::Primary;

    /// Whether the machine takes no further event of the operating system.
    fn is_finished(&self) -> bool;
}

impl PrimaryMachine for cluster_core::Primary {
    fn primary_mut(&mut self) -> &mut cluster_core::Primary {
        self
    }

    fn is_finished(&self) -> bool {
        false
    }
}

impl PrimaryMachine for cluster_core::Supervisor {
    fn primary_mut(&mut self) -> &mut cluster_core::Primary {
        self.primary_mut()
    }

    fn is_finished(&self) -> bool {
        self.is_finished()
    }
}

/// The result of [`Inputs::take`].
pub(crate) enum Taken<P> {
    /// No input is ready.
    Nothing,
    /// The machine has taken an input.
    Input,
    /// The command, for the caller to execute.
    Command(Command<P>),
}

#[derive(Debug)]
pub(crate) struct Inputs<P> {
    pub(crate) commands: CommandQueue<P>,
    /// Received sockets that the program has dropped.
    pub(crate) releases: Releases,
    /// Notified after each event of the operating system: a channel may have room.
    pub(crate) progress: Arc<Notify>,
    /// Whether a command has precedence over an event of the operating system at the next input. The value
    /// alternates.
    commands_first: bool,
}

impl<P> Default for Inputs<P> {
    fn default() -> Self {
        Inputs {
            commands: CommandQueue::default(),
            releases: Releases::default(),
            progress: Arc::default(),
            commands_first: false,
        }
    }
}

impl<P> Inputs<P> {
    /// Takes one input. Dropped sockets are handled first, so a worker receives the present count when asking
    /// for the count of connections.
    pub(crate) fn take(
        &mut self,
        machine: &mut Held<impl PrimaryMachine>,
        system: &mut System,
        cx: &mut Context<'_>,
    ) -> Taken<P> {
        if self.release_dropped(machine, cx) {
            return Taken::Input;
        }
        self.commands_first = !self.commands_first;
        if self.commands_first
            && let Poll::Ready(command) = self.commands.poll(cx)
        {
            return Taken::Command(command);
        }
        if self.poll_os(machine, system, cx) {
            return Taken::Input;
        }
        match self.commands.poll(cx) {
            Poll::Ready(command) => Taken::Command(command),
            Poll::Pending => Taken::Nothing,
        }
    }

    fn poll_os(
        &mut self,
        machine: &mut Held<impl PrimaryMachine>,
        system: &mut System,
        cx: &mut Context<'_>,
    ) -> bool {
        // A simulated world may have an event left for the program.
        if system.is_at_rest() && machine.read(PrimaryMachine::is_finished) {
            return false;
        }
        // Dropped sockets first: another thread may have caused the event after the drop of a socket.
        let before = |machine: &mut Held<_>, cx: &mut Context<'_>| {
            self.release_dropped(machine, cx);
        };
        let is_input = system.poll_input(cx, before, machine).is_ready();
        if is_input {
            self.progress.notify_waiters();
        }
        is_input
    }

    /// Reports the dropped sockets to their senders, to end the counts. False: no socket was dropped.
    fn release_dropped(&mut self, machine: &mut Held<impl PrimaryMachine>, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Poll::Ready(socket) = self.releases.poll(cx) {
            machine.change(|machine| machine.primary_mut().release(socket));
            any = true;
        }
        any
    }
}
