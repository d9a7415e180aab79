//! Whether a step of an idle process is ready, and the dependencies of the answer.

use cluster_core::{ChannelId, SocketId};

use super::Kernel;
use super::channels;
use super::process_table::{Accepting, Phase};
use super::ready::{Dependencies, Readiness};
use super::socket::{Flow, SocketKind};
use crate::event::ClientId;
use crate::step::{Pid, Step};

impl Kernel {
    /// Whether a step of an idle process is ready.
    pub(crate) fn readiness(&self, step: Step) -> Readiness {
        let Kernel { processes, channels, network, clock, system, .. } = self;
        let when = |possible| if possible { Readiness::Enabled } else { Readiness::Obsolete };
        match step {
            Step::Run(pid) => when(processes.get(pid).is_alive()),
            Step::Signal(pid, _) if !processes.get(pid).is_alive() => Readiness::Obsolete,
            Step::Signal(pid, signal) => Readiness::Enabled.after(processes.get(pid).receives(signal)),
            Step::Start(pid) => when(processes.get(pid).phase == Phase::Starting),
            Step::Read(pid, _) | Step::Writable(pid, _) if !processes.get(pid).is_alive() => {
                Readiness::Obsolete
            }
            Step::Read(pid, id) => {
                channels.readable(pid, id).after(processes.get(pid).phase != Phase::Starting)
            }
            Step::Writable(pid, id) => channels.writable(pid, id),
            Step::Accept(pid, id) => acceptable(self, pid, id),
            Step::Receive(pid, id) => when(receivable(self, pid, id)),
            Step::Reap(pid) => reapable(self, pid),
            Step::ClientAction(id) => network.can_act(id, system),
            Step::ClientEvent(id) => when(network.clients.get(id).has_news()),
            Step::Timer => when(clock.has_timers()),
            Step::Continue(pid) => processes.can_continue(pid, system),
            Step::CloseInherited(pid) if !channels.has_open(pid, ChannelId::PRIMARY) => Readiness::Obsolete,
            Step::CloseInherited(pid) => Readiness::Enabled.after(can_close_inherited(self, pid)),
            Step::DriverEvent => Readiness::Enabled,
        }
    }

    /// The dependencies of the readiness of a step.
    pub(crate) fn dependencies(&self, step: Step) -> Dependencies {
        let client = |id: Option<ClientId>| id.map_or(Dependencies::NONE, Dependencies::client);
        match step {
            // Any step may create the path.
            Step::Continue(pid) if self.processes.waits_for_path(pid) => Dependencies::ALL,
            Step::Run(pid) | Step::Start(pid) | Step::Signal(pid, _) | Step::Continue(pid) => {
                Dependencies::life(pid)
            }
            Step::Read(pid, id) | Step::Writable(pid, id) => channels::dependencies(pid, id),
            // Any step may open or close a descriptor.
            Step::Accept(..) if self.system.is_limited() => Dependencies::ALL,
            Step::Accept(pid, _) => Dependencies::process(pid) | Dependencies::LISTENERS,
            Step::Receive(pid, id) => {
                Dependencies::process(pid) | Dependencies::UDP_QUEUES | client(self.client_behind(pid, id))
            }
            Step::Reap(pid) => Dependencies::life(pid) | Dependencies::life(Pid::PRIMARY),
            Step::ClientAction(id) if self.network.clients.looks_up_sockets(id) => {
                Dependencies::client(id) | Dependencies::LISTENERS
            }
            Step::ClientAction(id) | Step::ClientEvent(id) => Dependencies::client(id),
            Step::CloseInherited(pid) => Dependencies::process(pid) | client(child_waits_for(self, pid)),
            Step::DriverEvent | Step::Timer => Dependencies::NONE,
        }
    }
}

fn acceptable(kernel: &Kernel, pid: Pid, id: SocketId) -> Readiness {
    let Some(descriptor) = kernel.processes.get(pid).descriptor(id) else { return Readiness::Obsolete };
    match &kernel.network.sockets.get(descriptor.file).kind {
        SocketKind::Listener(listener)
            if descriptor.accepting != Accepting::No && !listener.backlog.is_empty() =>
        {
            Readiness::Enabled.after(!descriptor.starved || kernel.has_room(pid, 1))
        }
        SocketKind::Listener(_) | SocketKind::Connection(_) | SocketKind::Udp(_) => Readiness::Obsolete,
    }
}

/// Whether bytes, an end or a datagram wait at a socket that the program reads.
fn receivable(kernel: &Kernel, pid: Pid, id: SocketId) -> bool {
    kernel.processes.get(pid).descriptor(id).is_some_and(|descriptor| {
        descriptor.owned_by_program
            && !descriptor.muted
            && match &kernel.network.sockets.get(descriptor.file).kind {
                SocketKind::Connection(client) => {
                    let incoming = &kernel.network.clients.get(*client).incoming;
                    let has_ended = incoming.flow != Flow::Open && !descriptor.end_received;
                    has_ended || !incoming.bytes.is_empty()
                }
                SocketKind::Udp(datagrams) => !datagrams.queue.is_empty(),
                SocketKind::Listener(_) => false,
            }
    })
}

/// Whether an exit can be reported: only after the primary has read every byte of the worker.
fn reapable(kernel: &Kernel, pid: Pid) -> Readiness {
    let Phase::Dead(_) = kernel.processes.get(pid).phase else { return Readiness::Obsolete };
    if !kernel.processes.get(Pid::PRIMARY).is_alive() {
        return Readiness::Obsolete;
    }
    let channel = kernel.channels.get(Pid::PRIMARY, pid.channel());
    let has_unread =
        channel.is_some_and(|(channel, side)| channel.end(side).open && !channel.end(side).is_drained());
    Readiness::Enabled.after(!has_unread)
}

/// The client for which the child of a worker waits.
fn child_waits_for(kernel: &Kernel, pid: Pid) -> Option<ClientId> {
    kernel.network.sockets.client(kernel.processes.get(pid).child?)
}

/// Whether the child of a dead worker waits for no client, and may end.
fn can_close_inherited(kernel: &Kernel, pid: Pid) -> bool {
    let has_ended = |client| kernel.network.clients.get(client).incoming.flow != Flow::Open;
    child_waits_for(kernel, pid).is_none_or(has_ended)
}
