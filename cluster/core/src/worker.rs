//! The machine in a worker process: the channel to the primary, the shutdown, and the events for the program. No IO.
//! Servers are in `servers`, connections in `connections`, messages in `messages`.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;

use crate::backoff::RETRY_MS;
use crate::channel::{Channel, ChannelEvent, MachineStep, Outgoing, Queue};
use crate::event::{ChannelError, ListenerId, Output, WorkerEvent};
use crate::message::{ChannelMessage, ClusterMessage, Reply, Request};
use crate::os::{Call, ChannelId, LocalAddress, OsEvent, SocketId, TimerId, WorkerId};
use crate::passing::{CountedHandles, InFlightHandles};
use crate::pending::Pending;
use crate::pump::Machine;
use crate::settings::Limits;
use crate::spawn_options::Serialization;
use crate::steps::{self, IsCall, Stepper};

/// The timer of a failed write. The timer of a listener has the listener's number, never 0.
const WRITE: TimerId = TimerId(0);

mod connections;
mod indexes;
mod messages;
mod servers;

use indexes::Indexes;
use servers::{Server, Unanswered};

/// Pending work of the worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Emit(WorkerEvent),
    /// Emit that a server listens.
    Listening(ListenerId, LocalAddress),
    /// Report to the primary that a server listens, after the program's reaction, if it still listens.
    Announce(ListenerId),
    /// A server is closed and its last connection has ended.
    Closed(ListenerId),
    /// Continue the shutdown if every server is closed.
    Leave,
}

impl IsCall for Step {
    fn is_call(&self) -> bool {
        false
    }
}

/// The state of the shutdown. Node: `worker.state`, where relevant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shutdown {
    No,
    /// Requested by the primary: close, drain, disconnect.
    Asked,
    /// Requested by the program: close, drain, report, wait for the answer, disconnect.
    Disconnecting,
    /// Reported; only the answer is outstanding.
    Reported,
    /// Requested by the program with `kill`: report, wait for the answer, disconnect, exit.
    Destroying,
}

/// An outstanding reply of the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum PendingReply {
    Listen(ListenerId),
    ExitedAfterDisconnect,
}

/// A worker of a cluster. Node: `cluster.worker` and the servers of its process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Worker {
    id: WorkerId,
    channel: Channel,
    steps: Queue<Step>,
    pending: Pending<PendingReply>,
    in_flight: InFlightHandles,
    counted: CountedHandles,
    shutdown: Shutdown,
    exited_after_disconnect: bool,
    /// The number of guards that hold the channel open.
    holds: u32,
    /// Boxed, because a map node has room for eleven values.
    servers: BTreeMap<ListenerId, Box<Server>>,
    last_listener: u64,
    indexes: Indexes,
    /// Servers that were closed before the primary's answer. The primary must still be informed, and the servers keep
    /// their indexes.
    unanswered: BTreeMap<ListenerId, Unanswered>,
    /// Connections with acknowledgements in writing.
    accepting: BTreeMap<SocketId, ListenerId>,
    /// Connections owned by the application.
    connections: BTreeMap<SocketId, ListenerId>,
}

impl Worker {
    /// A worker with an open channel. Its first message reports that the worker is online.
    ///
    /// `serialization` is the one that the primary has chosen. Node: `NODE_CHANNEL_SERIALIZATION_MODE`.
    pub fn new(id: WorkerId, serialization: Serialization, mut limits: Limits) -> Self {
        // A worker always reads: the protocol bounds the answers that its primary causes.
        limits.answer_bytes = usize::MAX;
        let mut worker = Worker {
            id,
            channel: Channel::new(ChannelId::PRIMARY, serialization, limits),
            steps: Queue::new(),
            pending: Pending::new(),
            in_flight: InFlightHandles::default(),
            counted: CountedHandles::default(),
            shutdown: Shutdown::No,
            exited_after_disconnect: false,
            holds: 0,
            servers: BTreeMap::new(),
            last_listener: 0,
            indexes: Indexes::new(),
            unanswered: BTreeMap::new(),
            accepting: BTreeMap::new(),
            connections: BTreeMap::new(),
        };
        worker.command(|worker| worker.send_request(Request::Online));
        worker
    }

    /// Continues every counter after `last`, for tests of a worker that has run for long. A counter beyond `last` is
    /// unchanged; message numbers stay below 2^53, which no process reaches.
    #[cfg(feature = "testing")]
    pub fn count_after(&mut self, last: u64) {
        self.last_listener = last.max(self.last_listener);
        self.pending.count_after(last);
    }

    /// The worker's id in the primary. Node: `cluster.worker.id`.
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Closes every server, waits for their connections, reports the exit to the primary, and disconnects. Node:
    /// `worker.disconnect()` in the worker.
    pub fn disconnect(&mut self) {
        if self.shutdown == Shutdown::No {
            self.command(|worker| worker.leave(Shutdown::Disconnecting));
        }
    }

