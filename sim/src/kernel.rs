//! The kernel: processes, channels, sockets, clients, a clock, and the steps that are ready to be taken.
//!
//! It answers calls and delivers what happened, one step at a time; every cut and every failure is asked of the
//! schedule. It does not run machines or programs: the world does.

pub(crate) mod bind;
pub(crate) mod calls;
pub(crate) mod channel;
pub(crate) mod client;
pub(crate) mod clock;
pub(crate) mod datagram;
pub(crate) mod deliver;
mod halt;
pub(crate) mod name;
pub(crate) mod own;
pub(crate) mod process;
pub(crate) mod ready;
pub(crate) mod socket;
mod step;
pub(crate) mod system;
#[cfg(test)]
mod tests;
pub(crate) mod touch;

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use cluster_core::{ChannelId, ExitStatus, SocketId};

use channel::{Channel, Side};
use clock::Clock;
use process::{Accepting, Descriptor, Origin, Phase, Pid, Process};
use ready::{Marks, Ready};
use socket::{Client, File, FileId, Flow, Kind, Place};
use system::System;

pub(crate) use step::Step;

use crate::fault::Fault;
use crate::part::Part;
use crate::program::ClientId;
use crate::schedule::Schedule;

/// Whether a step can be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Enabled,
    /// Something must happen first.
    Waiting,
    /// It will never be taken, unless it is woken again.
    Gone,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kernel {
    pub(crate) processes: Part<Vec<Part<Process>>>,
    /// The channel of worker `n` at `n`.
    channels: Part<Vec<Option<Part<Channel>>>>,
    files: Part<Vec<Part<File>>>,
    pub(crate) clients: Part<Vec<Part<Client>>>,
    pub(crate) clock: Clock,
    system: Part<System>,
    next_port: u16,
    capacity: usize,
    /// How often programs have asked for what depends on other processes: what a step has looked at is told by it.
    asked: u32,
    /// What could happen, oldest first. Derived from the rest: the order is a matter of taste, not of state.
    pub(crate) ready: Ready,
    /// What was touched since the steps that are ready were last looked at.
    touched: Marks,
}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Kernel { processes, channels, files, clients, clock, system, next_port, ready, .. } = self;
        (processes, channels, files, clients, clock, system, next_port).hash(state);
        // Of what is ready, only the signals stand nowhere else.
        let is_alive = |pid: &Pid| processes.get(pid.index()).is_some_and(|process| process.is_alive());
        let signal =
            |step: Step| if let Step::Die(pid, signal) = step { Some((pid, signal.0)) } else { None };
        let mut signals: Vec<(Pid, i32)> =
            ready.steps().filter_map(signal).filter(|(pid, _)| is_alive(pid)).collect();
        signals.sort_unstable();
        signals.hash(state);
    }
}

impl Kernel {
    /// A kernel with a primary that has not begun, and channels that hold so many bytes in each direction.
    pub(crate) fn new(capacity: usize) -> Self {
        let mut ready = Ready::default();
        ready.last(Step::Start(Pid::PRIMARY));
        Kernel {
            processes: vec![Process::starting(Arc::default(), Vec::new()).into()].into(),
            channels: vec![None].into(),
            next_port: 40_001,
            capacity,
            ready,
            ..Kernel::default()
        }
    }

