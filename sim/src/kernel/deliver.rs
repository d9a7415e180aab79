//! Later events of the kernel: bytes, room, connections and exits. One step delivers one [`OsEvent`].

use std::collections::VecDeque;

use cluster_core::{ChannelId, Errno, ExitStatus, OsEvent, SocketId};

use super::process_table::{Descriptor, Origin, Phase};
use super::socket::{ClientState, Flow, SocketKind};
use super::{Kernel, Step};
use crate::fault::Fault;
use crate::schedule::{Point, Schedule};
use crate::step::Pid;

impl Kernel {
    /// Delivers bytes, cut where the schedule decides, or the end of the channel.
    pub(crate) fn read(&mut self, pid: Pid, id: ChannelId, schedule: &mut Schedule) -> Option<OsEvent> {
        let (channel, side) = self.channels.get(pid, id)?;
        let end = channel.end(side);
        if end.is_drained() {
            self.close_channel(pid, id);
            return Some(OsEvent::ChannelClosed { channel: id });
        }
        let writes = end.readable_writes();
        let taken = match schedule.choose(Point::Writes, writes) {
            0 => writes,
            fewer => fewer,
        };
        let mut limit = end.readable_bytes(taken);
        if limit > 1 && schedule.strikes(Fault::PartialRead) {
            limit = 1 + schedule.choose(Point::Bytes, limit - 1);
        }
        if pid == Pid::PRIMARY && !self.processes.get(Pid::from(id)).is_alive() {
            // With choice 0, the exit of a worker is reported after the end of its channel.
            self.ready.put_off(Step::Reap(Pid::from(id)));
        }
        let (bytes, file) = self.channels.read(pid, id, limit, &mut self.ready)?;
        let socket = file.and_then(|file| {
            if !self.has_room(pid, 1) || schedule.strikes(Fault::LostDescriptor) {
                self.release(file);
                return None;
            }
            Some(self.processes.get_mut(pid).add(file, Origin::Channel))
        });
        Some(OsEvent::Read { channel: id, bytes, socket })
    }

    /// Reports room for a blocked write.
    pub(crate) fn writable_again(&mut self, pid: Pid, id: ChannelId) -> Option<OsEvent> {
        self.channels.end_mut(pid, id)?.write_blocked = false;
        Some(OsEvent::Writable { channel: id })
    }

    /// Accepts the oldest connection. After a failure, the connection stays in the backlog.
    pub(crate) fn accept(&mut self, pid: Pid, id: SocketId, schedule: &mut Schedule) -> Option<OsEvent> {
        let has_room = self.has_room(pid, 1);
        self.processes.get_mut(pid).descriptor_mut(id)?.starved = !has_room;
        if !has_room {
            return Some(OsEvent::AcceptFailed { listener: id, errno: Errno::EMFILE });
        }
        if schedule.strikes(Fault::AcceptFailure) {
            let errno = [Errno::EMFILE, Errno::ENFILE][schedule.choose(Point::Error, 2)];
            return Some(OsEvent::AcceptFailed { listener: id, errno });
        }
        let Kernel { processes, network, ready, .. } = self;
        let &Descriptor { file, owned_by_program, .. } = processes.get(pid).descriptor(id)?;
        let client = network.sockets.change_backlog(file, VecDeque::pop_front)??;
        if schedule.strikes(Fault::Aborted) {
            network.finish_to_server(client, Flow::Reset, processes, ready);
            network.clients.get_mut(client).state = ClientState::Closed;
            return Some(OsEvent::AcceptFailed { listener: id, errno: Errno::ECONNABORTED });
        }
        let connection = network.sockets.open(SocketKind::Connection(client));
        let origin = if owned_by_program { Origin::Program } else { Origin::Machine };
        let socket = processes.get_mut(pid).add(connection, origin);
        let client = network.clients.get_mut(client);
        client.state = ClientState::Accepted;
        client.accepted_by = Some(pid).filter(|_| !owned_by_program);
        Some(OsEvent::Accepted { listener: id, socket, client: client.address() })
    }

    /// Reports the exit of a worker to the primary.
    pub(crate) fn reap(&mut self, pid: Pid, schedule: &mut Schedule) -> Option<OsEvent> {
        let Phase::Dead(status) = self.processes.get(pid).phase else { return None };
        self.processes.enter(pid, Phase::Reaped);
        let status = if schedule.strikes(Fault::LostStatus) { ExitStatus::ReapedElsewhere } else { status };
        Some(OsEvent::Exited { worker: pid.worker(), status })
    }
}
