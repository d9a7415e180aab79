//! The calls of a process, and their immediate answers. `deliver` has the events that follow later.

use cluster_core::{
    BindAddress, Call, ChannelId, Errno, HandleId, OsBytes, OsEvent, Signal, SocketId, SpawnOptions, Stdio,
    WorkerId,
};

use super::process_table::Origin;
use super::sockets::released_ports;
use super::{Kernel, Step};
use crate::fault::Fault;
use crate::schedule::{Point, Schedule};
use crate::step::Pid;

/// Lines that a broken or hostile worker writes. No line is a user message.
const GARBAGE: [&str; 12] = [
    "\n",
    "{\"cmd\":\n",
    "\u{0}\u{7f}\n",
    "{\"cmd\":\"NODE_HANDLE_ACK\"}\n",
    "{\"cmd\":\"NODE_HANDLE_NACK\"}\n",
    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"port\":\"?\",\"seq\":-1}\n",
    "{\"cmd\":\"NODE_CLUSTER\",\"ack\":1,\"accepted\":true,\"seq\":9}\n",
    "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\",\"seq\":1}}\n",
    "{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"key\":\"k\",\"msg\":1}\n",
    "{\"cmd\":\"NODE_SOCKET_GET_COUNT\",\"key\":\"k\"}\n",
    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"address\":\"\",\"port\":-1,\"addressType\":-1,\"index\":0,\"seq\":99}\n",
    "{\"cmd\":\"NODE_CLUSTER\",\"act\":\"queryServer\",\"addressType\":\"udp4\",\"fd\":3,\"index\":0,\"seq\":99}\n",
];

/// Every error of `sendmsg` on a connected Unix socket, and some errors that a security module may add.
/// EAGAIN and EINTR are not failures: EAGAIN is a write of no bytes, and a write is repeated at once after
/// EINTR.
const WRITE_ERRORS: [Errno; 18] = [
    Errno::ETOOMANYREFS,
    Errno::ENOBUFS,
    Errno::ENOMEM,
    Errno::EMFILE,
    Errno::ENFILE,
    Errno::EINVAL,
    Errno::EPERM,
    Errno::EACCES,
    Errno::EMSGSIZE,
    Errno::EOPNOTSUPP,
    Errno::EFAULT,
    Errno::EISCONN,
    Errno::EDESTADDRREQ,
    Errno::EBADF,
    Errno::ENOTSOCK,
    Errno::EPIPE,
    Errno::ECONNRESET,
    Errno::ENOTCONN,
];

/// Errors of a start before the `exec`: of the `fork`, of the channel, of pipes, and of the poller.
const SPAWN_ERRORS: [Errno; 10] = [
    Errno::EAGAIN,
    Errno::ENOMEM,
    Errno::EMFILE,
    Errno::ENFILE,
    Errno::ENOSPC,
    Errno::ENOTTY,
    Errno::ENOSYS,
    Errno::EIO,
    Errno::EPIPE,
    Errno::ECONNRESET,
];

/// Errors of an `exec`. The first three occur while a file is replaced: the file is missing, is open for
/// writing, or must not be executed. The others occur with a broken file, or with arguments beyond the limit.
const EXEC_ERRORS: [Errno; 8] = [
    Errno::ENOENT,
    Errno::ETXTBSY,
    Errno::EACCES,
    Errno::ENOEXEC,
    Errno::ELOOP,
    Errno::E2BIG,
    Errno::EIO,
    Errno::EPERM,
];

/// Whether a process without a handler ignores a signal.
fn is_ignored(signal: Signal) -> bool {
    matches!(signal, Signal::SIGCHLD | Signal::SIGCONT | Signal(0))
}

/// The port of an address, if the kernel is to choose the port.
fn port_to_assign(address: &mut BindAddress) -> Option<&mut u16> {
    match address {
        BindAddress::Tcp { port, .. } | BindAddress::Udp { port, .. } | BindAddress::Zoned { port, .. } => {
            (*port == 0).then_some(port)
        }
        BindAddress::Path { .. } | BindAddress::Descriptor { .. } => None,
    }
}

/// A process within a call.
#[derive(Debug)]
struct Caller<'a> {
    kernel: &'a mut Kernel,
    pid: Pid,
    schedule: &'a mut Schedule,
}

impl Kernel {
    /// Performs a call of a live process, except [`Call::Exit`], which the world performs.
    pub(crate) fn perform(&mut self, pid: Pid, call: Call, schedule: &mut Schedule) -> Option<OsEvent> {
        let answer = Caller { kernel: self, pid, schedule }.perform(call);
        self.processes.count_call(pid, &mut self.ready);
        answer
    }

