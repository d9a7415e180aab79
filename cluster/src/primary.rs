//! The face of a primary: the machine, the operating system, and one place where both move. It decides nothing itself.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{env, error, fmt, future};

use cluster_core::{
    Event, ForkError, IncomingHandle, Machine, Message, OsBytes, PolicyFrozen, SchedulingPolicy, SendError,
    Sent, Settings, Signal, SocketId, SpawnOptions, WorkerId, WorkerInfo, flush, pump,
};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::driver::LINGER;
use crate::received::{Received, Releases};
use crate::remote::{Remote, Requests};
use crate::role::{RoleError, origin};
use crate::socket::{self, NotSent, Socket};
use crate::unix::{Pipes, Unix};

mod sending;

use sending::KeptEvents;

/// What says how connections are given out where the program does not.
const POLICY: &str = "NODE_CLUSTER_SCHED_POLICY";

/// The options that Node workers inherit.
const NODE_OPTIONS: &str = "NODE_OPTIONS";

/// The primary of a cluster. Node: the `cluster` module in a primary process.
///
/// It moves only while [`next`](Primary::next) is awaited: nothing happens between an event and your reaction to it,
/// and a primary that is not awaited takes no more from its workers and clients than the kernel holds. Commands take
/// effect at once, as calls inside a listener do in Node. Other tasks command it through a [`Remote`].
///
/// Dropped, as when `main` returns, it writes what [`send`](Primary::send) has accepted, and waits at most
/// [`set_linger`](Primary::set_linger) for workers that do not read; before [`std::process::exit`] wait for
/// [`flush`](Primary::flush). Then it closes its channels, and workers end as they do when a primary dies: at once, unless they are draining.
/// The runtime reaps them when they end; none stays a zombie of a process that lives on.
#[derive(Debug)]
pub struct Primary {
    machine: cluster_core::Primary,
    unix: Unix,
    requests: Requests,
    runtime: Handle,
    remotes_first: bool,
    /// The socket of the last event.
    unclaimed: Option<SocketId>,
    /// Sockets that the program has taken and no longer holds.
    releases: Releases,
    kept: KeptEvents,
    linger: Duration,
    /// Something has happened, and there may be room again.
    progress: Arc<Notify>,
}

impl Primary {
    /// A primary without workers. Node: the `cluster` module, once it is loaded, and what `cluster.settings` begins with.
    ///
    /// `Settings` that leave the policy as it is, at round robin, take it from the variable `NODE_CLUSTER_SCHED_POLICY`: `rr`
    /// or `none`, anything else is ignored, as in Node. [`set_policy`](Primary::set_policy) has the last word.
    ///
    /// # Errors
    /// There is no tokio runtime here, or a primary has started this process as its worker: a program that does not
    /// ask for its [`role`](crate::role()) would otherwise start itself without end. Once it has joined, a worker may
    /// lead a cluster of its own.
    pub fn new(mut settings: Settings) -> Result<Self, PrimaryError> {
        let runtime = Handle::try_current().map_err(|_| PrimaryError::Runtime(NoRuntime))?;
        if origin().as_ref().map_err(|error| PrimaryError::Role(error.clone()))?.is_to_join() {
            return Err(PrimaryError::IsWorker);
        }
        if settings.policy == SchedulingPolicy::default()
            && env::var_os(POLICY).is_some_and(|policy| policy == "none")
        {
            settings.policy = SchedulingPolicy::Shared;
        }
        settings.node_options = settings.node_options.or_else(|| env::var(NODE_OPTIONS).ok());
        let unix = Unix::keeping(settings.limits.unread_output_bytes);
        Ok(Primary {
            machine: cluster_core::Primary::new(settings),
            unix,
            requests: Requests::default(),
            runtime,
            remotes_first: false,
            unclaimed: None,
            releases: Releases::default(),
            kept: KeptEvents::default(),
            linger: LINGER,
            progress: Arc::default(),
        })
    }

    /// Changes what later workers execute, and with what; `None` keeps what was said before. [`Event::Setup`] follows.
    /// Node: `cluster.setupPrimary(settings)`.
    pub fn setup(&mut self, changes: SpawnOptions) {
        self.command(|machine| machine.setup(changes));
    }

    /// Changes how connections find their worker. Node: an assignment to `cluster.schedulingPolicy`.
    ///
    /// # Errors
    /// It is decided by the first [`setup`](Primary::setup) or [`fork`](Primary::fork). Node ignores a later one.
    pub fn set_policy(&mut self, policy: SchedulingPolicy) -> Result<(), PolicyFrozen> {
        self.command(|machine| machine.set_policy(policy))
    }

