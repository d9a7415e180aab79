//! The footprint of a step: the objects of a world that the step reads or writes. Two steps commute if neither writes
//! an object that the other reads or writes.
//!
//! The writes follow from comparing a world with its copy from before the step; the reads follow from the kind of step,
//! and are every object where they are unknown. Where a world has more objects than the set has bits, the footprint is
//! every object.

use std::ops::{BitOr, BitOrAssign};

use cluster_core::{Call, ChannelId, SocketId};

use super::channel::{Channel, Side};
use super::socket::{FileId, SocketKind};
use super::{Kernel, Step};
use crate::cow::CowArc;
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
    const NUMBERS: ObjectSet = ObjectSet(1 << 124);
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
    fn process(pid: Pid) -> ObjectSet {
        ObjectSet::nth(8, 8, pid.index())
    }

    /// The flags of the two ends of a channel.
    fn ends(worker: usize) -> ObjectSet {
        ObjectSet::nth(16, 8, worker)
    }

    /// The inbox of one end of a channel.
    fn inbox(worker: usize, side: Side) -> ObjectSet {
        ObjectSet::nth(24, 16, worker * 2 + side as usize)
    }

    fn file(FileId(file): FileId) -> ObjectSet {
        ObjectSet::nth(40, 32, file as usize)
    }

    fn client(ClientId(client): ClientId) -> ObjectSet {
        ObjectSet::nth(72, 48, client as usize - 1)
    }
}

fn changed<T>(
    now: &CowArc<Vec<CowArc<T>>>,
    before: &CowArc<Vec<CowArc<T>>>,
    object: impl Fn(usize) -> ObjectSet,
) -> ObjectSet {
    if now.is_shared_with(before) {
        return ObjectSet::NONE;
    }
    let changed =
        (0..).zip(now.iter().zip(before.iter())).filter(|(_, (now, before))| !now.is_shared_with(before));
    let numbers = if now.len() == before.len() { ObjectSet::NONE } else { ObjectSet::NUMBERS };
    let new = (before.len()..now.len()).map(&object);
    changed.map(|(n, _)| object(n)).chain(new).chain([numbers]).collect()
}

impl Kernel {
    /// The objects that differ from `before`, a copy from before the step.
    pub(crate) fn written_since(&self, before: &Kernel) -> ObjectSet {
        let Kernel { processes, channels, files, clients, clock, system, next_port, .. } = self;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut written = changed(processes, &before.processes, |n| ObjectSet::process(Pid(number(n))))
            | changed(files, &before.files, |n| ObjectSet::file(FileId(number(n))))
            | changed(clients, &before.clients, |n| ObjectSet::client(ClientId(number(n) + 1)));
        if *clock != before.clock {
            written |= ObjectSet::CLOCK;
        }
        if *next_port != before.next_port {
            written |= ObjectSet::NUMBERS;
        }
        if !system.is_shared_with(&before.system) {
            written |= ObjectSet::SYSTEM;
        }
        if !channels.is_shared_with(&before.channels) {
            for (worker, channel) in channels.iter().enumerate() {
                let before = before.channels.get(worker).and_then(Option::as_ref);
                written |= channel_changes(worker, channel.as_ref(), before);
            }
        }
        written
    }

