//! The process table: who lives, how it ended, which sockets it has. It does not run anything.

use cluster_core::{ChannelId, ExitStatus, OsBytes, SocketId, SpawnOptions, WorkerId};

use super::blocking::Blocked;
use super::socket::FileId;
use crate::cow::CowArc;

/// A process: 0 is the primary, `n` is worker `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pid(pub(crate) u32);

impl Pid {
    pub(crate) const PRIMARY: Pid = Pid(0);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }

    /// The worker of this process; of the primary, none that exists.
    pub(crate) fn worker(self) -> WorkerId {
        WorkerId(self.0.into())
    }

    /// The primary's end of this worker's channel.
    pub(crate) fn channel(self) -> ChannelId {
        ChannelId::from(self.worker())
    }
}

impl From<WorkerId> for Pid {
    fn from(worker: WorkerId) -> Self {
        // A run starts fewer than 2^32 processes: no process has the last number.
        Pid(u32::try_from(worker.0).unwrap_or(u32::MAX))
    }
}

impl From<ChannelId> for Pid {
    fn from(channel: ChannelId) -> Self {
        Pid::from(WorkerId(channel.0))
    }
}

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Phase {
    /// It was never started.
    #[default]
    Absent,
    /// It exists and has not run yet.
    Starting,
    Running,
    /// It does nothing until it goes on. Only a signal reaches it.
    Stopped,
    /// Dead, its parent not told yet.
    Dead(ExitStatus),
    Reaped,
}

/// What a process calls its first socket: the numbers before are its standard input, output, error and channel.
const FIRST_NUMBER: u32 = 4;

/// The kernel's half of a process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct ProcessEntry {
    pub(crate) phase: Phase,
    /// Both stay as they are, all its life.
    pub(crate) options: CowArc<SpawnOptions>,
    pub(crate) env: CowArc<Vec<(OsBytes, OsBytes)>>,
    /// It has something to do besides its channel and its sockets.
    pub(crate) kept_alive: bool,
    /// It has written garbage: what it says of connections need not be true.
    pub(crate) hostile: bool,
    /// It has a child, which has its channel, too, and ends with the client of this connection.
    pub(crate) child: Option<FileId>,
    /// The last byte that it wrote to its channel did not end a line.
    pub(crate) mid_line: bool,
    /// It does not come back from what its program does.
    pub(super) block: Option<Blocked>,
    descriptors: Vec<Descriptor>,
    next_socket: u64,
}

/// A socket as one process has it.
#[expect(clippy::struct_excessive_bools, reason = "each of them changes alone")]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Descriptor {
    pub(crate) id: SocketId,
    pub(crate) file: FileId,
    pub(crate) origin: Origin,
    pub(crate) accepting: Accepting,
    /// The process has heard that there is no descriptor for the next connection, and hears it no more until there is.
    pub(crate) starved: bool,
    /// The program has it; the machine no longer does.
    pub(crate) held: bool,
    /// The program has heard how the client's side ended.
    pub(crate) told: bool,
    /// The program has it and does not read from it.
    pub(crate) muted: bool,
}

impl Descriptor {
    /// The lower half of the id: a run opens fewer than 2^32 sockets.
    fn number(&self) -> u32 {
        let half = u32::try_from(self.id.0 & u64::from(u32::MAX)).expect("32 bits");
        half.wrapping_add(FIRST_NUMBER)
    }
}

/// Whether a listener delivers its connections to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Accepting {
    No,
    Yes,
}

/// How a process came by a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// Its machine bound or accepted it.
    Machine,
    /// Its program did.
    Program,
    /// It came through the channel.
    Channel,
}

impl ProcessEntry {
    pub(crate) fn starting(options: SpawnOptions, env: Vec<(OsBytes, OsBytes)>) -> Self {
        // All by name: the default would allocate parts, only to drop them.
        ProcessEntry {
            phase: Phase::Starting,
            options: options.into(),
            env: env.into(),
            kept_alive: false,
            hostile: false,
            child: None,
            block: None,
            mid_line: false,
            descriptors: Vec::new(),
            next_socket: 0,
        }
    }

    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running | Phase::Stopped)
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
            held: false,
            told: false,
            muted: false,
        });
        id
    }

    pub(crate) fn count_sockets_after(&mut self, SocketId(last): SocketId) {
        self.next_socket = self.next_socket.max(last + 1);
    }

    /// The number of a socket, as a descriptor has one. It is never used again.
    pub(crate) fn number_of(&self, id: SocketId) -> Option<u32> {
        self.descriptor(id).map(Descriptor::number)
    }

    /// What is behind a number, if it is a socket.
    pub(crate) fn socket_at(&self, number: u32) -> Option<FileId> {
        let at = self.descriptors.iter().find(|descriptor| descriptor.number() == number);
        at.map(|descriptor| descriptor.file)
    }

    /// In table order, which is the order in which they appeared.
    pub(crate) fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    pub(crate) fn descriptor(&self, id: SocketId) -> Option<&Descriptor> {
        Some(&self.descriptors[self.place(id)?])
    }

    pub(crate) fn descriptor_mut(&mut self, id: SocketId) -> Option<&mut Descriptor> {
        let at = self.place(id)?;
        Some(&mut self.descriptors[at])
    }

    pub(crate) fn remove(&mut self, id: SocketId) -> Option<FileId> {
        let at = self.place(id)?;
        Some(self.descriptors.remove(at).file)
    }

    /// The order of the table is that of the ids.
    fn place(&self, id: SocketId) -> Option<usize> {
        self.descriptors.binary_search_by_key(&id, |descriptor| descriptor.id).ok()
    }

    /// The end: every descriptor, in table order.
    pub(crate) fn die(&mut self, status: ExitStatus) -> Vec<Descriptor> {
        self.phase = Phase::Dead(status);
        std::mem::take(&mut self.descriptors)
    }
}
