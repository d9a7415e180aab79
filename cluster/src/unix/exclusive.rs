//! Readiness of listening sockets that several processes share: the kernel wakes one process for each connection.
//!
//! `EPOLLEXCLUSIVE` counts a process as woken only where a thread waits in `epoll_wait` on the very instance that has the socket.
//! tokio offers neither the flag nor its instance (tokio-rs/tokio issue 6084), and the kernel ignores the flag in an instance that
//! tokio watches. Hence a thread of our own, one a process, which waits and wakes the runtime. The runtime accepts: a connection
//! that no worker accepts stays in the backlog.
//!
//! A socket is registered only while its worker waits for a connection, so that a worker that does not wait is not woken in the
//! place of one that does. A registration reports a connection that has come before, so none is missed between two. It also puts
//! the worker behind the others, so that the workers take turns. nginx registers its sockets again for the same reason
//! (`ngx_reorder_accept_events`).
//!
//! The way through the thread costs two context switches. Under load it is not taken: after a connection a worker first tries to
//! accept another, as long as that succeeds (see [`Eagerness`]).
//!
//! The kernel wakes no second process where the first does not accept: it was killed, its runtime is busy, or its program has
//! withdrawn the `accept`. Therefore each thread looks at its waiting sockets every [`RECHECK`], which bounds the delay.

use std::collections::BTreeMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// How long a connection waits at most for an idle worker after another was woken for it and did not accept.
const RECHECK: Duration = Duration::from_millis(100);

/// How many events one call takes; what is left is reported by the next.
const EVENTS: usize = 16;

/// The token of the descriptor that ends the thread; sockets count from 1.
const STOP: u64 = 0;

/// The thread that waits for the shared sockets of this process. It ends with the last of them.
#[derive(Debug)]
pub(super) struct Waiter {
    registry: Arc<Registry>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Registry {
    epoll: OwnedFd,
    stop: OwnedFd,
    entries: Mutex<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    last: u64,
    sockets: BTreeMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    socket: Arc<OwnedFd>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Not registered.
    Idle,
    /// Registered until there is a connection.
    Waiting(Waker),
    /// Not registered; there was a connection, which another process may have accepted since.
    Ready,
}

/// A shared socket and the thread that waits for it.
#[derive(Debug)]
pub(super) struct SharedSocket {
    socket: Arc<OwnedFd>,
    waiter: Arc<Waiter>,
    token: u64,
    eagerness: Eagerness,
}

/// Whether to try `accept` without waiting, after a connection: worth it while connections queue up, and a failed call where they
/// come one by one. Each further failure doubles the number of connections until the next try.
#[derive(Debug, Default)]
struct Eagerness {
    /// The next try needs no readiness.
    is_eager: bool,
    /// The try that is being made needed none.
    is_trying: bool,
    /// Failed tries since the last one that succeeded.
    failures: u32,
    /// Connections until the next try.
    left: u32,
}

/// The most doublings: one try in 64 connections.
const DOUBLINGS: u32 = 6;

impl Eagerness {
    fn tries(&mut self) -> bool {
        self.is_trying = std::mem::take(&mut self.is_eager);
        self.is_trying
    }

    fn tried(&mut self, has_accepted: bool) {
        match (std::mem::take(&mut self.is_trying), has_accepted) {
            (true, false) => {
                self.left = (1 << self.failures) - 1;
                self.failures = (self.failures + 1).min(DOUBLINGS);
            }
            (true, true) => {
                self.failures = 0;
                self.is_eager = true;
            }
            (false, true) => {
                self.is_eager = self.left == 0;
                self.left = self.left.saturating_sub(1);
            }
            (false, false) => {}
        }
    }
}

impl Waiter {
    /// The thread of this process, started if there is none.
    pub(super) fn of(present: &mut Weak<Self>) -> io::Result<Arc<Self>> {
        if let Some(waiter) = present.upgrade() {
            return Ok(waiter);
        }
        let waiter = Arc::new(Waiter::start()?);
        *present = Arc::downgrade(&waiter);
        Ok(waiter)
    }

    fn start() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &stop, EventData::new_u64(STOP), EventFlags::IN)?;
        let registry = Arc::new(Registry { epoll, stop, entries: Mutex::default() });
        let waiting = registry.clone();
        let thread = thread::Builder::new().name("cluster-accept".into()).spawn(move || waiting.run())?;
        Ok(Waiter { registry, thread: Some(thread) })
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        // Only a full counter fails, and this is the only write.
        let _ = rustix::io::write(&self.registry.stop, &1_u64.to_ne_bytes());
        let thread = self.thread.take();
        // A waker may drop the last socket in that very thread, which cannot wait for itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // The thread does not panic; if it did, nothing is left to wait for.
            let _ = thread.join();
        }
    }
}

