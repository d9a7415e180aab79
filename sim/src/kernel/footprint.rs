//! The footprint of a step: the objects of a world that the step reads or writes. Two steps commute if
//! neither step writes an object that the other step reads or writes.
//!
//! Writes are found by comparison: each table compares the rows with a copy from before the step. Reads
//! follow from the kind of step and call; where unknown, the step counts as reading every object. Recording
//! each read would take time in every run, and would also record the reads of the checks.
//! `independent_steps_commute` tests the rules. If a world has more objects than the set has bits, the
//! footprint is every object.

use std::ops::BitOr;

use cluster_core::{Call, ChannelId, SocketId};

use super::channels::{incoming, outgoing};
use super::object_set::{Footprint, ObjectSet};
use super::socket::FileId;
use super::sockets::Sockets;
use super::{Kernel, Step};
use crate::event::ClientAction;
use crate::step::Pid;

impl Kernel {
    /// The objects that differ from `before`, a copy from before the step.
    pub(crate) fn written_since(&self, before: &Kernel) -> ObjectSet {
        let Kernel { processes, channels, network, clock, system, .. } = self;
        let mut written = processes.written_since(&before.processes)
            | channels.written_since(&before.channels)
            | network.written_since(&before.network);
        if *clock != before.clock {
            written |= ObjectSet::CLOCK;
        }
        if !system.is_shared_with(&before.system) {
            written |= ObjectSet::SYSTEM;
        }
        written
    }

    /// The objects that an enabled step reads, including the reads to decide that the step is enabled.
    pub(crate) fn read_by(&self, step: Step) -> ObjectSet {
        let own = |pid| ObjectSet::running(pid) | ObjectSet::process(pid.index());
        match step {
            Step::Run(pid) => {
                own(pid)
                    | ObjectSet::ends(pid.index())
                    | ObjectSet::SYSTEM
                    | descriptors_of_process(self, pid)
            }
            Step::Start(pid) => own(pid),
            Step::Read(pid, id) => own(pid) | ObjectSet::SYSTEM | incoming(pid, id),
            Step::Writable(pid, id) => own(pid) | outgoing(pid, id),
            Step::Accept(pid, id) | Step::Receive(pid, id) => {
                own(pid) | ObjectSet::SYSTEM | socket_of(self, pid, id)
            }
            Step::Signal(pid, _) => {
                own(pid)
                    | incoming(pid, ChannelId::PRIMARY)
                    | descriptors_of_process(self, pid)
                    | child_of(self, pid)
            }
            Step::Reap(pid) => {
                own(Pid::PRIMARY) | ObjectSet::process(pid.index()) | incoming(Pid::PRIMARY, pid.channel())
            }
            Step::CloseInherited(pid) => {
                incoming(pid, ChannelId::PRIMARY) | ObjectSet::process(pid.index()) | child_of(self, pid)
            }
            Step::Continue(pid) if self.processes.waits_for_path(pid) => {
                ObjectSet::process(pid.index()) | ObjectSet::SYSTEM
            }
            Step::Continue(pid) => ObjectSet::process(pid.index()),
            Step::ClientAction(client) => match self.network.clients.next_action(client) {
                Some(ClientAction::SendTo(..)) => ObjectSet::ALL,
                Some(ClientAction::Connect(_)) => {
                    ObjectSet::client(client) | ObjectSet::FILES | ObjectSet::SYSTEM
                }
                Some(ClientAction::Send(_) | ClientAction::End | ClientAction::Reset) | None => {
                    ObjectSet::client(client)
                }
            },
            Step::ClientEvent(client) => ObjectSet::client(client) | ObjectSet::DRIVER,
            Step::DriverEvent => ObjectSet::LOG_READ | ObjectSet::DRIVER,
            Step::Timer => self.clock.waiting().map(|(pid, _)| own(pid)).fold(ObjectSet::CLOCK, BitOr::bitor),
        }
    }

    /// The objects that a call reads besides the calling process, and the objects that a call writes without
    /// leaving a difference.
    pub(crate) fn footprint_of(&self, pid: Pid, call: &Call) -> Footprint {
        let reads = match call {
            Call::Spawn { .. } | Call::Bind { .. } => {
                ObjectSet::NUMBERS | ObjectSet::FILES | ObjectSet::SYSTEM
            }
            Call::Kill { worker, .. } => {
                let target = Pid::from(*worker);
                let process = ObjectSet::process(target.index());
                let target = if self.processes.has_group(target) {
                    process | incoming(target, ChannelId::PRIMARY) | child_of(self, target)
                } else {
                    process
                };
                return Footprint { reads: target, writes: target };
            }
            Call::Write { channel, socket, .. } => {
                outgoing(pid, *channel)
                    | socket.map_or(ObjectSet::NONE, |socket| socket_of(self, pid, socket))
            }
            Call::PauseRead { channel } | Call::ResumeRead { channel } | Call::CloseChannel { channel } => {
                incoming(pid, *channel)
            }
            Call::Listen { socket, .. }
            | Call::PauseAccept { socket }
            | Call::ResumeAccept { socket }
            | Call::Close { socket } => socket_of(self, pid, *socket),
            Call::SetTimer { .. } => ObjectSet::CLOCK,
            Call::Choose { .. } | Call::Exit { .. } => ObjectSet::NONE,
        };
        Footprint { reads, writes: ObjectSet::NONE }
    }
}

fn descriptors_of_process(kernel: &Kernel, pid: Pid) -> ObjectSet {
    let descriptors = kernel.processes.get(pid).descriptors().iter();
    descriptors.map(|descriptor| socket(&kernel.network.sockets, descriptor.file)).collect()
}

/// The connection that a child of the process has inherited, and the client of the connection.
fn child_of(kernel: &Kernel, pid: Pid) -> ObjectSet {
    let connection = kernel.processes.get(pid).child;
    connection.map_or(ObjectSet::NONE, |connection| socket(&kernel.network.sockets, connection))
}

fn socket_of(kernel: &Kernel, pid: Pid, id: SocketId) -> ObjectSet {
    let file = kernel.processes.socket(pid, id);
    file.map_or(ObjectSet::NONE, |file| socket(&kernel.network.sockets, file))
}

/// A socket; for a connection, also its client.
fn socket(sockets: &Sockets, file: FileId) -> ObjectSet {
    let client = sockets.client(file).map_or(ObjectSet::NONE, ObjectSet::client);
    ObjectSet::file(file.0 as usize) | client
}
