//! What a step touches: the objects of a world that it reads or writes. Two steps commute if neither writes what the
//! other touches.
//!
//! What was written is seen by comparing a world with its copy from before; what was read is known from the step. Where
//! it is not known, it is everything. Worlds with more objects than there are bits are touched as a whole.

use std::ops::{BitOr, BitOrAssign};

use cluster_core::{Call, ChannelId, SocketId};

use super::channel::{Channel, Side};
use super::process_table::Pid;
use super::socket::{FileId, SocketKind};
use super::{Kernel, Step};
use crate::cow::CowArc;
use crate::program::{ClientAction, ClientId};

/// A set of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ObjectSet(u128);

/// What one step has read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Footprint {
    pub(crate) reads: ObjectSet,
    pub(crate) writes: ObjectSet,
}

impl Footprint {
    /// Whether the two steps can be exchanged.
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
    /// The end of the log to which is written.
    pub(crate) const LOG_WRITTEN: ObjectSet = ObjectSet(1 << 121);
    /// The end of the log from which the driver hears.
    pub(crate) const LOG_READ: ObjectSet = ObjectSet(1 << 125);
    /// How many faults may still strike.
    pub(crate) const FAULTS: ObjectSet = ObjectSet(1 << 122);
    const CLOCK: ObjectSet = ObjectSet(1 << 123);
    /// The numbers that are given out next.
    const NUMBERS: ObjectSet = ObjectSet(1 << 124);
    /// Names, strangers, rights and limits.
    const SYSTEM: ObjectSet = ObjectSet(1 << 126);
    const FILES: ObjectSet = ObjectSet(((1 << 32) - 1) << 40);

    /// The `n`th of a row of objects that begins at bit `first`.
    fn nth(first: usize, of: usize, n: usize) -> ObjectSet {
        if n < of { ObjectSet(1 << (first + n)) } else { ObjectSet::ALL }
    }

    /// A running process: its machine and its program.
    pub(crate) fn running(pid: Pid) -> ObjectSet {
        ObjectSet::nth(0, 8, pid.index())
    }

    /// A process as the kernel knows it.
    fn process(pid: Pid) -> ObjectSet {
        ObjectSet::nth(8, 8, pid.index())
    }

    /// The two ends of a channel, as far as they are open, paused or blocked.
    fn ends(worker: usize) -> ObjectSet {
        ObjectSet::nth(16, 8, worker)
    }

    /// What waits at an end of a channel.
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
    /// What is no longer as in this copy from before.
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

    /// What this step of the kernel looks at, if it is enabled, and whether it is.
    pub(crate) fn read_by(&self, step: Step) -> ObjectSet {
        let own = |pid| ObjectSet::running(pid) | ObjectSet::process(pid);
        match step {
            Step::Run(pid) => own(pid) | ObjectSet::ends(pid.index()) | ObjectSet::SYSTEM | self.held_by(pid),
            Step::Start(pid) => own(pid),
            Step::Read(pid, id) => own(pid) | ObjectSet::SYSTEM | incoming(pid, id),
            Step::Writable(pid, id) => own(pid) | outgoing(pid, id),
            Step::Accept(pid, id) | Step::Receive(pid, id) => {
                own(pid) | ObjectSet::SYSTEM | self.socket_objects(pid, id)
            }
            Step::Signal(pid, _) => own(pid) | incoming(pid, ChannelId::PRIMARY) | self.held_by(pid),
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

    /// A program asks for what depends on other processes.
    pub(crate) fn asked(&mut self) {
        self.asked += 1;
    }

    /// Whether a program has asked, since `before`, for what depends on others: then it may have looked at anything.
    pub(crate) fn has_asked_since(&self, before: &Kernel) -> bool {
        self.asked != before.asked
    }

    /// What this call looks at beside its own process, or changes where no copy shows it.
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

    fn held_by(&self, pid: Pid) -> ObjectSet {
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

/// What comes to a process on a channel.
fn incoming(pid: Pid, id: ChannelId) -> ObjectSet {
    let (worker, side) = Kernel::locate(pid, id);
    ObjectSet::ends(worker) | ObjectSet::inbox(worker, side)
}

/// What it sends there.
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
                let ends = if now.is_as(before) { ObjectSet::NONE } else { ObjectSet::ends(worker) };
                let inbox =
                    if now.has_inbox_of(before) { ObjectSet::NONE } else { ObjectSet::inbox(worker, side) };
                ends | inbox
            })
            .collect(),
        (None, None) => ObjectSet::NONE,
        (Some(_), None) | (None, Some(_)) => all,
    }
}
