//! The real operating system: performs the calls of a machine at once, and returns events when polled. Each
//! file wraps one facility of the kernel. No other part of the project touches a descriptor.

mod adopted_child;
pub(crate) mod adoption;
pub(crate) mod bind;
mod channel;
mod child;
pub(crate) mod choosing;
pub(crate) mod descriptor;
mod descriptor_limit;
pub(crate) mod ending;
#[cfg(target_os = "linux")]
mod exclusive;
pub(crate) mod executable;
mod fair_map;
mod group;
pub(crate) mod hand_over;
pub(crate) mod inherit;
mod listen;
mod log_display;
mod parent_death;
mod path;
mod pipe;
mod process;
#[cfg(target_os = "linux")]
mod reaping;
pub(crate) mod signals;
mod sockets;
pub(crate) mod spawn;
mod stdio;
mod timer;
mod variables;

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
#[cfg(target_os = "linux")]
use std::sync::Weak;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use cluster_core::{
    BindAddress, Call, ChannelId, Errno, HandleId, LocalAddress, Os, OsBytes, OsEvent, Signal, SocketId,
    SpawnOptions, TimerId, WorkerId,
};
use tracing::{debug, trace};

use channel::{Channel, ChannelEvent, LingeringClose};
use choosing::Chooser;
pub use descriptor_limit::raise_descriptor_limit;
#[cfg(target_os = "linux")]
use exclusive::Waiter;
use fair_map::FairMap;
use group::{Receivers, RemainingGroup};
use listen::Listening;
use log_display::{LogDisplay, Redacted};
use path::BoundPath;
pub use pipe::Pipe;
use process::Process;
use sockets::Sockets;
use spawn::Started;
pub(crate) use stdio::Pipes;
use timer::Timers;

/// The resources of the operating system for a machine. Dropping the value closes all descriptors.
#[derive(Debug)]
pub(crate) struct Unix {
    /// Declared before the sockets: the drop removes a path before the listener is closed.
    paths: BTreeMap<SocketId, BoundPath>,
    channels: FairMap<ChannelId, Channel>,
    listeners: FairMap<SocketId, Listening>,
    processes: FairMap<WorkerId, Process>,
    /// The process groups of exited workers. A group is removed after SIGKILL.
    groups: BTreeMap<WorkerId, RemainingGroup>,
    /// The thread that waits for shared listeners.
    #[cfg(target_os = "linux")]
    waiter: Weak<Waiter>,
    timers: Timers,
    sockets: Sockets,
    /// The pipes not taken by the program.
    pipes: BTreeMap<WorkerId, Pipes>,
    /// The most bytes kept of each untaken pipe.
    unread_output: usize,
    exit: Option<i32>,
    lingering: Option<LingeringClose>,
    #[cfg(target_os = "linux")]
    reaper: Option<reaping::OrphanReaper>,
    turn: usize,
    buffer: Box<[u8]>,
    pub(crate) chooser: Chooser,
}

impl Unix {
    /// The resources of a primary. At most `unread_output` bytes of each untaken pipe are kept.
    pub(crate) fn with_unread_output(unread_output: usize) -> Self {
        Unix { unread_output, ..Unix::new() }
    }

    pub(crate) fn new() -> Self {
        Unix {
            paths: BTreeMap::new(),
            channels: FairMap::new(),
            listeners: FairMap::new(),
            #[cfg(target_os = "linux")]
            waiter: Weak::new(),
            processes: FairMap::new(),
            groups: BTreeMap::new(),
            timers: Timers::default(),
            sockets: Sockets::default(),
            pipes: BTreeMap::new(),
            unread_output: 0,
            exit: None,
            lingering: None,
            #[cfg(target_os = "linux")]
            reaper: None,
            turn: 0,
            buffer: vec![0; channel::READ].into(),
            chooser: Chooser::default(),
        }
    }

    /// Adopts a listening socket of this process: from now on, a bind at the same address uses the socket.
    pub(crate) fn adopt_listener(&mut self, descriptor: u32) -> io::Result<()> {
        self.sockets.adopt(descriptor)
    }

    /// The resources of a worker: the channel to the primary.
    pub(crate) fn with_channel(stream: UnixStream) -> io::Result<Self> {
        let mut unix = Unix::new();
        unix.channels.insert(ChannelId::PRIMARY, Channel::to_primary(stream)?);
        Ok(unix)
    }

    /// Numbers sockets from `last` + 1.
    #[cfg(test)]
    pub(crate) fn count_after(&mut self, last: u64) {
        self.sockets.last = last;
    }

    /// The id of the newest socket.
    #[cfg(test)]
    pub(crate) fn last_socket(&self) -> SocketId {
        SocketId(self.sockets.last)
    }