impl Registry {
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut recheck = Instant::now() + RECHECK;
        loop {
            let tokens = self.wait(recheck.saturating_duration_since(Instant::now()));
            if tokens.contains(&STOP) {
                return;
            }
            self.report(&tokens);
            if Instant::now() >= recheck {
                self.report(&self.missed());
                recheck = Instant::now() + RECHECK;
            }
        }
    }

    /// The tokens of the sockets with a connection, after this time at the latest.
    fn wait(&self, within: Duration) -> Vec<u64> {
        let mut events = [MaybeUninit::uninit(); EVENTS];
        // A duration below a second has a `Timespec`.
        let within = Timespec::try_from(within).ok();
        match epoll::wait(&self.epoll, &mut events, within.as_ref()) {
            Ok((events, _)) => events.iter().map(|event| event.data.u64()).collect(),
            Err(rustix::io::Errno::INTR) => Vec::new(),
            Err(_) => {
                // Not documented for a valid instance: the recheck alone then finds the connections.
                thread::sleep(RECHECK);
                Vec::new()
            }
        }
    }

    /// The tokens of the waiting sockets with a connection for which the kernel did not wake this process.
    fn missed(&self) -> Vec<u64> {
        let entries = self.entries();
        let waiting = |entry: &Entry| matches!(entry.state, State::Waiting(_));
        let waiting: Vec<(u64, &Entry)> = entries
            .sockets
            .iter()
            .filter(|(_, entry)| waiting(entry))
            .map(|(token, entry)| (*token, entry))
            .collect();
        let mut polled: Vec<PollFd<'_>> =
            waiting.iter().map(|(_, entry)| PollFd::new(&entry.socket, PollFlags::IN)).collect();
        // A failure, such as a signal, leaves them to the next recheck.
        if poll(&mut polled, Some(&Timespec::default())).is_err() {
            return Vec::new();
        }
        let ready = waiting.iter().zip(&polled).filter(|(_, polled)| !polled.revents().is_empty());
        ready.map(|((token, _), _)| *token).collect()
    }

    /// Wakes the runtime for these sockets, which are no longer registered.
    fn report(&self, tokens: &[u64]) {
        let mut entries = self.entries();
        let wakers: Vec<Waker> = tokens
            .iter()
            .filter_map(|token| self.stop_waiting(entries.sockets.get_mut(token)?, State::Ready))
            .collect();
        drop(entries);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Removes the registration of a socket, if there is one, and returns the waker.
    fn stop_waiting(&self, entry: &mut Entry, state: State) -> Option<Waker> {
        if !matches!(entry.state, State::Waiting(_)) {
            return None;
        }
        // It is registered; a failure would only report once more.
        let _ = epoll::delete(&self.epoll, &entry.socket);
        let State::Waiting(waker) = std::mem::replace(&mut entry.state, state) else { return None };
        Some(waker)
    }
}

impl SharedSocket {
    /// A socket that is not waited for.
    pub(super) fn new(socket: OwnedFd, waiter: Arc<Waiter>) -> Self {
        let socket = Arc::new(socket);
        let mut entries = waiter.registry.entries();
        entries.last += 1;
        let token = entries.last;
        entries.sockets.insert(token, Entry { socket: socket.clone(), state: State::Idle });
        drop(entries);
        SharedSocket { socket, waiter, token, eagerness: Eagerness::default() }
    }

    pub(super) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Waits until `accept` is worth a try, of which [`tried`](Self::tried) takes the result.
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.eagerness.tries() { Poll::Ready(Ok(())) } else { self.poll_reported(cx) }
    }

    /// Whether `accept` has found a connection.
    pub(super) fn tried(&mut self, has_accepted: bool) {
        self.eagerness.tried(has_accepted);
    }

    fn poll_reported(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let registry = &self.waiter.registry;
        let mut entries = registry.entries();
        let entry = entries.sockets.get_mut(&self.token).expect("an entry has the lifetime of its socket");
        match &mut entry.state {
            State::Ready => {
                entry.state = State::Idle;
                return Poll::Ready(Ok(()));
            }
            State::Waiting(waker) => waker.clone_from(cx.waker()),
            State::Idle => {
                let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
                epoll::add(&registry.epoll, &self.socket, EventData::new_u64(self.token), flags)?;
                entry.state = State::Waiting(cx.waker().clone());
            }
        }
        Poll::Pending
    }

    /// No longer waits. A connection that was reported before stays reported.
    pub(super) fn pause(&self) {
        let mut entries = self.waiter.registry.entries();
        if let Some(entry) = entries.sockets.get_mut(&self.token) {
            self.waiter.registry.stop_waiting(entry, State::Idle);
        }
    }
}