    /// Reports the exit to the primary, disconnects, and exits with code 0, without waiting for connections. Node:
    /// `worker.kill()` in the worker.
    pub fn kill(&mut self) {
        if self.shutdown == Shutdown::Destroying {
            return;
        }
        self.command(|worker| {
            if worker.channel.is_connected() {
                return worker.leave(Shutdown::Destroying);
            }
            worker.exited_after_disconnect = true;
            worker.shutdown = Shutdown::Destroying;
            // Accepted messages are written first; the process exits when the channel has closed.
            if worker.channel.is_over() {
                worker.steps.call(Call::Exit { code: 0 });
            }
        });
    }

    /// Messages can be sent. Node: `worker.isConnected()`.
    pub fn is_connected(&self) -> bool {
        self.channel.is_connected()
    }

    /// The worker was asked to exit, by the primary or by its program. Node: `worker.exitedAfterDisconnect`.
    pub fn exited_after_disconnect(&self) -> bool {
        self.exited_after_disconnect
    }

    fn command<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let scope = self.steps.enter_command();
        let result = act(self);
        self.steps.leave(scope);
        result
    }

    // ---- shutdown

    fn leave(&mut self, how: Shutdown) {
        self.exited_after_disconnect = true;
        self.shutdown = how;
        if how == Shutdown::Destroying {
            return self.report();
        }
        self.close_all();
        self.steps.own(Step::Leave);
    }

    /// Holds the channel open during a shutdown, beyond the end of the last connection, until the same number of
    /// calls of [`Worker::release_hold`]. [`Worker::kill`] does not wait.
    pub fn hold(&mut self) {
        self.holds += 1;
    }

    /// Ends one [`Worker::hold`].
    pub fn release_hold(&mut self) {
        self.command(|worker| {
            worker.holds = worker.holds.saturating_sub(1);
            worker.steps.own(Step::Leave);
        });
    }

    /// Closes the channel once the queue is sent, without a report. For a process that is about to exit.
    pub fn finish(&mut self) {
        self.command(|worker| worker.channel.disconnect(&mut worker.steps));
    }

    /// The channel is closed.
    pub fn is_finished(&self) -> bool {
        self.channel.is_over()
    }

    /// Continues the shutdown once every server is closed and no guard holds the channel.
    fn leave_on(&mut self) {
        if self.holds > 0 || self.shared_servers().next().is_some() {
            return;
        }
        match self.shutdown {
            Shutdown::Asked => self.channel.disconnect(&mut self.steps),
            Shutdown::Disconnecting => {
                self.shutdown = Shutdown::Reported;
                self.report();
            }
            Shutdown::No | Shutdown::Reported | Shutdown::Destroying => {}
        }
    }

    /// Reports the exit to the primary; the answer permits the worker to disconnect.
    fn report(&mut self) {
        let seq = self.send_request(Request::ExitedAfterDisconnect);
        self.pending.expect(seq, ChannelId::PRIMARY, PendingReply::ExitedAfterDisconnect);
    }

    /// The channel is closed. A worker that was not asked to exit exits at once, as in Node.
    fn channel_closed(&mut self) {
        self.drop_unacknowledged();
        self.steps.own(Step::Emit(WorkerEvent::Disconnect));
        if !self.exited_after_disconnect || self.shutdown == Shutdown::Destroying {
            self.steps.call(Call::Exit { code: 0 });
        }
    }

    // ---- steps

    fn on_channel_event(&mut self, event: ChannelEvent) -> Option<Output<WorkerEvent>> {
        match event {
            ChannelEvent::Call(call) => return Some(Output::Call(call)),
            ChannelEvent::Received(message) => return self.received(message),
            ChannelEvent::Arrived(envelope, socket) => return self.arrived(*envelope, socket),
            ChannelEvent::Written(connection) => return self.written(connection),
            ChannelEvent::Refused(outgoing) => return self.not_received(&outgoing),
            ChannelEvent::Settled(socket) => self.settled(socket),
            ChannelEvent::Lost(errno, lost) => return Some(error(ChannelError::Write { errno, lost })),
            ChannelEvent::Failing(errno) => return Some(error(ChannelError::Delayed(errno))),
            ChannelEvent::Retry => self.retry(),
            // The close of the channel follows.
            ChannelEvent::Broken => {}
            ChannelEvent::Violated(violation) => {
                self.channel.abort(&mut self.steps);
                return Some(error(ChannelError::Protocol(violation)));
            }
            ChannelEvent::Closed => self.channel_closed(),
        }
        None
    }

    fn received(&mut self, message: ChannelMessage) -> Option<Output<WorkerEvent>> {
        match message {
            ChannelMessage::User(message) => {
                return Some(Output::Event(WorkerEvent::Message { message, handle: None }));
            }
            ChannelMessage::Cluster(cluster) => self.cluster(*cluster, None),
            ChannelMessage::SocketCount(question) => self.asked(question),
            ChannelMessage::Supervision(supervision) => return self.supervised(supervision),
            ChannelMessage::Foreign => {}
        }
        None
    }

    fn cluster(&mut self, cluster: ClusterMessage, socket: Option<SocketId>) {
        if let (Some(Request::NewConn(key)), Some(connection)) = (&cluster.request, socket) {
            return self.offered(cluster.seq, key, connection);
        }
        let awaited = cluster.reply.and_then(|reply| {
            let awaited = self.pending.take(reply.ack, ChannelId::PRIMARY)?;
            Some((awaited, reply))
        });
        match awaited {
            Some((PendingReply::Listen(listener), reply)) => return self.answered(listener, reply, socket),
            Some((PendingReply::ExitedAfterDisconnect, _)) => self.channel.disconnect(&mut self.steps),
            None if cluster.request == Some(Request::Disconnect) && self.shutdown != Shutdown::Destroying => {
                self.leave(Shutdown::Asked);
            }
            None => {}
        }
        self.close_socket(socket);
    }

    fn close_socket(&mut self, socket: Option<SocketId>) {
        if let Some(socket) = socket {
            self.steps.call(Call::Close { socket });
        }
    }

    // ---- sending

    /// Retries the failed write when the timer fires.
    fn retry(&mut self) {
        self.steps.call(Call::SetTimer { timer: WRITE, after_ms: RETRY_MS });
    }

    fn send_request(&mut self, request: Request) -> u64 {
        let seq = self.pending.next_seq();
        self.transmit(ClusterMessage { seq, reply: None, request: Some(request) }, None);
        seq
    }

    fn reply(&mut self, reply: Reply, receipt: Option<SocketId>) {
        let seq = self.pending.next_seq();
        self.transmit(ClusterMessage { seq, reply: Some(reply), request: None }, receipt);
    }

    fn transmit(&mut self, cluster: ClusterMessage, receipt: Option<SocketId>) {
        let outgoing = Outgoing::from(ChannelMessage::from(cluster)).with_receipt(receipt);
        self.channel.send(outgoing, &mut self.steps);
    }
}

