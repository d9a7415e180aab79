//! The process table: phase, exit status and sockets of each process.

use cluster_core::{ExitStatus, OsBytes, ProcessGroup, Signal, SocketId, SpawnOptions};

use super::socket::FileId;
use crate::cow::CowArc;

/// The phase of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Phase {
    /// Never started.
    #[default]
    Absent,
    /// Started, but has not run yet.
    Starting,
    Running,
    /// Stopped; a later step continues the process. Only a signal reaches the process.
    Stopped,
    /// Stopped, and never continued. Only SIGKILL reaches the process.
    StoppedForever,
    /// Ended, and not reported to the parent yet.
    Dead(ExitStatus),
    Reaped,
}

/// The descriptor number of the first socket of a process, after standard input, output, error and the
/// channel.
const FIRST_NUMBER: u32 = 4;

/// When a process blocks, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Blocked {
    /// The number of calls until the process blocks.
    pub(super) calls: usize,
    /// The path that ends the block; `None`: the process blocks forever.
    pub(super) until: Option<String>,
}

/// The entry of a process in the process table.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct ProcessEntry {
    pub(crate) phase: Phase,
    /// Options and environment never change, and copies of the process share them.
    pub(crate) options: CowArc<SpawnOptions>,
    pub(crate) env: CowArc<Vec<(OsBytes, OsBytes)>>,
    /// The program has work other than the channel and sockets.
    pub(crate) kept_alive: bool,
    /// The process has written garbage: from then on its statements about connections are not trusted.
    pub(crate) hostile: bool,
    /// A connection that a child of the process has inherited, together with the channel. The child ends when
    /// the client of the connection has ended.
    pub(crate) child: Option<FileId>,
    /// A signal was sent to the group of the process.
    pub(super) group_signalled: bool,
    /// The process is blocked in a hook, or will be blocked.
    pub(super) block: Option<Blocked>,
    descriptors: Vec<Descriptor>,
    next_socket: u64,
}

/// A socket in the table of a process.
#[expect(clippy::struct_excessive_bools, reason = "each flag changes alone")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Descriptor {
    pub(crate) id: SocketId,
    pub(crate) file: FileId,
    pub(crate) origin: Origin,
    pub(crate) accepting: Accepting,
    /// The process has already received the error that no descriptor is free. The error is not repeated until
    /// a descriptor is free.
    pub(crate) starved: bool,
    /// Owned by the program, no longer by the machine.
    pub(crate) owned_by_program: bool,
    /// The program has received the end of the client's side.
    pub(crate) end_received: bool,
    /// Owned by the program and not read.
    pub(crate) muted: bool,
}

impl Descriptor {
    /// The lower half of the id, which is unique: a run opens fewer than 2^32 sockets.
    fn number(&self) -> u32 {
        let half = u32::try_from(self.id.0 & u64::from(u32::MAX)).expect("32 bits");
        half.wrapping_add(FIRST_NUMBER)
    }
}

/// Whether a listener delivers connections to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Accepting {
    No,
    Yes,
}

/// How a process obtained a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// The machine bound or accepted the socket.
    Machine,
    /// The program bound or accepted the socket.
    Program,
    /// Received from the channel.
    Channel,
}

impl ProcessEntry {
    pub(crate) fn starting(options: SpawnOptions, env: Vec<(OsBytes, OsBytes)>) -> Self {
        // Every field is named: `..Default::default()` would allocate copy-on-write parts only to drop them.
        ProcessEntry {
            phase: Phase::Starting,
            options: options.into(),
            env: env.into(),
            kept_alive: false,
            hostile: false,
            child: None,
            group_signalled: false,
            block: None,
            descriptors: Vec::new(),
            next_socket: 0,
        }
    }

    /// Whether the process leads a group. A child of the process is then a member of the group.
    pub(crate) fn has_group(&self) -> bool {
        self.options.process_group.unwrap_or_default() != ProcessGroup::Inherited
    }

    /// Whether a signal reaches the process now. Only SIGKILL reaches a process that never continues.
    pub(super) fn receives(&self, signal: Signal) -> bool {
        signal == Signal::SIGKILL || self.phase != Phase::StoppedForever
    }

    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running | Phase::Stopped | Phase::StoppedForever)
    }

    pub(crate) fn add(&mut self, file: FileId, origin: Origin) -> SocketId {
        let id = SocketId(self.next_socket);
        self.next_socket += 1;
        let accepting = Accepting::No;
        self.descriptors.push(Descriptor {
            id,
            file,
            origin,
            accepting,
            starved: false,
            owned_by_program: false,
            end_received: false,
            muted: false,
        });
        id
    }

    #[cfg(feature = "testing")]
    pub(crate) fn count_sockets_after(&mut self, SocketId(last): SocketId) {
        self.next_socket = self.next_socket.max(last + 1);
    }

    /// The descriptor number of a socket. Numbers are not reused.
    pub(crate) fn number_of(&self, id: SocketId) -> Option<u32> {
        self.descriptor(id).map(Descriptor::number)
    }

    /// The socket behind a descriptor number.
    pub(crate) fn socket_at(&self, number: u32) -> Option<FileId> {
        let at = self.descriptors.iter().find(|descriptor| descriptor.number() == number);
        at.map(|descriptor| descriptor.file)
    }

    /// The descriptors, in opening order.
    pub(crate) fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    pub(crate) fn descriptor(&self, id: SocketId) -> Option<&Descriptor> {
        Some(&self.descriptors[self.position(id)?])
    }

    pub(crate) fn descriptor_mut(&mut self, id: SocketId) -> Option<&mut Descriptor> {
        let at = self.position(id)?;
        Some(&mut self.descriptors[at])
    }

    pub(crate) fn remove(&mut self, id: SocketId) -> Option<FileId> {
        let at = self.position(id)?;
        Some(self.descriptors.remove(at).file)
    }

    /// The position of a descriptor; the descriptors are in id order.
    fn position(&self, id: SocketId) -> Option<usize> {
        self.descriptors.binary_search_by_key(&id, |descriptor| descriptor.id).ok()
    }

    /// Ends the process; returns its descriptors in opening order.
    pub(crate) fn die(&mut self, status: ExitStatus) -> Vec<Descriptor> {
        self.phase = Phase::Dead(status);
        std::mem::take(&mut self.descriptors)
    }
}
