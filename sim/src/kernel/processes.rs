//! The processes of a run, the primary first, and the owners of their sockets.

use cluster_core::{ExitStatus, OsBytes, SocketId, SpawnOptions};

use super::object_set::ObjectSet;
use super::process_table::{Accepting, Descriptor, Origin, Phase, ProcessEntry};
use super::ready::{Dependencies, Ready};
use super::socket::FileId;
use super::table::Table;
use crate::step::{Pid, Step};

/// The process table.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Processes {
    table: Table<ProcessEntry>,
}

impl Processes {
    /// A primary before its start.
    pub(super) fn new() -> Self {
        Processes { table: [ProcessEntry::starting(SpawnOptions::new(), Vec::new())].into_iter().collect() }
    }

    pub(super) fn copy_from(&mut self, other: &Processes) {
        self.table.copy_from(&other.table);
    }

    pub(super) fn take_touched(&mut self) -> Dependencies {
        self.table.take_touched()
    }

    pub(super) fn written_since(&self, before: &Processes) -> ObjectSet {
        self.table.written_since(&before.table, |at, _, _| ObjectSet::process(at))
    }

    pub(crate) fn get(&self, pid: Pid) -> &ProcessEntry {
        &self.table[pid.index()]
    }

    pub(crate) fn get_mut(&mut self, pid: Pid) -> &mut ProcessEntry {
        self.table.get_mut(pid.index(), Dependencies::process(pid)).expect("the process exists")
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Pid, &ProcessEntry)> {
        (0..).map(Pid).zip(self.table.iter())
    }

    /// Reserves the row of a process. The process may fail to start.
    pub(super) fn reserve(&mut self, pid: Pid) {
        while self.table.len() <= pid.index() {
            self.table.push(ProcessEntry::default());
        }
    }

    /// Adds a process before its start.
    pub(super) fn spawn(&mut self, pid: Pid, options: SpawnOptions, env: Vec<(OsBytes, OsBytes)>) {
        *self.get_mut(pid) = ProcessEntry::starting(options, env);
    }

    // ---- phases

    fn phase(&self, pid: Pid) -> Phase {
        self.table.get(pid.index()).map_or(Phase::Absent, |process| process.phase)
    }

    /// Whether a process exists and has not ended.
    pub(crate) fn is_alive(&self, pid: Pid) -> bool {
        self.table.get(pid.index()).is_some_and(ProcessEntry::is_alive)
    }

    /// Whether a process has started and ended.
    pub(crate) fn has_ended(&self, pid: Pid) -> bool {
        matches!(self.phase(pid), Phase::Dead(_) | Phase::Reaped)
    }

    /// Whether a process is alive and stopped.
    pub(crate) fn is_stopped(&self, pid: Pid) -> bool {
        matches!(self.phase(pid), Phase::Stopped | Phase::StoppedForever)
    }

    /// Whether a process was started in a group of its own.
    pub(super) fn has_group(&self, pid: Pid) -> bool {
        self.table.get(pid.index()).is_some_and(ProcessEntry::has_group)
    }

    /// The number of processes that have ended and are not reaped yet.
    pub(crate) fn unreported(&self) -> usize {
        self.table.iter().filter(|process| matches!(process.phase, Phase::Dead(_))).count()
    }

    /// Marks the dependencies on a process after a change of the next action.
    pub(crate) fn mark_changed(&mut self, pid: Pid) {
        self.table.touch(Dependencies::process(pid));
    }

    /// Changes the phase of a process.
    pub(crate) fn enter(&mut self, pid: Pid, phase: Phase) {
        self.get_mut(pid).phase = phase;
        self.table.touch(Dependencies::life(pid));
    }

    /// Stops a process until a later step continues it.
    pub(crate) fn stop(&mut self, pid: Pid, ready: &mut Ready) {
        self.enter(pid, Phase::Stopped);
        ready.last(Step::Continue(pid));
    }

