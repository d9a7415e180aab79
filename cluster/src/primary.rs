//! A primary from the program's side: the machine, the operating system, and the loop that drives both. The
//! machine decides.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{env, future};

use cluster_core::{
    Candidate, Event, ForkError, IncomingHandle, Message, OsBytes, PolicyFrozen, SchedulingPolicy, SendError,
    Sent, Settings, Signal, SocketId, SpawnOptions, WorkerId, WorkerInfo,
};
use futures_core::Stream;
use tokio::runtime::Handle;

use crate::command_sender::CommandSender;
use crate::driver::LINGER;
use crate::error::{NoRuntime, PrimaryError, RequestError};
use crate::inputs::{Inputs, Taken};
use crate::received::Received;
use crate::requests::{OpenRequests, PendingReply};
use crate::role::origin;
#[cfg(feature = "simulated")]
use crate::simulated::{self, Created};
use crate::socket::{self, NotSent, Socket};
use crate::system::{Held, System};
use crate::unix::{Pipes, Unix};

mod connections;
mod sending;

pub use connections::ConnectionCounts;
use sending::KeptEvents;

/// The environment variable with the scheduling policy, for programs without the setting.
const POLICY: &str = "NODE_CLUSTER_SCHED_POLICY";

/// The environment variable with further options of Node.js, inherited by Node workers.
const NODE_OPTIONS: &str = "NODE_OPTIONS";

/// The primary of a cluster. Node: the `cluster` module in a primary process.
///
/// A primary advances only while [`next`](Primary::next) is awaited, so nothing happens between an event and
/// the program's reaction. A primary that is not awaited reads nothing: workers and clients wait as soon as
/// the buffers of the kernel are full. Commands take effect at once, as calls inside a listener do in Node.
/// Other tasks command the primary through a [`Remote`](crate::Remote). A primary is also a [`Stream`] of
/// events; the stream ends when `next` returns `None`, and continues after another [`fork`](Primary::fork).
///
/// # Drop
///
/// A dropped primary writes the messages accepted by [`send`](Primary::send), and waits at most
/// [`set_linger`](Primary::set_linger) for workers to read. This includes the return of `main`, but not
/// [`std::process::exit`]: await [`flush`](Primary::flush) before. Then the channels close, and the workers
/// lose the primary. Node workers exit at once, Rust workers within the
/// [exit deadline](crate::Worker::set_exit_deadline), draining workers after the last connection. The runtime
/// reaps the processes, so a program that continues has no zombies.
#[derive(Debug)]
pub struct Primary {
    machine: Held<cluster_core::Primary>,
    system: System,
    inputs: Inputs<Primary>,
    runtime: Handle,
    /// The socket of the last event, until the program takes it.
    unclaimed: Option<SocketId>,
    requests: OpenRequests,
    kept: KeptEvents,
    linger: Duration,
}

impl Primary {
    /// Creates a primary without workers. Node: loading the `cluster` module.
    ///
    /// `settings` may leave the policy at the default, round robin. Then the environment variable
    /// `NODE_CLUSTER_SCHED_POLICY` decides: `rr` or `none`; other values are ignored, as in Node.
    /// [`set_policy`](Primary::set_policy) overrides both.
    ///
    /// # Errors
    /// The caller is outside a tokio runtime, or the process is a worker before the join: without the error,
    /// a program that ignores the [`role`](crate::role()) would start itself without end. After the join a
    /// worker may create another primary.
    pub fn new(mut settings: Settings) -> Result<Self, PrimaryError> {
        let runtime = prepare(&mut settings)?;
        let system = System::of_primary(settings.limits.unread_output_bytes);
        Ok(Primary {
            machine: primary_machine(settings),
            system,
            inputs: Inputs::default(),
            runtime,
            unclaimed: None,
            requests: OpenRequests::default(),
            kept: KeptEvents::default(),
            linger: LINGER,
        })
    }

    /// Changes the options of later workers; an option that is not set keeps the present value.
    /// [`Event::Setup`] follows. Node: `cluster.setupPrimary(settings)`.
    pub fn setup(&mut self, changes: SpawnOptions) {
        self.command(|machine| machine.setup(changes));
    }

