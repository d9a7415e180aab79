//! A primary and the workers, connected by queues. Each message is delivered at once and in order.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::{TestOs, TestProcess, drain};
use crate::event::{Event, Output, WorkerEvent};
use crate::listen::ListenOptions;
use crate::os::{Call, ChannelId, ExitStatus, OsEvent, Signal, SocketId, WorkerId};
use crate::primary::Primary;
use crate::pump::Machine;
use crate::settings::{Limits, Settings};
use crate::worker::Worker;

/// The most messages after one input, more than any test needs. A cluster that never becomes idle fails its
/// test.
const DELIVERIES: usize = 200_000;

/// The processes of one cluster.
///
/// ```
/// use cluster_core::testing::TestCluster;
/// use cluster_core::{ListenOptions, Settings, WorkerId};
///
/// let mut cluster = TestCluster::serving(Settings::default(), 2, &ListenOptions::default());
/// let listening = cluster.os.last_bound().expect("the primary listens");
/// cluster.connect(listening);
/// assert_eq!(cluster.primary.ledger().open().count(), 1, "no worker has asked for a connection");
/// cluster.kill(WorkerId(1));
/// cluster.kill(WorkerId(2));
/// assert_eq!(cluster.primary.ledger().open().count(), 0);
/// ```
#[derive(Debug)]
pub struct TestCluster {
    /// The machine of the primary. A command takes effect at the next [`settle`](TestCluster::settle).
    pub primary: Primary,
    /// The operating system of the primary. When a worker is forked, it gets the same
    /// [`discards_calls`](TestOs::discards_calls).
    pub os: TestOs,
    /// The events of the primary so far. Always empty with [`discards_calls`](TestOs::discards_calls).
    pub events: Vec<Event>,
    /// The worker processes. A process is removed when the channel closes, because nothing reads later
    /// messages.
    pub processes: BTreeMap<WorkerId, Box<TestProcess<Worker>>>,
    /// How many of the next sent sockets are lost.
    pub sockets_to_lose: usize,
    /// The workers that may have something to do.
    commanded: VecDeque<WorkerId>,
    /// Events of channels, each with the receiver. `None`: the primary.
    in_flight: VecDeque<(Option<WorkerId>, OsEvent)>,
}

impl TestCluster {
    /// A primary without workers.
    pub fn new(settings: Settings) -> Self {
        TestCluster {
            primary: Primary::new(settings),
            os: TestOs::default(),
            events: Vec::new(),
            processes: BTreeMap::new(),
            sockets_to_lose: 0,
            commanded: VecDeque::new(),
            in_flight: VecDeque::new(),
        }
    }

    /// A primary with listening workers. Each worker has one server with these options, and asks for no
    /// connection.
    #[track_caller]
    pub fn serving(settings: Settings, workers: usize, options: &ListenOptions) -> Self {
        let mut cluster = TestCluster::new(settings);
        for worker in cluster.fork(workers) {
            cluster.worker(worker).listen(options.clone());
        }
        cluster.settle();
        cluster
    }

    /// Forks workers and runs until idle.
    #[track_caller]
    pub fn fork(&mut self, count: usize) -> Vec<WorkerId> {
        let workers = (0..count).map(|_| self.primary.fork().expect("a permitted fork")).collect();
        self.settle();
        workers
    }

    /// The machine of a worker. A command takes effect at the next [`settle`](TestCluster::settle).
    #[track_caller]
    pub fn worker(&mut self, id: WorkerId) -> &mut Worker {
        self.commanded.push_back(id);
        &mut self.processes.get_mut(&id).expect("a live worker").machine
    }

    /// Runs until no process has anything to do.
    #[track_caller]
    pub fn settle(&mut self) {
        self.drain_primary();
        let mut deliveries = 0;
        loop {
            while let Some(worker) = self.commanded.pop_front() {
                self.drain_worker(worker, None);
            }
            let Some((receiver, event)) = self.in_flight.pop_front() else { return };
            deliveries += 1;
            assert!(deliveries < DELIVERIES, "the cluster never becomes idle");
            self.deliver(receiver, event);
        }
    }

    /// Gives the primary one input and runs until idle.
    #[track_caller]
    pub fn handle(&mut self, event: OsEvent) {
        self.primary.handle(event);
        self.settle();
    }

