//! The channels of a run, one for each worker. This file wakes both processes of a channel.

use cluster_core::ChannelId;

use super::channel::{Channel, End, Side};
use super::object_set::ObjectSet;
use super::ready::{Dependencies, Readiness, Ready};
use super::socket::FileId;
use super::table::Table;
use crate::step::{Pid, Step};

/// All channels. Row `n` has the channel of worker `n`.
#[derive(Debug, Clone, Hash)]
pub(crate) struct Channels {
    table: Table<Option<Channel>>,
    /// The capacity of each direction, in bytes.
    capacity: usize,
    /// A planted bug: after a failed write the peer observes no end.
    #[cfg(test)]
    pub(crate) keeps_broken_directions: bool,
}

/// The worker of the channel with the id `id` in a process.
fn worker_of(pid: Pid, id: ChannelId) -> Pid {
    if pid == Pid::PRIMARY { Pid::from(id) } else { pid }
}

fn side_of(pid: Pid) -> Side {
    if pid == Pid::PRIMARY { Side::Primary } else { Side::Worker }
}

impl Channels {
    pub(super) fn new(capacity: usize) -> Self {
        Channels {
            table: [None].into_iter().collect(),
            capacity,
            #[cfg(test)]
            keeps_broken_directions: false,
        }
    }

    pub(crate) fn set_capacity(&mut self, bytes: usize) {
        self.capacity = bytes;
    }

    pub(super) fn copy_from(&mut self, other: &Channels) {
        self.table.copy_from(&other.table);
        self.capacity = other.capacity;
        #[cfg(test)]
        {
            self.keeps_broken_directions = other.keeps_broken_directions;
        }
    }

    pub(super) fn take_touched(&mut self) -> Dependencies {
        self.table.take_touched()
    }

    /// The channel with the id `id` in a process, and the side of the process.
    pub(crate) fn get(&self, pid: Pid, id: ChannelId) -> Option<(&Channel, Side)> {
        Some((self.table.get(worker_of(pid, id).index())?.as_ref()?, side_of(pid)))
    }

    fn get_mut(&mut self, pid: Pid, id: ChannelId) -> Option<(&mut Channel, Side)> {
        let worker = worker_of(pid, id);
        let row = self.table.get_mut(worker.index(), Dependencies::process(worker))?;
        Some((row.as_mut()?, side_of(pid)))
    }

    /// The end of a process, for a change.
    pub(super) fn end_mut(&mut self, pid: Pid, id: ChannelId) -> Option<&mut End> {
        self.get_mut(pid, id).map(|(channel, side)| channel.end_mut(side))
    }

