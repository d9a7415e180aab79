//! An operating system that answers at once and records the calls of one machine.

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv6Addr, SocketAddr};

use crate::os::{BindAddress, Call, Errno, HandleId, LocalAddress, Os, OsEvent, SocketId, TimerId, WorkerId};

/// How calls of one kind are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Answer {
    /// Every call succeeds.
    #[default]
    Success,
    /// This number of calls fail with this error number. Later calls succeed.
    Failures(usize, Errno),
    /// Calls get no answer. The test gives the answer.
    Withheld,
}

impl Answer {
    fn next(&mut self, success: OsEvent, failure: impl FnOnce(Errno) -> OsEvent) -> Option<OsEvent> {
        match self {
            Answer::Failures(count, errno) if *count > 0 => {
                *count -= 1;
                Some(failure(*errno))
            }
            Answer::Success | Answer::Failures(..) => Some(success),
            Answer::Withheld => None,
        }
    }
}

/// An operating system of one process.
#[derive(Debug, Clone, Default)]
pub struct TestOs {
    /// The calls so far.
    pub calls: Vec<Call>,
    /// Whether to record neither calls nor events of the primary, for measurements.
    pub discards_calls: bool,
    /// The answer to [`Call::Spawn`].
    pub spawns: Answer,
    /// The answer to [`Call::Write`]. A successful write takes every byte.
    pub writes: Answer,
    /// The answer to [`Call::Bind`] and [`Call::Listen`].
    pub binds: Answer,
    /// The address of bound and received sockets. `None`: a bound socket has the requested address, with a
    /// predictable port, and a received socket has its own TCP port.
    pub address: Option<LocalAddress>,
    /// The open sockets that this operating system has numbered.
    pub open: BTreeSet<SocketId>,
    /// The worker to choose for connections, if a candidate. Otherwise the first candidate is chosen.
    pub preferred: Option<WorkerId>,
    /// Whether `preferred` is chosen even if it is no candidate.
    pub chooses_strangers: bool,
    /// Sockets closed without being open: they were numbered by the test, or closed twice.
    pub strays: Vec<SocketId>,
    sockets: u64,
    last_bound: Option<SocketId>,
    /// The time, in milliseconds.
    now: u64,
    timers: BTreeSet<(u64, TimerId)>,
}

impl TestOs {
    /// An operating system that answers no call.
    pub fn withholding() -> Self {
        let withheld = Answer::Withheld;
        TestOs { spawns: withheld, writes: withheld, binds: withheld, ..TestOs::default() }
    }

    /// An operating system that answers no call about sockets.
    pub fn withholding_binds() -> Self {
        TestOs { binds: Answer::Withheld, ..TestOs::default() }
    }

    /// The number of the next socket.
    pub fn next_socket(&mut self) -> SocketId {
        self.sockets += 1;
        let socket = SocketId(self.sockets);
        if !self.discards_calls {
            self.open.insert(socket);
        }
        socket
    }

    /// Continues the numbers of sockets after `last`.
    pub fn count_after(&mut self, last: u64) {
        self.sockets = self.sockets.max(last);
    }

    /// The last bound socket.
    pub fn last_bound(&self) -> Option<SocketId> {
        self.last_bound
    }

    /// The lines written so far, without line ends.
    pub fn written(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for call in &self.calls {
            if let Call::Write { bytes, .. } = call {
                lines.extend(String::from_utf8_lossy(bytes).lines().map(String::from));
            }
        }
        lines
    }

    /// Removes and returns the calls so far.
    pub fn take_calls(&mut self) -> Vec<Call> {
        core::mem::take(&mut self.calls)
    }

    /// The time, in milliseconds since the start.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Lets time pass until the next timer fires. If none fires before `limit`, time stops there.
    pub fn next_timer(&mut self, limit: Option<u64>) -> Option<OsEvent> {
        match self.timers.first().copied() {
            Some(next) if limit.is_none_or(|limit| next.0 <= limit) => {
                self.timers.remove(&next);
                self.now = next.0;
                Some(OsEvent::Timer { timer: next.1 })
            }
            Some(_) | None => {
                self.now = limit.unwrap_or(self.now);
                None
            }
        }
    }