fn error(error: ChannelError) -> Output<WorkerEvent> {
    Output::Event(WorkerEvent::Error { error })
}

impl Stepper for Worker {
    type Step = MachineStep<Step>;
    type Event = WorkerEvent;

    fn steps(&mut self) -> &mut Queue<Step> {
        &mut self.steps
    }

    fn run(&mut self, step: MachineStep<Step>) -> Option<Output<WorkerEvent>> {
        match step {
            MachineStep::Call(call) => Some(Output::Call(call)),
            MachineStep::Channel(_, step) => {
                let event = self.channel.run(step, &mut self.steps)?;
                self.on_channel_event(event)
            }
            MachineStep::Own(step) => self.run_own(step),
        }
    }
}

impl Worker {
    fn run_own(&mut self, step: Step) -> Option<Output<WorkerEvent>> {
        match step {
            Step::Emit(event) => return Some(Output::Event(event)),
            Step::Listening(listener, address) => return self.emit_listening(listener, address),
            Step::Announce(listener) => self.announce(listener),
            Step::Closed(listener) => {
                self.servers.remove(&listener)?;
                self.steps.own(Step::Leave);
                return Some(Output::Event(WorkerEvent::Closed { listener }));
            }
            Step::Leave => self.leave_on(),
        }
        None
    }
}

impl Machine for Worker {
    type Event = WorkerEvent;

    fn handle(&mut self, event: OsEvent) {
        let scope = self.steps.enter();
        let (channel, steps) = (&mut self.channel, &mut self.steps);
        match event {
            OsEvent::Read { channel: _, bytes, socket } => channel.read(&bytes, socket, steps),
            OsEvent::Wrote { channel: _, rest } => channel.wrote(&rest, steps),
            OsEvent::Writable { channel: _ } | OsEvent::Timer { timer: WRITE } => channel.writable(steps),
            OsEvent::WriteFailed { channel: _, errno } => channel.write_failed(errno, steps),
            OsEvent::ChannelClosed { channel: _ } => channel.closed(steps),
            OsEvent::Listening { socket, address } => self.listening(socket, address),
            OsEvent::ListenFailed { socket, errno } => self.listen_failed(socket, errno),
            OsEvent::Bound { handle, socket, address } => self.bound(handle, socket, address),
            OsEvent::BindFailed { handle, errno } => self.bind_failed(handle, errno),
            OsEvent::Accepted { listener, socket } => self.accepted(listener, socket),
            OsEvent::AcceptFailed { listener, errno } => self.accept_failed(listener, errno),
            OsEvent::Timer { timer } => self.rested(timer),
            OsEvent::Spawned { .. }
            | OsEvent::SpawnFailed { .. }
            | OsEvent::KillFailed { .. }
            | OsEvent::Lingers { .. }
            | OsEvent::Exited { .. } => unreachable!("a worker asks for nothing that {event:?} answers"),
        }
        self.steps.leave(scope);
    }

    fn poll(&mut self) -> Option<Output<WorkerEvent>> {
        steps::poll(self)
    }

    fn poll_call(&mut self) -> Option<Call> {
        steps::poll_call(self)
    }
}