    /// Queues a signal. The target may act before the signal arrives. Simulated processes have no handlers of
    /// signals.
    pub(crate) fn signal(&mut self, pid: Pid, signal: Signal) {
        if !is_ignored(signal) && self.processes.is_alive(pid) {
            self.ready.last(Step::Signal(pid, signal));
        }
    }

    /// Queues a signal to a worker and its group, if the worker has a group. The child of a dead worker ends
    /// at once.
    pub(crate) fn signal_group(&mut self, pid: Pid, signal: Signal) {
        if !is_ignored(signal) && self.processes.has_group(pid) {
            if self.processes.is_alive(pid) {
                self.processes.get_mut(pid).group_signalled = true;
            } else {
                self.close_inherited(pid);
            }
        }
        self.signal(pid, signal);
    }

    /// Writes to a worker's channel without the worker's machine.
    pub(crate) fn write_raw(&mut self, pid: Pid, bytes: &[u8]) {
        let id = ChannelId::PRIMARY;
        if self.channels.has_open(pid, id) && self.channels.is_connected(pid, id) {
            self.processes.get_mut(pid).hostile = true;
            self.channels.write((pid, id), bytes.into(), bytes.len(), None, &mut self.ready);
        }
    }
}

impl Caller<'_> {
    fn perform(&mut self, call: Call) -> Option<OsEvent> {
        let Kernel { processes, channels, clock, ready, .. } = &mut *self.kernel;
        match call {
            Call::Spawn { worker, options, env } => return Some(self.spawn(worker, options, env)),
            Call::Kill { worker, signal } => return self.kill(worker, signal),
            Call::Write { channel, bytes, socket } => {
                self.misbehave();
                return Some(self.write(channel, bytes, socket));
            }
            Call::PauseRead { channel } => channels.pause_read(self.pid, channel, true, ready),
            Call::ResumeRead { channel } => channels.pause_read(self.pid, channel, false, ready),
            Call::CloseChannel { channel } => self.kernel.close_channel(self.pid, channel),
            Call::Bind { handle, address, backlog } => return Some(self.bind(handle, address, backlog)),
            Call::Listen { socket, backlog } => return Some(self.listen(socket, backlog)),
            Call::PauseAccept { socket } => processes.pause_accept(self.pid, socket, true, ready),
            Call::ResumeAccept { socket } => processes.pause_accept(self.pid, socket, false, ready),
            Call::Choose { handle, connection, candidates, .. } => {
                let at = self.schedule.choose(Point::Target, candidates.len());
                return Some(OsEvent::Chosen { handle, connection, worker: candidates[at].worker });
            }
            Call::Close { socket } => self.kernel.close(self.pid, socket),
            Call::SetTimer { timer, after_ms } => clock.set(self.pid, timer, after_ms),
            Call::Exit { code: _ } => {}
        }
        None
    }

    fn spawn(&mut self, worker: WorkerId, options: SpawnOptions, env: Vec<(OsBytes, OsBytes)>) -> OsEvent {
        let pid = Pid::from(worker);
        self.kernel.processes.reserve(pid);
        self.kernel.channels.reserve(pid);
        if let Some(errno) = self.spawn_error(&options) {
            return OsEvent::SpawnFailed { worker, program: None, directory: false, errno };
        }
        self.kernel.processes.spawn(pid, options, env);
        self.kernel.channels.open(pid);
        self.kernel.ready.last(Step::Start(pid));
        OsEvent::Spawned { worker, pid: 1000 + pid.0 }
    }

    /// Checks whether a process can be started. During the start, the primary has both ends of the channel
    /// open.
    fn spawn_error(&mut self, options: &SpawnOptions) -> Option<Errno> {
        let primary = self.kernel.processes.get(Pid::PRIMARY);
        let is_foreign = options.uid.is_some() || options.gid.is_some();
        let is_open = |stdio: &Stdio| match stdio {
            Stdio::Descriptor(fd) => *fd < 3 || primary.socket_at(*fd).is_some(),
            Stdio::Inherit | Stdio::Ignore | Stdio::Pipe | Stdio::Channel => true,
        };
        if !self.kernel.has_room(Pid::PRIMARY, 2) {
            return Some(Errno::EMFILE);
        }
        if !options.stdio.as_deref().unwrap_or_default().iter().all(is_open) {
            return Some(Errno::EBADF);
        }
        let system = self.kernel.system();
        if is_foreign && system.no_root {
            return Some(Errno::EPERM);
        }
        let broken = [options.cwd.as_ref(), options.exec.as_ref()].into_iter().flatten();
        let errno = broken.into_iter().find_map(|path| system.fault_of(&path.to_string_lossy()));
        errno
            .or_else(|| self.fails(Fault::SpawnFailure, &SPAWN_ERRORS))
            .or_else(|| self.fails(Fault::ExecFailure, &EXEC_ERRORS))
    }

    /// One of the errors, if the fault strikes.
    fn fails(&mut self, fault: Fault, errors: &[Errno]) -> Option<Errno> {
        let strikes = self.schedule.strikes(fault);
        strikes.then(|| errors[self.schedule.choose(Point::Error, errors.len())])
    }

    /// A signal to the remaining group of a dead worker always succeeds.
    fn kill(&mut self, worker: WorkerId, signal: Signal) -> Option<OsEvent> {
        let pid = Pid::from(worker);
        if self.kernel.processes.is_alive(pid)
            && let Some(errno) = self.fails(Fault::KillFailure, &[Errno::EPERM])
        {
            return Some(OsEvent::KillFailed { worker, errno });
        }
        self.kernel.signal_group(pid, signal);
        None
    }

    fn write(&mut self, id: ChannelId, bytes: Vec<u8>, socket: Option<SocketId>) -> OsEvent {
        let pid = self.pid;
        let file = socket.and_then(|socket| self.kernel.processes.socket(pid, socket));
        if self.kernel.channels.get(pid, id).is_none() {
            return OsEvent::WriteFailed { channel: id, errno: Errno::EBADF };
        }
        if !self.kernel.channels.has_open(pid, id) || !self.kernel.channels.is_connected(pid, id) {
            return OsEvent::WriteFailed { channel: id, errno: Errno::EPIPE };
        }
        if let Some(errno) = self.fails(Fault::WriteFailure, &WRITE_ERRORS) {
            if errno.breaks_channel(file.is_some()) {
                self.kernel.channels.cut(pid, id, &mut self.kernel.ready);
            }
            return OsEvent::WriteFailed { channel: id, errno };
        }
        if let Some(errno) = self.fails(Fault::HalfClose, &[Errno::EPIPE, Errno::ECONNRESET]) {
            self.kernel.channels.end_writing(pid, id, &mut self.kernel.ready);
            return OsEvent::WriteFailed { channel: id, errno };
        }
        let Kernel { channels, network, ready, .. } = &mut *self.kernel;
        let mut take = channels.room(pid, id).min(bytes.len());
        if take > 0 && self.schedule.strikes(Fault::ShortWrite) {
            take = self.schedule.choose(Point::Bytes, take);
        }
        if take > 0
            && let Some(file) = file
        {
            network.sockets.retain(file);
        }
        let rest = channels.write((pid, id), bytes, take, file, ready);
        OsEvent::Wrote { channel: id, rest }
    }

    /// Lets the worker write a line of garbage between two lines, if the fault strikes.
    fn misbehave(&mut self) {
        let channels = &self.kernel.channels;
        let may = self.pid != Pid::PRIMARY && !channels.is_mid_line(self.pid, ChannelId::PRIMARY);
        if may && channels.is_connected(self.pid, ChannelId::PRIMARY) && self.schedule.strikes(Fault::Garbage)
        {
            let line = GARBAGE[self.schedule.choose(Point::Error, GARBAGE.len())];
            self.kernel.write_raw(self.pid, line.as_bytes());
        }
    }

    fn bind(&mut self, handle: HandleId, mut address: BindAddress, backlog: Option<u32>) -> OsEvent {
        if let Some(errno) = self.fails(Fault::BindFailure, &[Errno::EADDRINUSE, Errno::EACCES]) {
            return OsEvent::BindFailed { handle, errno };
        }
        self.reuse_port(&mut address);
        match self.kernel.bind(self.pid, Origin::Machine, &address, backlog) {
            Ok((socket, address)) => OsEvent::Bound { handle, socket, address },
            Err(errno) => OsEvent::BindFailed { handle, errno },
        }
    }

    /// Lets the kernel assign a released port, if the fault strikes.
    fn reuse_port(&mut self, address: &mut BindAddress) {
        let Some(port) = port_to_assign(address) else { return };
        let released = released_ports(&self.kernel.network.sockets, self.kernel.system());
        if !released.is_empty() && self.schedule.strikes(Fault::ReusedPort) {
            *port = released[self.schedule.choose(Point::Target, released.len())];
        }
    }

    fn listen(&mut self, socket: SocketId, backlog: u32) -> OsEvent {
        let file = self.kernel.processes.socket(self.pid, socket).ok_or(Errno::EBADF);
        match file.and_then(|file| self.kernel.network.sockets.listen(file, backlog)) {
            Ok(address) => OsEvent::Listening { socket, address },
            Err(errno) => OsEvent::ListenFailed { socket, errno },
        }
    }
}
