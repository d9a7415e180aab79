//! One end of an IPC channel: bytes and descriptors over a Unix stream socket, `sendmsg` and `recvmsg`.
//! It does not know what the bytes say.

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

/// What one read takes at most, in bytes; Node reads as much.
pub(super) const READ: usize = 64 << 10;

/// How long a process that ends waits for its peer to close.
const PATIENCE: Duration = Duration::from_secs(1);

/// Descriptors that came with one read and wait for a later one. What a peer sends beyond is closed.
const WAITING: usize = 4;

/// A non-blocking, close-on-exec end of a channel.
#[expect(clippy::struct_excessive_bools, reason = "each of them changes alone")]
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    paused: bool,
    /// Its program has not taken what was read before.
    held: bool,
    full: bool,
    /// The runtime is no longer asked.
    alone: bool,
    waiting: VecDeque<OwnedFd>,
    /// How many may wait.
    room: usize,
}

/// A channel that was closed on our side and not on the peer's.
#[derive(Debug)]
pub(super) struct Farewell(net::UnixStream);

impl Farewell {
    /// Waits until the peer has closed its side, too, but not long: it may be stopped.
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

/// What a channel says.
#[derive(Debug)]
pub(super) enum Heard {
    /// Bytes, never none, and a descriptor that came with them or before.
    Bytes(Vec<u8>, Option<OwnedFd>),
    /// The peer is gone and everything it wrote was read.
    End,
    /// There is room again after a write that was taken in part.
    Room,
}

impl Channel {
    /// Takes over one end of a socket pair.
    pub(super) fn new(stream: net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        Ok(Channel {
            stream,
            paused: false,
            held: false,
            full: false,
            alone: false,
            waiting: VecDeque::new(),
            room: WAITING,
        })
    }

    /// Says that nothing more will be written; the peer hears the end of everything that was.
    pub(super) fn close(self) -> Option<Farewell> {
        let stream = self.stream.into_std().ok()?;
        stream.shutdown(Shutdown::Write).ok()?;
        Some(Farewell(stream))
    }

    /// Whether bytes are left in the kernel.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Whether bytes are left in the kernel because the program does not take them.
    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// From now on the runtime is not asked.
    pub(super) fn leave_runtime(&mut self) {
        self.alone = true;
    }

    /// What to wait for, when the runtime is not asked.
    pub(super) fn awaits(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, !self.paused);
        flags.set(PollFlags::OUT, self.full);
        flags
    }

    /// The event of this moment, when the runtime is not asked.
    pub(super) fn hear_now(&mut self, buffer: &mut [u8]) -> Option<Heard> {
        let mut polled = [PollFd::new(&self.stream, self.awaits())];
        poll(&mut polled, Some(&Timespec::default())).ok()?;
        let ready = polled[0].revents();
        if self.full && ready.intersects(PollFlags::OUT | PollFlags::HUP | PollFlags::ERR) {
            self.full = false;
            return Some(Heard::Room);
        }
        if ready.is_empty() { None } else { self.read_now(buffer) }
    }

    /// No descriptor comes any more: the process that could send them is dead. One of them may be its end of this very
    /// channel, which would then never end.
    pub(super) fn close_descriptors(&mut self) {
        self.waiting.clear();
        self.room = 0;
    }

