//! The real operating system, call by call: the flags of descriptors, the order of timers, and the turns of
//! events.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use std::fs::File;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::task::Waker;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::{FdFlags, fcntl_getfd};
use tokio::time::{Instant, timeout};

use super::*;

mod channels;
mod reading;

/// Bounds each wait of a test.
const LONG: Duration = Duration::from_secs(10);

async fn next(unix: &mut Unix) -> OsEvent {
    timeout(LONG, poll_fn(|cx| unix.poll_event(cx))).await.expect("an event in time")
}

fn loopback() -> BindAddress {
    let host = Some(Ipv4Addr::LOCALHOST.into());
    BindAddress::Tcp { host, port: 0, ipv6_only: false, reuse_port: false }
}

/// Binds a socket, and listens if a backlog is given.
fn bind(unix: &mut Unix, address: BindAddress, backlog: Option<u32>) -> (SocketId, LocalAddress) {
    match unix.perform(Call::Bind { handle: HandleId(1), address, backlog }) {
        Some(OsEvent::Bound { socket, address, .. }) => (socket, address),
        other => unreachable!("{other:?}"),
    }
}

fn connect(address: &LocalAddress) -> TcpStream {
    let client = TcpStream::connect(address.ip().expect("an address")).expect("a client");
    client.set_read_timeout(Some(LONG)).expect("a deadline");
    client
}

/// Whether the descriptor is close-on-exec.
fn is_private(descriptor: impl AsFd) -> bool {
    fcntl_getfd(descriptor).expect("flags").contains(FdFlags::CLOEXEC)
}

fn is_non_blocking(descriptor: impl AsFd) -> bool {
    fcntl_getfl(descriptor).expect("flags").contains(OFlags::NONBLOCK)
}

/// Bound, duplicated, accepted and received descriptors are close-on-exec and non-blocking.
#[tokio::test]
async fn descriptors_are_private_and_non_blocking() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("s").to_string_lossy().into_owned();
    let (tcp, udp) = (TcpListener::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
    let (tcp, udp) = (tcp.expect("a listener"), udp.expect("a socket"));
    let number = |raw| u32::try_from(raw).expect("a number");
    let host = Ipv4Addr::LOCALHOST.into();
    let addresses = [
        loopback(),
        BindAddress::Path { path, readable_all: false, writable_all: false },
        BindAddress::Udp { host, port: 0, ipv6_only: false, reuse_address: false, reuse_port: false },
        BindAddress::Descriptor { fd: number(tcp.as_raw_fd()), datagrams: false },
        BindAddress::Descriptor { fd: number(udp.as_raw_fd()), datagrams: true },
    ];
    let mut unix = Unix::new();
    for address in addresses {
        let (socket, _) = bind(&mut unix, address.clone(), None);
        let descriptor = unix.take(socket).expect("a bound socket");
        assert!(is_private(&descriptor) && is_non_blocking(&descriptor), "{address:?}");
    }
    let (listener, address) = bind(&mut unix, loopback(), Some(5));
    assert!(is_private(unix.listeners.find(listener).expect("a listener").socket()));
    unix.perform(Call::ResumeAccept { socket: listener });
    let _client = connect(&address);
    let OsEvent::Accepted { socket, client, .. } = next(&mut unix).await else {
        unreachable!("a connection")
    };
    let accepted = unix.take(socket).expect("an accepted socket");
    assert!(is_private(&accepted) && is_non_blocking(&accepted));
    assert_eq!(client, Some(std::net::Ipv4Addr::LOCALHOST.into()));
}

/// A channel is close-on-exec and non-blocking, even if inherited as a blocking channel.
#[tokio::test]
async fn channel_is_private_and_non_blocking() {
    let (near, far) = UnixStream::pair().expect("a pair");
    near.set_nonblocking(false).expect("a flag");
    let copy = near.try_clone().expect("a copy");
    let mut unix = Unix::with_channel(near).expect("a channel");
    assert!(is_private(&copy) && is_non_blocking(&copy));
    (&far).write_all(b"x").expect("written");
    assert!(matches!(next(&mut unix).await, OsEvent::Read { bytes, .. } if bytes == b"x"));
}

/// A listener accepts nothing before a resume, and nothing after a pause.
#[tokio::test]
async fn paused_listener_accepts_nothing() {
    let mut unix = Unix::new();
    let (listener, address) = bind(&mut unix, loopback(), Some(5));
    let _first = connect(&address);
    assert_nothing(&mut unix).await;
    unix.perform(Call::ResumeAccept { socket: listener });
    assert!(matches!(next(&mut unix).await, OsEvent::Accepted { .. }));
    unix.perform(Call::PauseAccept { socket: listener });
    let _second = connect(&address);
    assert_nothing(&mut unix).await;
    unix.perform(Call::ResumeAccept { socket: listener });
    assert!(matches!(next(&mut unix).await, OsEvent::Accepted { .. }));
}

/// Polls often enough for the reactor to report every ready descriptor.
async fn assert_nothing(unix: &mut Unix) {
    for _ in 0..20 {
        tokio::task::yield_now().await;
        let polled = poll_fn(|cx| Poll::Ready(unix.poll_event(cx))).await;
        assert!(polled.is_pending(), "{polled:?}");
    }
}

// ---- timers

