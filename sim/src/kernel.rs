//! The kernel: processes, channels, sockets, clients, a clock, and the steps that may be enabled.
//!
//! The kernel answers calls and delivers events, one step at a time; the schedule decides every cut and every
//! failure. The world runs the machines and the programs.

pub(crate) mod bind;
mod blocking;
mod bound_address;
mod calls;
pub(crate) mod channel;
mod channels;
mod clients;
pub(crate) mod clock;
mod datagram;
mod deliver;
mod descriptor_limits;
mod footprint;
mod net;
pub(crate) mod object_set;
pub(crate) mod process_table;
pub(crate) mod processes;
mod program_sockets;
mod readiness;
pub(crate) mod ready;
pub(crate) mod socket;
mod sockets;
mod system;
mod table;
#[cfg(test)]
mod tests;
mod udp;

use std::hash::{Hash, Hasher};

use cluster_core::{BindAddress, ChannelId, Errno, ExitStatus, LocalAddress, SocketId};

use channels::Channels;
use clock::Clock;
use net::{Network, Surroundings};
use process_table::{Descriptor, Origin};
use processes::{Processes, waits_for_stopped};
use ready::{Dependencies, Ready};
use socket::{FileId, SocketKind};
use system::System;

use crate::step::{Pid, Step};

use crate::cow::CowArc;
use crate::event::{ClientEvent, ClientId};
use crate::fault::Fault;
use crate::schedule::Schedule;

/// A socket and the local address.
pub(crate) type BoundSocket = (SocketId, LocalAddress);

/// The state of the kernel.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    pub(crate) processes: Processes,
    pub(crate) channels: Channels,
    pub(crate) network: Network,
    pub(crate) clock: Clock,
    system: CowArc<System>,
    pub(crate) lookups: Lookups,
    /// The steps that may be enabled, oldest first. The steps follow from the other fields, so the order is
    /// no part of the state.
    pub(crate) ready: Ready,
    /// The dependencies (of steps on the system) that have changed since the ready steps were last refreshed.
    touched: Dependencies,
}

/// The number of times that a program has looked up the state of other processes. A step with a lookup may
/// have read any object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lookups(u32);

impl Lookups {
    pub(crate) fn mark(&mut self) {
        self.0 += 1;
    }
}