impl Drop for SharedSocket {
    fn drop(&mut self) {
        // Other processes have the socket, too: closing ours would not end its registration.
        self.pause();
        self.waiter.registry.entries().sockets.remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::net::{TcpListener, TcpStream};

    /// One listening socket in several processes, as far as the kernel sees: each duplicate waits in its own instance.
    fn shared(count: usize) -> (TcpListener, Vec<SharedSocket>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        listener.set_nonblocking(true).expect("a socket");
        let socket = || OwnedFd::from(listener.try_clone().expect("a duplicate"));
        let waiter = || Arc::new(Waiter::start().expect("a thread"));
        let sockets = (0..count).map(|_| SharedSocket::new(socket(), waiter())).collect();
        (listener, sockets)
    }

    fn connect(listener: &TcpListener) -> TcpStream {
        TcpStream::connect(listener.local_addr().expect("an address")).expect("a client")
    }

    async fn ready(socket: &SharedSocket) {
        let ready = poll_fn(|cx| socket.poll_reported(cx));
        tokio::time::timeout(Duration::from_secs(10), ready)
            .await
            .expect("a connection")
            .expect("registered");
    }

    fn wait(socket: &SharedSocket) {
        let pending = socket.poll_reported(&mut Context::from_waker(Waker::noop()));
        assert!(pending.is_pending());
    }

    fn is_ready(socket: &SharedSocket) -> bool {
        matches!(socket.waiter.registry.entries().sockets[&socket.token].state, State::Ready)
    }

    /// A connection that was there before is reported, and one that comes later.
    #[tokio::test]
    async fn shared_socket_reports_each_connection() {
        let (listener, sockets) = shared(1);
        let _before = connect(&listener);
        ready(&sockets[0]).await;
        listener.accept().expect("a connection");
        wait(&sockets[0]);
        let _later = connect(&listener);
        ready(&sockets[0]).await;
    }

    /// The first is woken and does not accept: the second reports the connection all the same.
    #[tokio::test]
    async fn swallowed_wakeup_is_found() {
        let (listener, sockets) = shared(2);
        sockets.iter().for_each(wait);
        let _client = connect(&listener);
        ready(&sockets[0]).await;
        ready(&sockets[1]).await;
    }

    /// A paused socket takes no wakeup from the others, and reports what came meanwhile when it waits again.
    #[tokio::test]
    async fn paused_socket_is_not_woken() {
        let (listener, sockets) = shared(2);
        sockets.iter().for_each(wait);
        sockets[0].pause();
        let _client = connect(&listener);
        ready(&sockets[1]).await;
        assert!(!is_ready(&sockets[0]));
        ready(&sockets[0]).await;
    }

    /// Connections that were reported before a pause are reported after it.
    #[tokio::test]
    async fn pause_keeps_reported_connection() {
        let (listener, sockets) = shared(1);
        wait(&sockets[0]);
        let _client = connect(&listener);
        while !is_ready(&sockets[0]) {
            tokio::task::yield_now().await;
        }
        sockets[0].pause();
        ready(&sockets[0]).await;
    }

    /// One try for each connection while they succeed; after failures one in 2, 4, 8, up to 64.
    #[test]
    fn eagerness_follows_load() {
        let mut eagerness = Eagerness::default();
        let mut connections = |count: usize, succeeds: bool| {
            let mut tries = 0;
            for _ in 0..count {
                // One that was waited for, and the try after it.
                eagerness.tried(true);
                if eagerness.tries() {
                    tries += 1;
                    eagerness.tried(succeeds);
                }
            }
            tries
        };
        assert_eq!(connections(63, false), 6);
        assert_eq!(connections(320, false), 5);
        assert!(connections(100, true) > 30);
    }

    /// The copy of another process does not keep the thread busy or alive.
    #[test]
    fn thread_ends_with_last_socket() {
        let (listener, mut sockets) = shared(1);
        let last = sockets.pop().expect("a socket");
        wait(&last);
        let registry = last.waiter.registry.clone();
        drop(last);
        assert_eq!(Arc::strong_count(&registry), 1);
        drop(listener);
    }
}