    /// Reaps orphans while events are awaited: descendants without their former parents. The kernel makes
    /// orphans children of a process with the id 1, as in a container, and of a subreaper. An exited child
    /// remains for a second: another part of the program can wait for the child and receive the status. The
    /// statuses of workers are never taken. Linux only.
    ///
    /// # Errors
    /// The kernel does not list the children of this process (`/proc/self/task/*/children`), or the runtime
    /// has no IO driver.
    #[cfg(target_os = "linux")]
    pub fn reap_orphans(&mut self) -> std::io::Result<()> {
        let _context = self.runtime.enter();
        self.system.unix().map_or(Ok(()), Unix::reap_orphans)
    }

    /// Sets how connections are distributed. Node: an assignment to `cluster.schedulingPolicy`.
    ///
    /// # Errors
    /// The first [`setup`](Primary::setup) or [`fork`](Primary::fork) has fixed the policy. Node ignores a
    /// later assignment.
    pub fn set_policy(&mut self, policy: SchedulingPolicy) -> Result<(), PolicyFrozen> {
        self.command(|machine| machine.set_policy(policy))
    }

    /// Sets the function that chooses the worker of each connection under
    /// [`SchedulingPolicy::Custom`](crate::SchedulingPolicy::Custom). The arguments are the address of the
    /// client and the ready workers, the longest waiting first; the result is an index into the workers. An
    /// index of no worker chooses the first. The primary accepts nothing while the function runs.
    ///
    /// In a simulated process the schedule chooses instead of the function, so every choice is tested.
    pub fn choose_by(
        &mut self,
        choose: impl Fn(Option<IpAddr>, &[Candidate]) -> usize + Send + Sync + 'static,
    ) {
        self.system.choose_by(Arc::new(choose));
    }

    /// Starts a worker. Node: `cluster.fork()`.
    ///
    /// [`Event::Setup`] and [`Event::Fork`] follow. If the program cannot be started, [`Event::Error`]
    /// contains the program or the directory and the reason (ENOENT, EPERM for a user or group, EMFILE,
    /// EAGAIN); a later fork may succeed.
    ///
    /// Without [`exec`](crate::SpawnOptions::exec) the worker runs this program, at the path by which this
    /// process was started, as Node starts a worker by the path of the script. If a new file was installed at
    /// the path, or a symbolic link was changed, later workers run the new program.
    ///
    /// If this process ignores SIGCHLD, perhaps by inheritance, the kernel keeps no exit status. Therefore
    /// `fork` first restores the default action, and logs a warning. Where another part of the program waits
    /// for every child, the status is [`ExitStatus::ReapedElsewhere`](crate::ExitStatus::ReapedElsewhere).
    ///
    /// # Errors
    /// The settings contradict themselves; no process is started.
    pub fn fork(&mut self) -> Result<WorkerId, ForkError> {
        self.command(cluster_core::Primary::fork)
    }

    /// Starts a worker with additional environment variables. An additional variable overrides a variable of
    /// this process with the same name. Node: `cluster.fork(env)`.
    ///
    /// # Errors
    /// As [`fork`](Primary::fork).
    pub fn fork_with_env<N, V>(
        &mut self,
        env: impl IntoIterator<Item = (N, V)>,
    ) -> Result<WorkerId, ForkError>
    where
        N: Into<OsBytes>,
        V: Into<OsBytes>,
    {
        self.command(|machine| machine.fork_with_env(env))
    }

    /// Sends a message to a worker. Node: `worker.send(message)`.
    ///
    /// # Errors
    /// The worker does not exist, the channel is closed or full, or the message is too long or internal to
    /// Node.
    pub fn send(&mut self, worker: WorkerId, message: impl Into<Message>) -> Result<Sent, SendError> {
        self.command(|machine| machine.send(worker, message))
    }