    /// The exit code requested by the machine. The caller ends the process.
    pub(crate) fn exit(&self) -> Option<i32> {
        self.exit
    }

    /// Waits until the primary has read the channel to the end: at most until `until`, and at most a second.
    /// A primary may reap the ended process first, as Node does, and then drops unread messages.
    pub(crate) fn linger(&mut self, until: Instant) {
        if self.channels.find(ChannelId::PRIMARY).is_some() {
            self.close_channel(ChannelId::PRIMARY);
        }
        if let Some(lingering) = self.lingering.take() {
            lingering.wait(until);
        }
    }

    /// Stops or resumes reading from the primary; unread bytes stay in the kernel.
    pub(crate) fn pause_by_program(&mut self, paused: bool) {
        if let Some(channel) = self.channels.find(ChannelId::PRIMARY) {
            channel.pause_by_program(paused);
        }
    }

    fn is_of_primary(&mut self) -> bool {
        self.channels.find(ChannelId::PRIMARY).is_none()
    }

    /// Whether no process runs and no channel is open.
    pub(crate) fn is_idle(&self) -> bool {
        self.processes.is_empty() && self.channels.is_empty()
    }

    /// Whether the primary has closed the channel, even if unread bytes remain.
    pub(crate) fn is_peer_closed(&mut self) -> bool {
        self.channels.find(ChannelId::PRIMARY).is_some_and(|channel| channel.is_peer_closed())
    }

    /// Removes a socket and returns the descriptor, non-blocking.
    pub(crate) fn take(&mut self, socket: SocketId) -> Option<OwnedFd> {
        self.sockets.take(socket)
    }

    /// Removes an accepted connection and returns the descriptor, non-blocking.
    pub(crate) fn take_connection(&mut self, connection: SocketId) -> Option<OwnedFd> {
        self.sockets.take_connection(connection)
    }

    /// Adds a socket of the program, for the machine to send.
    pub(crate) fn adopt(&mut self, socket: OwnedFd) -> SocketId {
        self.sockets.insert(socket)
    }

    /// Removes and returns the primary's ends of a worker's pipes.
    pub(crate) fn take_pipes(&mut self, worker: WorkerId) -> Pipes {
        self.pipes.remove(&worker).unwrap_or_default()
    }

    /// Closes the pipes of workers forgotten by the machine.
    pub(crate) fn retain_pipes(&mut self, known: impl Fn(WorkerId) -> bool) {
        self.pipes.retain(|worker, _| known(*worker));
    }

    /// The next event. The sources take turns: channels, listeners, timers and processes.
    pub(crate) fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<OsEvent> {
        for pipe in self.pipes.values_mut().flat_map(BTreeMap::values_mut) {
            pipe.keep(cx, self.unread_output);
        }
        #[cfg(target_os = "linux")]
        self.poll_orphans(cx);
        self.turn = self.turn.wrapping_add(1);
        for offset in 0..4 {
            let event = match (self.turn.wrapping_add(offset)) % 4 {
                0 => self.poll_channels(cx),
                1 => self.poll_listeners(cx),
                2 => self.timers.poll(cx).map(|timer| OsEvent::Timer { timer }),
                _ => self.poll_processes(cx),
            };
            if let Poll::Ready(event) = event {
                debug!(event = %Redacted(&event), "event");
                trace!(event = %LogDisplay(&event), "event in full");
                return Poll::Ready(event);
            }
        }
        Poll::Pending
    }

    fn poll_channels(&mut self, cx: &mut Context<'_>) -> Poll<OsEvent> {
        let buffer = &mut self.buffer;
        let event = self.channels.poll(|id, channel| channel.poll(cx, buffer).map(|event| (id, event)));
        event.map(|(id, event)| self.channel_event(id, event))
    }

    fn channel_event(&mut self, channel: ChannelId, event: ChannelEvent) -> OsEvent {
        match event {
            ChannelEvent::Bytes(bytes, descriptor) => {
                let socket = descriptor.map(|descriptor| self.sockets.insert(descriptor));
                OsEvent::Read { channel, bytes, socket }
            }
            ChannelEvent::Room => OsEvent::Writable { channel },
            ChannelEvent::End => {
                if let Some(closed) = self.channels.remove(channel) {
                    closed.end();
                }
                self.expect_end(channel);
                OsEvent::ChannelClosed { channel }
            }
        }
    }

    fn poll_listeners(&mut self, cx: &mut Context<'_>) -> Poll<OsEvent> {
        let accepted =
            self.listeners.poll(|id, listening| listening.poll_accept(cx).map(|socket| (id, socket)));
        accepted.map(|(listener, accepted)| match accepted {
            Ok((socket, client)) => {
                OsEvent::Accepted { listener, socket: self.sockets.insert(socket), client }
            }
            Err(error) => OsEvent::AcceptFailed { listener, errno: errno(&error) },
        })
    }