    /// Starts a worker. Node: `cluster.fork()`.
    ///
    /// [`Event::Setup`] and [`Event::Fork`] follow. If its program cannot be started, [`Event::Error`] names the program or the
    /// directory and the reason (ENOENT, EPERM for a user or group that may not be taken, EMFILE, EAGAIN), and nothing is left
    /// behind: a later fork may succeed.
    ///
    /// Without [`exec`](crate::SpawnOptions::exec) the worker is started by the path by which this program was started, as Node
    /// starts it by the path of its script: a new file at the path, or a symbolic link that leads to another one, is what later
    /// workers run.
    ///
    /// A status is lost where the kernel does not keep it: before it starts a process, a fork ends an ignoring of SIGCHLD, which
    /// this process may have inherited (and logs a warning). Where another part of the program waits for every
    /// child, the status is [`ExitStatus::ReapedElsewhere`](crate::ExitStatus::ReapedElsewhere).
    ///
    /// # Errors
    /// The settings ask for what cannot be: nothing is started.
    pub fn fork(&mut self) -> Result<WorkerId, ForkError> {
        self.command(cluster_core::Primary::fork)
    }

    /// Starts a worker with more variables in its environment, laid over this process's own. Node: `cluster.fork(env)`.
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
    /// There is no such worker, its channel is closed or full, or the message is one of Node's own.
    pub fn send(&mut self, worker: WorkerId, message: impl Into<Message>) -> Result<Sent, SendError> {
        self.command(|machine| machine.send(worker, message))
    }

    /// Sends a message and a socket to a worker. Node: `worker.send(message, handle)`.
    ///
    /// The socket is closed here once the worker has it; see [`Socket::duplicate`]. What is sent after it waits until then.
    ///
    /// # Errors
    /// As [`send`](Primary::send), and the socket is in the error. [`WorkerError::NotReceived`](crate::WorkerError) is told
    /// later if the worker could not take it.
    pub fn send_with(
        &mut self,
        worker: WorkerId,
        message: impl Into<Message>,
        socket: impl Into<Socket>,
    ) -> Result<Sent, NotSent> {
        let _context = self.runtime.enter();
        let machine = &mut self.machine;
        socket::pass(socket.into(), &mut self.unix, |unix, passing| {
            let sent = machine.send_with(worker, message, passing);
            flush(machine, unix);
            sent
        })
    }

    /// The socket that came with the last event, an [`Event::Message`]; `None` if it was taken before, or another event was
    /// asked for since: what is not taken is closed then. Node: the second argument of `'message'`.
    ///
    /// A Node.js worker that counts the connection among those of its server counts it until the [`Received`] is dropped, and
    /// learns of that while the primary is awaited.
    pub fn take_socket(&mut self, passed: IncomingHandle) -> Option<Received> {
        self.unclaimed.take_if(|unclaimed| *unclaimed == passed.socket)?;
        self.releases.take(&mut self.unix, passed.socket)
    }

    /// Our ends of a worker's pipes, by the numbers of its ends, for the first who asks: what it writes to its standard output,
    /// with [`silent`](crate::SpawnOptions::silent), is read from number 1. Node: `worker.process.stdio`.
    ///
    /// They are Unix sockets; both sides may read and write. What a worker writes before its pipe is taken is kept, up to
    /// [`unread_output_bytes`](crate::Limits::unread_output_bytes) a pipe, while the primary is awaited; a worker that writes more waits
    /// until the pipe is read. Give workers with output that is never read [`Stdio::Ignore`](crate::Stdio::Ignore) instead.
    pub fn stdio(&mut self, worker: WorkerId) -> Pipes {
        self.unix.take_pipes(worker)
    }

    /// Asks every worker to finish its connections and exit; [`Event::AllDisconnected`] follows the last exit. Every listening
    /// socket closes at once, also with [`Settings::keep_listening`]: later clients are refused. Node: `cluster.disconnect()`.
    pub fn disconnect_all(&mut self) {
        self.command(cluster_core::Primary::disconnect_all);
    }

    /// Asks one worker to finish its connections and go. Node: `worker.disconnect()`.
    pub fn disconnect_worker(&mut self, worker: WorkerId) {
        self.command(|machine| machine.disconnect_worker(worker));
    }

    /// Sends a signal to a worker, and nothing else. Node: `worker.kill(signal)`.
    ///
    /// A worker that is gone is no failure. [`Event::Error`] tells any other, EINVAL for a number that is no signal.
    /// SIGHUP, SIGINT and SIGTERM have no effect where
    /// [`ignore_terminal_signals`](crate::SpawnOptions::ignore_terminal_signals) is set: disconnect the worker, or send SIGKILL.
    pub fn kill(&mut self, worker: WorkerId, signal: Signal) {
        self.command(|machine| machine.kill(worker, signal));
    }