    /// Records a call, and returns its answer.
    pub(super) fn answer(&mut self, call: &Call) -> Option<OsEvent> {
        if !self.discards_calls {
            self.calls.push(call.clone());
        }
        match *call {
            Call::Spawn { worker, .. } => {
                let failed = |errno| OsEvent::SpawnFailed { worker, program: None, directory: false, errno };
                self.spawns.next(OsEvent::Spawned { worker, pid: pid(worker) }, failed)
            }
            Call::Write { channel, .. } => {
                let failed = |errno| OsEvent::WriteFailed { channel, errno };
                self.writes.next(OsEvent::Wrote { channel, rest: Vec::new() }, failed)
            }
            Call::Bind { handle, ref address, .. } => self.bind(handle, address),
            Call::Listen { socket, .. } => {
                let port = || SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 40_001).into();
                let address = self.address.clone().unwrap_or_else(port);
                let failed = |errno| OsEvent::ListenFailed { socket, errno };
                self.binds.next(OsEvent::Listening { socket, address }, failed)
            }
            Call::SetTimer { timer, after_ms } => {
                self.timers.insert((self.now.saturating_add(after_ms), timer));
                None
            }
            Call::Choose { handle, connection, ref candidates, .. } => {
                let is_possible = |worker: &WorkerId| {
                    self.chooses_strangers || candidates.iter().any(|candidate| candidate.worker == *worker)
                };
                let first = candidates.first().map(|candidate| candidate.worker);
                let worker = self.preferred.filter(is_possible).or(first)?;
                Some(OsEvent::Chosen { handle, connection, worker })
            }
            Call::Close { socket } => {
                if !self.discards_calls && !self.open.remove(&socket) {
                    self.strays.push(socket);
                }
                None
            }
            Call::Kill { .. }
            | Call::PauseRead { .. }
            | Call::ResumeRead { .. }
            | Call::CloseChannel { .. }
            | Call::PauseAccept { .. }
            | Call::ResumeAccept { .. }
            | Call::Exit { .. } => None,
        }
    }

    fn bind(&mut self, handle: HandleId, address: &BindAddress) -> Option<OsEvent> {
        let address = self.address.clone().unwrap_or_else(|| bound(address, handle));
        let next = OsEvent::Bound { handle, socket: SocketId(self.sockets + 1), address };
        let answer = self.binds.next(next, |errno| OsEvent::BindFailed { handle, errno });
        if matches!(answer, Some(OsEvent::Bound { .. })) {
            self.last_bound = Some(self.next_socket());
        }
        answer
    }
}

impl Os for TestOs {
    fn perform(&mut self, call: Call) -> Option<OsEvent> {
        self.answer(&call)
    }
}

/// The address of a bound socket. If no port was requested, the port depends on the handle.
fn bound(address: &BindAddress, HandleId(handle): HandleId) -> LocalAddress {
    let free = || 40_000 + u16::try_from(handle % 1000).expect("less than 1000");
    let at = |host, port| SocketAddr::new(host, if port == 0 { free() } else { port }).into();
    match address {
        BindAddress::Tcp { host, port, .. } => at(host.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), *port),
        BindAddress::Udp { host, port, .. } => at(*host, *port),
        BindAddress::Zoned { host, port, .. } => at((*host).into(), *port),
        BindAddress::Path { path, .. } => LocalAddress::Path(path.clone()),
        BindAddress::Descriptor { .. } => at(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

/// A process id for any worker id, in the range of the kernel's process ids.
fn pid(WorkerId(worker): WorkerId) -> u32 {
    1000 + u32::try_from(worker % 30_000).expect("less than 30,000")
}
