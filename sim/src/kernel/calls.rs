//! The calls of a process, and the immediate answers. Later events are in `deliver`.

use cluster_core::{
    BindAddress, Call, ChannelId, Errno, HandleId, OsBytes, OsEvent, Signal, SocketId, SpawnOptions, Stdio,
    WorkerId,
};

use super::channel::Channel;
use super::process_table::{Accepting, Origin, ProcessEntry};
use super::socket::FileId;
use super::{Kernel, Step};
use crate::cow::CowArc;
use crate::fault::Fault;
use crate::schedule::{Point, Schedule};
use crate::step::Pid;

/// Lines that a broken or hostile worker writes. None is a user message.
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

/// Every error of `sendmsg` on a connected Unix socket, and some that a security module may add. EAGAIN and EINTR are
/// no failures: EAGAIN is a write of no bytes, EINTR is repeated at once.
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

/// Whether an error breaks the connection. EBADF of a write with a descriptor is about that descriptor.
fn breaks(errno: Errno, with_socket: bool) -> bool {
    let is_about_the_channel = [Errno::EBADF, Errno::ENOTSOCK].contains(&errno) && !with_socket;
    is_about_the_channel || [Errno::EPIPE, Errno::ECONNRESET, Errno::ENOTCONN].contains(&errno)
}

impl Kernel {
    /// Performs a call of a live process, except [`Call::Exit`], which the world performs.
    pub(crate) fn perform(&mut self, pid: Pid, call: Call, schedule: &mut Schedule) -> Option<OsEvent> {
        let answer = self.carry_out(pid, call, schedule);
        self.count_call(pid);
        answer
    }

    fn carry_out(&mut self, pid: Pid, call: Call, schedule: &mut Schedule) -> Option<OsEvent> {
        match call {
            Call::Spawn { worker, options, env } => Some(self.spawn(worker, options, env, schedule)),
            Call::Kill { worker, signal } => self.signal(worker.into(), signal),
            Call::Write { channel, bytes, socket } => {
                self.misbehave(pid, schedule);
                Some(self.write(pid, channel, bytes, socket, schedule))
            }
            Call::PauseRead { channel } => self.pause_read(pid, channel, true),
            Call::ResumeRead { channel } => self.pause_read(pid, channel, false),
            Call::CloseChannel { channel } => {
                self.close_channel(pid, channel);
                None
            }
            Call::Bind { handle, address, backlog } => {
                Some(self.bind_for(pid, handle, &address, backlog, schedule))
            }
            Call::Listen { socket, backlog } => Some(self.listen_for(pid, socket, backlog)),
            Call::PauseAccept { socket } => self.pause_accept(pid, socket, true),
            Call::ResumeAccept { socket } => self.pause_accept(pid, socket, false),
            Call::Close { socket } => {
                self.close(pid, socket);
                None
            }
            Call::SetTimer { timer, after_ms } => {
                self.clock.set(pid, timer, after_ms);
                None
            }
            Call::Exit { code: _ } => None,
        }
    }

    fn spawn(
        &mut self,
        worker: WorkerId,
        options: SpawnOptions,
        env: Vec<(OsBytes, OsBytes)>,
        schedule: &mut Schedule,
    ) -> OsEvent {
        let pid = Pid::from(worker);
        while self.processes.len() <= pid.index() {
            self.processes.push(CowArc::default());
            self.channels.push(None);
        }
        if let Some(errno) = self.spawn_error(&options, schedule) {
            return OsEvent::SpawnFailed { worker, program: None, directory: false, errno };
        }
        *self.process_mut(pid) = ProcessEntry::starting(options, env);
        self.channels[pid.index()] = Some(Channel::new().into());
        self.wake(Step::Start(pid));
        OsEvent::Spawned { worker, pid: 1000 + pid.0 }
    }

    /// Checks whether a process can be started. For a moment the primary has both ends of the channel open.
    fn spawn_error(&self, options: &SpawnOptions, schedule: &mut Schedule) -> Option<Errno> {
        let primary = self.process(Pid::PRIMARY);
        let is_foreign = options.get_uid().is_some() || options.get_gid().is_some();
        let is_open = |stdio: &Stdio| match stdio {
            Stdio::Descriptor(fd) => *fd < 3 || primary.socket_at(*fd).is_some(),
            Stdio::Inherit | Stdio::Ignore | Stdio::Pipe | Stdio::Channel => true,
        };
        if !self.has_room(Pid::PRIMARY, 2) {
            return Some(Errno::EMFILE);
        }
        if !options.get_stdio().iter().all(is_open) {
            return Some(Errno::EBADF);
        }
        if is_foreign && self.system.no_root {
            return Some(Errno::EPERM);
        }
        let broken = [options.get_cwd(), options.get_exec()].into_iter().flatten();
        let errno = broken.into_iter().find_map(|path| self.system.fault_of(&path.to_string_lossy()));
        errno.or_else(|| {
            let strikes = schedule.strikes(Fault::SpawnFailure);
            strikes.then(|| [Errno::EAGAIN, Errno::ENOMEM][schedule.choose(Point::Error, 2)])
        })
    }

    /// Queues a signal: its target may act before the signal arrives. The simulated processes handle no signals.
    pub(crate) fn signal(&mut self, pid: Pid, signal: Signal) -> Option<OsEvent> {
        let is_ignored = matches!(signal, Signal::SIGCHLD | Signal::SIGCONT | Signal(0));
        if !is_ignored && self.processes.get(pid.index()).is_some_and(|process| process.is_alive()) {
            self.wake(Step::Signal(pid, signal));
        }
        None
    }