    /// Becomes a copy, in the room it has.
    pub(crate) fn take_over(&mut self, other: &Kernel) {
        let Kernel {
            processes,
            channels,
            files,
            clients,
            clock,
            system,
            next_port,
            capacity,
            asked,
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
        self.asked = *asked;
        self.ready.take_over(ready);
        self.touched = *touched;
    }

    pub(crate) fn set_capacity(&mut self, bytes: usize) {
        self.capacity = bytes;
    }

    pub(crate) fn process(&self, pid: Pid) -> &Process {
        &self.processes[pid.index()]
    }

    pub(crate) fn process_mut(&mut self, pid: Pid) -> &mut Process {
        self.touched |= Marks::process(pid);
        &mut self.processes[pid.index()]
    }

    pub(crate) fn client(&self, id: ClientId) -> &Client {
        &self.clients[id.0 as usize - 1]
    }

    pub(crate) fn client_mut(&mut self, id: ClientId) -> &mut Client {
        self.touched |= Marks::client(id);
        &mut self.clients[id.0 as usize - 1]
    }

    pub(crate) fn file(&self, id: FileId) -> &File {
        &self.files[id.0 as usize]
    }

    fn file_mut(&mut self, id: FileId) -> &mut File {
        self.touched |= Marks::file(&self.file(id).kind);
        &mut self.files[id.0 as usize]
    }

    pub(crate) fn files(&self) -> impl Iterator<Item = (FileId, &File)> {
        (0..).map(FileId).zip(self.files.iter().map(|file| &**file))
    }

    /// The channel a process names so, and the end that is its own.
    pub(crate) fn channel(&self, pid: Pid, id: ChannelId) -> Option<(&Channel, Side)> {
        let (worker, side) = Self::locate(pid, id);
        Some((self.channels.get(worker)?.as_ref()?, side))
    }

    fn channel_mut(&mut self, pid: Pid, id: ChannelId) -> Option<(&mut Channel, Side)> {
        let (worker, side) = Self::locate(pid, id);
        self.touched |= Marks::process(Self::worker_of(pid, id));
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

    /// To which worker the channel belongs that a process names so.
    fn worker_of(pid: Pid, id: ChannelId) -> Pid {
        if pid == Pid::PRIMARY { Pid::from(id) } else { pid }
    }

    /// Every channel with the worker it leads to.
    pub(crate) fn channels(&self) -> impl Iterator<Item = (Pid, &Channel)> {
        (0..).map(Pid).zip(&self.channels).filter_map(|(pid, channel)| Some((pid, &**channel.as_ref()?)))
    }

    /// A step may now be possible. The world looks before it takes it.
    pub(crate) fn wake(&mut self, step: Step) {
        self.ready.last(step);
    }

    /// What was touched since this was last asked.
    pub(crate) fn take_touched(&mut self) -> Marks {
        std::mem::take(&mut self.touched)
    }

    /// A process may have something else to do now, or no longer.
    pub(crate) fn turn(&mut self, pid: Pid) {
        self.touched |= Marks::process(pid);
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

    fn open(&mut self, kind: Kind) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).expect("fewer than 2^32 sockets a run"));
        self.files.push(File { refs: 1, kind }.into());
        id
    }

    /// One reference less.
    fn let_go(&mut self, id: FileId) {
        let file = self.file_mut(id);
        file.refs -= 1;
        if file.refs > 0 {
            return;
        }
        match &mut file.kind {
            Kind::Listener(listener) => {
                listener.limit = None;
                let waiting = std::mem::take(&mut listener.backlog);
                for client in waiting {
                    self.close_server_end(client, Flow::Reset);
                }
            }
            Kind::Connection(client) => {
                let client = *client;
                let unread = !self.client(client).incoming.bytes.is_empty();
                self.close_server_end(client, if unread { Flow::Reset } else { Flow::Ended });
            }
            Kind::Datagrams(datagrams) => datagrams.queue.clear(),
        }
    }

    fn close_server_end(&mut self, id: ClientId, flow: Flow) {
        let client = self.client_mut(id);
        client.place = Place::Closed;
        client.outgoing.finish(flow);
        self.wake(Step::Meet(id));
    }

    /// Closes a process's descriptor, and removes the path that it has bound.
    pub(crate) fn close(&mut self, pid: Pid, id: SocketId) {
        let Some(file) = self.process_mut(pid).remove(id) else { return };
        if self.system.has_name_of((pid, id)) {
            self.system_mut().unname((pid, id));
        }
        self.let_go(file);
    }

    /// Closes one end of a channel; the other end will hear of it.
    fn close_channel(&mut self, pid: Pid, id: ChannelId) {
        let Some((channel, side)) = self.channel_mut(pid, id) else { return };
        if !channel.end(side).open {
            return;
        }
        let lost = channel.close(side);
        let peer = channel.end(side.other());
        let (open, blocked) = (peer.open, peer.blocked);
        for file in lost {
            self.let_go(file);
        }
        if open {
            self.wake_peer(pid, id, Step::Read);
        }
        if blocked {
            self.wake_peer(pid, id, Step::Writable);
        }
    }