    /// Sends a message and a socket to a worker. Node: `worker.send(message, handle)`.
    ///
    /// The socket is closed in this process once the worker has received the socket; to keep a copy open,
    /// send a [`Socket::duplicate`]. Later messages wait until then.
    ///
    /// # Errors
    /// As [`send`](Primary::send); the error returns the socket. If the worker cannot receive the socket,
    /// [`WorkerError::NotReceived`](crate::WorkerError) is emitted later.
    pub fn send_with(
        &mut self,
        worker: WorkerId,
        message: impl Into<Message>,
        socket: impl Into<Socket>,
    ) -> Result<Sent, NotSent> {
        let _context = self.runtime.enter();
        let machine = &mut self.machine;
        socket::pass(socket.into(), &mut self.system, |system, passing| {
            let sent = machine.change(|machine| machine.send_with(worker, message, passing));
            system.flush(machine);
            sent
        })
    }

    /// Takes the socket of the last event, an [`Event::Message`]. `None`: the socket was taken before, or
    /// belongs to an earlier event. The next call of [`next`](Primary::next) closes an untaken socket. Node:
    /// the second argument of `'message'`.
    ///
    /// If a server of a Node.js worker counts the connection, the drop of the [`Received`] ends the count.
    /// The worker receives the notice while the primary is awaited.
    pub fn take_socket(&mut self, handle: IncomingHandle) -> Option<Received> {
        self.unclaimed.take_if(|unclaimed| *unclaimed == handle.socket)?;
        self.inputs.releases.take(&mut self.system, handle.socket)
    }

    /// Takes the primary's ends of a worker's pipes, once. The keys are the descriptor numbers in the worker:
    /// the standard output of a [`silent`](crate::SpawnOptions::silent) worker is number 1. Node:
    /// `worker.process.stdio`.
    ///
    /// The ends are Unix sockets, readable and writable. While the primary is awaited, the output of an
    /// untaken pipe is kept, up to [`unread_output_bytes`](crate::Limits::unread_output_bytes) a pipe. Beyond
    /// the bound, a write blocks the worker until the pipe is read. If the program never reads the output,
    /// use [`Stdio::Ignore`](crate::Stdio::Ignore).
    pub fn stdio(&mut self, worker: WorkerId) -> Pipes {
        self.system.take_pipes(worker)
    }

    /// Disconnects every worker: each finishes the open connections and exits; [`Event::AllDisconnected`]
    /// follows the last exit. Every listening socket closes at once, even with [`Settings::keep_listening`],
    /// so later clients are refused. Node: `cluster.disconnect()`.
    pub fn disconnect_all(&mut self) {
        self.command(cluster_core::Primary::disconnect_all);
    }

    /// Disconnects a worker: the worker finishes the open connections and exits. Node: `worker.disconnect()`.
    pub fn disconnect_worker(&mut self, worker: WorkerId) {
        self.command(|machine| machine.disconnect_worker(worker));
    }

    /// Sends a signal to a worker, and does nothing else. Node: `worker.kill(signal)`.
    ///
    /// A signal to an exited worker has no effect. If the signal is unknown or cannot be sent,
    /// [`Event::Error`] follows. SIGHUP, SIGINT, SIGTERM, SIGTTIN and SIGTTOU have no effect on workers with
    /// [`ignore_terminal_signals`](crate::SpawnOptions::ignore_terminal_signals): disconnect the worker, or
    /// send SIGKILL.
    pub fn kill(&mut self, worker: WorkerId, signal: Signal) {
        self.command(|machine| machine.kill(worker, signal));
    }

    /// Drives the cluster until the next event. Node: the events of `cluster`.
    ///
    /// `None`: no worker remains, and no [`Remote`](crate::Remote) that could start a worker. After another
    /// [`fork`](Primary::fork) the method may be called again. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// The state of a worker, available from the fork until the first call of [`next`](Primary::next) after
    /// the last event of the worker.
    pub fn worker(&self, worker: WorkerId) -> Option<&WorkerInfo> {
        self.machine.worker(worker).or_else(|| self.kept.known(worker))
    }

