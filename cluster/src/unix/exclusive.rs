//! Readiness of listening sockets shared by several processes: the kernel wakes one process for each
//! connection.
//!
//! With `EPOLLEXCLUSIVE`, the kernel counts a process as woken only if a thread of the process waits in
//! `epoll_wait` on the instance with the socket. tokio offers neither the flag nor access to the instance
//! (tokio-rs/tokio issue 6084), and the kernel ignores the flag in an instance watched by tokio. Hence each
//! process has a thread to wait and then wake the runtime. The runtime accepts the connection; until then the
//! connection remains in the backlog.
//!
//! A socket is registered only while the worker waits for a connection: otherwise the kernel would wake a
//! busy worker in place of an idle worker. A new registration reports earlier connections, so none is missed
//! between two registrations. A new registration also puts the worker behind the others, so the workers take
//! turns. nginx registers sockets again for the same purpose (`ngx_reorder_accept_events`).
//!
//! The thread costs two context switches for each connection. Under load a worker avoids the switches: after
//! a connection, the worker tries to accept another without a wakeup, as long as the tries succeed (see
//! [`Eagerness`]).
//!
//! If the woken process does not accept, the kernel wakes no other process: after a kill, with a busy
//! runtime, or when the program has dropped the `accept`. Therefore each thread checks the waiting sockets
//! every [`RECHECK`], to bound the delay of a connection.

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

/// The longest wait of a connection for an idle worker, if another worker was woken and has not accepted.
const RECHECK: Duration = Duration::from_millis(100);

/// The most events of a call. The next call returns the rest.
const EVENTS: usize = 16;

/// The token of the descriptor to end the thread. Tokens of sockets begin at 1.
const STOP: u64 = 0;

/// The thread waiting for the shared sockets of this process. The thread ends with the last socket.
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
    /// Not registered, because a connection was reported. Another process may have accepted the connection
    /// since.
    Ready,
}

/// A shared socket, with the waiting thread.
#[derive(Debug)]
pub(super) struct SharedSocket {
    socket: Arc<OwnedFd>,
    waiter: Arc<Waiter>,
    token: u64,
    eagerness: Eagerness,
}

/// Whether to try `accept` after a connection without a wakeup. A try succeeds while connections are queued,
/// and fails while connections arrive separately. Each failure in a row doubles the number of connections
/// until the next try.
#[derive(Debug, Default)]
struct Eagerness {
    /// Whether to try without a wakeup.
    is_eager: bool,
    /// Whether the current try has no wakeup.
    is_trying: bool,
    /// The number of failed tries since the last success.
    failures: u32,
    /// The number of connections until the next try.
    left: u32,
}

/// The most doublings: at least a try in 64 connections.
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
    /// The running thread, or a new thread.
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
        // A write fails only if the counter is full, and nothing else writes to the counter.
        let _ = rustix::io::write(&self.registry.stop, &1_u64.to_ne_bytes());
        let thread = self.thread.take();
        // A waker may drop the last socket in the waiting thread, and a thread cannot join itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != thread::current().id()) {
            // A panicked thread has ended as well.
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

    /// Waits for connections, at most for `within`, and returns the tokens of the sockets.
    fn wait(&self, within: Duration) -> Vec<u64> {
        let mut events = [MaybeUninit::uninit(); EVENTS];
        // Every duration below a second has a `Timespec`.
        let within = Timespec::try_from(within).ok();
        match epoll::wait(&self.epoll, &mut events, within.as_ref()) {
            Ok((events, _)) => events.iter().map(|event| event.data.u64()).collect(),
            Err(rustix::io::Errno::INTR) => Vec::new(),
            Err(_) => {
                // For a valid instance, the manual of `epoll_wait` lists no failure. If the call fails
                // nevertheless, only the recheck finds connections.
                thread::sleep(RECHECK);
                Vec::new()
            }
        }
    }

    /// The tokens of waiting sockets that have a connection although the kernel has not woken this process.
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
        // After a failure (EINTR) the next recheck finds the connections.
        if poll(&mut polled, Some(&Timespec::default())).is_err() {
            return Vec::new();
        }
        let ready = waiting.iter().zip(&polled).filter(|(_, polled)| !polled.revents().is_empty());
        ready.map(|((token, _), _)| *token).collect()
    }

    /// Removes the registrations of the sockets and wakes the runtime.
    fn report(&self, tokens: &[u64]) {
        let mut entries = self.entries();
        let wakers: Vec<Waker> = tokens
            .iter()
            .filter_map(|token| self.stop_waiting(entries.sockets.get_mut(token)?, State::Ready))
            .collect();
        drop(entries);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Removes the registration of a waiting socket and returns the waker.
    fn stop_waiting(&self, entry: &mut Entry, state: State) -> Option<Waker> {
        if !matches!(entry.state, State::Waiting(_)) {
            return None;
        }
        // The socket is registered. If the removal fails, a connection is only reported twice.
        let _ = epoll::delete(&self.epoll, &entry.socket);
        let State::Waiting(waker) = std::mem::replace(&mut entry.state, state) else { return None };
        Some(waker)
    }
}

impl SharedSocket {
    /// Takes a socket, without waiting for connections.
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