    /// Delivers a line as if the worker had sent it, and runs until idle.
    #[track_caller]
    pub fn read(&mut self, worker: WorkerId, line: &str, socket: Option<SocketId>) {
        let bytes = [line.as_bytes(), b"\n"].concat();
        self.handle(OsEvent::Read { channel: worker.into(), bytes, socket });
    }

    /// Connects a client without an address to the socket.
    #[track_caller]
    pub fn connect(&mut self, listener: SocketId) -> SocketId {
        self.connect_from(None, listener)
    }

    /// Connects a client to the socket.
    #[track_caller]
    pub fn connect_from(&mut self, client: Option<IpAddr>, listener: SocketId) -> SocketId {
        let socket = self.os.next_socket();
        self.handle(OsEvent::Accepted { listener, socket, client });
        socket
    }

    /// Ends the process of a worker: its end of the channel closes, then its exit is reported.
    #[track_caller]
    pub fn kill(&mut self, worker: WorkerId) {
        self.processes.remove(&worker);
        self.handle(OsEvent::ChannelClosed { channel: worker.into() });
        self.handle(OsEvent::Exited { worker, status: ExitStatus::Signal(Signal::SIGKILL) });
    }

    /// The connections that a worker has received.
    #[track_caller]
    pub fn connections(&self, worker: WorkerId) -> Vec<SocketId> {
        let connection = |event: &WorkerEvent| {
            if let WorkerEvent::Connection { connection, .. } = event { Some(*connection) } else { None }
        };
        self.processes.get(&worker).expect("a live worker").events.iter().filter_map(connection).collect()
    }

    /// Removes and returns the events so far.
    pub fn take_events(&mut self) -> Vec<Event> {
        core::mem::take(&mut self.events)
    }

    #[track_caller]
    fn drain_primary(&mut self) {
        let TestCluster { primary, os, events, processes, commanded, in_flight, .. } = self;
        let discards_calls = os.discards_calls;
        drain(primary, os, |output| match output {
            Output::Event(event) => {
                if !discards_calls {
                    events.push(event);
                }
            }
            Output::Call(Call::Write { channel: ChannelId(worker), bytes, socket }) => {
                let read = OsEvent::Read { channel: ChannelId::PRIMARY, bytes, socket };
                in_flight.push_back((Some(WorkerId(worker)), read));
            }
            Output::Call(Call::Spawn { worker, options, .. }) => {
                let machine =
                    Worker::new(worker, options.serialization.unwrap_or_default(), Limits::default());
                let mut os = TestOs::default();
                os.discards_calls = discards_calls;
                processes.insert(worker, Box::new(TestProcess { machine, os, events: Vec::new() }));
                commanded.push_back(worker);
            }
            Output::Call(_) => {}
        });
    }

    #[track_caller]
    fn drain_worker(&mut self, worker: WorkerId, input: Option<OsEvent>) {
        let Some(process) = self.processes.get_mut(&worker) else { return };
        let TestProcess { machine, os, events } = &mut **process;
        let (in_flight, channel) = (&mut self.in_flight, ChannelId::from(worker));
        if let Some(event) = input {
            machine.handle(event);
        }
        let mut lives = true;
        drain(machine, os, |output| match output {
            Output::Event(event) => events.push(event),
            Output::Call(Call::Write { bytes, socket, .. }) => {
                in_flight.push_back((None, OsEvent::Read { channel, bytes, socket }));
            }
            Output::Call(Call::CloseChannel { .. }) => {
                lives = false;
                in_flight.push_back((None, OsEvent::ChannelClosed { channel }));
                in_flight.push_back((None, OsEvent::Exited { worker, status: ExitStatus::Code(0) }));
            }
            Output::Call(_) => {}
        });
        if !lives {
            self.processes.remove(&worker);
        }
    }

    #[track_caller]
    fn deliver(&mut self, receiver: Option<WorkerId>, mut event: OsEvent) {
        let has_reader = |worker| self.processes.contains_key(&worker);
        if let OsEvent::Read { socket, .. } = &mut event
            && self.sockets_to_lose > 0
            && socket.is_some()
            && receiver.is_none_or(has_reader)
        {
            self.sockets_to_lose -= 1;
            *socket = None;
        }
        match receiver {
            None => {
                self.primary.handle(event);
                self.drain_primary();
            }
            Some(worker) => self.drain_worker(worker, Some(event)),
        }
    }
}