    /// The end of a process: from here on nothing it would do happens. Its descriptors close in the order in which
    /// it got them, its channels first.
    pub(crate) fn die(&mut self, pid: Pid, status: ExitStatus, schedule: &mut Schedule) {
        let descriptors = self.process_mut(pid).die(status);
        self.touched |= Marks::life(pid);
        self.clock.forget(pid);
        if pid == Pid::PRIMARY {
            for n in 1..self.channels.len() {
                self.close_channel(pid, ChannelId(n as u64));
            }
        } else if self.process(pid).child.is_some() || schedule.strikes(Fault::Grandchild) {
            self.wake(Step::LetGo(pid));
        } else {
            self.close_channel(pid, ChannelId::PRIMARY);
        }
        for descriptor in descriptors {
            self.let_go(descriptor.file);
        }
        if pid != Pid::PRIMARY {
            self.wake(Step::Reap(pid));
        }
    }

    /// What a dead process left behind closes its channel.
    pub(crate) fn let_channel_go(&mut self, pid: Pid) {
        self.close_channel(pid, ChannelId::PRIMARY);
        if let Some(connection) = self.process_mut(pid).child.take() {
            self.let_go(connection);
        }
    }

    /// The client whom a process's child waits for.
    fn child_waits_for(&self, pid: Pid) -> Option<ClientId> {
        match self.file(self.process(pid).child?).kind {
            Kind::Connection(client) => Some(client),
            Kind::Listener(_) | Kind::Datagrams(_) => None,
        }
    }

    /// Whether what a process left behind does not wait for a client.
    fn lets_go(&self, pid: Pid) -> bool {
        self.child_waits_for(pid).is_none_or(|client| self.client(client).incoming.flow != Flow::Open)
    }

    /// Whether a step can be taken, if its process has nothing else to do.
    pub(crate) fn verdict(&self, step: Step) -> Verdict {
        let when = |possible| if possible { Verdict::Enabled } else { Verdict::Gone };
        match step {
            Step::Run(pid) | Step::Die(pid, _) => when(self.process(pid).is_alive()),
            Step::Start(pid) => when(self.process(pid).phase == Phase::Starting),
            Step::Read(pid, id) => self.readable(pid, id),
            Step::Writable(pid, id) => self.writable(pid, id),
            Step::Accept(pid, id) => self.acceptable(pid, id),
            Step::Receive(pid, id) => when(self.receivable(pid, id)),
            Step::Reap(pid) => self.reapable(pid),
            Step::Act(id) => self.can_act(id),
            Step::Meet(id) => when(self.client(id).has_news()),
            Step::Fire => when(self.clock.next().is_some()),
            Step::Continue(pid) => self.can_continue(pid),
            Step::LetGo(pid) if !self.lets_go(pid) => Verdict::Waiting,
            Step::LetGo(_) | Step::Hear => Verdict::Enabled,
        }
    }

    /// What a verdict depends on, and whether the process that hears has something else to do.
    pub(crate) fn verdict_depends_on(&self, step: Step) -> Marks {
        match step {
            // Whatever may open a path.
            Step::Continue(pid) if self.looks_for_a_path(pid) => Marks::ALL,
            Step::Run(pid) | Step::Start(pid) | Step::Die(pid, _) | Step::Continue(pid) => Marks::life(pid),
            Step::Read(pid, id) | Step::Writable(pid, id) => {
                Marks::life(pid) | Marks::process(Self::worker_of(pid, id))
            }
            // How many descriptors a process has depends on whatever it does.
            Step::Accept(..) if self.is_limited() => Marks::ALL,
            Step::Accept(pid, _) => Marks::process(pid) | Marks::DOORS,
            Step::Receive(pid, id) => {
                let client = self.client_behind(pid, id).map_or(Marks::NONE, Marks::client);
                Marks::process(pid) | Marks::MAILBOXES | client
            }
            Step::Reap(pid) => Marks::life(pid) | Marks::life(Pid::PRIMARY),
            Step::Act(id) if self.looks_for_somebody(id) => Marks::client(id) | Marks::DOORS,
            Step::Act(id) | Step::Meet(id) => Marks::client(id),
            Step::LetGo(pid) => self.child_waits_for(pid).map_or(Marks::NONE, Marks::client),
            Step::Hear | Step::Fire => Marks::NONE,
        }
    }

    /// Whether a process lives and does nothing until it goes on.
    pub(crate) fn is_stopped(&self, pid: Pid) -> bool {
        self.processes.get(pid.index()).is_some_and(|process| process.phase == Phase::Stopped)
    }

    /// A process comes to another phase of its life.
    pub(crate) fn enter(&mut self, pid: Pid, phase: Phase) {
        self.process_mut(pid).phase = phase;
        self.touched |= Marks::life(pid);
    }

