//! A primary and its workers, connected by plain queues: every event is delivered at once and in order. The simulator
//! has faults and schedules.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names what it looks for, and no more")]

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};

use cluster_core::{
    BindAddress, Call, ChannelId, Event, ExitStatus, HandleId, LocalAddress, Machine, Os, OsEvent, Primary,
    Settings, Signal, SocketId, Worker, WorkerEvent, WorkerId,
};

/// The address of a bound socket; the port of a handle without one is predictable.
fn bound(address: BindAddress, HandleId(handle): HandleId) -> LocalAddress {
    let free = || 40_000 + u16::try_from(handle % 1000).expect("less than 1000");
    let at = |host, port| SocketAddr::new(host, if port == 0 { free() } else { port }).into();
    match address {
        BindAddress::Tcp { host, port, .. } => at(host.unwrap_or(Ipv6Addr::UNSPECIFIED.into()), port),
        BindAddress::Udp { host, port, .. } => at(host, port),
        BindAddress::Zoned { host, port, .. } => at(host.into(), port),
        BindAddress::Path { path, .. } => LocalAddress::Path(path),
        BindAddress::Descriptor { .. } => at(Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

/// A process id in the range of the kernel's, for any worker id.
fn pid(WorkerId(worker): WorkerId) -> u32 {
    1000 + u32::try_from(worker % 30_000).expect("less than 30,000")
}

/// The bounds of a test, far beyond any need: a machine that never becomes idle fails the test.
const TURNS: usize = 10_000;
const OUTPUTS: usize = 200_000;

/// An operating system that records the calls of one machine.
#[derive(Default)]
pub(crate) struct RecordingOs {
    sockets: u64,
    bound: Option<SocketId>,
    pub(crate) calls: Vec<Call>,
    /// The address of a received socket; `None`: a TCP port of its own.
    pub(crate) received_at: Option<LocalAddress>,
}

impl RecordingOs {
    pub(crate) fn next_socket(&mut self) -> SocketId {
        self.sockets += 1;
        SocketId(self.sockets)
    }

    /// Continues the numbers of sockets after `last`.
    pub(crate) fn count_after(&mut self, last: u64) {
        self.sockets = last;
    }

    /// The last bound socket.
    pub(crate) fn last_bound(&self) -> Option<SocketId> {
        self.bound
    }
}

impl Os for RecordingOs {
    fn perform(&mut self, call: Call) -> Option<OsEvent> {
        self.calls.push(call.clone());
        assert!(self.calls.len() < OUTPUTS, "no end of calls: {call:?}");
        match call {
            Call::Spawn { worker, .. } => Some(OsEvent::Spawned { worker, pid: pid(worker) }),
            Call::Write { channel, .. } => Some(OsEvent::Wrote { channel, rest: Vec::new() }),
            Call::Bind { handle, address, .. } => {
                let socket = self.next_socket();
                self.bound = Some(socket);
                Some(OsEvent::Bound { handle, socket, address: bound(address, handle) })
            }
            Call::Listen { socket, .. } => {
                let port = || SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 40_001).into();
                Some(OsEvent::Listening { socket, address: self.received_at.clone().unwrap_or_else(port) })
            }
            Call::Kill { .. }
            | Call::PauseRead { .. }
            | Call::ResumeRead { .. }
            | Call::CloseChannel { .. }
            | Call::PauseAccept { .. }
            | Call::ResumeAccept { .. }
            | Call::Close { .. }
            | Call::SetTimer { .. }
            | Call::Exit { .. } => None,
        }
    }
}

/// A worker process.
pub(crate) struct Process {
    pub(crate) worker: Worker,
    pub(crate) os: RecordingOs,
    pub(crate) events: Vec<WorkerEvent>,
    /// The calls so far.
    pub(crate) asked: Vec<Call>,
}

/// The processes of one cluster.
pub(crate) struct TestCluster {
    pub(crate) primary: Primary,
    pub(crate) os: RecordingOs,
    pub(crate) events: Vec<Event>,
    pub(crate) processes: BTreeMap<WorkerId, Process>,
    /// The number of further sockets to lose.
    pub(crate) losing: usize,
    seen: usize,
}

/// The socket that arrives, if any.
fn carried(losing: &mut usize, socket: Option<SocketId>) -> Option<SocketId> {
    socket.filter(|_| {
        let arrives = *losing == 0;
        *losing = losing.saturating_sub(1);
        arrives
    })
}

impl TestCluster {
    pub(crate) fn new(settings: Settings) -> Self {
        let primary = Primary::new(settings);
        TestCluster {
            primary,
            os: RecordingOs::default(),
            events: Vec::new(),
            processes: BTreeMap::new(),
            losing: 0,
            seen: 0,
        }
    }

    /// Forks workers and runs until idle.
    pub(crate) fn fork(&mut self, count: usize) -> Vec<WorkerId> {
        let workers =
            (0..count).map(|_| self.primary.fork().expect("nothing impossible was set up")).collect();
        self.settle();
        workers
    }

    pub(crate) fn worker(&mut self, id: WorkerId) -> &mut Worker {
        &mut self.processes.get_mut(&id).expect("a live worker").worker
    }

    /// Runs until no process has anything to do. Fails after [`TURNS`] turns, or if a turn does not end.
    pub(crate) fn settle(&mut self) {
        assert!((0..TURNS).any(|_| !self.turn()), "the cluster is not at rest after {TURNS} turns");
    }

    /// Gives the primary one input and drains it.
    pub(crate) fn handle(&mut self, event: OsEvent) {
        self.primary.handle(event);
        self.settle();
    }

    /// A client connects to the socket.
    pub(crate) fn connect(&mut self, listener: SocketId) -> SocketId {
        let socket = self.os.next_socket();
        self.handle(OsEvent::Accepted { listener, socket });
        socket
    }

    /// The process exits: its end of the channel closes, then the exit is reported.
    pub(crate) fn kill(&mut self, worker: WorkerId) {
        self.processes.remove(&worker);
        self.handle(OsEvent::ChannelClosed { channel: worker.into() });
        self.handle(OsEvent::Exited { worker, status: ExitStatus::Signal(Signal::SIGKILL) });
    }

    /// The number of connections of a worker.
    pub(crate) fn connections(&self, worker: WorkerId) -> usize {
        let events = &self.processes[&worker].events;
        events.iter().filter(|event| matches!(event, WorkerEvent::Connection { .. })).count()
    }

    /// Removes and returns the events so far.
    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    fn turn(&mut self) -> bool {
        while let Some(event) = cluster_core::pump(&mut self.primary, &mut self.os) {
            self.events.push(event);
            assert!(self.events.len() < OUTPUTS, "no end of events: {:?}", self.events.last());
        }
        for process in self.processes.values_mut() {
            while let Some(event) = cluster_core::pump(&mut process.worker, &mut process.os) {
                process.events.push(event);
                assert!(process.events.len() < OUTPUTS, "no end of events: {:?}", process.events.last());
            }
        }
        self.carry_down() | self.carry_up()
    }

    /// Delivers the primary's new calls to the workers.
    fn carry_down(&mut self) -> bool {
        let calls: VecDeque<Call> = self.os.calls[self.seen..].iter().cloned().collect();
        self.seen = self.os.calls.len();
        let mut moved = false;
        for call in calls {
            match call {
                Call::Spawn { worker, options, .. } => {
                    let limits = cluster_core::Limits::default();
                    let process = Process {
                        worker: Worker::new(worker, options.get_serialization(), limits),
                        os: RecordingOs::default(),
                        events: Vec::new(),
                        asked: Vec::new(),
                    };
                    self.processes.insert(worker, process);
                    moved = true;
                }
                Call::Write { channel, bytes, socket } => {
                    if let Some(process) = self.processes.get_mut(&WorkerId(channel.0)) {
                        let socket = carried(&mut self.losing, socket);
                        process.worker.handle(OsEvent::Read { channel: ChannelId::PRIMARY, bytes, socket });
                        moved = true;
                    }
                }
                _ => {}
            }
        }
        moved
    }

    /// Delivers the workers' new calls to the primary.
    fn carry_up(&mut self) -> bool {
        let mut input = Vec::new();
        let losing = &mut self.losing;
        self.processes.retain(|id, process| {
            let channel = ChannelId::from(*id);
            let mut lives = true;
            for call in std::mem::take(&mut process.os.calls) {
                process.asked.push(call.clone());
                match call {
                    Call::Write { bytes, socket, .. } => {
                        let socket = carried(losing, socket);
                        input.push(OsEvent::Read { channel, bytes, socket });
                    }
                    Call::CloseChannel { .. } => {
                        lives = false;
                        input.push(OsEvent::ChannelClosed { channel });
                        input.push(OsEvent::Exited { worker: *id, status: ExitStatus::Code(0) });
                    }
                    _ => {}
                }
            }
            lives
        });
        let moved = !input.is_empty();
        for event in input {
            self.primary.handle(event);
            while let Some(event) = cluster_core::pump(&mut self.primary, &mut self.os) {
                self.events.push(event);
            }
        }
        moved
    }
}
