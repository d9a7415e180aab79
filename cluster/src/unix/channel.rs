//! An end of an IPC channel: bytes and descriptors over a Unix stream socket, by `sendmsg` and `recvmsg`. The
//! core decodes the bytes.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::descriptor::kind;

mod channel_state;

pub(super) use channel_state::ChannelState;

/// The size of a read in bytes, as in Node.
pub(super) const READ: usize = 64 << 10;

/// The time for which an ending process waits for the peer to close.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most received descriptors kept for a later read. Further descriptors are closed.
const WAITING: usize = 4;

/// A non-blocking, close-on-exec end of a channel.
#[expect(clippy::struct_excessive_bools, reason = "each of them changes alone")]
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    paused: bool,
    /// Whether the program has not taken earlier events.
    paused_by_program: bool,
    full: bool,
    /// Whether the channel works without the runtime, because the runtime may have ended.
    without_runtime: bool,
    waiting: VecDeque<OwnedFd>,
    /// The most descriptors in `waiting`.
    room: usize,
}

/// A channel shut down by this process, and not closed by the peer.
#[derive(Debug)]
pub(super) struct LingeringClose(net::UnixStream);

impl Drop for LingeringClose {
    /// A close alone would have no effect while [`Hangup`](super::ending::Hangup) has a copy of the
    /// descriptor.
    fn drop(&mut self) {
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl LingeringClose {
    /// Waits until the peer has closed the channel. The wait has a bound, because the peer may be stopped.
    pub(super) fn wait(mut self, until: Instant) {
        let until = until.min(Instant::now() + PATIENCE);
        let mut nothing = [0; 4096];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let waits = !left.is_zero() && self.0.set_nonblocking(false).is_ok();
            if !waits || self.0.set_read_timeout(Some(left)).is_err() {
                return;
            }
            match self.0.read(&mut nothing) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
            }
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[derive(Debug)]
pub(super) enum ChannelEvent {
    /// At least one byte, and a descriptor that arrived with the bytes or earlier.
    Bytes(Vec<u8>, Option<OwnedFd>),
    /// The peer has closed, and every byte was read.
    End,
    /// The kernel has room again after a partial write.
    Room,
}

impl Channel {
    /// Takes an end of a socket pair.
    pub(super) fn new(stream: net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        Ok(Channel {
            stream,
            paused: false,
            paused_by_program: false,
            full: false,
            without_runtime: false,
            waiting: VecDeque::new(),
            room: WAITING,
        })
    }

    /// Shuts down writing. The peer first reads all written bytes, then the end.
    pub(super) fn close(self) -> Option<LingeringClose> {
        let stream = self.stream.into_std().ok()?;
        stream.shutdown(Shutdown::Write).ok()?;
        Some(LingeringClose(stream))
    }

    /// Shuts down both directions, after the peer has closed: no write follows. Copies of the descriptor
    /// observe the shutdown.
    pub(super) fn end(self) {
        let _ = SockRef::from(&self.stream).shutdown(Shutdown::Both);
    }

    /// Whether to leave bytes in the kernel.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether to leave bytes in the kernel because the program does not take events.
    pub(super) fn pause_by_program(&mut self, paused: bool) {
        self.paused_by_program = paused;
    }

    /// Stops the use of the runtime.
    pub(super) fn leave_runtime(&mut self) {
        self.without_runtime = true;
    }

    /// The readiness to poll for without the runtime.
    pub(super) fn awaits(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !self.paused);
        flags.set(PollFlags::OUT, self.full);
        flags
    }

    /// The event available now, without the runtime.
    pub(super) fn event_now(&mut self, buffer: &mut [u8]) -> Option<ChannelEvent> {
        let mut polled = [PollFd::new(&self.stream, self.awaits())];
        poll(&mut polled, Some(&Timespec::default())).ok()?;
        let ready = polled[0].revents();
        if self.full && ready.intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR) {
            self.full = false;
            return Some(ChannelEvent::Room);
        }
        if ready.is_empty() { None } else { self.read_now(buffer) }
    }

    /// Closes received descriptors, now and later, because the sender has exited. A received descriptor may
    /// be the sender's end of this channel, and the channel would not close while the descriptor is open.
    pub(super) fn close_descriptors(&mut self) {
        self.waiting.clear();
        self.room = 0;
    }

    /// Writes as much as the kernel accepts now, and the descriptor with the first byte.
    /// [`ChannelEvent::Room`] follows a partial write.
    pub(super) fn write(&mut self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        let taken = match send(&self.stream, bytes, descriptor) {
            // Writes a second time through the reactor, so the reactor watches for room.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.without_runtime => {
                self.stream.try_io(Interest::WRITABLE, || send(&self.stream, bytes, descriptor))
            }
            sent => sent,
        };
        let taken = match taken {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if is_broken(&error) => {
                // No write follows. Without the end, a peer that is alive waits for the missing bytes.
                let _ = SockRef::from(&self.stream).shutdown(Shutdown::Write);
                return Err(error);
            }
            taken => taken?,
        };
        self.full = taken < bytes.len();
        Ok(taken)
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<ChannelEvent> {
        if self.full && self.stream.poll_write_ready(cx).is_ready() {
            self.full = false;
            return Poll::Ready(ChannelEvent::Room);
        }
        if self.paused || self.paused_by_program {
            return Poll::Pending;
        }
        self.poll_read(cx, buffer)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<ChannelEvent> {
        let Channel { stream, waiting, room, .. } = self;
        loop {
            match stream.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                // The reactor fails only when the runtime shuts down, and no event can arrive then.
                Poll::Ready(Err(_)) => return Poll::Ready(ChannelEvent::End),
                Poll::Pending => return Poll::Pending,
            }
            match stream.try_io(Interest::READABLE, || receive(stream, buffer, waiting, *room)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(channel_event(&read, buffer, waiting)),
            }
        }
    }

    /// The number of readable bytes.
    pub(super) fn unread(&self) -> usize {
        // After a failure, no bytes count as readable.
        let unread = rustix::io::ioctl_fionread(&self.stream).unwrap_or_default();
        usize::try_from(unread).unwrap_or(usize::MAX)
    }

    /// Whether the peer has closed, and everything was read.
    pub(super) fn is_at_end(&self) -> bool {
        let mut one = [0_u8];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        recv(&self.stream, &mut one, flags).is_ok_and(|(read, _)| read == 0)
    }

    /// Whether the peer has closed, even if unread bytes remain.
    pub(super) fn is_peer_closed(&self) -> bool {
        let mut polled = [PollFd::new(&self.stream, PollFlags::empty())];
        // After a failure the result is false, and the caller checks again later.
        poll(&mut polled, Some(&Timespec::default()))
            .is_ok_and(|_| polled[0].revents().contains(PollFlags::HUP))
    }

    /// Reads at once, without tokio's reactor; `None` if no byte is available.
    pub(super) fn read_now(&mut self, buffer: &mut [u8]) -> Option<ChannelEvent> {
        let read = receive(&self.stream, buffer, &mut self.waiting, self.room);
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            read => Some(channel_event(&read, buffer, &mut self.waiting)),
        }
    }
}

