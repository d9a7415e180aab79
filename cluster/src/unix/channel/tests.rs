//! Bytes and descriptors over a pair of sockets, read by read.

use super::*;
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

thread_local! {
    /// The reads of this thread, and the reads among them that have failed.
    static READS: Cell<[usize; 2]> = const { Cell::new([0; 2]) };
}

pub(super) fn count(has_failed: bool) {
    let [reads, failed] = READS.get();
    READS.set([reads + 1, failed + usize::from(has_failed)]);
}

/// A channel and the blocking far end.
fn pair() -> (Channel, net::UnixStream) {
    let (near, far) = net::UnixStream::pair().expect("a pair");
    (Channel::new(near).expect("a channel"), far)
}

async fn next(channel: &mut Channel) -> ChannelEvent {
    let mut buffer = vec![0; READ];
    let event = poll_fn(|cx| channel.poll(cx, &mut buffer));
    tokio::time::timeout(Duration::from_secs(10), event).await.expect("the channel is ready in time")
}

/// The bytes and the descriptor of the next event.
async fn read(channel: &mut Channel) -> (Vec<u8>, Option<OwnedFd>) {
    match next(channel).await {
        ChannelEvent::Bytes(bytes, descriptor) => (bytes, descriptor),
        other @ (ChannelEvent::End | ChannelEvent::Room) => unreachable!("{other:?}"),
    }
}

fn send_all(far: &net::UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
    let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
    let sent = sendmsg(far, &[IoSlice::new(bytes)], &mut control, SendFlags::empty());
    assert_eq!(sent, Ok(bytes.len()));
}

/// A client and the server's end of the connection.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a client");
    (client, listener.accept().expect("a connection").0)
}

#[tokio::test]
async fn connection_arrives_with_its_bytes() {
    let (mut near, far) = pair();
    let mut far = Channel::new(far).expect("a channel");
    let (mut client, server) = connection();
    assert_eq!(near.write(b"plain", None).expect("written"), 5);
    assert_eq!(near.write(b"with", Some(server.as_fd())).expect("written"), 4);
    assert_eq!(near.write(b"after", None).expect("written"), 5);
    drop(server);
    let (mut bytes, mut found) = (Vec::new(), None);
    while bytes.len() < 14 {
        let (more, descriptor) = read(&mut far).await;
        bytes.extend(more);
        // A descriptor arrives before the bytes sent after the descriptor.
        assert!(descriptor.is_none() || bytes.len() <= 9);
        found = descriptor.or(found);
    }
    let mut received = TcpStream::from(found.expect("the connection"));
    // Checked before the read: a blocking read would never return.
    let flags = rustix::fs::fcntl_getfl(&received).expect("flags");
    assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
    assert_eq!(received.read(&mut [0]).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
    received.write_all(b"!").expect("written");
    client.read_exact(&mut [0]).expect("read");
    let flags = rustix::io::fcntl_getfd(&received).expect("flags");
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
}

/// A message without a descriptor takes one read: no further read finds the channel empty.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn short_read_is_last() {
    let (mut channel, mut far) = pair();
    let mut buffer = vec![0; READ];
    let [reads, failed] = READS.get();
    for _ in 0..3 {
        far.write_all(b"alone").expect("written");
        assert_eq!(read(&mut channel).await.0, b"alone");
        let later = poll_fn(|cx| Poll::Ready(channel.poll(cx, &mut buffer))).await;
        assert!(later.is_pending());
    }
    assert_eq!(READS.get(), [reads + 3, failed]);
    drop(far);
    assert!(matches!(next(&mut channel).await, ChannelEvent::End));
}

/// A worker reads nothing behind a descriptor of the primary, which waits for the acknowledgement. After a
/// descriptor of the worker, the acknowledgement of that descriptor may follow.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn descriptor_of_primary_is_last() {
    let (near, mut far) = net::UnixStream::pair().expect("a pair");
    let mut channel = Channel::to_primary(near).expect("a channel");
    let (_client, server) = connection();
    let mut buffer = vec![0; READ];
    for has_sent in [false, true] {
        let [reads, failed] = READS.get();
        send_all(&far, b"newconn\n", &[server.as_fd()]);
        assert!(read(&mut channel).await.1.is_some());
        let later = poll_fn(|cx| Poll::Ready(channel.poll(cx, &mut buffer))).await;
        assert!(later.is_pending());
        let looked = usize::from(has_sent);
        assert_eq!(READS.get(), [reads + 1 + looked, failed + looked]);
        channel.write(b"passed", Some(server.as_fd())).expect("written");
    }
    send_all(&far, b"newconn\n", &[server.as_fd()]);
    far.write_all(b"acknowledgement").expect("written");
    assert!(read(&mut channel).await.1.is_some());
    assert_eq!(read(&mut channel).await.0, b"acknowledgement");
}

