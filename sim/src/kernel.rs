//! The kernel: processes, channels, sockets, clients, a clock, and the steps that may be enabled.
//!
//! The kernel answers calls and delivers events, one step at a time; the schedule decides every cut and every failure.
//! The world runs the machines and the programs.

pub(crate) mod bind;
mod blocking;
pub(crate) mod bound_address;
pub(crate) mod calls;
pub(crate) mod channel;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod deliver;
mod descriptor_limits;
pub(crate) mod footprint;
pub(crate) mod process_table;
pub(crate) mod program_sockets;
pub(crate) mod ready;
pub(crate) mod socket;
pub(crate) mod system;
#[cfg(test)]
mod tests;
pub(crate) mod udp;

use std::hash::{Hash, Hasher};

use cluster_core::{ChannelId, ExitStatus, SocketId};

use channel::{Channel, Side};
use clock::Clock;
use process_table::{Accepting, Descriptor, Origin, Phase, ProcessEntry};
use ready::{Dependencies, Ready};
use socket::{Client, ClientState, File, FileId, Flow, SocketKind};
use system::System;

use crate::step::{Pid, Step};

use crate::cow::CowArc;
use crate::event::ClientId;
use crate::fault::Fault;
use crate::schedule::Schedule;

/// Whether a step can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Readiness {
    Enabled,
    /// Disabled until something else happens.
    Waiting,
    /// Never enabled again, unless the step is woken again.
    Obsolete,
}

/// The state of the kernel.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kernel {
    pub(crate) processes: CowArc<Vec<CowArc<ProcessEntry>>>,
    /// The channel of worker `n` at index `n`.
    channels: CowArc<Vec<Option<CowArc<Channel>>>>,
    files: CowArc<Vec<CowArc<File>>>,
    pub(crate) clients: CowArc<Vec<CowArc<Client>>>,
    pub(crate) clock: Clock,
    system: CowArc<System>,
    next_port: u16,
    capacity: usize,
    /// The number of lookups of programs that depend on other processes: a step with a lookup may have read any
    /// object.
    lookups: u32,
    /// The steps that may be enabled, oldest first. Derived from the rest; the order is no part of the state.
    pub(crate) ready: Ready,
    /// The dependencies that have changed since the ready steps were last refreshed.
    touched: Dependencies,
}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Kernel { processes, channels, files, clients, clock, system, next_port, ready, .. } = self;
        (processes, channels, files, clients, clock, system, next_port).hash(state);
        // Of the ready steps only the signals are not derived from the rest of the state.
        let is_alive = |pid: &Pid| processes.get(pid.index()).is_some_and(|process| process.is_alive());
        let signal =
            |step: Step| if let Step::Signal(pid, signal) = step { Some((pid, signal.0)) } else { None };
        let mut signals: Vec<(Pid, i32)> =
            ready.steps().filter_map(signal).filter(|(pid, _)| is_alive(pid)).collect();
        signals.sort_unstable();
        signals.hash(state);
    }
}

impl Kernel {
    /// A kernel with a primary before its start, and channels of `capacity` bytes in each direction.
    pub(crate) fn new(capacity: usize) -> Self {
        let mut ready = Ready::default();
        ready.last(Step::Start(Pid::PRIMARY));
        Kernel {
            processes: vec![ProcessEntry::starting(cluster_core::SpawnOptions::new(), Vec::new()).into()]
                .into(),
            channels: vec![None].into(),
            next_port: 40_001,
            capacity,
            ready,
            ..Kernel::default()
        }
    }

    /// Copies `other` into the memory of this kernel.
    pub(crate) fn copy_from(&mut self, other: &Kernel) {
        let Kernel {
            processes,
            channels,
            files,
            clients,
            clock,
            system,
            next_port,
            capacity,
            lookups,
            ready,
            touched,
        } = other;
        self.processes.clone_from(processes);
        self.channels.clone_from(channels);
        self.files.clone_from(files);
        self.clients.clone_from(clients);
        self.clock.clone_from(clock);
        self.system.clone_from(system);
        self.next_port = *next_port;
        self.capacity = *capacity;
        self.lookups = *lookups;
        self.ready.copy_from(ready);
        self.touched = *touched;
    }

    pub(crate) fn set_capacity(&mut self, bytes: usize) {
        self.capacity = bytes;
    }

    pub(crate) fn process(&self, pid: Pid) -> &ProcessEntry {
        &self.processes[pid.index()]
    }

    /// Whether a process exists and has not ended.
    pub(crate) fn is_alive(&self, pid: Pid) -> bool {
        self.processes.get(pid.index()).is_some_and(|process| process.is_alive())
    }