impl Hash for Kernel {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let Kernel { processes, channels, network, clock, system, ready, .. } = self;
        (processes, channels, network, clock, system).hash(state);
        // The signals among the ready steps; all other ready steps follow from the other fields.
        let signal =
            |step: Step| if let Step::Signal(pid, signal) = step { Some((pid, signal.0)) } else { None };
        let mut signals: Vec<(Pid, i32)> =
            ready.steps().filter_map(signal).filter(|(pid, _)| processes.is_alive(*pid)).collect();
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
            processes: Processes::new(),
            channels: Channels::new(capacity),
            network: Network::new(),
            clock: Clock::default(),
            system: CowArc::default(),
            lookups: Lookups::default(),
            ready,
            touched: Dependencies::NONE,
        }
    }

    /// Copies `other`, and reuses the memory of `self`.
    pub(crate) fn copy_from(&mut self, other: &Kernel) {
        let Kernel { processes, channels, network, clock, system, lookups, ready, touched } = other;
        self.processes.copy_from(processes);
        self.channels.copy_from(channels);
        self.network.copy_from(network);
        self.clock.clone_from(clock);
        self.system.clone_from(system);
        self.lookups = *lookups;
        self.ready.copy_from(ready);
        self.touched = *touched;
    }

    /// Takes the dependencies that have changed since the last call.
    pub(crate) fn take_touched(&mut self) -> Dependencies {
        let Kernel { processes, channels, network, touched, .. } = self;
        std::mem::take(touched) | processes.take_touched() | channels.take_touched() | network.take_touched()
    }

    pub(crate) fn system(&self) -> &System {
        &self.system
    }

    pub(crate) fn system_mut(&mut self) -> &mut System {
        self.touched |= Dependencies::LISTENERS;
        &mut self.system
    }

    /// The client behind a connection of a process.
    pub(crate) fn client_behind(&self, pid: Pid, id: SocketId) -> Option<ClientId> {
        self.network.sockets.client(self.processes.socket(pid, id)?)
    }

    /// Opens a socket and binds it. With a backlog, the socket also listens.
    pub(crate) fn bind(
        &mut self,
        pid: Pid,
        origin: Origin,
        address: &BindAddress,
        backlog: Option<u32>,
    ) -> Result<BoundSocket, Errno> {
        if !self.has_room(pid, 1) {
            return Err(Errno::EMFILE);
        }
        let sockets = &mut self.network.sockets;
        let file = sockets.bind(address, self.processes.get(pid), &self.system)?;
        let socket = self.processes.get_mut(pid).add(file, origin);
        if let Some((path, readable_all, writable_all)) = sockets::named_path(address) {
            let owner = (pid, socket);
            self.system_mut().add_path(path.clone(), file, owner, readable_all, writable_all);
        }
        let sockets = &mut self.network.sockets;
        if let Some(errno) = backlog.and_then(|backlog| sockets.listen(file, backlog).err()) {
            self.close(pid, socket);
            return Err(errno);
        }
        Ok((socket, sockets.address(file).expect("no connection was bound")))
    }

    /// Closes a descriptor of a process, and removes the path that the descriptor has bound.
    pub(crate) fn close(&mut self, pid: Pid, id: SocketId) {
        let Some(file) = self.processes.get_mut(pid).remove(id) else { return };
        if self.system.has_path_of((pid, id)) {
            self.system_mut().remove_paths_of((pid, id));
        }
        self.release(file);
    }

    fn release(&mut self, file: FileId) {
        self.network.release(file, &mut self.ready);
    }

    /// Closes one end of a channel; the other end reads an end of file.
    fn close_channel(&mut self, pid: Pid, id: ChannelId) {
        let closed = self.channels.close(pid, id);
        for file in closed.lost {
            self.release(file);
        }
        for step in closed.wakes.into_iter().flatten() {
            self.ready.last(step);
        }
    }

    /// Ends a process. Its channels close first, then its descriptors in opening order.
    pub(crate) fn die(&mut self, pid: Pid, status: ExitStatus, schedule: &mut Schedule) {
        let descriptors = self.processes.die(pid, status);
        self.clock.forget(pid);
        if pid == Pid::PRIMARY {
            for channel in self.channels.of_primary() {
                self.close_channel(pid, channel);
            }
        } else if self.leaves_child(pid, schedule) {
            self.ready.last(Step::CloseInherited(pid));
        } else {
            self.close_inherited(pid);
        }
        for descriptor in descriptors {
            self.release(descriptor.file);
        }
        if pid != Pid::PRIMARY {
            self.ready.last(Step::Reap(pid));
        }
    }

    /// Whether a child of the dying worker continues to run. A signal to the group also reaches the child.
    fn leaves_child(&self, pid: Pid, schedule: &mut Schedule) -> bool {
        let worker = self.processes.get(pid);
        !worker.group_signalled && (worker.child.is_some() || schedule.strikes(Fault::Grandchild))
    }

    /// Closes the channel and the connection that the child of a dead worker has inherited.
    pub(crate) fn close_inherited(&mut self, pid: Pid) {
        self.close_channel(pid, ChannelId::PRIMARY);
        if self.processes.get(pid).child.is_some()
            && let Some(connection) = self.processes.get_mut(pid).child.take()
        {
            self.release(connection);
        }
    }

    /// Whether a worker continues to run without its channel: the program has other work or owns a socket, or
    /// the machine has an exclusive server.
    pub(crate) fn keeps_running(&self, pid: Pid) -> bool {
        let process = self.processes.get(pid);
        let serves = |own: &Descriptor| {
            own.origin == Origin::Machine && self.network.sockets.address(own.file).is_some()
        };
        process.kept_alive || process.descriptors().iter().any(|own| own.owned_by_program || serves(own))
    }

    /// Whether a connection is with a process that neither serves nor closes the connection: the child of a
    /// worker, a stopped process, or a primary that waits for a stopped process.
    pub(crate) fn is_out_of_reach(&self, id: ClientId) -> bool {
        let is_connection = |file: FileId| self.network.sockets.get(file).kind == SocketKind::Connection(id);
        let mut processes = self.processes.iter();
        processes.any(|(pid, process)| {
            let is_in_flight = |(channel, side): (&channel::Channel, channel::Side)| {
                channel.end(side).in_flight().any(is_connection)
            };
            let holds_connection = || {
                process.descriptors().iter().any(|descriptor| is_connection(descriptor.file))
                    || pid != Pid::PRIMARY
                        && self.channels.get(pid, ChannelId::PRIMARY).is_some_and(is_in_flight)
            };
            let waits =
                |own: &Descriptor| is_connection(own.file) && waits_for_stopped(&self.processes, pid, own);
            process.child.is_some_and(is_connection)
                || self.processes.is_stopped(pid) && holds_connection()
                || process.descriptors().iter().any(waits)
        })
    }

    // ---- clients

    /// The number of sockets that could receive the next action of a client.
    pub(crate) fn candidates(&self, id: ClientId) -> usize {
        self.network.candidates(id, &self.system)
    }

    /// Performs the next action of a client.
    pub(crate) fn act(&mut self, id: ClientId, schedule: &mut Schedule) {
        let Kernel { processes, network, system, ready, .. } = self;
        network.act(id, &mut Surroundings { processes, system, ready }, schedule);
    }

    /// The next event of a client. The end of the server's side ends the client's side.
    pub(crate) fn next_client_event(&mut self, id: ClientId) -> ClientEvent {
        self.network.next_client_event(id, &self.processes, &mut self.ready)
    }
}