    /// Reports an exit after the last bytes of the process.
    fn poll_processes(&mut self, cx: &mut Context<'_>) -> Poll<OsEvent> {
        let Unix { processes, channels, buffer, .. } = self;
        let polled = processes.poll(|worker, process| {
            let Poll::Ready(status) = process.poll_end(cx) else {
                return process.poll_lingers(cx).map(|()| (worker, None, None));
            };
            Poll::Ready((worker, Some(status), process.drain(channels.find(worker.into()), buffer)))
        });
        polled.map(|(worker, ended, unread)| {
            let Some(status) = ended else { return OsEvent::Lingers { worker } };
            if let Some(unread) = unread {
                return self.channel_event(worker.into(), unread);
            }
            let group = self.processes.remove(worker).and_then(|process| process.remaining_group());
            self.groups.extend(group.map(|group| (worker, group)));
            if let Some(channel) = self.channels.find(worker.into()) {
                channel.close_descriptors();
            }
            OsEvent::Exited { worker, status }
        })
    }

    fn spawn(&mut self, worker: WorkerId, command: &SpawnOptions, env: Vec<(OsBytes, OsBytes)>) -> OsEvent {
        match spawn::spawn(command, env) {
            Ok(Started { child, channel, pipes }) => {
                let process = Process::new(child, Receivers::of(command.process_group.unwrap_or_default()));
                let pid = process.pid().expect("a child that was not waited for has its number");
                self.processes.insert(worker, process);
                self.channels.insert(worker.into(), channel);
                self.pipes.insert(worker, pipes);
                OsEvent::Spawned { worker, pid }
            }
            Err(error) => {
                let own = || executable::path().ok().map(OsBytes::from);
                let program = command.exec.clone().or_else(own);
                let directory = spawn::is_directory_at_fault(command, &error);
                OsEvent::SpawnFailed { worker, program, directory, errno: errno(&error) }
            }
        }
    }

    fn kill(&mut self, worker: WorkerId, signal: Signal) -> Option<OsEvent> {
        let Some(process) = self.processes.find(worker) else {
            if let Some(group) = self.groups.get(&worker) {
                group.signal(signal);
            }
            if signal == Signal::SIGKILL {
                self.groups.remove(&worker);
            }
            return None;
        };
        let errno = process.kill(signal).err()?;
        Some(OsEvent::KillFailed { worker, errno })
    }

    fn write(&mut self, channel: ChannelId, mut bytes: Vec<u8>, socket: Option<SocketId>) -> OsEvent {
        let Unix { channels, listeners, sockets, .. } = self;
        let Some(open) = channels.find(channel) else {
            return OsEvent::WriteFailed { channel, errno: Errno::EPIPE };
        };
        let descriptor = socket.map(|socket| match listeners.find(socket) {
            Some(listening) => listening.socket().as_fd(),
            None => sockets.open.get(socket).expect("a machine sends only sockets it has").as_fd(),
        });
        match open.write(&bytes, descriptor) {
            Ok(taken) => OsEvent::Wrote { channel, rest: bytes.split_off(taken) },
            Err(error) => OsEvent::WriteFailed { channel, errno: errno(&error) },
        }
    }

    fn pause_read(&mut self, channel: ChannelId, paused: bool) -> Option<OsEvent> {
        self.channels.find(channel)?.pause(paused);
        None
    }

    fn pause_accept(&mut self, socket: SocketId, paused: bool) -> Option<OsEvent> {
        self.listeners.find(socket)?.pause(paused);
        None
    }

    fn bind(&mut self, handle: HandleId, address: &BindAddress, backlog: Option<u32>) -> OsEvent {
        let bound = self.try_bind(address, backlog);
        match bound.inspect_err(|error| self.sockets.report_failure(address, errno(error))) {
            Ok((socket, address)) => OsEvent::Bound { handle, socket, address },
            Err(error) => OsEvent::BindFailed { handle, errno: errno(&error) },
        }
    }

    fn try_bind(
        &mut self,
        address: &BindAddress,
        backlog: Option<u32>,
    ) -> io::Result<(SocketId, LocalAddress)> {
        let (bound, path) = self.sockets.bind(address)?;
        if self.is_of_primary() {
            bind::check_descriptor_limit(&bound)?;
        }
        let address = bind::local_address(&bound)?;
        let listens = descriptor::is_stream(&bound)?;
        let socket = self.sockets.insert(bound);
        self.paths.extend(path.map(|path| (socket, path)));
        if let Some(backlog) = backlog.filter(|_| listens)
            && let Err(error) = self.try_listen(socket, backlog, false)
        {
            self.close(socket);
            return Err(error);
        }
        Ok((socket, address))
    }