    /// The objects read by an enabled step, and by the test whether the step is enabled.
    pub(crate) fn read_by(&self, step: Step) -> ObjectSet {
        let own = |pid| ObjectSet::running(pid) | ObjectSet::process(pid);
        match step {
            Step::Run(pid) => {
                own(pid) | ObjectSet::ends(pid.index()) | ObjectSet::SYSTEM | self.descriptors_of_process(pid)
            }
            Step::Start(pid) => own(pid),
            Step::Read(pid, id) => own(pid) | ObjectSet::SYSTEM | incoming(pid, id),
            Step::Writable(pid, id) => own(pid) | outgoing(pid, id),
            Step::Accept(pid, id) | Step::Receive(pid, id) => {
                own(pid) | ObjectSet::SYSTEM | self.socket_objects(pid, id)
            }
            Step::Signal(pid, _) => {
                own(pid) | incoming(pid, ChannelId::PRIMARY) | self.descriptors_of_process(pid)
            }
            Step::Reap(pid) => {
                own(Pid::PRIMARY) | ObjectSet::process(pid) | incoming(Pid::PRIMARY, pid.channel())
            }
            Step::CloseInherited(pid) => {
                let child = self.process(pid).child.map(|connection| self.file_objects(connection));
                incoming(pid, ChannelId::PRIMARY) | ObjectSet::process(pid) | child.unwrap_or(ObjectSet::NONE)
            }
            Step::Continue(pid) if self.waits_for_path(pid) => ObjectSet::process(pid) | ObjectSet::SYSTEM,
            Step::Continue(pid) => ObjectSet::process(pid),
            Step::ClientAction(client) => match self.client(client).actions.front() {
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

    /// Records a lookup of a program that depends on other processes.
    pub(crate) fn mark_lookup(&mut self) {
        self.lookups += 1;
    }

    /// Whether a program has asked, since `before`, for something that depends on other processes: the step may then
    /// have read any object.
    pub(crate) fn has_lookup_since(&self, before: &Kernel) -> bool {
        self.lookups != before.lookups
    }

    /// The objects that a call reads besides the calling process, or writes without a visible difference.
    pub(crate) fn read_by_call(&self, pid: Pid, call: &Call) -> Footprint {
        let reads = match call {
            Call::Spawn { .. } | Call::Bind { .. } => {
                ObjectSet::NUMBERS | ObjectSet::FILES | ObjectSet::SYSTEM
            }
            Call::Kill { worker, .. } => {
                let target = ObjectSet::process((*worker).into());
                return Footprint { reads: target, writes: target };
            }
            Call::Write { channel, socket, .. } => {
                outgoing(pid, *channel)
                    | socket.map_or(ObjectSet::NONE, |socket| self.socket_objects(pid, socket))
            }
            Call::PauseRead { channel } | Call::ResumeRead { channel } | Call::CloseChannel { channel } => {
                incoming(pid, *channel)
            }
            Call::Listen { socket, .. }
            | Call::PauseAccept { socket }
            | Call::ResumeAccept { socket }
            | Call::Close { socket } => self.socket_objects(pid, *socket),
            Call::SetTimer { .. } => ObjectSet::CLOCK,
            Call::Exit { .. } => ObjectSet::NONE,
        };
        Footprint { reads, writes: ObjectSet::NONE }
    }

    fn descriptors_of_process(&self, pid: Pid) -> ObjectSet {
        let descriptors = self.process(pid).descriptors().iter();
        descriptors.map(|descriptor| self.file_objects(descriptor.file)).collect()
    }

    fn socket_objects(&self, pid: Pid, id: SocketId) -> ObjectSet {
        let file = self.process(pid).descriptor(id).map(|descriptor| descriptor.file);
        file.map_or(ObjectSet::NONE, |file| self.file_objects(file))
    }

    fn file_objects(&self, file: FileId) -> ObjectSet {
        let client = match self.file(file).kind {
            SocketKind::Connection(client) => ObjectSet::client(client),
            SocketKind::Listener(_) | SocketKind::Udp(_) => ObjectSet::NONE,
        };
        ObjectSet::file(file) | client
    }
}

/// The objects of the channel that a process reads from.
fn incoming(pid: Pid, id: ChannelId) -> ObjectSet {
    let (worker, side) = Kernel::locate(pid, id);
    ObjectSet::ends(worker) | ObjectSet::inbox(worker, side)
}

/// The objects of the channel that a process writes to.
fn outgoing(pid: Pid, id: ChannelId) -> ObjectSet {
    let (worker, side) = Kernel::locate(pid, id);
    ObjectSet::ends(worker) | ObjectSet::inbox(worker, side.other())
}

fn channel_changes(
    worker: usize,
    now: Option<&CowArc<Channel>>,
    before: Option<&CowArc<Channel>>,
) -> ObjectSet {
    let all = [Side::Primary, Side::Worker]
        .map(|side| ObjectSet::inbox(worker, side))
        .into_iter()
        .collect::<ObjectSet>()
        | ObjectSet::ends(worker);
    match (now, before) {
        (Some(now), Some(before)) if now.is_shared_with(before) => ObjectSet::NONE,
        (Some(now), Some(before)) => [Side::Primary, Side::Worker]
            .into_iter()
            .map(|side| {
                let (now, before) = (now.end(side), before.end(side));
                let ends =
                    if now.is_unchanged_since(before) { ObjectSet::NONE } else { ObjectSet::ends(worker) };
                let inbox =
                    if now.has_inbox_of(before) { ObjectSet::NONE } else { ObjectSet::inbox(worker, side) };
                ends | inbox
            })
            .collect(),
        (None, None) => ObjectSet::NONE,
        (Some(_), None) | (None, Some(_)) => all,
    }
}