    /// The connected workers, ascending. Node: the keys of `cluster.workers`, without workers that were asked
    /// to exit.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.machine.workers()
    }

    /// The workers with a running process, ascending, including workers that were asked to exit. Useful to
    /// [`kill`](Primary::kill) the rest after a deadline.
    pub fn running_workers(&self) -> impl Iterator<Item = WorkerId> {
        self.machine.running_workers()
    }

    /// The settings. Node: `cluster.settings`.
    pub fn settings(&self) -> &Settings {
        self.machine.settings()
    }

    /// Starts a request: returns the message to send, and the future reply.
    pub(crate) fn start_request(
        &mut self,
        worker: WorkerId,
        body: &Message,
    ) -> Result<(Message, PendingReply), RequestError> {
        self.requests.start(Some(worker), body)
    }

    pub(crate) fn command_sender(&mut self) -> CommandSender<Primary> {
        CommandSender::new(self.inputs.commands.sender(), self.inputs.progress.clone())
    }

    /// The next event for the program. A reply to a request is delivered to the caller of the request
    /// instead.
    fn pump(&mut self) -> Option<Event> {
        loop {
            let event = self.system.pump(&mut self.machine)?;
            if !self.requests.take_event(&event) {
                return Some(event);
            }
        }
    }

    fn command<T>(&mut self, act: impl FnOnce(&mut cluster_core::Primary) -> T) -> T {
        // The caller may be a thread outside the runtime; a new channel is registered with the runtime's
        // reactor.
        let _context = self.runtime.enter();
        let result = self.machine.change(act);
        self.system.flush(&mut self.machine);
        result
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.close_unclaimed();
        if let Some(event) = self.kept.take() {
            self.unclaimed = received_socket(&event);
            return Poll::Ready(Some(event));
        }
        loop {
            if let Some(event) = self.pump() {
                self.unclaimed = received_socket(&event);
                return Poll::Ready(Some(event));
            }
            self.system.retain_pipes(|worker| self.machine.worker(worker).is_some());
            if !self.take_input(cx) {
                let over = self.system.is_idle(&self.machine) && !self.inputs.commands.are_possible();
                return if over { Poll::Ready(None) } else { Poll::Pending };
            }
        }
    }

    /// Closes the socket of the last event, unless taken by the program.
    fn close_unclaimed(&mut self) {
        if let Some(socket) = self.unclaimed.take() {
            drop(self.system.take(socket));
            self.command(|machine| machine.release(socket));
        }
    }

    /// Takes an input: events of the operating system and commands of remotes alternate. `false`: no input is
    /// ready.
    fn take_input(&mut self, cx: &mut Context<'_>) -> bool {
        match self.inputs.take(&mut self.machine, &mut self.system, cx) {
            Taken::Nothing => return false,
            Taken::Input => {}
            Taken::Command(command) => command(self),
        }
        true
    }
}

/// The machine of this process.
fn primary_machine(settings: Settings) -> Held<cluster_core::Primary> {
    #[cfg(feature = "simulated")]
    if simulated::is_simulated() {
        simulated::create::<cluster_core::Primary>(Created::Primary(settings));
        return Held::lent();
    }
    cluster_core::Primary::new(settings).into()
}

/// Checks whether this process may have a primary, and completes the settings from the environment.
pub(crate) fn prepare(settings: &mut Settings) -> Result<Handle, PrimaryError> {
    let runtime = Handle::try_current().map_err(|_| PrimaryError::Runtime(NoRuntime))?;
    #[cfg(feature = "simulated")]
    if simulated::is_simulated() {
        // A simulated process has no environment but that of its primary.
        return if simulated::is_to_join() { Err(PrimaryError::IsWorker) } else { Ok(runtime) };
    }
    if origin().as_ref().map_err(|error| PrimaryError::Role(error.clone()))?.is_to_join() {
        return Err(PrimaryError::IsWorker);
    }
    if settings.policy == SchedulingPolicy::default()
        && env::var_os(POLICY).is_some_and(|policy| policy == "none")
    {
        settings.policy = SchedulingPolicy::Shared;
    }
    if settings.node_options.is_none() {
        settings.node_options = env::var(NODE_OPTIONS).ok();
    }
    Ok(runtime)
}

impl Stream for Primary {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_event(cx)
    }
}

fn received_socket(event: &Event) -> Option<SocketId> {
    if let Event::Message { handle: Some(handle), .. } = event { Some(handle.socket) } else { None }
}

#[cfg(test)]
mod tests;