    /// Writes what the kernel takes now, and the descriptor with the first byte. If that is not all, [`Heard::Room`]
    /// follows once there is more room.
    pub(super) fn write(&mut self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        let taken = match send(&self.stream, bytes, descriptor) {
            // Once more through the reactor, which then knows that there is no room and watches for it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.alone => {
                self.stream.try_io(Interest::WRITABLE, || send(&self.stream, bytes, descriptor))
            }
            sent => sent,
        };
        let taken = match taken {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            taken => taken?,
        };
        self.full = taken < bytes.len();
        Ok(taken)
    }

    /// The next thing this channel says.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Heard> {
        if self.full && self.stream.poll_write_ready(cx).is_ready() {
            self.full = false;
            return Poll::Ready(Heard::Room);
        }
        if self.paused || self.held {
            return Poll::Pending;
        }
        self.poll_read(cx, buffer)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Heard> {
        let Channel { stream, waiting, room, .. } = self;
        loop {
            match stream.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                // The reactor fails only when the runtime shuts down: nothing will be heard any more.
                Poll::Ready(Err(_)) => return Poll::Ready(Heard::End),
                Poll::Pending => return Poll::Pending,
            }
            match stream.try_io(Interest::READABLE, || receive(stream, buffer, waiting, *room)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(heard(&read, buffer, waiting)),
            }
        }
    }

    /// How many bytes can be read this very moment.
    pub(super) fn unread(&self) -> usize {
        // A socket that cannot tell has nothing to say.
        let unread = rustix::io::ioctl_fionread(&self.stream).unwrap_or_default();
        usize::try_from(unread).unwrap_or(usize::MAX)
    }

    /// Whether nothing will be read any more.
    pub(super) fn is_at_end(&self) -> bool {
        let mut one = [0_u8];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        recv(&self.stream, &mut one, flags).is_ok_and(|(read, _)| read == 0)
    }

    /// Whether the far end is closed, read or not.
    pub(super) fn is_hung_up(&self) -> bool {
        let mut polled = [PollFd::new(&self.stream, PollFlags::empty())];
        // A failure says nothing, and is asked again.
        poll(&mut polled, Some(&Timespec::default()))
            .is_ok_and(|_| polled[0].revents().contains(PollFlags::HUP))
    }

    /// What can be read this very moment, whatever the reactor believes; `None` when there is nothing.
    pub(super) fn read_now(&mut self, buffer: &mut [u8]) -> Option<Heard> {
        let read = receive(&self.stream, buffer, &mut self.waiting, self.room);
        match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            read => Some(heard(&read, buffer, &mut self.waiting)),
        }
    }
}

