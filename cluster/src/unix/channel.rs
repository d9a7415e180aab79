//! One end of an IPC channel: bytes and descriptors over a Unix stream socket, `sendmsg` and `recvmsg`.
//! It does not know what the bytes say.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net;
use std::task::{Context, Poll};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::{SockRef, Type};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// What one read takes at most, in bytes; Node reads as much.
pub(super) const READ: usize = 64 << 10;

/// Descriptors that came with one read and wait for a later one. What a peer sends beyond is closed.
const WAITING: usize = 4;

/// A non-blocking, close-on-exec end of a channel.
#[derive(Debug)]
pub(super) struct Channel {
    stream: UnixStream,
    paused: bool,
    full: bool,
    waiting: VecDeque<OwnedFd>,
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
        Ok(Channel { stream, paused: false, full: false, waiting: VecDeque::new() })
    }

    /// Whether bytes are left in the kernel.
    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Writes what the kernel takes now, and the descriptor with the first byte. If that is not all, [`Heard::Room`]
    /// follows once there is more room.
    pub(super) fn write(&mut self, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
        let taken = match send(&self.stream, bytes, descriptor) {
            // Once more through the reactor, which then knows that there is no room and watches for it.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
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
        if self.paused {
            return Poll::Pending;
        }
        self.poll_read(cx, buffer)
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Heard> {
        let Channel { stream, waiting, .. } = self;
        loop {
            match stream.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                // The reactor fails only when the runtime shuts down: nothing will be heard any more.
                Poll::Ready(Err(_)) => return Poll::Ready(Heard::End),
                Poll::Pending => return Poll::Pending,
            }
            match stream.try_io(Interest::READABLE, || receive(stream, buffer, waiting)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(heard(&read, buffer, waiting)),
            }
        }
    }

    /// What can be read this very moment, whatever the reactor believes; `None` when there is nothing.
    pub(super) fn read_now(&mut self, buffer: &mut [u8]) -> Option<Heard> {
        let read = receive(&self.stream, buffer, &mut self.waiting);
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

fn receive(stream: &UnixStream, buffer: &mut [u8], waiting: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
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
        if whole && waiting.len() < WAITING && adopt(&descriptor) {
            waiting.push_back(descriptor);
        }
    }
    Ok(message.bytes)
}

/// Whether a received descriptor is a TCP socket, which is then made non-blocking. Anything else is closed by the caller.
fn adopt(descriptor: &OwnedFd) -> bool {
    let socket = SockRef::from(descriptor);
    let stream = socket.r#type().is_ok_and(|kind| kind == Type::STREAM);
    let internet = socket.local_addr().is_ok_and(|address| address.as_socket().is_some());
    stream && internet && socket.set_nonblocking(true).is_ok()
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
