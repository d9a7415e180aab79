//! The machine in a worker process: the channel to the primary, the shutdown, and the events for the program.
//! It has no IO. Servers are in `servers`, connections in `connections`, messages in `messages`.

use crate::backoff::RETRY_MS;
use crate::channel::{Channel, ChannelEvent, MachineStep, Queue};
use crate::event::{ChannelError, ListenerId, Output, WorkerEvent};
use crate::listen::ListenOptions;
use crate::message::{ChannelMessage, ClusterMessage, Request};
use crate::os::{Call, ChannelId, LocalAddress, OsEvent, SocketId, TimerId, WorkerId};
use crate::pump::Machine;
use crate::serialization::Serialization;
use crate::settings::Limits;
use crate::steps::{self, IsCall, Stepper};

/// The timer after a failed write. The timer of a listener has the number of the listener, never 0.
const WRITE: TimerId = TimerId(0);

/// The timer of a report on the open connections.
const REPORT: TimerId = TimerId(u64::MAX);

mod connections;
mod indexes;
mod load_reports;
mod messages;
mod open_connections;
mod peer;
mod servers;

use peer::{Peer, PendingReply};
use servers::Servers;

/// Pending work of the worker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    Emit(WorkerEvent),
    /// Emit that a server listens.
    Listening(ListenerId, LocalAddress),
    /// Report a listening server to the primary, after the program's reaction, if the server still listens.
    Announce(ListenerId),
    /// A server is closed and its last connection has ended.
    Closed(ListenerId),
    /// Continue the shutdown if every server is closed.
    ShutDown,
}

impl IsCall for Step {
    fn is_call(&self) -> bool {
        false
    }
}

/// The state of the shutdown. Node: the part of `worker.state` that matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Shutdown {
    No,
    /// Requested by the primary: close the servers, drain, disconnect.
    Asked,
    /// Requested by the program: close the servers, drain, report to the primary, wait for the answer,
    /// disconnect.
    Disconnecting,
    /// The report was sent, and only the answer is outstanding.
    Reported,
    /// Requested by the program with `kill`: report to the primary, wait for the answer, disconnect, exit.
    Destroying,
}

/// A worker of a cluster. Node: `cluster.worker`, and the servers of the process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Worker {
    id: WorkerId,
    peer: Peer,
    servers: Servers,
    shutdown: Shutdown,
    exited_after_disconnect: bool,
    /// The number of guards that hold the channel open.
    holds: u32,
}

impl Worker {
    /// A worker with an open channel. Its first message reports that the worker is online.
    ///
    /// The primary chooses the `serialization`. Node: `NODE_CHANNEL_SERIALIZATION_MODE`.
    pub fn new(id: WorkerId, serialization: Serialization, mut limits: Limits) -> Self {
        // No limit for answers, because a worker always reads. The protocol bounds the answers that a primary
        // causes.
        limits.answer_bytes = usize::MAX;
        let mut worker = Worker {
            id,
            peer: Peer::new(Channel::new(ChannelId::PRIMARY, serialization, &limits)),
            servers: Servers::default(),
            shutdown: Shutdown::No,
            exited_after_disconnect: false,
            holds: 0,
        };
        worker.command(|worker| worker.peer.request(Request::Online));
        worker
    }

    /// Sets every counter to continue after `last`, for tests of a worker that has run for long. A counter
    /// beyond `last` is unchanged. Numbers of messages stay below 2^53, which no process reaches.
    #[cfg(feature = "testing")]
    pub fn count_after(&mut self, last: u64) {
        self.servers.count_after(last);
        self.peer.count_after(last);
    }

    /// The worker's id in the primary. Node: `cluster.worker.id`.
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Closes every server, waits for the connections, reports the exit to the primary, and disconnects.
    /// Node: `worker.disconnect()` in the worker.
    pub fn disconnect(&mut self) {
        if self.shutdown == Shutdown::No {
            self.command(|worker| worker.shut_down(Shutdown::Disconnecting));
        }
    }

    /// Reports the exit to the primary, disconnects, and exits with code 0. Does not wait for connections.
    /// Node: `worker.kill()` in the worker.
    pub fn kill(&mut self) {
        if self.shutdown == Shutdown::Destroying {
            return;
        }
        self.command(|worker| {
            if worker.peer.channel.is_connected() {
                return worker.shut_down(Shutdown::Destroying);
            }
            worker.exited_after_disconnect = true;
            worker.shutdown = Shutdown::Destroying;
            // Accepted messages are written first. The process exits when the channel has closed.
            if worker.peer.channel.is_over() {
                worker.peer.steps.call(Call::Exit { code: 0 });
            }
        });
    }

    /// Whether messages can be sent. Node: `worker.isConnected()`.
    pub fn is_connected(&self) -> bool {
        self.peer.channel.is_connected()
    }

    /// Whether the worker was asked to exit, by the primary or by the program. Node:
    /// `worker.exitedAfterDisconnect`.
    pub fn exited_after_disconnect(&self) -> bool {
        self.exited_after_disconnect
    }