    fn write(
        &mut self,
        pid: Pid,
        id: ChannelId,
        bytes: Vec<u8>,
        socket: Option<SocketId>,
        schedule: &mut Schedule,
    ) -> OsEvent {
        let file = socket.and_then(|socket| Some(self.process(pid).descriptor(socket)?.file));
        let capacity = self.capacity;
        let Some((channel, side)) = self.channel_mut(pid, id) else {
            return OsEvent::WriteFailed { channel: id, errno: Errno::EBADF };
        };
        if !channel.end(side).open || !channel.is_connected(side) {
            return OsEvent::WriteFailed { channel: id, errno: Errno::EPIPE };
        }
        if schedule.strikes(Fault::WriteFailure) {
            let errno = WRITE_ERRORS[schedule.choose(Point::Error, WRITE_ERRORS.len())];
            if breaks(errno, file.is_some()) {
                self.cut_channel(pid, id);
            }
            return OsEvent::WriteFailed { channel: id, errno };
        }
        let mut take = channel.room(side, capacity).min(bytes.len());
        if take > 0 && schedule.strikes(Fault::ShortWrite) {
            take = schedule.choose(Point::Bytes, take);
        }
        let mid_line = bytes[..take].last().is_some_and(|&last| last != b'\n');
        let rest = channel.write(side, bytes, take, file);
        if !rest.is_empty() {
            self.wake(Step::Writable(pid, id));
        }
        if take > 0 {
            if self.process(pid).mid_line != mid_line {
                self.process_mut(pid).mid_line = mid_line;
            }
            self.refer(file);
            self.wake_peer(pid, id, Step::Read);
        }
        OsEvent::Wrote { channel: id, rest }
    }

    /// Breaks the connection of a channel: both ends read what is in flight, then an end of file.
    fn cut_channel(&mut self, pid: Pid, id: ChannelId) {
        let Some((channel, _)) = self.channel_mut(pid, id) else { return };
        channel.cut();
        for wake in [Step::Read, Step::Writable] {
            self.wake(wake(pid, id));
            self.wake_peer(pid, id, wake);
        }
    }

    /// Whether a failed write has broken the channel of a worker.
    pub(crate) fn is_cut(&self, worker: Pid) -> bool {
        self.channel(worker, ChannelId::PRIMARY).is_some_and(|(channel, side)| channel.end(side).cut)
    }

    /// The worker may write a line of garbage between two lines.
    fn misbehave(&mut self, pid: Pid, schedule: &mut Schedule) {
        let may = pid != Pid::PRIMARY && !self.process(pid).mid_line;
        let Some((channel, side)) = self.channel_mut(pid, ChannelId::PRIMARY).filter(|_| may) else { return };
        if channel.is_connected(side) && schedule.strikes(Fault::Garbage) {
            let line = GARBAGE[schedule.choose(Point::Error, GARBAGE.len())];
            self.write_raw(pid, line.as_bytes());
        }
    }

    /// Writes to a worker's channel without its machine.
    pub(crate) fn write_raw(&mut self, pid: Pid, bytes: &[u8]) {
        let Some((channel, side)) = self.channel_mut(pid, ChannelId::PRIMARY) else { return };
        if channel.end(side).open && channel.is_connected(side) {
            channel.write(side, bytes.into(), bytes.len(), None);
            self.process_mut(pid).hostile = true;
            self.wake_peer(pid, ChannelId::PRIMARY, Step::Read);
        }
    }

    /// A message in flight references its descriptor.
    fn refer(&mut self, file: Option<FileId>) {
        if let Some(file) = file {
            self.file_mut(file).refs += 1;
        }
    }

    fn pause_read(&mut self, pid: Pid, id: ChannelId, pause: bool) -> Option<OsEvent> {
        let (channel, side) = self.channel_mut(pid, id)?;
        channel.end_mut(side).paused = pause;
        if !pause {
            self.wake(Step::Read(pid, id));
        }
        None
    }

    pub(super) fn pause_accept(&mut self, pid: Pid, id: SocketId, pause: bool) -> Option<OsEvent> {
        self.process_mut(pid).descriptor_mut(id)?.accepting =
            if pause { Accepting::No } else { Accepting::Yes };
        if !pause {
            self.wake(Step::Accept(pid, id));
        }
        None
    }

    fn bind_for(
        &mut self,
        pid: Pid,
        handle: HandleId,
        address: &BindAddress,
        backlog: Option<u32>,
        schedule: &mut Schedule,
    ) -> OsEvent {
        if schedule.strikes(Fault::BindFailure) {
            let errno = [Errno::EADDRINUSE, Errno::EACCES][schedule.choose(Point::Error, 2)];
            return OsEvent::BindFailed { handle, errno };
        }
        match self.bind(pid, Origin::Machine, address, backlog) {
            Ok((socket, address)) => OsEvent::Bound { handle, socket, address },
            Err(errno) => OsEvent::BindFailed { handle, errno },
        }
    }

    fn listen_for(&mut self, pid: Pid, socket: SocketId, backlog: u32) -> OsEvent {
        let file = self.process(pid).descriptor(socket).map(|descriptor| descriptor.file);
        let listens = file.ok_or(Errno::EBADF).and_then(|file| {
            self.listen(file, backlog)?;
            self.address_of(file).ok_or(Errno::EINVAL)
        });
        match listens {
            Ok(address) => OsEvent::Listening { socket, address },
            Err(errno) => OsEvent::ListenFailed { socket, errno },
        }
    }
}