    /// Whether a process has started and ended.
    pub(crate) fn has_ended(&self, pid: Pid) -> bool {
        let phase = self.processes.get(pid.index()).map(|process| process.phase);
        matches!(phase, Some(Phase::Dead(_) | Phase::Reaped))
    }

    /// Whether a socket of a process is one that clients connect to.
    pub(crate) fn is_listener(&self, pid: Pid, id: SocketId) -> bool {
        let descriptor = self.process(pid).descriptor(id);
        descriptor
            .is_some_and(|descriptor| matches!(self.file(descriptor.file).kind, SocketKind::Listener(_)))
    }

    pub(crate) fn process_mut(&mut self, pid: Pid) -> &mut ProcessEntry {
        self.touched |= Dependencies::process(pid);
        &mut self.processes[pid.index()]
    }

    pub(crate) fn client(&self, id: ClientId) -> &Client {
        &self.clients[id.0 as usize - 1]
    }

    pub(crate) fn client_mut(&mut self, id: ClientId) -> &mut Client {
        self.touched |= Dependencies::client(id);
        &mut self.clients[id.0 as usize - 1]
    }

    pub(crate) fn file(&self, id: FileId) -> &File {
        &self.files[id.0 as usize]
    }

    fn file_mut(&mut self, id: FileId) -> &mut File {
        self.touched |= Dependencies::file(&self.file(id).kind);
        &mut self.files[id.0 as usize]
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (FileId, &File)> {
        (0..).map(FileId).zip(self.files.iter().map(|file| &**file))
    }

    /// The channel with the id `id` in a process, and the side of the process.
    pub(crate) fn channel(&self, pid: Pid, id: ChannelId) -> Option<(&Channel, Side)> {
        let (worker, side) = Self::locate(pid, id);
        Some((self.channels.get(worker)?.as_ref()?, side))
    }

    fn channel_mut(&mut self, pid: Pid, id: ChannelId) -> Option<(&mut Channel, Side)> {
        let (worker, side) = Self::locate(pid, id);
        self.touched |= Dependencies::process(Self::worker_of(pid, id));
        Some((self.channels.get_mut(worker)?.as_mut()?, side))
    }

    /// Whether a process has a channel and has not closed it.
    pub(crate) fn has_open(&self, pid: Pid, id: ChannelId) -> bool {
        self.channel(pid, id).is_some_and(|(channel, side)| channel.end(side).open)
    }

    fn locate(pid: Pid, id: ChannelId) -> (usize, Side) {
        let side = if pid == Pid::PRIMARY { Side::Primary } else { Side::Worker };
        (Self::worker_of(pid, id).index(), side)
    }

    /// The worker of the channel with the id `id` in a process.
    fn worker_of(pid: Pid, id: ChannelId) -> Pid {
        if pid == Pid::PRIMARY { Pid::from(id) } else { pid }
    }

    /// Every channel with its worker.
    pub(crate) fn channels(&self) -> impl Iterator<Item = (Pid, &Channel)> {
        (0..).map(Pid).zip(&self.channels).filter_map(|(pid, channel)| Some((pid, &**channel.as_ref()?)))
    }

    /// Adds a step that may be enabled now.
    pub(crate) fn wake(&mut self, step: Step) {
        self.ready.last(step);
    }

    /// Takes the dependencies that have changed since the last call.
    pub(crate) fn take_touched(&mut self) -> Dependencies {
        std::mem::take(&mut self.touched)
    }

    /// Marks a process after a change of its next action.
    pub(crate) fn mark_changed(&mut self, pid: Pid) {
        self.touched |= Dependencies::process(pid);
    }

    fn wake_peer(&mut self, pid: Pid, id: ChannelId, step: fn(Pid, ChannelId) -> Step) {
        let worker = Pid::from(id);
        let step = if pid == Pid::PRIMARY {
            step(worker, ChannelId::PRIMARY)
        } else {
            step(Pid::PRIMARY, pid.channel())
        };
        self.wake(step);
    }

    fn open(&mut self, kind: SocketKind) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).expect("fewer than 2^32 sockets in a run"));
        self.files.push(File { refs: 1, kind }.into());
        id
    }

    /// Drops a reference; the last drop closes the socket.
    fn release(&mut self, id: FileId) {
        let file = self.file_mut(id);
        file.refs -= 1;
        if file.refs > 0 {
            return;
        }
        match &mut file.kind {
            SocketKind::Listener(listener) => {
                listener.limit = None;
                let waiting = std::mem::take(&mut listener.backlog);
                for client in waiting {
                    self.close_server_end(client, Flow::Reset);
                }
            }
            SocketKind::Connection(client) => {
                let client = *client;
                let unread = !self.client(client).incoming.bytes.is_empty();
                self.close_server_end(client, if unread { Flow::Reset } else { Flow::Ended });
            }
            SocketKind::Udp(datagrams) => datagrams.queue.clear(),
        }
    }

    fn close_server_end(&mut self, id: ClientId, flow: Flow) {
        let client = self.client_mut(id);
        client.state = ClientState::Closed;
        client.outgoing.finish(flow);
        self.wake(Step::ClientEvent(id));
    }

    /// Closes a descriptor of a process, and removes the path that the descriptor has bound.
    pub(crate) fn close(&mut self, pid: Pid, id: SocketId) {
        let Some(file) = self.process_mut(pid).remove(id) else { return };
        if self.system.has_path_of((pid, id)) {
            self.system_mut().remove_paths_of((pid, id));
        }
        self.release(file);
    }

    /// Closes one end of a channel; the other end reads an end of file.
    fn close_channel(&mut self, pid: Pid, id: ChannelId) {
        let Some((channel, side)) = self.channel_mut(pid, id) else { return };
        if !channel.end(side).open {
            return;
        }
        let lost = channel.close(side);
        let peer = channel.end(side.other());
        let (open, write_blocked) = (peer.open, peer.write_blocked);
        for file in lost {
            self.release(file);
        }
        if open {
            self.wake_peer(pid, id, Step::Read);
        }
        if write_blocked {
            self.wake_peer(pid, id, Step::Writable);
        }
    }

    /// Ends a process. Its channels close first, then its descriptors in opening order.
    pub(crate) fn die(&mut self, pid: Pid, status: ExitStatus, schedule: &mut Schedule) {
        let descriptors = self.process_mut(pid).die(status);
        self.touched |= Dependencies::life(pid);
        self.clock.forget(pid);
        if pid == Pid::PRIMARY {
            for n in 1..self.channels.len() {
                self.close_channel(pid, ChannelId(n as u64));
            }
        } else if self.process(pid).child.is_some() || schedule.strikes(Fault::Grandchild) {
            self.wake(Step::CloseInherited(pid));
        } else {
            self.close_channel(pid, ChannelId::PRIMARY);
        }
        for descriptor in descriptors {
            self.release(descriptor.file);
        }
        if pid != Pid::PRIMARY {
            self.wake(Step::Reap(pid));
        }
    }

    /// Closes the channel and the connection that a dead worker's child has inherited.
    pub(crate) fn close_inherited(&mut self, pid: Pid) {
        self.close_channel(pid, ChannelId::PRIMARY);
        if let Some(connection) = self.process_mut(pid).child.take() {
            self.release(connection);
        }
    }

    /// The client that a worker's child waits for.
    fn child_waits_for(&self, pid: Pid) -> Option<ClientId> {
        match self.file(self.process(pid).child?).kind {
            SocketKind::Connection(client) => Some(client),
            SocketKind::Listener(_) | SocketKind::Udp(_) => None,
        }
    }

    /// Whether a dead worker's child waits for no client.
    fn can_close_inherited(&self, pid: Pid) -> bool {
        self.child_waits_for(pid).is_none_or(|client| self.client(client).incoming.flow != Flow::Open)
    }

    /// The readiness of a step of an idle process.
    pub(crate) fn readiness(&self, step: Step) -> Readiness {
        let when = |possible| if possible { Readiness::Enabled } else { Readiness::Obsolete };
        match step {
            Step::Run(pid) | Step::Signal(pid, _) => when(self.process(pid).is_alive()),
            Step::Start(pid) => when(self.process(pid).phase == Phase::Starting),
            Step::Read(pid, id) => self.readable(pid, id),
            Step::Writable(pid, id) => self.writable(pid, id),
            Step::Accept(pid, id) => self.acceptable(pid, id),
            Step::Receive(pid, id) => when(self.receivable(pid, id)),
            Step::Reap(pid) => self.reapable(pid),
            Step::ClientAction(id) => self.can_act(id),
            Step::ClientEvent(id) => when(self.client(id).has_news()),
            Step::Timer => when(self.clock.next().is_some()),
            Step::Continue(pid) => self.can_continue(pid),
            Step::CloseInherited(pid) if !self.can_close_inherited(pid) => Readiness::Waiting,
            Step::CloseInherited(_) | Step::DriverEvent => Readiness::Enabled,
        }
    }

    /// The dependencies of a step's readiness.
    pub(crate) fn dependencies(&self, step: Step) -> Dependencies {
        match step {
            // Any step may create the path.
            Step::Continue(pid) if self.waits_for_path(pid) => Dependencies::ALL,
            Step::Run(pid) | Step::Start(pid) | Step::Signal(pid, _) | Step::Continue(pid) => {
                Dependencies::life(pid)
            }
            Step::Read(pid, id) | Step::Writable(pid, id) => {
                Dependencies::life(pid) | Dependencies::process(Self::worker_of(pid, id))
            }
            // Any step may open or close a descriptor.
            Step::Accept(..) if self.is_limited() => Dependencies::ALL,
            Step::Accept(pid, _) => Dependencies::process(pid) | Dependencies::LISTENERS,
            Step::Receive(pid, id) => {
                let client = self.client_behind(pid, id).map_or(Dependencies::NONE, Dependencies::client);
                Dependencies::process(pid) | Dependencies::UDP_QUEUES | client
            }
            Step::Reap(pid) => Dependencies::life(pid) | Dependencies::life(Pid::PRIMARY),
            Step::ClientAction(id) if self.looks_up_sockets(id) => {
                Dependencies::client(id) | Dependencies::LISTENERS
            }
            Step::ClientAction(id) | Step::ClientEvent(id) => Dependencies::client(id),
            Step::CloseInherited(pid) => {
                self.child_waits_for(pid).map_or(Dependencies::NONE, Dependencies::client)
            }
            Step::DriverEvent | Step::Timer => Dependencies::NONE,
        }
    }

    /// Whether a process is alive and stopped.
    pub(crate) fn is_stopped(&self, pid: Pid) -> bool {
        self.processes.get(pid.index()).is_some_and(|process| process.phase == Phase::Stopped)
    }

    /// Changes the phase of a process.
    pub(crate) fn enter(&mut self, pid: Pid, phase: Phase) {
        self.process_mut(pid).phase = phase;
        self.touched |= Dependencies::life(pid);
    }

    /// Stops a process until a later step continues it.
    pub(crate) fn stop(&mut self, pid: Pid) {
        self.enter(pid, Phase::Stopped);
        self.wake(Step::Continue(pid));
    }

    fn readable(&self, pid: Pid, id: ChannelId) -> Readiness {
        let Some((channel, side)) = self.channel(pid, id) else { return Readiness::Obsolete };
        let end = channel.end(side);
        let is_dead = !self.process(pid).is_alive();
        if is_dead || !end.open || (end.is_drained() && channel.is_connected(side)) {
            Readiness::Obsolete
        } else if end.paused || self.process(pid).phase == Phase::Starting {
            Readiness::Waiting
        } else {
            Readiness::Enabled
        }
    }

    /// The number of writes in one read.
    pub(crate) fn waiting_writes(&self, pid: Pid, id: ChannelId) -> usize {
        self.channel(pid, id).map_or(0, |(channel, side)| channel.end(side).readable_writes())
    }

    fn writable(&self, pid: Pid, id: ChannelId) -> Readiness {
        let Some((channel, side)) = self.channel(pid, id) else { return Readiness::Obsolete };
        if !channel.end(side).write_blocked || !self.process(pid).is_alive() {
            Readiness::Obsolete
        } else if channel.room(side, self.capacity) == 0 && channel.is_connected(side) {
            Readiness::Waiting
        } else {
            Readiness::Enabled
        }
    }

    fn acceptable(&self, pid: Pid, id: SocketId) -> Readiness {
        let waits = |descriptor: &&Descriptor| {
            let SocketKind::Listener(listener) = &self.file(descriptor.file).kind else { return false };
            descriptor.accepting != Accepting::No && !listener.backlog.is_empty()
        };
        match self.process(pid).descriptor(id).filter(waits) {
            None => Readiness::Obsolete,
            Some(descriptor) if descriptor.starved && !self.has_room(pid, 1) => Readiness::Waiting,
            Some(_) => Readiness::Enabled,
        }
    }

    /// Whether a worker runs on without its channel: the program is kept alive or owns a socket, or the machine has an
    /// exclusive server.
    pub(crate) fn keeps_running(&self, pid: Pid) -> bool {
        let process = self.process(pid);
        let serves = |it: &Descriptor| it.origin == Origin::Machine && self.address_of(it.file).is_some();
        process.kept_alive || process.descriptors().iter().any(|it| it.owned_by_program || serves(it))
    }

    /// The number of processes that have ended and are not reaped.
    pub(crate) fn unreported(&self) -> usize {
        self.processes.iter().filter(|process| matches!(process.phase, Phase::Dead(_))).count()
    }

    fn reapable(&self, pid: Pid) -> Readiness {
        let Phase::Dead(_) = self.process(pid).phase else { return Readiness::Obsolete };
        if !self.process(Pid::PRIMARY).is_alive() {
            return Readiness::Obsolete;
        }
        match self.channel(Pid::PRIMARY, pid.channel()) {
            Some((channel, side)) if channel.end(side).open && !channel.end(side).is_drained() => {
                Readiness::Waiting
            }
            _ => Readiness::Enabled,
        }
    }
}
