//! The system under a machine: the real operating system, or with the feature `simulated` a process of a
//! simulated world. The async API uses both through the types of this file alone. Without the feature each
//! type has one variant, and costs nothing.

use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
#[cfg(feature = "simulated")]
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Instant;

use cluster_core::{OsEvent, SocketId, WorkerId, flush, pump};

#[cfg(feature = "simulated")]
pub(crate) use crate::simulated::FaceMachine;
#[cfg(feature = "simulated")]
use crate::simulated::{self, SimulatedSocket};
use crate::unix::choosing::{Choose, Chooser};
use crate::unix::ending::Hangup;
use crate::unix::{Pipes, Unix};
#[cfg(not(feature = "simulated"))]
pub(crate) use cluster_core::Machine as FaceMachine;

/// The machine of a face.
#[derive(Debug)]
pub(crate) enum Held<M> {
    Own(M),
    /// The simulated world has the machine, and lends the machine while the process runs. The copy serves the
    /// accessors that return references; each change drops the copy.
    #[cfg(feature = "simulated")]
    Lent(OnceLock<M>),
}

impl<M> From<M> for Held<M> {
    fn from(machine: M) -> Self {
        Held::Own(machine)
    }
}

impl<M: FaceMachine> Held<M> {
    /// The machine of the simulated world.
    #[cfg(feature = "simulated")]
    pub(crate) fn lent() -> Self {
        Held::Lent(OnceLock::new())
    }

    /// Gives the machine a command or an input.
    pub(crate) fn change<T>(&mut self, act: impl FnOnce(&mut M) -> T) -> T {
        match self {
            Held::Own(machine) => act(machine),
            #[cfg(feature = "simulated")]
            Held::Lent(copy) => {
                *copy = OnceLock::new();
                simulated::with_machine(act)
            }
        }
    }

    /// Reads from the machine, without a copy.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&M) -> T) -> T {
        match self {
            Held::Own(machine) => read(machine),
            #[cfg(feature = "simulated")]
            Held::Lent(_) => simulated::with_machine(|machine| read(machine)),
        }
    }
}

impl<M: FaceMachine> Deref for Held<M> {
    type Target = M;

    fn deref(&self) -> &M {
        match self {
            Held::Own(machine) => machine,
            #[cfg(feature = "simulated")]
            Held::Lent(copy) => {
                copy.get_or_init(|| simulated::with_machine(|machine: &mut M| machine.clone()))
            }
        }
    }
}

/// The resources of the operating system for a machine.
#[derive(Debug)]
#[cfg_attr(feature = "simulated", expect(clippy::large_enum_variant, reason = "a process has one system"))]
pub(crate) enum System {
    Unix(Unix),
    /// The resources belong to the simulated world.
    #[cfg(feature = "simulated")]
    Simulated,
}

impl From<Unix> for System {
    fn from(unix: Unix) -> Self {
        System::Unix(unix)
    }
}

impl System {
    /// The system of a primary. At most `unread_output` bytes of each untaken pipe are kept.
    pub(crate) fn of_primary(unread_output: usize) -> Self {
        #[cfg(feature = "simulated")]
        if simulated::is_simulated() {
            return System::Simulated;
        }
        System::Unix(Unix::with_unread_output(unread_output))
    }