/// Any failure to read is the end: the kernel reports one only when all that was written has been read.
fn heard(read: &io::Result<usize>, buffer: &[u8], waiting: &mut VecDeque<OwnedFd>) -> Heard {
    match read {
        Ok(0) | Err(_) => Heard::End,
        Ok(length) => Heard::Bytes(buffer[..*length].to_vec(), waiting.pop_front()),
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
    // A truncated message has lost descriptors (there was no number left for them, or there were too many): which of
    // them is which cannot be known, so none is delivered and the sender is told by the missing one.
    let whole = !message.flags.contains(ReturnFlags::CTRUNC);
    for descriptor in descriptors.flatten() {
        if whole && waiting.len() < room && can_be_passed(&descriptor) {
            waiting.push_back(descriptor);
        }
    }
    Ok(message.bytes)
}

/// Whether a received descriptor is a socket, which is then made non-blocking. Anything else is closed by the caller.
fn can_be_passed(descriptor: &OwnedFd) -> bool {
    kind(descriptor).is_some() && SockRef::from(descriptor).set_nonblocking(true).is_ok()
}

fn send_flags() -> SendFlags {
    #[cfg(not(target_vendor = "apple"))]
    return SendFlags::NOSIGNAL;
    // There Rust's runtime ignores SIGPIPE for the whole process.
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

    /// A channel and its far end, which blocks.
    fn pair() -> (Channel, net::UnixStream) {
        let (near, far) = net::UnixStream::pair().expect("a pair");
        (Channel::new(near).expect("a channel"), far)
    }

    async fn next(channel: &mut Channel) -> Heard {
        let mut buffer = vec![0; READ];
        let heard = poll_fn(|cx| channel.poll(cx, &mut buffer));
        tokio::time::timeout(Duration::from_secs(10), heard).await.expect("the channel is ready in time")
    }

    /// Bytes, and whether a descriptor came with them.
    async fn read(channel: &mut Channel) -> (Vec<u8>, Option<OwnedFd>) {
        match next(channel).await {
            Heard::Bytes(bytes, descriptor) => (bytes, descriptor),
            other @ (Heard::End | Heard::Room) => unreachable!("{other:?}"),
        }
    }

    fn send_all(far: &net::UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(descriptors)));
        let sent = sendmsg(far, &[IoSlice::new(bytes)], &mut control, SendFlags::empty());
        assert_eq!(sent, Ok(bytes.len()));
    }

    /// A client, and the server's end of its connection.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a client");
        (client, listener.accept().expect("a connection").0)
    }

    #[tokio::test]
    async fn a_connection_arrives_with_its_bytes_and_does_not_block() {
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
            // Nothing newer than what it came with is in front of it.
            assert!(descriptor.is_none() || bytes.len() <= 9);
            found = descriptor.or(found);
        }
        let mut received = TcpStream::from(found.expect("the connection"));
        // Asked first: a read that blocks would never return.
        let flags = rustix::fs::fcntl_getfl(&received).expect("flags");
        assert!(flags.contains(rustix::fs::OFlags::NONBLOCK));
        assert_eq!(received.read(&mut [0]).map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
        received.write_all(b"!").expect("written");
        client.read_exact(&mut [0]).expect("read");
        let flags = rustix::io::fcntl_getfd(&received).expect("flags");
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    }

    #[tokio::test]
    async fn two_descriptors_in_one_message_come_with_two_reads() {
        let (mut channel, far) = pair();
        let ((_a, first), (_b, second)) = (connection(), connection());
        send_all(&far, b"two", &[first.as_fd(), second.as_fd()]);
        assert!(read(&mut channel).await.1.is_some());
        send_all(&far, b"none", &[]);
        assert!(read(&mut channel).await.1.is_some());
        send_all(&far, b"none", &[]);
        assert!(read(&mut channel).await.1.is_none());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_closed_and_its_message_comes_without() {
        let (mut channel, far) = pair();
        let (mut watch, foreign) = io::pipe().expect("a pipe");
        send_all(&far, b"odd", &[foreign.as_fd()]);
        drop(foreign);
        let (bytes, descriptor) = read(&mut channel).await;
        assert_eq!((bytes.as_slice(), descriptor.is_none()), (b"odd".as_slice(), true));
        // The end of the file: no copy is left here.
        assert_eq!(watch.read(&mut [0]).expect("the end"), 0);
    }

    #[tokio::test]
    async fn more_descriptors_than_fit_are_all_closed() {
        let (mut channel, far) = pair();
        let (mut client, server) = connection();
        send_all(&far, b"many", &[server.as_fd(); 8]);
        drop(server);
        assert!(read(&mut channel).await.1.is_none());
        assert_eq!(client.read(&mut [0]).expect("the end"), 0);
    }

    #[tokio::test]
    async fn of_a_dead_process_no_descriptor_is_kept() {
        let (mut channel, far) = pair();
        let (mut client, server) = connection();
        send_all(&far, b"two", &[server.as_fd(), far.as_fd()]);
        drop(read(&mut channel).await);
        channel.close_descriptors();
        // From whoever else holds its end.
        send_all(&far, b"more", &[server.as_fd()]);
        drop((far, server));
        assert!(read(&mut channel).await.1.is_none());
        assert!(matches!(next(&mut channel).await, Heard::End));
        assert_eq!(client.read(&mut [0]).expect("the end"), 0);
    }

    #[tokio::test]
    async fn a_full_channel_takes_a_part_and_tells_when_there_is_room() {
        let (mut channel, mut far) = pair();
        let bytes = vec![b'x'; 1 << 20];
        let taken = channel.write(&bytes, None).expect("a part");
        assert!(taken < bytes.len());
        assert_eq!(channel.write(&bytes[taken..], None).expect("nothing"), 0);
        far.read_exact(&mut vec![0; taken]).expect("what was written");
        assert!(matches!(next(&mut channel).await, Heard::Room));
        assert!(channel.write(&bytes[taken..], None).expect("more") > 0);
    }

    #[tokio::test]
    async fn a_paused_channel_says_nothing_and_then_everything() {
        let (mut channel, mut far) = pair();
        channel.pause(true);
        far.write_all(b"later").expect("written");
        drop(far);
        let mut buffer = vec![0; READ];
        // Often enough for the reactor to know.
        for _ in 0..10 {
            tokio::task::yield_now().await;
            let heard = poll_fn(|cx| Poll::Ready(channel.poll(cx, &mut buffer))).await;
            assert!(heard.is_pending());
        }
        channel.pause(false);
        assert_eq!(read(&mut channel).await.0, b"later");
        assert!(matches!(next(&mut channel).await, Heard::End));
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_cannot_be_written_to_but_is_read_to_its_end() {
        let (mut channel, mut far) = pair();
        far.write_all(b"last words").expect("written");
        assert_eq!(channel.write(b"unread", None).expect("written"), 6);
        drop(far);
        let error = channel.write(b"too late", None).expect_err("nobody is there");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(read(&mut channel).await.0, b"last words");
        assert!(matches!(next(&mut channel).await, Heard::End));
    }
}
