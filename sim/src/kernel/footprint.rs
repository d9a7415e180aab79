//! The footprint of a step: the objects of a world that the step reads or writes. Two steps commute if neither writes
//! an object that the other reads or writes.
//!
//! The tables know the writes: each compares the rows with a copy from before the step. The reads are a list by kind of
//! step and call, and are every object where unknown: recording each read would take time in every run, and would count
//! the reads of the checks. `independent_steps_commute` tests the list. Where a world has more objects than the set has
//! bits, the footprint is every object.

use std::ops::{BitOr, BitOrAssign};

use cluster_core::{Call, ChannelId, SocketId};

use super::channel::Side;
use super::channels::{incoming, outgoing};
use super::socket::FileId;
use super::sockets::Sockets;
use super::{Kernel, Step};
use crate::event::{ClientAction, ClientId};
use crate::step::Pid;

/// A set of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ObjectSet(u128);

/// The objects read and written by a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Footprint {
    pub(crate) reads: ObjectSet,
    pub(crate) writes: ObjectSet,
}

impl Footprint {
    /// Whether two steps commute.
    pub(crate) fn is_independent_of(self, other: Footprint) -> bool {
        let (ObjectSet(reads), ObjectSet(writes)) = (self.reads, self.writes);
        let (ObjectSet(other_reads), ObjectSet(other_writes)) = (other.reads, other.writes);
        writes & (other_reads | other_writes) == 0 && other_writes & reads == 0
    }
}

impl BitOr for ObjectSet {
    type Output = ObjectSet;

    fn bitor(self, other: ObjectSet) -> ObjectSet {
        ObjectSet(self.0 | other.0)
    }
}

impl BitOrAssign for ObjectSet {
    fn bitor_assign(&mut self, other: ObjectSet) {
        self.0 |= other.0;
    }
}

impl FromIterator<ObjectSet> for ObjectSet {
    fn from_iter<I: IntoIterator<Item = ObjectSet>>(objects: I) -> Self {
        objects.into_iter().fold(ObjectSet::NONE, BitOr::bitor)
    }
}

impl ObjectSet {
    pub(crate) const NONE: ObjectSet = ObjectSet(0);
    pub(crate) const ALL: ObjectSet = ObjectSet(u128::MAX);
    /// The driver's program.
    pub(crate) const DRIVER: ObjectSet = ObjectSet(1 << 120);
    /// The end of the log that observers append to.
    pub(crate) const LOG_WRITTEN: ObjectSet = ObjectSet(1 << 121);
    /// The end of the log that the driver reads.
    pub(crate) const LOG_READ: ObjectSet = ObjectSet(1 << 125);
    /// The number of faults that may still strike.
    pub(crate) const FAULTS: ObjectSet = ObjectSet(1 << 122);
    const CLOCK: ObjectSet = ObjectSet(1 << 123);
    /// The next ids.
    pub(super) const NUMBERS: ObjectSet = ObjectSet(1 << 124);
    /// Paths, foreign sockets, rights and limits.
    const SYSTEM: ObjectSet = ObjectSet(1 << 126);
    const FILES: ObjectSet = ObjectSet(((1 << 32) - 1) << 40);

    /// The `n`th of `of` objects, which begin at bit `first`.
    fn nth(first: usize, of: usize, n: usize) -> ObjectSet {
        if n < of { ObjectSet(1 << (first + n)) } else { ObjectSet::ALL }
    }

    /// A running process: machine and program.
    pub(crate) fn running(pid: Pid) -> ObjectSet {
        ObjectSet::nth(0, 8, pid.index())
    }

    /// The process-table entry of a process.
    pub(super) fn process(process: usize) -> ObjectSet {
        ObjectSet::nth(8, 8, process)
    }

    /// The flags of the two ends of a channel.
    pub(super) fn ends(worker: usize) -> ObjectSet {
        ObjectSet::nth(16, 8, worker)
    }

    /// The inbox of one end of a channel.
    pub(super) fn inbox(worker: usize, side: Side) -> ObjectSet {
        ObjectSet::nth(24, 16, worker * 2 + side as usize)
    }

    /// Both ends of a channel and their inboxes.
    pub(super) fn channel(worker: usize) -> ObjectSet {
        let [one, other] = [Side::Primary, Side::Worker].map(|side| ObjectSet::inbox(worker, side));
        ObjectSet::ends(worker) | one | other
    }

    pub(super) fn file(file: usize) -> ObjectSet {
        ObjectSet::nth(40, 32, file)
    }

    /// The client in row `n`.
    pub(super) fn nth_client(n: usize) -> ObjectSet {
        ObjectSet::nth(72, 48, n)
    }

    fn client(ClientId(client): ClientId) -> ObjectSet {
        ObjectSet::nth_client(client as usize - 1)
    }
}

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

    /// The objects read by an enabled step, and by the test whether the step is enabled.
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
            Step::Timer => self.clock.waiting().map(own).fold(ObjectSet::CLOCK, BitOr::bitor),
        }
    }

    /// The objects that a call reads besides the calling process, or writes without a visible difference.
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
            Call::Exit { .. } => ObjectSet::NONE,
        };
        Footprint { reads, writes: ObjectSet::NONE }
    }
}

fn descriptors_of_process(kernel: &Kernel, pid: Pid) -> ObjectSet {
    let descriptors = kernel.processes.get(pid).descriptors().iter();
    descriptors.map(|descriptor| socket(&kernel.network.sockets, descriptor.file)).collect()
}

/// The connection of a child, and its client.
fn child_of(kernel: &Kernel, pid: Pid) -> ObjectSet {
    let connection = kernel.processes.get(pid).child;
    connection.map_or(ObjectSet::NONE, |connection| socket(&kernel.network.sockets, connection))
}

fn socket_of(kernel: &Kernel, pid: Pid, id: SocketId) -> ObjectSet {
    let file = kernel.processes.socket(pid, id);
    file.map_or(ObjectSet::NONE, |file| socket(&kernel.network.sockets, file))
}

/// A socket, and the client behind a connection.
fn socket(sockets: &Sockets, file: FileId) -> ObjectSet {
    let client = sockets.client(file).map_or(ObjectSet::NONE, ObjectSet::client);
    ObjectSet::file(file.0 as usize) | client
}
