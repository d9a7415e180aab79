//! The process table: who lives, how it ended, which sockets it has. It does not run anything.

use cluster_core::{ExitStatus, SocketId, WorkerId};

use super::socket::FileId;

/// A process: 0 is the primary, `n` is worker `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Pid(pub(crate) u32);

impl Pid {
    pub(crate) const PRIMARY: Pid = Pid(0);

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl From<WorkerId> for Pid {
    fn from(worker: WorkerId) -> Self {
        Pid(worker.0)
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
    /// Dead, its parent not told yet.
    Dead(ExitStatus),
    Reaped,
}

/// The kernel's half of a process.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Process {
    pub(crate) phase: Phase,
    pub(crate) env: Vec<(String, String)>,
    /// It has written garbage: what it says of connections need not be true.
    pub(crate) hostile: bool,
    /// The last byte that it wrote to its channel did not end a line.
    pub(crate) mid_line: bool,
    descriptors: Vec<Descriptor>,
    next_socket: u32,
}

/// A socket as one process has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Descriptor {
    pub(crate) id: SocketId,
    pub(crate) file: FileId,
    /// A listener that delivers its connections to this process.
    pub(crate) accepting: bool,
    /// The program has it; the machine no longer does.
    pub(crate) held: bool,
    /// The program has heard how the client's side ended.
    pub(crate) told: bool,
}

impl Process {
    pub(crate) fn starting(env: Vec<(String, String)>) -> Self {
        Process { phase: Phase::Starting, env, ..Process::default() }
    }

    pub(crate) fn is_alive(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Running)
    }

    pub(crate) fn add(&mut self, file: FileId) -> SocketId {
        let id = SocketId(self.next_socket);
        self.next_socket += 1;
        self.descriptors.push(Descriptor { id, file, accepting: false, held: false, told: false });
        id
    }

    /// In table order, which is the order in which they appeared.
    pub(crate) fn descriptors(&self) -> &[Descriptor] {
        &self.descriptors
    }

    pub(crate) fn descriptor(&self, id: SocketId) -> Option<&Descriptor> {
        self.descriptors.iter().find(|descriptor| descriptor.id == id)
    }

    pub(crate) fn descriptor_mut(&mut self, id: SocketId) -> Option<&mut Descriptor> {
        self.descriptors.iter_mut().find(|descriptor| descriptor.id == id)
    }

    pub(crate) fn remove(&mut self, id: SocketId) -> Option<FileId> {
        let at = self.descriptors.iter().position(|descriptor| descriptor.id == id)?;
        Some(self.descriptors.remove(at).file)
    }

    /// The end: every descriptor, in table order.
    pub(crate) fn die(&mut self, status: ExitStatus) -> Vec<Descriptor> {
        self.phase = Phase::Dead(status);
        std::mem::take(&mut self.descriptors)
    }
}