    fn command<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let scope = self.peer.steps.enter_command();
        let result = act(self);
        self.watch_load();
        self.peer.steps.end_scope(scope);
        result
    }

    /// Sets the timer of a report, if the number of open connections has changed without a report.
    fn watch_load(&mut self) {
        let Worker { peer, servers, .. } = self;
        if peer.channel.is_connected()
            && peer.channel.is_drained()
            && let Some(after_ms) = peer.load_reports.delay(servers.connections.open_count())
        {
            peer.steps.call(Call::SetTimer { timer: REPORT, after_ms });
        }
    }

    // ---- servers

    /// Listens on an address, shared with every worker that listens on the same address.
    /// [`WorkerEvent::Listening`] or [`WorkerEvent::ListenFailed`] follows. Node: `server.listen()`.
    pub fn listen(&mut self, options: ListenOptions) -> ListenerId {
        let is_shutting_down = self.exited_after_disconnect;
        self.command(|worker| worker.servers.listen(options, is_shutting_down, &mut worker.peer))
    }

    /// Closes a server. Its unacknowledged connections are handed to other workers. [`WorkerEvent::Closed`]
    /// follows when the server's connections have ended. Node: `server.close()`.
    pub fn close(&mut self, listener: ListenerId) {
        self.command(|worker| worker.servers.close_server(listener, &mut worker.peer));
    }

    /// Asks for one connection of a server. [`WorkerEvent::Connection`] follows with the next connection.
    /// Calls before this event have no further effect.
    pub fn accept(&mut self, listener: ListenerId) {
        self.command(|worker| worker.servers.accept(listener, &mut worker.peer));
    }

    /// Withdraws the last [`Worker::accept`].
    pub fn withdraw(&mut self, listener: ListenerId) {
        self.command(|worker| worker.servers.withdraw(listener, &mut worker.peer));
    }

    /// Whether an acknowledgement is being written. If so, [`WorkerEvent::Connection`] follows unless the
    /// channel closes first, even if the worker is asked to exit meanwhile.
    pub fn is_acknowledging(&self) -> bool {
        self.servers.connections.is_acknowledging()
    }

    /// Whether no call and no event is queued.
    pub fn is_settled(&self) -> bool {
        self.peer.steps.is_empty()
    }

    // ---- shutdown

    fn shut_down(&mut self, how: Shutdown) {
        self.exited_after_disconnect = true;
        self.shutdown = how;
        if how == Shutdown::Destroying {
            return self.peer.report_exit();
        }
        self.servers.close_all(&mut self.peer);
        self.peer.steps.own(Step::ShutDown);
    }

    /// Holds the channel open during a shutdown, even when the last connection has ended, until
    /// [`Worker::release_hold`] was called equally often. [`Worker::kill`] does not wait.
    pub fn hold(&mut self) {
        self.holds += 1;
    }

    /// Ends one [`Worker::hold`].
    pub fn release_hold(&mut self) {
        self.command(|worker| {
            worker.holds = worker.holds.saturating_sub(1);
            worker.peer.steps.own(Step::ShutDown);
        });
    }

    /// Closes the channel when the queue is sent, without a report. Call before the end of the process.
    pub fn finish(&mut self) {
        self.command(|worker| worker.peer.disconnect());
    }

    /// Whether the channel is closed.
    pub fn is_finished(&self) -> bool {
        self.peer.channel.is_over()
    }

    /// Continues the shutdown, if every server is closed and no guard holds the channel.
    fn continue_shutdown(&mut self) {
        if self.holds > 0 || self.servers.shared_servers().next().is_some() {
            return;
        }
        match self.shutdown {
            Shutdown::Asked => self.peer.disconnect(),
            Shutdown::Disconnecting => {
                self.shutdown = Shutdown::Reported;
                self.peer.report_exit();
            }
            Shutdown::No | Shutdown::Reported | Shutdown::Destroying => {}
        }
    }

    /// Called when the channel is closed. Without a request to exit, a worker now exits at once, as in Node.
    fn channel_closed(&mut self) {
        self.servers.drop_unacknowledged(&mut self.peer);
        self.peer.steps.own(Step::Emit(WorkerEvent::Disconnect));
        if !self.exited_after_disconnect || self.shutdown == Shutdown::Destroying {
            self.peer.steps.call(Call::Exit { code: 0 });
        }
    }

    // ---- steps

    fn on_channel_event(&mut self, event: ChannelEvent) -> Option<Output<WorkerEvent>> {
        match event {
            ChannelEvent::Call(call) => return Some(Output::Call(call)),
            ChannelEvent::Received(message) => return self.received(message),
            ChannelEvent::Arrived(envelope, socket) => return self.arrived(*envelope, socket),
            ChannelEvent::Written(connection) => return self.servers.written(connection),
            ChannelEvent::Refused(outgoing) => {
                self.flight_ended(outgoing.passes()?);
                return Some(error(ChannelError::NotReceived));
            }
            ChannelEvent::FlightEnded(socket) => self.flight_ended(socket),
            ChannelEvent::Lost(errno, lost) => return Some(error(ChannelError::Write { errno, lost })),
            ChannelEvent::Failing(errno) => return Some(error(ChannelError::Delayed(errno))),
            // The timer repeats the failed write.
            ChannelEvent::Retry => {
                self.peer.steps.call(Call::SetTimer { timer: WRITE, after_ms: RETRY_MS });
            }
            // The close of the channel follows.
            ChannelEvent::Broken => {}
            ChannelEvent::Violated(violation) => {
                self.peer.channel.abort(&mut self.peer.steps);
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
            ChannelMessage::SocketCount(question) => self.peer.asked(question),
            ChannelMessage::Supervision(supervision) => return self.supervised(supervision),
            ChannelMessage::Foreign => {}
        }
        None
    }

    fn cluster(&mut self, cluster: ClusterMessage, socket: Option<SocketId>) {
        let Worker { peer, servers, .. } = self;
        if let (Some(Request::NewConn(key)), Some(connection)) = (&cluster.request, socket) {
            return servers.offered(cluster.seq, key, connection, peer);
        }
        let awaited = cluster.reply.and_then(|reply| Some((peer.take_pending(reply.ack)?, reply)));
        match awaited {
            Some((PendingReply::Listen(listener), reply)) => {
                if let Some(after_ms) = reply.report_ms {
                    peer.load_reports.ask(after_ms);
                }
                return servers.answered(listener, reply, socket, peer);
            }
            Some((PendingReply::ExitedAfterDisconnect, _)) => peer.disconnect(),
            None if cluster.request == Some(Request::Disconnect) && self.shutdown != Shutdown::Destroying => {
                self.shut_down(Shutdown::Asked);
            }
            None => {}
        }
        self.peer.close_socket(socket);
    }
}