    /// The real system. `None`: the process is simulated.
    #[cfg_attr(
        not(feature = "simulated"),
        expect(clippy::unnecessary_wraps, reason = "a simulated system has none")
    )]
    pub(crate) fn unix(&mut self) -> Option<&mut Unix> {
        match self {
            System::Unix(unix) => Some(unix),
            #[cfg(feature = "simulated")]
            System::Simulated => None,
        }
    }

    #[cfg_attr(
        not(feature = "simulated"),
        expect(clippy::unnecessary_wraps, reason = "a simulated system has none")
    )]
    pub(crate) fn as_unix(&self) -> Option<&Unix> {
        match self {
            System::Unix(unix) => Some(unix),
            #[cfg(feature = "simulated")]
            System::Simulated => None,
        }
    }

    /// Sets the function that chooses the workers of connections. In a simulated world the schedule chooses.
    pub(crate) fn choose_by(&mut self, choose: Choose) {
        if let Some(unix) = self.unix() {
            unix.chooser = Chooser(Some(choose));
        }
    }

    /// As [`pump`]. A simulated world performs the calls, and has delivered at most one event.
    pub(crate) fn pump<M: FaceMachine>(&mut self, machine: &mut Held<M>) -> Option<M::Event> {
        match self {
            System::Unix(unix) => machine.change(|machine| pump(machine, unix)),
            #[cfg(feature = "simulated")]
            System::Simulated => {
                machine.change(|_| ());
                simulated::take_event::<M>()
            }
        }
    }

    /// As [`flush`]. A simulated world performs the calls of a command after the reaction of the program, one
    /// step each.
    pub(crate) fn flush<M: FaceMachine>(&mut self, machine: &mut Held<M>) {
        match self {
            System::Unix(unix) => machine.change(|machine| flush(machine, unix)),
            #[cfg(feature = "simulated")]
            System::Simulated => {}
        }
    }

    /// Gives the machine the next event. In a simulated world the machine already has the event.
    pub(crate) fn poll_input<M: FaceMachine>(
        &mut self,
        cx: &mut Context<'_>,
        before: impl FnOnce(&mut Held<M>, &mut Context<'_>),
        machine: &mut Held<M>,
    ) -> Poll<()> {
        match self {
            System::Unix(unix) => unix.poll_event(cx).map(|event| {
                before(machine, cx);
                machine.change(|machine| machine.handle(event));
            }),
            #[cfg(feature = "simulated")]
            System::Simulated => simulated::poll_progress(cx),
        }
    }

    /// Whether there is neither a process nor a channel.
    #[cfg_attr(
        not(feature = "simulated"),
        expect(unused_variables, reason = "the real system has processes of its own")
    )]
    pub(crate) fn is_idle(&self, machine: &Held<cluster_core::Primary>) -> bool {
        match self {
            System::Unix(unix) => unix.is_idle(),
            #[cfg(feature = "simulated")]
            System::Simulated => {
                simulated::is_at_rest() && machine.read(|machine| machine.running_workers().next().is_none())
            }
        }
    }

    /// Whether the machine has no event left for the program.
    pub(crate) fn is_at_rest(&self) -> bool {
        match self {
            System::Unix(_) => true,
            #[cfg(feature = "simulated")]
            System::Simulated => simulated::is_at_rest(),
        }
    }

    /// The exit code requested by the machine. The caller ends the process.
    pub(crate) fn exit(&self) -> Option<i32> {
        match self {
            System::Unix(unix) => unix.exit(),
            #[cfg(feature = "simulated")]
            System::Simulated => simulated::requested_exit(),
        }
    }

    /// Stops or resumes reading from the primary; unread bytes stay in the kernel.
    pub(crate) fn pause_by_program(&mut self, paused: bool) {
        match self {
            System::Unix(unix) => unix.pause_by_program(paused),
            #[cfg(feature = "simulated")]
            System::Simulated => simulated::pause(paused),
        }
    }

    /// Whether the primary has closed the channel, even if unread bytes remain.
    pub(crate) fn is_peer_closed(&mut self) -> bool {
        self.unix().is_some_and(Unix::is_peer_closed)
    }

    /// Removes a socket and returns the descriptor.
    pub(crate) fn take(&mut self, socket: SocketId) -> Option<Descriptor> {
        match self {
            System::Unix(unix) => unix.take(socket).map(Descriptor::Unix),
            #[cfg(feature = "simulated")]
            System::Simulated => SimulatedSocket::take(socket).map(Descriptor::Simulated),
        }
    }

    /// As [`System::take`], for a connection of a listener.
    pub(crate) fn take_connection(&mut self, socket: SocketId) -> Option<Descriptor> {
        match self {
            System::Unix(unix) => unix.take_connection(socket).map(Descriptor::Unix),
            #[cfg(feature = "simulated")]
            System::Simulated => SimulatedSocket::take(socket).map(Descriptor::Simulated),
        }
    }

    /// Removes and returns the primary's ends of a worker's pipes.
    pub(crate) fn take_pipes(&mut self, worker: WorkerId) -> Pipes {
        self.unix().map(|unix| unix.take_pipes(worker)).unwrap_or_default()
    }

    /// Closes the pipes of forgotten workers.
    pub(crate) fn retain_pipes(&mut self, known: impl Fn(WorkerId) -> bool) {
        if let Some(unix) = self.unix() {
            unix.retain_pipes(known);
        }
    }

    /// A copy of the channel for a thread. A simulated process has no threads.
    pub(crate) fn hangup(&mut self) -> Option<Hangup> {
        self.unix().and_then(Unix::hangup)
    }

    /// Stops the use of the runtime. `false`: the simulated world continues after the runtime, and completes
    /// the writes.
    pub(crate) fn leave_runtime(&mut self) -> bool {
        let Some(unix) = self.unix() else { return false };
        unix.leave_runtime();
        true
    }

    /// The next event of a channel or a timer, after the runtime; `None` after `until`.
    pub(crate) fn wait(&mut self, until: Instant) -> Option<OsEvent> {
        self.unix().and_then(|unix| unix.wait(until))
    }

    /// Waits until the primary has read the channel to the end.
    pub(crate) fn linger(&mut self, until: Instant) {
        if let Some(unix) = self.unix() {
            unix.linger(until);
        }
    }
}

/// Ends this process with a code, without destructors.
pub(crate) fn exit_process(code: i32) -> ! {
    #[cfg(feature = "simulated")]
    if simulated::is_simulated() {
        simulated::exit(code);
    }
    std::process::exit(code)
}

/// A descriptor of either system. A drop closes the descriptor.
#[derive(Debug)]
pub enum Descriptor {
    /// Of the real operating system.
    Unix(OwnedFd),
    /// Of a simulated world.
    #[cfg(feature = "simulated")]
    Simulated(SimulatedSocket),
}

impl Descriptor {
    /// The real descriptor.
    ///
    /// # Errors
    /// `Unsupported`: the descriptor is simulated, and the simulator has no such socket.
    #[cfg_attr(
        not(feature = "simulated"),
        expect(clippy::unnecessary_wraps, reason = "a simulated descriptor fails")
    )]
    pub(crate) fn into_unix(self) -> io::Result<OwnedFd> {
        match self {
            Descriptor::Unix(descriptor) => Ok(descriptor),
            #[cfg(feature = "simulated")]
            Descriptor::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[cfg(all(test, not(feature = "simulated")))]
mod tests {
    use super::*;

    /// Without the feature, the types have the sizes of their contents.
    #[test]
    fn seam_takes_no_room() {
        assert_eq!(size_of::<System>(), size_of::<Unix>());
        assert_eq!(size_of::<Held<cluster_core::Primary>>(), size_of::<cluster_core::Primary>());
        assert_eq!(size_of::<Option<Descriptor>>(), size_of::<Option<OwnedFd>>());
    }
}
