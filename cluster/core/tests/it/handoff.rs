//! The allocations of a handoff in the steady state, of the primary and of the worker. The counts are
//! gates: a change may lower them, and never raises one unnoticed.

use std::collections::VecDeque;
use std::time::Duration;

use allocation_counter::measure;
use cluster_core::testing::TestCluster;
use cluster_core::{
    Call, ChannelId, ListenOptions, ListenerId, Machine, OsEvent, Output, Primary, SchedulingPolicy,
    Settings, SocketId, Worker, WorkerEvent, WorkerId,
};

/// The most allocations of each handoff: in the primary, in the primary under the sticky policy, and in the
/// worker.
const IN_PRIMARY: u64 = 6;
const IN_STICKY_PRIMARY: u64 = 7;
const IN_WORKER: u64 = 8;

/// The handoffs before the count, in which queues and buffers reach their sizes.
const BEFORE: u64 = 2_000;
const COUNTED: u64 = 1_000;

/// A write to a channel.
type Written = (ChannelId, Vec<u8>, Option<SocketId>);

/// Machines without an operating system, with a listening socket.
struct Handoffs {
    primary: Primary,
    workers: Vec<Worker>,
    listening: SocketId,
    /// The connections of the workers, the oldest first.
    open: VecDeque<(usize, SocketId)>,
    last: u64,
    /// The allocations of the primary, and of the workers.
    allocations: [u64; 2],
}

impl Handoffs {
    fn new(policy: SchedulingPolicy, workers: usize, open: usize) -> Self {
        let settings = Settings { policy, ..Settings::default() };
        let mut cluster = TestCluster::serving(settings, workers, &ListenOptions::default());
        for id in 1..=workers as u64 {
            cluster.worker(WorkerId(id)).accept(ListenerId(1));
        }
        cluster.settle();
        let listening = cluster.os.last_bound().expect("the primary listens");
        let workers = cluster.processes.into_values().map(|process| process.machine).collect();
        let mut handoffs = Handoffs {
            primary: cluster.primary,
            workers,
            listening,
            open: VecDeque::new(),
            last: 1_000_000,
            allocations: [0; 2],
        };
        for _ in 0..open {
            handoffs.connect();
        }
        handoffs
    }

    /// Hands one connection off.
    fn connect(&mut self) {
        let Handoffs { primary, workers, listening, open, last, allocations } = self;
        *last += 1;
        let (listener, socket) = (*listening, SocketId(*last));
        let client = Some("192.0.2.1".parse().expect("an address"));
        let (counted, offer) = counted(|| input(primary, OsEvent::Accepted { listener, socket, client }).0);
        allocations[0] += counted;
        let (ChannelId(worker), bytes, socket) = offer.expect("an offer");
        let at = usize::try_from(worker - 1).expect("few workers");
        let worker = &mut workers[at];
        let read = OsEvent::Read { channel: ChannelId::PRIMARY, bytes, socket };
        let (counted, (answer, event)) = self::counted(|| {
            let result = input(worker, read);
            worker.accept(ListenerId(1));
            result
        });
        allocations[1] += counted;
        let (_, bytes, _) = answer.expect("an answer");
        let connection = event.and_then(|event| {
            if let WorkerEvent::Connection { connection, .. } = event { Some(connection) } else { None }
        });
        let connection = connection.expect("an event with the connection");
        open.push_back((at, connection));
        let channel = ChannelId(at as u64 + 1);
        let (counted, _) = self::counted(|| input(primary, OsEvent::Read { channel, bytes, socket: None }));
        allocations[0] += counted;
    }

    /// Closes the oldest connection.
    fn release(&mut self) {
        let (worker, connection) = self.open.pop_front().expect("an open connection");
        let worker = &mut self.workers[worker];
        self.allocations[1] += counted(|| worker.release(connection)).0;
    }
}

/// Gives a machine an input, and drains it. Returns the last write and the last event. Every write succeeds.
fn input<M: Machine>(machine: &mut M, event: OsEvent) -> (Option<Written>, Option<M::Event>) {
    machine.handle(event);
    let (mut written, mut last) = (None, None);
    while let Some(output) = machine.poll() {
        match output {
            Output::Event(event) => last = Some(event),
            Output::Call(Call::Write { channel, bytes, socket }) => {
                assert!(written.is_none(), "two writes");
                written = Some((channel, bytes, socket));
                machine.handle(OsEvent::Wrote { channel, rest: Vec::new() });
            }
            Output::Call(_) => {}
        }
    }
    (written, last)
}

/// The allocations of a function, and the result.
fn counted<T>(run: impl FnOnce() -> T) -> (u64, T) {
    let mut result = None;
    let counts = measure(|| result = Some(run()));
    (counts.count_total, result.expect("the function has run"))
}

/// Under every policy, with few and with many open connections of each worker.
#[test]
fn handoff_allocates_within_gate() {
    for (policy, in_primary) in [
        (SchedulingPolicy::RoundRobin, IN_PRIMARY),
        (SchedulingPolicy::LeastConnections, IN_PRIMARY),
        (SchedulingPolicy::PowerOfTwo, IN_PRIMARY),
        (SchedulingPolicy::Sticky, IN_STICKY_PRIMARY),
        (SchedulingPolicy::Weighted { slow_start: Duration::ZERO }, IN_PRIMARY),
    ] {
        for open in [0, 5, 1000] {
            let mut handoffs = Handoffs::new(policy, 3, open);
            for round in 0..BEFORE + COUNTED {
                if round == BEFORE {
                    handoffs.allocations = [0; 2];
                }
                handoffs.connect();
                handoffs.release();
            }
            let most = [in_primary, IN_WORKER].map(|each| each * COUNTED);
            assert_eq!(handoffs.allocations, most, "{policy:?}, {open} open: lower the gate if fewer");
        }
    }
}