    /// Ends a process; returns its descriptors in opening order.
    pub(super) fn die(&mut self, pid: Pid, status: ExitStatus) -> Vec<Descriptor> {
        self.table.touch(Dependencies::life(pid));
        self.get_mut(pid).die(status)
    }

    // ---- sockets

    /// The number of sockets that a process has open.
    pub(super) fn open_sockets(&self, pid: Pid) -> usize {
        self.table.get(pid.index()).map_or(0, |process| process.descriptors().len())
    }

    /// The socket behind a descriptor.
    pub(crate) fn socket(&self, pid: Pid, id: SocketId) -> Option<FileId> {
        self.get(pid).descriptor(id).map(|descriptor| descriptor.file)
    }

    /// The socket behind a descriptor of the program.
    pub(super) fn socket_of_program(&self, pid: Pid, id: SocketId) -> Option<FileId> {
        let descriptor = self.get(pid).descriptor(id).filter(|descriptor| descriptor.owned_by_program);
        descriptor.map(|descriptor| descriptor.file)
    }

    pub(crate) fn is_owned_by_program(&self, pid: Pid, id: SocketId) -> bool {
        self.socket_of_program(pid, id).is_some()
    }

    /// Passes a socket of the process from the machine to the program.
    pub(crate) fn give_to_program(&mut self, pid: Pid, id: SocketId, ready: &mut Ready) {
        if let Some(descriptor) = self.get_mut(pid).descriptor_mut(id) {
            descriptor.owned_by_program = true;
            ready.last(Step::Receive(pid, id));
        }
    }

    /// Passes a socket of the process from the program to the machine.
    pub(crate) fn give_to_machine(&mut self, pid: Pid, id: SocketId) {
        if let Some(descriptor) = self.get_mut(pid).descriptor_mut(id) {
            descriptor.owned_by_program = false;
            descriptor.accepting = Accepting::No;
        }
    }

    /// Lets the program keep a socket without reading from it.
    pub(crate) fn mute(&mut self, pid: Pid, id: SocketId) {
        if let Some(descriptor) = self.get_mut(pid).descriptor_mut(id) {
            descriptor.muted = true;
        }
    }

    /// Pauses or resumes accepting from a listener.
    pub(super) fn pause_accept(&mut self, pid: Pid, id: SocketId, pause: bool, ready: &mut Ready) {
        let Some(descriptor) = self.get_mut(pid).descriptor_mut(id) else { return };
        descriptor.accepting = if pause { Accepting::No } else { Accepting::Yes };
        if !pause {
            ready.last(Step::Accept(pid, id));
        }
    }

    /// The programs that own a socket of `of`.
    pub(super) fn owners(&self, of: impl Fn(FileId) -> bool + Copy) -> impl Iterator<Item = (Pid, SocketId)> {
        self.iter().flat_map(move |(pid, process)| {
            let descriptors = process.descriptors().iter();
            descriptors
                .filter(move |descriptor| descriptor.owned_by_program && of(descriptor.file))
                .map(move |descriptor| (pid, descriptor.id))
        })
    }

    /// The accept steps of a listener with `refs` references.
    pub(super) fn acceptors(&self, file: FileId, refs: u32) -> impl Iterator<Item = Step> {
        let takes =
            move |descriptor: &&Descriptor| descriptor.file == file && descriptor.accepting != Accepting::No;
        let acceptors = self.iter().filter_map(move |(pid, process)| {
            process.descriptors().iter().find(takes).map(|descriptor| Step::Accept(pid, descriptor.id))
        });
        // No further process can have the socket.
        acceptors.take(refs as usize)
    }
}

/// Whether the machine of the primary has the socket because of a message to or from a stopped worker: the
/// worker neither acknowledges the socket nor completes the line.
pub(crate) fn waits_for_stopped(processes: &Processes, pid: Pid, descriptor: &Descriptor) -> bool {
    let is_for_message = descriptor.origin != Origin::Machine && !descriptor.owned_by_program;
    pid == Pid::PRIMARY && is_for_message && processes.iter().any(|(pid, _)| processes.is_stopped(pid))
}