/// A timer set later but due earlier fires first.
#[tokio::test(start_paused = true)]
async fn earlier_timer_fires_first() {
    let mut unix = Unix::new();
    let begin = Instant::now();
    for (timer, after_ms) in [(1, 5_000), (2, 20), (3, 1_000), (4, 0)] {
        unix.perform(Call::SetTimer { timer: TimerId(timer), after_ms });
        // The sleep begins with the first timer.
        if after_ms > 0 {
            assert!(poll_fn(|cx| Poll::Ready(unix.poll_event(cx))).await.is_pending());
        }
    }
    for (timer, after_ms) in [(4, 0), (2, 20), (3, 1_000), (1, 5_000)] {
        assert_eq!(next(&mut unix).await, OsEvent::Timer { timer: TimerId(timer) });
        let late = begin.elapsed().checked_sub(Duration::from_millis(after_ms)).expect("not too early");
        assert!(late < Duration::from_millis(20), "{timer} is {late:?} late");
    }
    assert_nothing(&mut unix).await;
}

/// Timers of the same time all fire.
#[tokio::test(start_paused = true)]
async fn equal_timers_all_fire() {
    let mut unix = Unix::new();
    for timer in 1..=3 {
        unix.perform(Call::SetTimer { timer: TimerId(timer), after_ms: 7 });
    }
    for timer in 1..=3 {
        assert_eq!(next(&mut unix).await, OsEvent::Timer { timer: TimerId(timer) });
    }
}

// ---- turns

/// Channels, listeners and timers that are always ready get at least a quarter of the turns each.
#[tokio::test]
async fn kinds_of_events_take_turns() {
    let (near, mut far) = UnixStream::pair().expect("a pair");
    let mut unix = Unix::with_channel(near).expect("a channel");
    let (listener, address) = bind(&mut unix, loopback(), Some(64));
    unix.perform(Call::ResumeAccept { socket: listener });
    let _clients: Vec<TcpStream> = (0..20).map(|_| connect(&address)).collect();
    unix.buffer = vec![0; 1].into();
    far.write_all(&[b'x'; 20]).expect("written");
    for timer in 1..=20 {
        unix.perform(Call::SetTimer { timer: TimerId(timer), after_ms: 0 });
    }
    // From now on the reactor reports all descriptors as ready.
    tokio::time::sleep(Duration::from_millis(20)).await;
    let mut counts = [0_u32; 3];
    for _ in 0..32 {
        match next(&mut unix).await {
            OsEvent::Read { .. } => counts[0] += 1,
            OsEvent::Accepted { .. } => counts[1] += 1,
            OsEvent::Timer { .. } => counts[2] += 1,
            other => unreachable!("{other:?}"),
        }
    }
    assert!(counts.iter().all(|count| *count >= 8), "{counts:?}");
}

// ---- ends

/// A closed listener refuses clients, and the path is removed.
#[tokio::test]
async fn closed_listener_leaves_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("s");
    let mut unix = Unix::new();
    let address = BindAddress::Path {
        path: path.to_string_lossy().into_owned(),
        readable_all: false,
        writable_all: false,
    };
    let (socket, _) = bind(&mut unix, address, Some(5));
    assert!(path.exists() && UnixStream::connect(&path).is_ok());
    unix.perform(Call::Close { socket });
    assert!(!path.exists());
    let (socket, address) = bind(&mut unix, loopback(), Some(5));
    drop(connect(&address));
    unix.perform(Call::Close { socket });
    assert!(TcpStream::connect(address.ip().expect("an address")).is_err());
    assert!(unix.take(socket).is_none() && unix.is_idle());
}

/// A connection's descriptor cannot listen, and the attempt leaves no duplicate.
#[tokio::test]
async fn connected_descriptor_leaves_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let mut client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a client");
    client.set_read_timeout(Some(LONG)).expect("a deadline");
    let connection = listener.accept().expect("a connection").0;
    let fd = u32::try_from(connection.as_raw_fd()).expect("a number");
    let mut unix = Unix::new();
    let address = BindAddress::Descriptor { fd, datagrams: false };
    let answer = unix.perform(Call::Bind { handle: HandleId(1), address, backlog: Some(5) });
    assert!(matches!(answer, Some(OsEvent::BindFailed { errno: Errno::EINVAL, .. })), "{answer:?}");
    drop(connection);
    assert_eq!(client.read(&mut [0]).expect("the end: no duplicate is left"), 0);
}

/// `Call::Close` closes a connection, unless the program has taken the socket.
#[tokio::test]
async fn close_ends_what_the_machine_has() {
    let mut unix = Unix::new();
    let (listener, address) = bind(&mut unix, loopback(), Some(5));
    unix.perform(Call::ResumeAccept { socket: listener });
    for taken in [false, true] {
        let mut client = connect(&address);
        let OsEvent::Accepted { socket, .. } = next(&mut unix).await else { unreachable!("a connection") };
        let ours = if taken { unix.take(socket) } else { None };
        unix.perform(Call::Close { socket });
        if let Some(ours) = ours {
            File::from(ours).write_all(b"!").expect("an open pipe");
            client.read_exact(&mut [0]).expect("a byte");
        }
        assert_eq!(client.read(&mut [0]).expect("the end"), 0);
    }
}

/// When the last channel and the last process are closed, nothing is left to wait for.
#[tokio::test]
async fn closed_channel_leaves_idle() {
    let (near, far) = UnixStream::pair().expect("a pair");
    let mut unix = Unix::with_channel(near).expect("a channel");
    assert!(!unix.is_idle() && !unix.is_peer_closed());
    drop(far);
    assert!(unix.is_peer_closed());
    let channel = ChannelId::PRIMARY;
    assert_eq!(next(&mut unix).await, OsEvent::ChannelClosed { channel });
    assert!(unix.is_idle());
    let answer = unix.perform(Call::Write { channel, bytes: b"x".to_vec(), socket: None });
    assert_eq!(answer, Some(OsEvent::WriteFailed { channel, errno: Errno::EPIPE }));
    assert!(unix.poll_event(&mut Context::from_waker(Waker::noop())).is_pending());
}
