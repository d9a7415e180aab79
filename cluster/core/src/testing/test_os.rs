//! An operating system that answers at once and records the calls of one machine.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::{Ipv6Addr, SocketAddr};

use crate::os::{BindAddress, Call, Errno, HandleId, LocalAddress, Os, OsEvent, SocketId, TimerId, WorkerId};

/// The answer to calls of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Answer {
    /// Every call succeeds.
    #[default]
    Success,
    /// This number of calls fail with this error number; later ones succeed.
    Failures(usize, Errno),
    /// No answer: the test answers.
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
    /// Record no call: for measurements.
    pub forgets: bool,
    /// The answer to [`Call::Spawn`].
    pub spawns: Answer,
    /// The answer to [`Call::Write`]. A successful write takes every byte.
    pub writes: Answer,
    /// The answer to [`Call::Bind`] and [`Call::Listen`].
    pub binds: Answer,
    /// The address of a received socket; `None`: a TCP port of its own.
    pub received_at: Option<LocalAddress>,
    sockets: u64,
    last_bound: Option<SocketId>,
    /// Milliseconds.
    now: u64,
    timers: BTreeSet<(u64, TimerId)>,
}

impl TestOs {
    /// An operating system that answers no call.
    pub fn withholding() -> Self {
        let withheld = Answer::Withheld;
        TestOs { spawns: withheld, writes: withheld, binds: withheld, ..TestOs::default() }
    }

    /// The number of the next socket.
    pub fn next_socket(&mut self) -> SocketId {
        self.sockets += 1;
        SocketId(self.sockets)
    }

    /// Continues the numbers of sockets after `last`.
    pub fn count_after(&mut self, last: u64) {
        self.sockets = last;
    }

    /// The last bound socket.
    pub fn last_bound(&self) -> Option<SocketId> {
        self.last_bound
    }

    /// Removes and returns the calls so far.
    pub fn take_calls(&mut self) -> Vec<Call> {
        core::mem::take(&mut self.calls)
    }

    /// The time, in milliseconds since the start.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Lets time pass until the next timer fires, or until `limit` if none fires before.
    pub fn next_timer(&mut self, limit: u64) -> Option<OsEvent> {
        let due = self.timers.first().copied().filter(|(at, _)| *at <= limit);
        self.now = due.map_or(limit, |(at, _)| at);
        due.map(|next| {
            self.timers.remove(&next);
            OsEvent::Timer { timer: next.1 }
        })
    }

    /// The answer to a call, which is recorded.
    pub(super) fn answer(&mut self, call: &Call) -> Option<OsEvent> {
        if !self.forgets {
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
                let address = self.received_at.clone().unwrap_or_else(port);
                let failed = |errno| OsEvent::ListenFailed { socket, errno };
                self.binds.next(OsEvent::Listening { socket, address }, failed)
            }
            Call::SetTimer { timer, after_ms } => {
                self.timers.insert((self.now.saturating_add(after_ms), timer));
                None
            }
            Call::Kill { .. }
            | Call::PauseRead { .. }
            | Call::ResumeRead { .. }
            | Call::CloseChannel { .. }
            | Call::PauseAccept { .. }
            | Call::ResumeAccept { .. }
            | Call::Close { .. }
            | Call::Exit { .. } => None,
        }
    }

    fn bind(&mut self, handle: HandleId, address: &BindAddress) -> Option<OsEvent> {
        let socket = SocketId(self.sockets + 1);
        let bound = OsEvent::Bound { handle, socket, address: bound(address, handle) };
        let answer = self.binds.next(bound, |errno| OsEvent::BindFailed { handle, errno });
        if matches!(answer, Some(OsEvent::Bound { .. })) {
            self.sockets += 1;
            self.last_bound = Some(socket);
        }
        answer
    }
}

impl Os for TestOs {
    fn perform(&mut self, call: Call) -> Option<OsEvent> {
        self.answer(&call)
    }
}

/// The address of a bound socket; the port of a handle without one is predictable.
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

/// A process id in the range of the kernel's, for any worker id.
fn pid(WorkerId(worker): WorkerId) -> u32 {
    1000 + u32::try_from(worker % 30_000).expect("less than 30,000")
}