    /// Every channel, with its worker.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Pid, &Channel)> {
        (0..).map(Pid).zip(self.table.iter()).filter_map(|(pid, channel)| Some((pid, channel.as_ref()?)))
    }

    /// Reserves the row of a worker that may fail to start.
    pub(super) fn reserve(&mut self, pid: Pid) {
        while self.table.len() <= pid.index() {
            self.table.push(None);
        }
    }

    /// Opens the channel of a worker.
    pub(super) fn open(&mut self, pid: Pid) {
        if let Some(row) = self.table.get_mut(pid.index(), Dependencies::process(pid)) {
            *row = Some(Channel::new());
        }
    }

    /// The ids of all channels of the primary, open or not.
    pub(super) fn of_primary(&self) -> impl Iterator<Item = ChannelId> + use<> {
        (1..self.table.len()).map(|n| ChannelId(n as u64))
    }

    /// Whether the channel of a process is open.
    pub(crate) fn has_open(&self, pid: Pid, id: ChannelId) -> bool {
        self.get(pid, id).is_some_and(|(channel, side)| channel.end(side).open)
    }

    /// Whether a process can write and the bytes can arrive.
    pub(super) fn is_connected(&self, pid: Pid, id: ChannelId) -> bool {
        self.get(pid, id).is_some_and(|(channel, side)| channel.is_connected(side))
    }

    /// Whether a failed write has broken the channel of a worker.
    pub(crate) fn is_cut(&self, worker: Pid) -> bool {
        self.get(worker, ChannelId::PRIMARY).is_some_and(|(channel, _)| channel.is_cut())
    }

    /// The number of channels that a process has open.
    pub(super) fn open_ends(&self, pid: Pid) -> usize {
        let is_open = |&(worker, channel): &(Pid, &Channel)| {
            (pid == Pid::PRIMARY || worker == pid) && channel.end(side_of(pid)).open
        };
        self.iter().filter(is_open).count()
    }

    /// The number of writes that one read can return.
    pub(crate) fn waiting_writes(&self, pid: Pid, id: ChannelId) -> usize {
        self.get(pid, id).map_or(0, |(channel, side)| channel.end(side).readable_writes())
    }

    /// The number of bytes that a process can write.
    pub(super) fn room(&self, pid: Pid, id: ChannelId) -> usize {
        self.get(pid, id).map_or(0, |(channel, side)| channel.room(side, self.capacity))
    }

    /// Whether a living process can read from a channel.
    pub(super) fn readable(&self, pid: Pid, id: ChannelId) -> Readiness {
        let Some((channel, side)) = self.get(pid, id) else { return Readiness::Obsolete };
        let end = channel.end(side);
        if !end.open || (end.is_drained() && !channel.has_ended(side)) {
            Readiness::Obsolete
        } else if end.paused {
            Readiness::Waiting
        } else {
            Readiness::Enabled
        }
    }

    /// Whether a living process can be notified of room in a channel.
    pub(super) fn writable(&self, pid: Pid, id: ChannelId) -> Readiness {
        let Some((channel, side)) = self.get(pid, id) else { return Readiness::Obsolete };
        if !channel.end(side).write_blocked {
            Readiness::Obsolete
        } else if channel.room(side, self.capacity) == 0 && channel.is_connected(side) {
            Readiness::Waiting
        } else {
            Readiness::Enabled
        }
    }

    // ---- changes

    /// Writes the first `take` of `bytes`; returns the rest.
    pub(super) fn write(
        &mut self,
        (pid, id): (Pid, ChannelId),
        bytes: Vec<u8>,
        take: usize,
        socket: Option<FileId>,
        ready: &mut Ready,
    ) -> Vec<u8> {
        let Some((channel, side)) = self.get_mut(pid, id) else { return bytes };
        let rest = channel.write(side, bytes, take, socket);
        if !rest.is_empty() {
            ready.last(Step::Writable(pid, id));
        }
        if take > 0 {
            ready.last(peers(pid, id, Step::Read));
        }
        rest
    }

    /// Whether the last byte that a process has written to a channel is inside a line.
    pub(crate) fn is_mid_line(&self, pid: Pid, id: ChannelId) -> bool {
        self.get(pid, id).is_some_and(|(channel, side)| channel.end(side).mid_line)
    }

    /// Reads up to `limit` bytes, and a descriptor. A blocked writer then has room again.
    pub(super) fn read(
        &mut self,
        pid: Pid,
        id: ChannelId,
        limit: usize,
        ready: &mut Ready,
    ) -> Option<(Vec<u8>, Option<FileId>)> {
        let (channel, side) = self.get_mut(pid, id)?;
        let read = channel.end_mut(side).read(limit);
        if channel.end(side.other()).write_blocked {
            ready.last(peers(pid, id, Step::Writable));
        }
        Some(read)
    }

    pub(super) fn pause_read(&mut self, pid: Pid, id: ChannelId, pause: bool, ready: &mut Ready) {
        let Some(end) = self.end_mut(pid, id) else { return };
        end.paused = pause;
        if !pause {
            ready.last(Step::Read(pid, id));
        }
    }

    /// Breaks the connection of a channel: both ends still read the bytes in flight, then an end of file.
    pub(super) fn cut(&mut self, pid: Pid, id: ChannelId, ready: &mut Ready) {
        let Some((channel, _)) = self.get_mut(pid, id) else { return };
        channel.cut();
        for wake in [Step::Read, Step::Writable] {
            ready.last(wake(pid, id));
            ready.last(peers(pid, id, wake));
        }
    }

    /// Breaks the direction in which a process writes: the peer still reads the bytes in flight, then an end
    /// of file. The peer's writes arrive until the peer closes.
    pub(super) fn end_writing(&mut self, pid: Pid, id: ChannelId, ready: &mut Ready) {
        #[cfg(test)]
        if self.keeps_broken_directions {
            return;
        }
        let Some((channel, side)) = self.get_mut(pid, id) else { return };
        channel.end_writing(side);
        ready.last(peers(pid, id, Step::Read));
    }

    /// Closes one end of a channel; the other end reads an end of file. Returns the descriptors in flight to
    /// the closed end.
    pub(super) fn close(&mut self, pid: Pid, id: ChannelId) -> Closed {
        let Some((channel, side)) = self.get_mut(pid, id) else { return Closed::default() };
        if !channel.end(side).open {
            return Closed::default();
        }
        let lost = channel.close(side);
        let peer = channel.end(side.other());
        let wakes =
            [(peer.open, Step::Read as fn(Pid, ChannelId) -> Step), (peer.write_blocked, Step::Writable)];
        Closed { lost, wakes: wakes.map(|(is_woken, step)| is_woken.then(|| peers(pid, id, step))) }
    }

    pub(super) fn written_since(&self, before: &Channels) -> ObjectSet {
        self.table.written_since(&before.table, |worker, now, before| {
            let Some(now) = now else { return ObjectSet::NONE };
            let Some(before) = before.and_then(Option::as_ref) else { return ObjectSet::channel(worker) };
            let sides = [Side::Primary, Side::Worker].into_iter();
            sides.map(|side| end_changes(worker, side, now.end(side), before.end(side))).collect()
        })
    }
}

