//! What a step touches: the objects of a world that it reads or writes. Two steps commute if neither writes what the
//! other touches.
//!
//! What was written is seen by comparing a world with its copy from before; what was read is known from the step. Where
//! it is not known, it is everything. Worlds with more objects than there are bits are touched as a whole.

use std::ops::{BitOr, BitOrAssign};

use cluster_core::{Call, ChannelId, SocketId};

use super::channel::{Channel, Side};
use super::process::Pid;
use super::socket::{Action, FileId, Kind};
use super::{Kernel, Step};
use crate::part::Part;
use crate::program::ClientId;

/// A set of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Objects(u128);

/// What one step has read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Footprint {
    pub(crate) reads: Objects,
    pub(crate) writes: Objects,
}

impl Footprint {
    /// Whether the two steps can be exchanged.
    pub(crate) fn is_independent_of(self, other: Footprint) -> bool {
        let (Objects(reads), Objects(writes)) = (self.reads, self.writes);
        let (Objects(other_reads), Objects(other_writes)) = (other.reads, other.writes);
        writes & (other_reads | other_writes) == 0 && other_writes & reads == 0
    }
}

impl BitOr for Objects {
    type Output = Objects;

    fn bitor(self, other: Objects) -> Objects {
        Objects(self.0 | other.0)
    }
}

impl BitOrAssign for Objects {
    fn bitor_assign(&mut self, other: Objects) {
        self.0 |= other.0;
    }
}

impl FromIterator<Objects> for Objects {
    fn from_iter<I: IntoIterator<Item = Objects>>(objects: I) -> Self {
        objects.into_iter().fold(Objects::NONE, BitOr::bitor)
    }
}

impl Objects {
    pub(crate) const NONE: Objects = Objects(0);
    pub(crate) const ALL: Objects = Objects(u128::MAX);
    /// The driver's program.
    pub(crate) const DRIVER: Objects = Objects(1 << 120);
    /// The end of the log to which is written.
    pub(crate) const LOG_WRITTEN: Objects = Objects(1 << 121);
    /// The end of the log from which the driver hears.
    pub(crate) const LOG_HEARD: Objects = Objects(1 << 125);
    /// How many faults may still strike.
    pub(crate) const FAULTS: Objects = Objects(1 << 122);
    const CLOCK: Objects = Objects(1 << 123);
    /// The numbers that are given out next.
    const NUMBERS: Objects = Objects(1 << 124);
    /// Names, strangers, rights and limits.
    const SYSTEM: Objects = Objects(1 << 126);
    const FILES: Objects = Objects(((1 << 32) - 1) << 40);

    /// The `n`th of a row of objects that begins at bit `first`.
    fn nth(first: usize, of: usize, n: usize) -> Objects {
        if n < of { Objects(1 << (first + n)) } else { Objects::ALL }
    }

    /// A running process: its machine and its program.
    pub(crate) fn host(pid: Pid) -> Objects {
        Objects::nth(0, 8, pid.index())
    }

    /// A process as the kernel knows it.
    fn process(pid: Pid) -> Objects {
        Objects::nth(8, 8, pid.index())
    }

    /// The two ends of a channel, as far as they are open, paused or blocked.
    fn ends(worker: usize) -> Objects {
        Objects::nth(16, 8, worker)
    }

    /// What waits at an end of a channel.
    fn inbox(worker: usize, side: Side) -> Objects {
        Objects::nth(24, 16, worker * 2 + side as usize)
    }

    fn file(FileId(file): FileId) -> Objects {
        Objects::nth(40, 32, file as usize)
    }

    fn client(ClientId(client): ClientId) -> Objects {
        Objects::nth(72, 48, client as usize - 1)
    }
}

fn changed<T>(
    now: &Part<Vec<Part<T>>>,
    before: &Part<Vec<Part<T>>>,
    object: impl Fn(usize) -> Objects,
) -> Objects {
    if now.is_shared_with(before) {
        return Objects::NONE;
    }
    let changed =
        (0..).zip(now.iter().zip(before.iter())).filter(|(_, (now, before))| !now.is_shared_with(before));
    let numbers = if now.len() == before.len() { Objects::NONE } else { Objects::NUMBERS };
    let new = (before.len()..now.len()).map(&object);
    changed.map(|(n, _)| object(n)).chain(new).chain([numbers]).collect()
}