    /// Everything goes on, until there is an event. Node: the events of `cluster`.
    ///
    /// `None`: no worker is left, and no [`Remote`] that could start one. It may be called again after another
    /// [`fork`](Primary::fork). Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// What is known of a worker: from its fork until the call of [`next`](Primary::next) after its last event.
    pub fn worker(&self, worker: WorkerId) -> Option<&WorkerInfo> {
        self.machine.worker(worker).or_else(|| self.kept.known(worker))
    }

    /// The workers, ascending. Node: the keys of `cluster.workers`; a worker that was told to go is not among them.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.machine.workers()
    }

    /// The workers whose process has not ended, ascending, those that were told to go among them: whom to
    /// [`kill`](Primary::kill) when a deadline has passed.
    pub fn running_workers(&self) -> impl Iterator<Item = WorkerId> {
        self.machine.running_workers()
    }

    /// How workers are started and served. Node: `cluster.settings`.
    pub fn settings(&self) -> &Settings {
        self.machine.settings()
    }

    /// A remote control for other tasks. As long as one exists, [`next`](Primary::next) waits for what it may ask.
    pub fn remote(&mut self) -> Remote {
        self.requests.remote(&self.progress)
    }

    fn command<T>(&mut self, act: impl FnOnce(&mut cluster_core::Primary) -> T) -> T {
        // A command may come from a thread outside the runtime, and a new channel must find the reactor.
        let _context = self.runtime.enter();
        let result = act(&mut self.machine);
        flush(&mut self.machine, &mut self.unix);
        result
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        self.close_unclaimed();
        if let Some(event) = self.kept.take() {
            self.unclaimed = passed(&event);
            return Poll::Ready(Some(event));
        }
        loop {
            if let Some(event) = pump(&mut self.machine, &mut self.unix) {
                self.unclaimed = passed(&event);
                return Poll::Ready(Some(event));
            }
            self.unix.keep_pipes(|worker| self.machine.worker(worker).is_some());
            if !self.take_input(cx) {
                let over = self.unix.is_alone() && !self.requests.are_possible();
                return if over { Poll::Ready(None) } else { Poll::Pending };
            }
        }
    }

    /// Nobody has taken it.
    fn close_unclaimed(&mut self) {
        if let Some(socket) = self.unclaimed.take() {
            drop(self.unix.take(socket));
            self.command(|machine| machine.release(socket));
        }
    }

    /// One input, of the operating system or of a remote in turn; whether there was one. What the program has released is
    /// first: a worker that asks for its count gets the present one.
    fn take_input(&mut self, cx: &mut Context<'_>) -> bool {
        if self.release_dropped(cx) {
            return true;
        }
        self.remotes_first = !self.remotes_first;
        let first = self.remotes_first && self.poll_request(cx);
        first || self.poll_os(cx) || self.poll_request(cx)
    }

    fn poll_os(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(event) = self.unix.poll_event(cx) else { return false };
        // What another thread released before it caused the event.
        self.release_dropped(cx);
        self.machine.handle(event);
        self.progress.notify_waiters();
        true
    }

    /// Whether the program has released a received socket.
    fn release_dropped(&mut self, cx: &mut Context<'_>) -> bool {
        let mut any = false;
        while let Poll::Ready(socket) = self.releases.poll(cx) {
            self.machine.release(socket);
            any = true;
        }
        any
    }

    fn poll_request(&mut self, cx: &mut Context<'_>) -> bool {
        let Poll::Ready(request) = self.requests.poll(cx) else { return false };
        request(self);
        true
    }
}

fn passed(event: &Event) -> Option<SocketId> {
    if let Event::Message { handle: Some(passed), .. } = event { Some(passed.socket) } else { None }
}

/// Why a process did not become a primary.
#[derive(Clone, PartialEq, Eq)]
pub enum PrimaryError {
    /// It was started as a worker and has not joined.
    IsWorker,
    /// Its environment is broken.
    Role(RoleError),
    /// There is no tokio runtime here.
    Runtime(NoRuntime),
}

impl fmt::Display for PrimaryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrimaryError::IsWorker => f.write_str(
                "a primary has started this process as its worker: ask `cluster::role()` first, and join",
            ),
            PrimaryError::Role(_) => {
                f.write_str("this process cannot lead a cluster: its environment is broken")
            }
            PrimaryError::Runtime(_) => f.write_str("a primary cannot be made here"),
        }
    }
}

impl error::Error for PrimaryError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            PrimaryError::IsWorker => None,
            PrimaryError::Role(error) => Some(error),
            PrimaryError::Runtime(error) => Some(error),
        }
    }
}

/// There is no tokio runtime here: call it from a task, or inside `Runtime::block_on`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NoRuntime;

impl fmt::Display for NoRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no tokio runtime here: call it from a task, or inside `Runtime::block_on`")
    }
}

impl error::Error for NoRuntime {}

#[cfg(test)]
mod tests;