/// A full channel takes a descriptor with a part of the message; the rest is read as well. A length in binary
/// shows no end of a message.
#[tokio::test]
async fn rest_of_offer_is_read() {
    for (part, rest) in [(b"{newc", b"onn\n"), (b"\0newc", b"onn\n")] {
        let (near, mut far) = net::UnixStream::pair().expect("a pair");
        let mut channel = Channel::to_primary(near).expect("a channel");
        let (_client, server) = connection();
        send_all(&far, part, &[server.as_fd()]);
        far.write_all(rest).expect("written");
        assert!(read(&mut channel).await.1.is_some());
        assert_eq!(read(&mut channel).await.0, rest);
    }
}

/// The kernel ends a read after a descriptor, and the bytes behind the descriptor are read as well.
#[tokio::test]
async fn bytes_behind_descriptor_are_read() {
    let (mut channel, mut far) = pair();
    let (_client, server) = connection();
    send_all(&far, b"with", &[server.as_fd()]);
    far.write_all(b"behind").expect("written");
    assert!(read(&mut channel).await.1.is_some());
    assert_eq!(read(&mut channel).await.0, b"behind");
}

/// Each read delivers one of two descriptors of the same message.
#[tokio::test]
async fn descriptors_arrive_one_per_read() {
    let (mut channel, far) = pair();
    let ((_a, first), (_b, second)) = (connection(), connection());
    send_all(&far, b"two", &[first.as_fd(), second.as_fd()]);
    assert!(read(&mut channel).await.1.is_some());
    send_all(&far, b"none", &[]);
    assert!(read(&mut channel).await.1.is_some());
    send_all(&far, b"none", &[]);
    assert!(read(&mut channel).await.1.is_none());
}

/// The message of a descriptor that is no socket arrives without a descriptor, in a primary and in a worker.
#[tokio::test]
async fn foreign_descriptor_is_closed() {
    for end in [Channel::new, Channel::to_primary] {
        let (near, far) = net::UnixStream::pair().expect("a pair");
        let mut channel = end(near).expect("a channel");
        let (mut watch, foreign) = io::pipe().expect("a pipe");
        send_all(&far, b"odd", &[foreign.as_fd()]);
        drop(foreign);
        let (bytes, descriptor) = read(&mut channel).await;
        assert_eq!((bytes.as_slice(), descriptor.is_none()), (b"odd".as_slice(), true));
        // The read reaches the end of the pipe only when no copy of the descriptor is left.
        assert_eq!(watch.read(&mut [0]).expect("the end"), 0);
    }
}

#[tokio::test]
async fn truncated_descriptors_are_all_closed() {
    let (mut channel, far) = pair();
    let (mut client, server) = connection();
    send_all(&far, b"many", &[server.as_fd(); 8]);
    drop(server);
    assert!(read(&mut channel).await.1.is_none());
    assert_eq!(client.read(&mut [0]).expect("the end"), 0);
}

#[tokio::test]
async fn descriptors_of_dead_process_are_closed() {
    let (mut channel, far) = pair();
    let (mut client, server) = connection();
    send_all(&far, b"two", &[server.as_fd(), far.as_fd()]);
    drop(read(&mut channel).await);
    channel.close_descriptors();
    // Another holder of the same end sends the message.
    send_all(&far, b"more", &[server.as_fd()]);
    drop((far, server));
    assert!(read(&mut channel).await.1.is_none());
    assert!(matches!(next(&mut channel).await, ChannelEvent::End));
    assert_eq!(client.read(&mut [0]).expect("the end"), 0);
}

#[tokio::test]
async fn full_channel_reports_room() {
    let (mut channel, mut far) = pair();
    let bytes = vec![b'x'; 1 << 20];
    let taken = channel.write(&bytes, None).expect("a part");
    assert!(taken < bytes.len());
    assert_eq!(channel.write(&bytes[taken..], None).expect("nothing"), 0);
    far.read_exact(&mut vec![0; taken]).expect("what was written");
    assert!(matches!(next(&mut channel).await, ChannelEvent::Room));
    assert!(channel.write(&bytes[taken..], None).expect("more") > 0);
}

#[tokio::test]
async fn paused_channel_keeps_its_bytes() {
    let (mut channel, mut far) = pair();
    channel.pause(true);
    far.write_all(b"later").expect("written");
    drop(far);
    let mut buffer = vec![0; READ];
    // Polls often enough for the reactor to observe the bytes.
    for _ in 0..10 {
        tokio::task::yield_now().await;
        let event = poll_fn(|cx| Poll::Ready(channel.poll(cx, &mut buffer))).await;
        assert!(event.is_pending());
    }
    channel.pause(false);
    assert_eq!(read(&mut channel).await.0, b"later");
    assert!(matches!(next(&mut channel).await, ChannelEvent::End));
}

#[tokio::test]
async fn closed_peer_is_read_to_end() {
    let (mut channel, mut far) = pair();
    far.write_all(b"last words").expect("written");
    assert_eq!(channel.write(b"unread", None).expect("written"), 6);
    drop(far);
    let error = channel.write(b"too late", None).expect_err("a closed peer");
    assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    assert_eq!(read(&mut channel).await.0, b"last words");
    assert!(matches!(next(&mut channel).await, ChannelEvent::End));
}