fn error(error: ChannelError) -> Output<WorkerEvent> {
    Output::Event(WorkerEvent::Error { error })
}

impl Stepper for Worker {
    type Step = MachineStep<Step>;
    type Event = WorkerEvent;

    fn steps(&mut self) -> &mut Queue<Step> {
        &mut self.peer.steps
    }

    fn run(&mut self, step: MachineStep<Step>) -> Option<Output<WorkerEvent>> {
        let Worker { peer, servers, .. } = self;
        let step = match step {
            MachineStep::Call(call) => return Some(Output::Call(call)),
            MachineStep::Channel(_, step) => {
                let event = peer.channel.run(step, &mut peer.steps)?;
                return self.on_channel_event(event);
            }
            MachineStep::Own(step) => step,
        };
        match step {
            Step::Emit(event) => return Some(Output::Event(event)),
            Step::Listening(listener, address) => return servers.emit_listening(listener, address, peer),
            Step::Announce(listener) => servers.announce(listener, peer),
            Step::Closed(listener) if servers.remove(listener) => {
                peer.steps.own(Step::ShutDown);
                return Some(Output::Event(WorkerEvent::Closed { listener }));
            }
            Step::Closed(_) => {}
            Step::ShutDown => self.continue_shutdown(),
        }
        None
    }
}

impl Machine for Worker {
    type Event = WorkerEvent;

    fn handle(&mut self, event: OsEvent) {
        let scope = self.peer.steps.enter();
        let Worker { peer, servers, .. } = self;
        let (channel, steps) = (&mut peer.channel, &mut peer.steps);
        match event {
            OsEvent::Read { channel: _, bytes, socket } => channel.read(&bytes, socket, steps),
            OsEvent::Wrote { channel: _, rest } => channel.wrote(&rest, steps),
            OsEvent::Writable { channel: _ } | OsEvent::Timer { timer: WRITE } => channel.writable(steps),
            OsEvent::WriteFailed { channel: _, errno } => channel.write_failed(errno, steps),
            OsEvent::ChannelClosed { channel: _ } => channel.closed(steps),
            OsEvent::Listening { socket, address } => servers.listening(socket, address, peer),
            OsEvent::ListenFailed { socket, errno } => servers.listen_failed(socket, errno, peer),
            OsEvent::Bound { handle, socket, address } => servers.bound(handle, socket, address, peer),
            OsEvent::BindFailed { handle, errno } => servers.bind_failed(handle, errno, peer),
            OsEvent::Accepted { listener, socket, .. } => servers.accepted(listener, socket, peer),
            OsEvent::AcceptFailed { listener, errno } => servers.accept_failed(listener, errno, peer),
            OsEvent::Timer { timer: REPORT } => peer.report_load(servers.connections.open_count()),
            OsEvent::Timer { timer } => servers.rested(timer, peer),
            OsEvent::Spawned { .. }
            | OsEvent::SpawnFailed { .. }
            | OsEvent::KillFailed { .. }
            | OsEvent::Lingers { .. }
            | OsEvent::Chosen { .. }
            | OsEvent::Exited { .. } => unreachable!("a worker asks for nothing that {event:?} answers"),
        }
        self.watch_load();
        self.peer.steps.end_scope(scope);
    }

    fn poll(&mut self) -> Option<Output<WorkerEvent>> {
        steps::poll(self)
    }

    fn poll_call(&mut self) -> Option<Call> {
        steps::poll_call(self)
    }
}