    /// Ready when the caller should try `accept` and report the result by [`tried`](Self::tried).
    pub(super) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.eagerness.tries() { Poll::Ready(Ok(())) } else { self.poll_reported(cx) }
    }

    /// Records whether `accept` has returned a connection.
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

    /// Stops waiting. If a connection was reported and the caller has not polled, the report is kept.
    pub(super) fn pause(&self) {
        let mut entries = self.waiter.registry.entries();
        if let Some(entry) = entries.sockets.get_mut(&self.token) {
            self.waiter.registry.stop_waiting(entry, State::Idle);
        }
    }
}

impl Drop for SharedSocket {
    fn drop(&mut self) {
        // The close alone leaves the socket registered, because other processes hold the socket as well.
        self.pause();
        self.waiter.registry.entries().sockets.remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::net::{TcpListener, TcpStream};

    /// A listening socket with duplicates. Each duplicate waits in a separate epoll instance, like a process.
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

    /// Connections before and after the registration are reported.
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

    /// The first process is woken and does not accept. The recheck of the second process reports the
    /// connection.
    #[tokio::test]
    async fn swallowed_wakeup_is_found() {
        let (listener, sockets) = shared(2);
        sockets.iter().for_each(wait);
        let _client = connect(&listener);
        ready(&sockets[0]).await;
        ready(&sockets[1]).await;
    }

    /// The recheck finds the waiting socket with a connection, and no other socket. Here no thread waits.
    #[test]
    fn recheck_finds_missed_connection() {
        let (epoll, stop) = (epoll::create(CreateFlags::CLOEXEC), eventfd(0, EventfdFlags::CLOEXEC));
        let (epoll, stop) = (epoll.expect("an instance"), stop.expect("a descriptor"));
        let registry = Arc::new(Registry { epoll, stop, entries: Mutex::default() });
        let waiter = Arc::new(Waiter { registry: registry.clone(), thread: None });
        let [listener, idle] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a listener"));
        let socket = |listener: &TcpListener| listener.try_clone().expect("a duplicate").into();
        let sockets = [&idle, &listener].map(|each| SharedSocket::new(socket(each), waiter.clone()));
        sockets.iter().for_each(wait);
        assert!(registry.missed().is_empty());
        let _client = connect(&listener);
        assert_eq!(registry.missed(), [sockets[1].token]);
        registry.report(&registry.missed());
        assert!(is_ready(&sockets[1]) && !is_ready(&sockets[0]));
        assert!(registry.missed().is_empty());
    }

    /// A paused socket takes no wakeup from the others. The next wait reports connections from the pause.
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

    /// Connections reported before a pause are reported again after the pause.
    #[tokio::test]
    async fn pause_keeps_reported_connection() {
        let (listener, sockets) = shared(1);
        wait(&sockets[0]);
        let _client = connect(&listener);
        let begin = Instant::now();
        while !is_ready(&sockets[0]) {
            assert!(begin.elapsed() < Duration::from_secs(10), "the connection is not reported in time");
            tokio::task::yield_now().await;
        }
        sockets[0].pause();
        ready(&sockets[0]).await;
    }

    /// While tries succeed, each connection is followed by a try. After failures, tries follow in 2, 4, 8 and
    /// up to 64 connections.
    #[test]
    fn eagerness_follows_load() {
        let mut eagerness = Eagerness::default();
        let mut connections = |count: usize, succeeds: bool| {
            let mut tries = 0;
            for _ in 0..count {
                // The accept after the wakeup, then perhaps a try without a wakeup.
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

    /// The indexes of the connections followed by a try. Each failed try doubles the distance.
    #[test]
    fn failed_tries_double_their_distance() {
        let mut eagerness = Eagerness::default();
        let is_tried = |_: &u32| {
            eagerness.tried(true);
            let tries = eagerness.tries();
            eagerness.tried(false);
            tries
        };
        let tried: Vec<u32> = (0..200).filter(is_tried).collect();
        assert_eq!(tried, [0, 1, 3, 7, 15, 31, 63, 127, 191]);
    }

    /// A dropped socket leaves no entry in the thread of the other sockets.
    #[test]
    fn dropped_socket_leaves_no_entry() {
        let waiter = Arc::new(Waiter::start().expect("a thread"));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let socket = || listener.try_clone().expect("a duplicate").into();
        let [first, second] = [(); 2].map(|()| SharedSocket::new(socket(), waiter.clone()));
        wait(&first);
        let token = second.token;
        drop(first);
        assert!(waiter.registry.entries().sockets.keys().eq([&token]));
    }

    /// The thread and the registration end with the last socket of this process, even if another process
    /// holds the socket.
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

    /// A program started by this process does not inherit the descriptors of the thread.
    #[test]
    fn waiter_descriptors_are_private() {
        let waiter = Waiter::start().expect("a thread");
        for descriptor in [&waiter.registry.epoll, &waiter.registry.stop] {
            let flags = rustix::io::fcntl_getfd(descriptor).expect("flags");
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
        let flags = rustix::fs::fcntl_getfl(&waiter.registry.stop).expect("flags");
        assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
    }
}
