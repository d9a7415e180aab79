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
use super::errno;

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
    /// Whether the peer is a primary. The descriptors of its offers are neither checked nor changed.
    trusting: bool,
    /// Whether the peer may have to acknowledge descriptors.
    has_sent_descriptors: bool,
    /// Whether the first byte shows messages in JSON; unknown before the first byte. The other serialization
    /// begins with a length, of which the first byte is small.
    is_json: Option<bool>,
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
            trusting: false,
            has_sent_descriptors: false,
            is_json: None,
        })
    }

    /// Takes the worker's end. A primary accepts every connection in the same way, so
    /// [`Unix::take_connection`](super::Unix::take_connection) checks the first connection only.
    pub(super) fn to_primary(stream: net::UnixStream) -> io::Result<Self> {
        Ok(Channel { trusting: true, ..Channel::new(stream)? })
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
        self.has_sent_descriptors |= descriptor.is_some();
        let taken = match send(&self.stream, bytes, descriptor) {
            // Writes a second time through the reactor, so the reactor watches for room.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !self.without_runtime => {
                self.stream.try_io(Interest::WRITABLE, || send(&self.stream, bytes, descriptor))
            }
            sent => sent,
        };
        let taken = match taken {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) if errno(&error).breaks_channel(descriptor.is_some()) => {
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
        loop {
            match self.stream.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                // The reactor fails only when the runtime shuts down, and no event can arrive then.
                Poll::Ready(Err(_)) => return Poll::Ready(ChannelEvent::End),
                Poll::Pending => return Poll::Pending,
            }
            let is_quiet = self.is_quiet_after_descriptor();
            let Channel { stream, waiting, room, trusting, is_json, .. } = self;
            let mut read = None;
            // The result is for the reactor: a failure withdraws the readiness until more bytes arrive.
            let _ = stream.try_io(Interest::READABLE, || {
                match receive(stream, buffer, waiting, *room, *trusting) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(error),
                    received => {
                        let empties = |received: &ReadOutcome| {
                            let bytes = &buffer[..received.bytes];
                            let is_json = *is_json.get_or_insert(bytes.first() >= Some(&b' '));
                            let is_whole = is_json && bytes.last() == Some(&b'\n');
                            received.empties(buffer.len(), is_quiet && is_whole)
                        };
                        let is_empty = received.as_ref().is_ok_and(empties);
                        read = Some(received);
                        if is_empty { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
                    }
                }
            });
            if let Some(received) = read {
                return Poll::Ready(channel_event(&received, buffer, waiting));
            }
        }
    }

    /// Whether the peer sends nothing behind a whole message with a descriptor until this end has written. A
    /// primary waits for the acknowledgement of a descriptor (Node: `_handleQueue`). Only acknowledgements of
    /// the worker's own descriptors do not wait. A full channel takes the descriptor with a part of the
    /// message.
    fn is_quiet_after_descriptor(&self) -> bool {
        self.trusting && !self.has_sent_descriptors
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
        match receive(&self.stream, buffer, &mut self.waiting, self.room, self.trusting) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            received => Some(channel_event(&received, buffer, &mut self.waiting)),
        }
    }
}

/// The event of a read. Any failure is the end, because the kernel reports a failure only after the last
/// byte.
fn channel_event(
    received: &io::Result<ReadOutcome>,
    buffer: &[u8],
    waiting: &mut VecDeque<OwnedFd>,
) -> ChannelEvent {
    match received {
        Ok(ReadOutcome { bytes: 0, .. }) | Err(_) => ChannelEvent::End,
        Ok(ReadOutcome { bytes, .. }) => ChannelEvent::Bytes(buffer[..*bytes].to_vec(), waiting.pop_front()),
    }
}

/// The result of a read.
#[derive(Debug, Clone, Copy)]
struct ReadOutcome {
    bytes: usize,
    has_descriptors: bool,
}

impl ReadOutcome {
    /// Whether the channel is empty after the read, so that another read would fail. Linux also ends a read
    /// behind descriptors (`unix_stream_read_generic`), and other systems before descriptors.
    fn empties(self, room: usize, ends_after_descriptor: bool) -> bool {
        let is_whole = !self.has_descriptors || ends_after_descriptor;
        cfg!(target_os = "linux") && self.bytes < room && is_whole
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
    trusting: bool,
) -> io::Result<ReadOutcome> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match recvmsg(stream, &mut [IoSliceMut::new(buffer)], &mut control, receive_flags()) {
            Err(rustix::io::Errno::INTR) => {}
            message => break message,
        }
    };
    #[cfg(all(test, target_os = "linux"))]
    tests::count(message.is_err());
    let message = message?;
    let descriptors = control.drain().filter_map(|message| {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message { Some(descriptors) } else { None }
    });
    // A truncated message has lost descriptors: no number was free, or there were too many. The lost
    // descriptors are unknown, so none is delivered, and the core rejects the message.
    let whole = !message.flags.contains(ReturnFlags::CTRUNC);
    let mut has_descriptors = !whole;
    for descriptor in descriptors.flatten() {
        has_descriptors = true;
        let is_passable = || trusting && is_offer(&buffer[..message.bytes]) || can_be_passed(&descriptor);
        if whole && waiting.len() < room && is_passable() {
            waiting.push_back(descriptor);
        }
    }
    Ok(ReadOutcome { bytes: message.bytes, has_descriptors })
}

/// Whether the bytes offer a connection, in either serialization. The socket of another message with this
/// text is checked when the program takes the socket.
fn is_offer(bytes: &[u8]) -> bool {
    const OFFER: &[u8] = b"newconn";
    bytes.windows(OFFER.len()).any(|text| text == OFFER)
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
mod tests;