/// The effects of the close of an end.
#[derive(Debug, Default)]
pub(super) struct Closed {
    /// The descriptors in flight to the closed end.
    pub(super) lost: Vec<FileId>,
    /// The steps of the peer that the close enables.
    pub(super) wakes: [Option<Step>; 2],
}

/// A step of the peer of a process.
fn peers(pid: Pid, id: ChannelId, step: impl FnOnce(Pid, ChannelId) -> Step) -> Step {
    if pid == Pid::PRIMARY {
        step(Pid::from(id), ChannelId::PRIMARY)
    } else {
        step(Pid::PRIMARY, pid.channel())
    }
}

fn end_changes(worker: usize, side: Side, now: &End, before: &End) -> ObjectSet {
    let ends = if now.is_unchanged_since(before) { ObjectSet::NONE } else { ObjectSet::ends(worker) };
    let inbox = if now.has_inbox_of(before) { ObjectSet::NONE } else { ObjectSet::inbox(worker, side) };
    ends | inbox
}

/// The objects of the direction from which a process reads.
pub(super) fn incoming(pid: Pid, id: ChannelId) -> ObjectSet {
    let worker = worker_of(pid, id).index();
    ObjectSet::ends(worker) | ObjectSet::inbox(worker, side_of(pid))
}

/// The objects of the direction to which a process writes.
pub(super) fn outgoing(pid: Pid, id: ChannelId) -> ObjectSet {
    let worker = worker_of(pid, id).index();
    ObjectSet::ends(worker) | ObjectSet::inbox(worker, side_of(pid).other())
}

/// The dependencies of the steps of a channel.
pub(super) fn dependencies(pid: Pid, id: ChannelId) -> Dependencies {
    Dependencies::life(pid) | Dependencies::process(worker_of(pid, id))
}
