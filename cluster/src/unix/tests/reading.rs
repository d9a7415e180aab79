//! Reads without the reactor, the end of a channel of a worker, and sockets by number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::*;

/// A read without bytes is no event, and a reset by the peer is the end.
#[tokio::test]
async fn reset_channel_is_read_as_end() {
    let (near, far) = UnixStream::pair().expect("a pair");
    let mut channel = Channel::new(near).expect("a channel");
    let mut buffer = vec![0; channel::READ];
    assert!(channel.read_now(&mut buffer).is_none());
    assert_eq!(channel.write(b"unread", None).expect("written"), 6);
    drop(far);
    let read = channel.read_now(&mut buffer);
    assert!(matches!(read, Some(ChannelEvent::End)), "{read:?}");
}

/// Without the runtime, a closed peer is reported as the end, and a channel with nothing to write reports no
/// room.
#[tokio::test]
async fn closed_peer_is_no_room() {
    let (near, far) = UnixStream::pair().expect("a pair");
    let mut channel = Channel::new(near).expect("a channel");
    let mut buffer = vec![0; channel::READ];
    assert!(channel.event_now(&mut buffer).is_none());
    drop(far);
    let event = channel.event_now(&mut buffer);
    assert!(matches!(event, Some(ChannelEvent::End)), "{event:?}");
}

/// An ending worker waits until the primary has closed the channel, at most a second.
#[tokio::test]
async fn lingering_worker_waits_for_primary() {
    let (near, mut far) = UnixStream::pair().expect("a pair");
    far.set_read_timeout(Some(LONG)).expect("a bound");
    let mut unix = Unix::with_channel(near).expect("a channel");
    let closing = Arc::new(AtomicBool::new(false));
    let primary = thread::spawn({
        let closing = closing.clone();
        move || {
            let end = far.read(&mut [0]).map_err(|error| error.kind());
            // Long enough to notice a wait that ends too early.
            thread::sleep(Duration::from_millis(20));
            closing.store(true, Ordering::SeqCst);
            end
        }
    });
    let begin = std::time::Instant::now();
    unix.linger(begin + LONG);
    assert!(closing.load(Ordering::SeqCst) || begin.elapsed() >= Duration::from_secs(1));
    drop(unix);
    assert_eq!(primary.join().expect("no panic"), Ok(0));
}

/// Only a worker has a channel to a primary. Only a primary has a reserve of descriptors.
#[tokio::test]
async fn worker_is_not_of_primary() {
    let (near, _far) = UnixStream::pair().expect("a pair");
    assert!(Unix::new().is_of_primary());
    assert!(!Unix::with_channel(near).expect("a channel").is_of_primary());
}

/// A stream socket without a listener or a peer can be served by number, but not for datagrams.
#[tokio::test]
async fn bound_stream_is_served_by_number() {
    let stream = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    stream.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).expect("a port");
    let fd = u32::try_from(stream.as_raw_fd()).expect("a number");
    let mut unix = Unix::new();
    bind(&mut unix, BindAddress::Descriptor { fd, datagrams: false }, Some(5));
    let address = BindAddress::Descriptor { fd, datagrams: true };
    let answer = unix.perform(Call::Bind { handle: HandleId(2), address, backlog: None });
    assert!(matches!(answer, Some(OsEvent::BindFailed { errno: Errno::EINVAL, .. })), "{answer:?}");
}