    /// Stops a process; some time later it goes on.
    pub(crate) fn stop(&mut self, pid: Pid) {
        self.enter(pid, Phase::Stopped);
        self.wake(Step::Continue(pid));
    }

    fn readable(&self, pid: Pid, id: ChannelId) -> Verdict {
        let Some((channel, side)) = self.channel(pid, id) else { return Verdict::Gone };
        let end = channel.end(side);
        let is_dead = !self.process(pid).is_alive();
        if is_dead || !end.open || (end.is_drained() && channel.is_connected(side)) {
            Verdict::Gone
        } else if end.paused || self.process(pid).phase == Phase::Starting {
            Verdict::Waiting
        } else {
            Verdict::Enabled
        }
    }

    /// How many writes one read could take.
    pub(crate) fn waiting_writes(&self, pid: Pid, id: ChannelId) -> usize {
        self.channel(pid, id).map_or(0, |(channel, side)| channel.end(side).readable_writes())
    }

    fn writable(&self, pid: Pid, id: ChannelId) -> Verdict {
        let Some((channel, side)) = self.channel(pid, id) else { return Verdict::Gone };
        if !channel.end(side).blocked || !self.process(pid).is_alive() {
            Verdict::Gone
        } else if channel.room(side, self.capacity) == 0 && channel.is_connected(side) {
            Verdict::Waiting
        } else {
            Verdict::Enabled
        }
    }

    fn acceptable(&self, pid: Pid, id: SocketId) -> Verdict {
        let waits = |descriptor: &&Descriptor| {
            let Kind::Listener(listener) = &self.file(descriptor.file).kind else { return false };
            descriptor.accepting != Accepting::No && !listener.backlog.is_empty()
        };
        match self.process(pid).descriptor(id).filter(waits) {
            None => Verdict::Gone,
            Some(descriptor) if descriptor.starved && !self.has_room(pid, 1) => Verdict::Waiting,
            Some(_) => Verdict::Enabled,
        }
    }

    // ---- how much a process may have

    /// It can have so many more than now.
    pub(crate) fn limit(&mut self, pid: Pid, more: Option<usize>) {
        self.touched = Marks::ALL;
        match more.map(|more| self.descriptors_of(pid) + more) {
            Some(limit) => self.system.limits.insert(pid, limit),
            None => self.system.limits.remove(&pid),
        };
    }

    /// Whether anything is short of descriptors on purpose.
    pub(crate) fn is_limited(&self) -> bool {
        !self.system.limits.is_empty()
    }

    /// Whether a process can open so many more sockets.
    pub(crate) fn has_room(&self, pid: Pid, more: usize) -> bool {
        self.system.limits.get(&pid).is_none_or(|&limit| self.descriptors_of(pid) + more <= limit)
    }

    /// How many sockets and channels a process has.
    fn descriptors_of(&self, pid: Pid) -> usize {
        let sockets = self.processes.get(pid.index()).map_or(0, |process| process.descriptors().len());
        let is_open = |&(worker, channel): &(Pid, &Channel)| match pid {
            Pid::PRIMARY => channel.end(Side::Primary).open,
            _ => worker == pid && channel.end(Side::Worker).open,
        };
        sockets + self.channels().filter(is_open).count()
    }

    /// Whether a worker goes on without its channel: its program has something, or its machine serves by itself.
    pub(crate) fn goes_on(&self, pid: Pid) -> bool {
        let process = self.process(pid);
        let serves = |it: &Descriptor| it.origin == Origin::Machine && self.address_of(it.file).is_some();
        process.lingers || process.descriptors().iter().any(|it| it.held || serves(it))
    }

    /// How many processes have ended and were not reaped yet.
    pub(crate) fn unreported(&self) -> usize {
        self.processes.iter().filter(|process| matches!(process.phase, Phase::Dead(_))).count()
    }

    fn reapable(&self, pid: Pid) -> Verdict {
        let Phase::Dead(_) = self.process(pid).phase else { return Verdict::Gone };
        if !self.process(Pid::PRIMARY).is_alive() {
            return Verdict::Gone;
        }
        match self.channel(Pid::PRIMARY, pid.channel()) {
            Some((channel, side)) if channel.end(side).open && !channel.end(side).is_drained() => {
                Verdict::Waiting
            }
            _ => Verdict::Enabled,
        }
    }
}
