//! The primary's ends of a worker's pipes. Until the program takes a pipe, the output is kept, up to a bound.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net;
use std::pin::Pin;
use std::task::{Context, Poll};

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use super::adoption::adopt;

/// The most bytes read from a pipe in a turn.
const TURN: usize = 65_536;

/// The primary's end of a worker's pipe, from [`Primary::stdio`](crate::Primary::stdio). Node: a stream of
/// `worker.process.stdio`.
///
/// The pipe is a Unix socket, so both sides can read and write. Reads return the kept output first.
#[derive(Debug)]
pub struct Pipe {
    stream: UnixStream,
    kept: Vec<u8>,
    /// The number of bytes of `kept` already read by the program.
    given: usize,
    has_ended: bool,
}

/// A pipe not taken by the program, as plain data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PipeState {
    pub(super) descriptor: RawFd,
    kept: Vec<u8>,
    has_ended: bool,
}

impl Pipe {
    pub(super) fn state(&self) -> PipeState {
        let kept = self.kept[self.given..].to_vec();
        PipeState { descriptor: self.stream.as_raw_fd(), kept, has_ended: self.has_ended }
    }

    pub(super) fn restore(state: PipeState) -> io::Result<Self> {
        let pipe = Pipe::new(adopt(state.descriptor)?.into())?;
        Ok(Pipe { kept: state.kept, has_ended: state.has_ended, ..pipe })
    }

    pub(super) fn new(stream: net::UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        Ok(Pipe { stream, kept: Vec::new(), given: 0, has_ended: false })
    }

    /// The kept output not yet read by the program, and the socket.
    pub fn into_parts(mut self) -> (Vec<u8>, UnixStream) {
        (self.kept.split_off(self.given), self.stream)
    }

    /// Reads output until the program takes the pipe, at most `bound` bytes.
    pub(super) fn keep(&mut self, cx: &mut Context<'_>, bound: usize) {
        let mut left = TURN;
        while !self.has_ended && self.kept.len() < bound {
            if left == 0 {
                // The rest is read in another turn, after other events.
                cx.waker().wake_by_ref();
                return;
            }
            // The reactor fails only when the runtime shuts down.
            let Poll::Ready(Ok(())) = self.stream.poll_read_ready(cx) else { return };
            let before = self.kept.len();
            let room = left.min(bound - before);
            self.kept.resize(before + room, 0);
            let read = self.stream.try_read(&mut self.kept[before..]);
            self.kept.truncate(before + read.as_ref().copied().unwrap_or_default());
            match read {
                Ok(0) => self.has_ended = true,
                Ok(count) => left -= count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The next read of the program returns the error.
                Err(_) => self.has_ended = true,
            }
        }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let kept = &self.kept[self.given..];
        if kept.is_empty() {
            self.kept = Vec::new();
            self.given = 0;
            return Pin::new(&mut self.stream).poll_read(cx, buffer);
        }
        let count = kept.len().min(buffer.remaining());
        buffer.put_slice(&kept[..count]);
        self.given += count;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::io::Write;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    async fn kept(pipe: &mut Pipe, bound: usize, wanted: usize) {
        let kept = poll_fn(|cx| {
            pipe.keep(cx, bound);
            if pipe.kept.len() >= wanted { Poll::Ready(()) } else { Poll::Pending }
        });
        tokio::time::timeout(std::time::Duration::from_secs(10), kept).await.expect("kept in time");
    }

    /// Output is read in order, and no more than the bound is kept.
    #[tokio::test]
    async fn pipe_begins_with_what_it_kept() {
        let text: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
        for bound in [0, 1, 999, 40_000, usize::MAX] {
            let (ours, mut theirs) = net::UnixStream::pair().expect("a pair");
            let mut pipe = Pipe::new(ours).expect("a pipe");
            theirs.write_all(&text).expect("room");
            let wanted = bound.min(text.len());
            kept(&mut pipe, bound, wanted).await;
            kept(&mut pipe, bound, wanted).await;
            assert_eq!(pipe.kept.len(), wanted);
            drop(theirs);
            let mut read = Vec::new();
            pipe.read_to_end(&mut read).await.expect("read");
            assert_eq!(read, text);
        }
    }

    /// The far end reads all written bytes and then the end, although the pipe still exists.
    #[tokio::test]
    async fn shutdown_ends_what_is_written() {
        let (ours, theirs) = net::UnixStream::pair().expect("a pair");
        theirs.set_read_timeout(Some(std::time::Duration::from_secs(3))).expect("a bound");
        let mut pipe = Pipe::new(ours).expect("a pipe");
        pipe.write_all(b"all").await.expect("room");
        pipe.shutdown().await.expect("an open pipe");
        assert_eq!(std::io::read_to_string(&theirs).expect("an end"), "all");
        drop(pipe);
    }

    #[tokio::test]
    async fn pipe_splits_into_parts() {
        let (ours, mut theirs) = net::UnixStream::pair().expect("a pair");
        let mut pipe = Pipe::new(ours).expect("a pipe");
        theirs.write_all(b"before").expect("room");
        kept(&mut pipe, 100, 6).await;
        pipe.read_exact(&mut [0; 2]).await.expect("read");
        theirs.write_all(b"after").expect("room");
        drop(theirs);
        let (before, mut stream) = pipe.into_parts();
        let mut after = String::new();
        stream.read_to_string(&mut after).await.expect("read");
        assert_eq!((before.as_slice(), after.as_str()), (b"fore".as_slice(), "after"));
    }

    /// A turn reads 64 KiB, and wakes the task for the rest.
    #[tokio::test]
    async fn turn_of_pipe_is_bounded() {
        let (ours, mut theirs) = net::UnixStream::pair().expect("a pair");
        let mut pipe = Pipe::new(ours).expect("a pipe");
        theirs.write_all(&vec![b'x'; 2 * TURN]).expect("room");
        poll_fn(|cx| pipe.stream.poll_read_ready(cx)).await.expect("readable");
        poll_fn(|cx| {
            pipe.keep(cx, usize::MAX);
            Poll::Ready(())
        })
        .await;
        assert_eq!(pipe.kept.len(), TURN);
        let rest = kept(&mut pipe, usize::MAX, 2 * TURN);
        tokio::time::timeout(std::time::Duration::from_secs(10), rest).await.expect("another turn in time");
    }
}
