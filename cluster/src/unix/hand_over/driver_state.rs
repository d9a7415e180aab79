//! The state of a primary's driver (the rest is in the machine), as plain data with the numbers of
//! descriptors. Each facility contributes a part.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use cluster_core::{ChannelId, SocketId, TimerId, WorkerId};
use nix::unistd::Pid;
use rustix::process::Rlimit;
use serde::{Deserialize, Serialize};

use super::super::Unix;
use super::super::adoption::adopt;
use super::super::channel::{Channel, ChannelState};
use super::super::descriptor_limit;
use super::super::group::RemainingGroup;
use super::super::listen::{Listening, ListeningState};
use super::super::path::{BoundPath, PathState};
use super::super::pipe::{Pipe, PipeState};
use super::super::process::{Process, ProcessState};

/// The resources of a primary, without the memory of the process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DriverState {
    paths: Vec<(SocketId, PathState)>,
    channels: Vec<(ChannelId, ChannelState)>,
    listeners: Vec<(SocketId, ListeningState)>,
    processes: Vec<(WorkerId, ProcessState)>,
    groups: Vec<(WorkerId, i32)>,
    /// Each timer with the time left.
    timers: Vec<(TimerId, Duration)>,
    sockets: Vec<(SocketId, RawFd)>,
    last_socket: u64,
    activated: Vec<RawFd>,
    /// Each pipe with the worker, and with the number in the worker.
    pipes: Vec<(WorkerId, u32, PipeState)>,
    unread_output: usize,
    reaps_orphans: bool,
    /// The limit on descriptors for workers: soft and hard limit.
    worker_limit: Option<(Option<u64>, Option<u64>)>,
}

/// The resources between two calls.
pub(crate) fn state_of(unix: &Unix) -> DriverState {
    let pipes = unix.pipes.iter().flat_map(|(worker, pipes)| pipes.iter().map(|pipe| (*worker, pipe)));
    DriverState {
        paths: unix.paths.iter().map(|(socket, path)| (*socket, path.state())).collect(),
        channels: unix.channels.entries().map(|(id, channel)| (id, channel.state())).collect(),
        listeners: unix.listeners.entries().map(|(id, listening)| (id, listening.state())).collect(),
        processes: unix.processes.entries().map(|(id, process)| (id, process.state())).collect(),
        groups: unix.groups.iter().map(|(worker, group)| (*worker, group.0.as_raw())).collect(),
        timers: unix.timers.left(),
        sockets: unix.sockets.open.iter().map(|(id, socket)| (id, socket.as_raw_fd())).collect(),
        last_socket: unix.sockets.last,
        activated: unix.sockets.adopted.iter().map(AsRawFd::as_raw_fd).collect(),
        pipes: pipes.map(|(worker, (number, pipe))| (worker, *number, pipe.state())).collect(),
        unread_output: unix.unread_output,
        reaps_orphans: reaps_orphans(unix),
        worker_limit: descriptor_limit::former().map(|former| (former.current, former.maximum)),
    }
}

#[cfg(target_os = "linux")]
fn reaps_orphans(unix: &Unix) -> bool {
    unix.reaper.is_some()
}

#[cfg(not(target_os = "linux"))]
fn reaps_orphans(_: &Unix) -> bool {
    false
}

impl DriverState {
    /// The descriptors of the resources.
    pub(crate) fn descriptors(&self) -> Vec<RawFd> {
        let channels = self.channels.iter().flat_map(|(_, channel)| channel.descriptors());
        let listeners = self.listeners.iter().map(|(_, listening)| listening.descriptor);
        let sockets = self.sockets.iter().map(|(_, number)| *number);
        let pipes = self.pipes.iter().map(|(_, _, pipe)| pipe.descriptor);
        let activated = self.activated.iter().copied();
        channels.chain(listeners).chain(sockets).chain(pipes).chain(activated).collect()
    }
}

/// Takes the resources over. A failure closes some of the descriptors, but removes no path.
pub(crate) fn restore(state: DriverState) -> io::Result<Unix> {
    let mut unix = Unix::with_unread_output(state.unread_output);
    for (id, channel) in state.channels {
        unix.channels.insert(id, Channel::restore(channel)?);
    }
    for (id, listening) in state.listeners {
        let restored = restore_listening(&mut unix, &listening)?;
        unix.listeners.insert(id, restored);
    }
    for (worker, process) in state.processes {
        unix.processes.insert(worker, Process::restore(&process)?);
    }
    for (id, number) in state.sockets {
        unix.sockets.open.insert(id, adopt(number)?);
    }
    unix.sockets.last = state.last_socket;
    unix.sockets.adopted = state.activated.into_iter().map(adopt).collect::<io::Result<_>>()?;
    for (worker, number, pipe) in state.pipes {
        let pipes: &mut BTreeMap<u32, Pipe> = unix.pipes.entry(worker).or_default();
        pipes.insert(number, Pipe::restore(pipe)?);
    }
    #[cfg(target_os = "linux")]
    if state.reaps_orphans {
        unix.reap_orphans()?;
    }
    let group = |(worker, leader)| (worker, RemainingGroup(Pid::from_raw(leader)));
    unix.groups = state.groups.into_iter().map(group).collect();
    for (timer, left) in state.timers {
        unix.timers.set(timer, left);
    }
    if let Some((current, maximum)) = state.worker_limit {
        descriptor_limit::keep_former(Rlimit { current, maximum });
    }
    // The paths last: the drop of a restored path would remove the file.
    let path = |(socket, path)| (socket, BoundPath::restore(path));
    unix.paths = state.paths.into_iter().map(path).collect();
    Ok(unix)
}

fn restore_listening(unix: &mut Unix, state: &ListeningState) -> io::Result<Listening> {
    let mut listening = unix.watch(adopt(state.descriptor)?, state.is_shared)?.with_reserve();
    listening.pause(state.paused);
    Ok(listening)
}