/// Whether the core writes nothing after this error.
fn is_broken(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    [BrokenPipe, ConnectionReset, NotConnected].contains(&error.kind())
}

/// The event of a read. Any failure is the end, because the kernel reports a failure only after the last
/// byte.
fn channel_event(read: &io::Result<usize>, buffer: &[u8], waiting: &mut VecDeque<OwnedFd>) -> ChannelEvent {
    match read {
        Ok(0) | Err(_) => ChannelEvent::End,
        Ok(length) => ChannelEvent::Bytes(buffer[..*length].to_vec(), waiting.pop_front()),
    }
}

fn send(stream: &UnixStream, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = descriptor.as_slice();
    if !descriptors.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(descriptors));
        assert!(fits, "the space is made for one descriptor");
    }
    loop {
        match sendmsg(stream, &[IoSlice::new(bytes)], &mut control, send_flags()) {
            Err(rustix::io::Errno::INTR) => {}
            sent => return Ok(sent?),
        }
    }
}

fn receive(
    stream: &UnixStream,
    buffer: &mut [u8],
    waiting: &mut VecDeque<OwnedFd>,
    room: usize,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match recvmsg(stream, &mut [IoSliceMut::new(buffer)], &mut control, receive_flags()) {
            Err(rustix::io::Errno::INTR) => {}
            message => break message?,
        }
    };
    let descriptors = control.drain().filter_map(|message| {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message { Some(descriptors) } else { None }
    });
    // A truncated message has lost descriptors: no number was free, or there were too many. The lost
    // descriptors are unknown, so none is delivered, and the core rejects the message.
    let whole = !message.flags.contains(ReturnFlags::CTRUNC);
    for descriptor in descriptors.flatten() {
        if whole && waiting.len() < room && can_be_passed(&descriptor) {
            waiting.push_back(descriptor);
        }
    }
    Ok(message.bytes)
}

/// Makes a received socket non-blocking. `false`: the descriptor is no socket, and is closed by the caller.
fn can_be_passed(descriptor: &OwnedFd) -> bool {
    kind(descriptor).is_some() && SockRef::from(descriptor).set_nonblocking(true).is_ok()
}

fn send_flags() -> SendFlags {
    #[cfg(not(target_vendor = "apple"))]
    return SendFlags::NOSIGNAL;
    // On Apple systems Rust's runtime ignores SIGPIPE for the whole process.
    #[cfg(target_vendor = "apple")]
    return SendFlags::empty();
}

fn receive_flags() -> RecvFlags {
    #[cfg(not(target_vendor = "apple"))]
    return RecvFlags::CMSG_CLOEXEC;
    #[cfg(target_vendor = "apple")]
    return RecvFlags::empty();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

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

    /// The message of a descriptor that is no socket arrives without a descriptor.
    #[tokio::test]
    async fn foreign_descriptor_is_closed() {
        let (mut channel, far) = pair();
        let (mut watch, foreign) = io::pipe().expect("a pipe");
        send_all(&far, b"odd", &[foreign.as_fd()]);
        drop(foreign);
        let (bytes, descriptor) = read(&mut channel).await;
        assert_eq!((bytes.as_slice(), descriptor.is_none()), (b"odd".as_slice(), true));
        // The read reaches the end of the pipe only when no copy of the descriptor is left.
        assert_eq!(watch.read(&mut [0]).expect("the end"), 0);
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
}