impl Kernel {
    /// What is no longer as in this copy from before.
    pub(crate) fn written_since(&self, before: &Kernel) -> Objects {
        let Kernel { processes, channels, files, clients, clock, system, next_port, .. } = self;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let mut written = changed(processes, &before.processes, |n| Objects::process(Pid(number(n))))
            | changed(files, &before.files, |n| Objects::file(FileId(number(n))))
            | changed(clients, &before.clients, |n| Objects::client(ClientId(number(n) + 1)));
        if *clock != before.clock {
            written |= Objects::CLOCK;
        }
        if *next_port != before.next_port {
            written |= Objects::NUMBERS;
        }
        if !system.is_shared_with(&before.system) {
            written |= Objects::SYSTEM;
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
    pub(crate) fn read_by(&self, step: Step) -> Objects {
        let own = |pid| Objects::host(pid) | Objects::process(pid);
        match step {
            Step::Run(pid) => own(pid) | Objects::ends(pid.index()) | Objects::SYSTEM | self.held_by(pid),
            Step::Start(pid) => own(pid),
            Step::Read(pid, id) => own(pid) | Objects::SYSTEM | incoming(pid, id),
            Step::Writable(pid, id) => own(pid) | outgoing(pid, id),
            Step::Accept(pid, id) | Step::Receive(pid, id) => {
                own(pid) | Objects::SYSTEM | self.socket_objects(pid, id)
            }
            Step::Die(pid, _) => own(pid) | incoming(pid, ChannelId::PRIMARY) | self.held_by(pid),
            Step::Reap(pid) => {
                own(Pid::PRIMARY) | Objects::process(pid) | incoming(Pid::PRIMARY, pid.channel())
            }
            Step::LetGo(pid) => {
                let child = self.process(pid).child.map(|connection| self.file_objects(connection));
                incoming(pid, ChannelId::PRIMARY) | Objects::process(pid) | child.unwrap_or(Objects::NONE)
            }
            Step::Continue(pid) if self.looks_for_a_path(pid) => Objects::process(pid) | Objects::SYSTEM,
            Step::Continue(pid) => Objects::process(pid),
            Step::Act(client) => match self.client(client).actions.front() {
                Some(Action::SendTo(..)) => Objects::ALL,
                Some(Action::Connect(_)) => Objects::client(client) | Objects::FILES | Objects::SYSTEM,
                Some(Action::Send(_) | Action::End | Action::Reset) | None => Objects::client(client),
            },
            Step::Meet(client) => Objects::client(client) | Objects::DRIVER,
            Step::Hear => Objects::LOG_HEARD | Objects::DRIVER,
            Step::Fire => self.clock.waiting().map(own).fold(Objects::CLOCK, BitOr::bitor),
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
            Call::Spawn { .. } | Call::Bind { .. } => Objects::NUMBERS | Objects::FILES | Objects::SYSTEM,
            Call::Kill { worker, .. } => {
                let target = Objects::process((*worker).into());
                return Footprint { reads: target, writes: target };
            }
            Call::Write { channel, socket, .. } => {
                outgoing(pid, *channel)
                    | socket.map_or(Objects::NONE, |socket| self.socket_objects(pid, socket))
            }
            Call::PauseRead { channel } | Call::ResumeRead { channel } | Call::CloseChannel { channel } => {
                incoming(pid, *channel)
            }
            Call::Listen { socket, .. }
            | Call::PauseAccept { socket }
            | Call::ResumeAccept { socket }
            | Call::Close { socket } => self.socket_objects(pid, *socket),
            Call::SetTimer { .. } => Objects::CLOCK,
            Call::Exit { .. } => Objects::NONE,
        };
        Footprint { reads, writes: Objects::NONE }
    }

    fn held_by(&self, pid: Pid) -> Objects {
        let descriptors = self.process(pid).descriptors().iter();
        descriptors.map(|descriptor| self.file_objects(descriptor.file)).collect()
    }

    fn socket_objects(&self, pid: Pid, id: SocketId) -> Objects {
        let file = self.process(pid).descriptor(id).map(|descriptor| descriptor.file);
        file.map_or(Objects::NONE, |file| self.file_objects(file))
    }

    fn file_objects(&self, file: FileId) -> Objects {
        let client = match self.file(file).kind {
            Kind::Connection(client) => Objects::client(client),
            Kind::Listener(_) | Kind::Datagrams(_) => Objects::NONE,
        };
        Objects::file(file) | client
    }
}

/// What comes to a process on a channel.
fn incoming(pid: Pid, id: ChannelId) -> Objects {
    let (worker, side) = Kernel::locate(pid, id);
    Objects::ends(worker) | Objects::inbox(worker, side)
}

/// What it sends there.
fn outgoing(pid: Pid, id: ChannelId) -> Objects {
    let (worker, side) = Kernel::locate(pid, id);
    Objects::ends(worker) | Objects::inbox(worker, side.other())
}

fn channel_changes(worker: usize, now: Option<&Part<Channel>>, before: Option<&Part<Channel>>) -> Objects {
    let all = [Side::Primary, Side::Worker]
        .map(|side| Objects::inbox(worker, side))
        .into_iter()
        .collect::<Objects>()
        | Objects::ends(worker);
    match (now, before) {
        (Some(now), Some(before)) if now.is_shared_with(before) => Objects::NONE,
        (Some(now), Some(before)) => [Side::Primary, Side::Worker]
            .into_iter()
            .map(|side| {
                let (now, before) = (now.end(side), before.end(side));
                let ends = if now.is_as(before) { Objects::NONE } else { Objects::ends(worker) };
                let inbox =
                    if now.has_inbox_of(before) { Objects::NONE } else { Objects::inbox(worker, side) };
                ends | inbox
            })
            .collect(),
        (None, None) => Objects::NONE,
        (Some(_), None) | (None, Some(_)) => all,
    }
}