    /// Listens on a socket, perhaps shared with other workers.
    fn listen(&mut self, socket: SocketId, backlog: u32) -> OsEvent {
        match self.try_listen(socket, backlog, true) {
            Ok(address) => OsEvent::Listening { socket, address },
            Err(error) => OsEvent::ListenFailed { socket, errno: errno(&error) },
        }
    }

    /// Makes a stream socket listen, and polls the socket. For a datagram socket, only returns the address.
    fn try_listen(&mut self, socket: SocketId, backlog: u32, is_shared: bool) -> io::Result<LocalAddress> {
        let bound = self.sockets.open.get(socket).expect("a machine listens only on sockets it has");
        let address = bind::local_address(bound)?;
        if descriptor::is_stream(bound)? {
            listen::listen(bound, backlog)?;
            let bound = self.sockets.open.remove(socket).expect("the found entry");
            let listening = self.watch(bound, is_shared)?;
            let listening = if self.is_of_primary() { listening.with_reserve() } else { listening };
            self.listeners.insert(socket, listening);
        }
        Ok(address)
    }

    /// Watches a socket. Without a thread, each connection to a shared socket wakes every idle worker.
    #[cfg(target_os = "linux")]
    fn watch(&mut self, socket: OwnedFd, is_shared: bool) -> io::Result<Listening> {
        match is_shared.then(|| Waiter::of(&mut self.waiter)) {
            Some(Ok(waiter)) => Ok(Listening::shared(socket, waiter)),
            Some(Err(_)) | None => Listening::new(socket),
        }
    }

    #[cfg(not(target_os = "linux"))]
    #[expect(clippy::unused_self, reason = "elsewhere a thread of this value waits for shared sockets")]
    fn watch(&mut self, socket: OwnedFd, _: bool) -> io::Result<Listening> {
        Listening::new(socket)
    }

    fn close(&mut self, socket: SocketId) -> Option<OsEvent> {
        self.paths.remove(&socket);
        self.sockets.open.remove(socket);
        self.listeners.remove(socket);
        None
    }

    /// Closes a channel. A primary closes at once. A worker only shuts down writing, and closes the channel
    /// after the primary, or at the end of the process: see [`Unix::linger`].
    fn close_channel(&mut self, channel: ChannelId) -> Option<OsEvent> {
        let closed = self.channels.remove(channel);
        self.expect_end(channel);
        if channel == ChannelId::PRIMARY {
            self.lingering = closed.and_then(Channel::close);
        }
        None
    }

    /// Starts the deadline of a worker's process: the process must exit after the close of the channel.
    fn expect_end(&mut self, channel: ChannelId) {
        if let Some(process) = self.processes.find(WorkerId(channel.0)) {
            process.expect_end();
        }
    }

    fn set_timer(&mut self, timer: TimerId, after_ms: u64) -> Option<OsEvent> {
        self.timers.set(timer, Duration::from_millis(after_ms));
        None
    }

    fn ask_exit(&mut self, code: i32) -> Option<OsEvent> {
        self.exit = Some(code);
        None
    }
}

impl Os for Unix {
    fn perform(&mut self, call: Call) -> Option<OsEvent> {
        debug!(call = %Redacted(&call), "call");
        trace!(call = %LogDisplay(&call), "call in full");
        let answer = match call {
            Call::Spawn { worker, options, env } => Some(self.spawn(worker, &options, env)),
            Call::Kill { worker, signal } => self.kill(worker, signal),
            Call::Write { channel, bytes, socket } => Some(self.write(channel, bytes, socket)),
            Call::PauseRead { channel } => self.pause_read(channel, true),
            Call::ResumeRead { channel } => self.pause_read(channel, false),
            Call::CloseChannel { channel } => self.close_channel(channel),
            Call::Bind { handle, address, backlog } => Some(self.bind(handle, &address, backlog)),
            Call::Listen { socket, backlog } => Some(self.listen(socket, backlog)),
            Call::PauseAccept { socket } => self.pause_accept(socket, true),
            Call::ResumeAccept { socket } => self.pause_accept(socket, false),
            Call::Choose { handle, connection, client, candidates } => {
                self.chooser.choose(handle, connection, client, &candidates)
            }
            Call::Close { socket } => self.close(socket),
            Call::SetTimer { timer, after_ms } => self.set_timer(timer, after_ms),
            Call::Exit { code } => self.ask_exit(code),
        };
        if let Some(answer) = &answer {
            debug!(answer = %Redacted(answer), "answer");
            trace!(answer = %LogDisplay(answer), "answer in full");
        }
        answer
    }
}

/// The error number. EINVAL for an error of std without a number, as for a NUL in an argument.
fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EINVAL, Errno)
}

#[cfg(test)]
mod tests;
