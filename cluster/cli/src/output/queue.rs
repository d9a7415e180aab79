//! The lines between the workers and the reader of standard output. The thread writes only as much as the
//! reader has room for: a write therefore never blocks, and the queue can stop between two writes.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The largest number of bytes queued for a slow reader.
const QUEUED_BYTES: usize = 1 << 20;

/// The largest number of bytes per write. A pipe with the poll result `POLLOUT` has room for `PIPE_BUF`
/// bytes, 4096 on Linux.
const CHUNK: usize = 4_096;

/// A bounded queue of lines.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    dropped: u64,
    is_stopped: bool,
    has_ended: bool,
}

impl State {
    /// The beginning of the queue: as many whole lines as fit, or a part of a long line.
    fn chunk(&mut self) -> Vec<u8> {
        let bytes = self.bytes.make_contiguous();
        let most = &bytes[..bytes.len().min(CHUNK)];
        let lines = most.iter().rposition(|byte| *byte == b'\n').map_or(most.len(), |end| end + 1);
        most[..lines].to_vec()
    }

    fn report_dropped(&mut self) {
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            let report =
                format!("cluster: {dropped} lines of output were dropped, because the reader is slow\n");
            self.bytes.extend(report.as_bytes());
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a line. Drops the line if the queue is full.
    pub(super) fn push_line(&self, line: &str) {
        let mut state = self.state();
        if state.bytes.len() + line.len() > QUEUED_BYTES {
            state.dropped += 1;
            return;
        }
        state.report_dropped();
        state.bytes.extend(line.as_bytes());
        drop(state);
        self.changed.notify_one();
    }

    /// Adds the queued bytes of the previous program.
    pub(super) fn push(&self, bytes: &[u8]) {
        self.state().bytes.extend(bytes);
        self.changed.notify_one();
    }

    /// Stops the thread between two writes, and returns a copy of the unwritten bytes.
    pub(super) fn stop(&self) -> Vec<u8> {
        let mut state = self.state();
        state.is_stopped = true;
        state.report_dropped();
        state.bytes.iter().copied().collect()
    }

    /// Continues after [`stop`](Queue::stop).
    pub(super) fn resume(&self) {
        self.state().is_stopped = false;
        self.changed.notify_one();
    }

    /// The thread ends as soon as the queue is empty.
    pub(super) fn end(&self) {
        self.state().has_ended = true;
        self.changed.notify_one();
    }

    /// Waits for bytes. False: the queue is empty and has ended.
    fn wait(&self) -> bool {
        let waits = |state: &mut State| state.is_stopped || (state.bytes.is_empty() && !state.has_ended);
        let state = self.changed.wait_while(self.state(), waits);
        !state.unwrap_or_else(PoisonError::into_inner).bytes.is_empty()
    }

    /// Writes until the queue is empty and has ended.
    pub(super) fn write_all(&self, to: &mut (impl Write + AsFd)) {
        let mut has_failed = false;
        while self.wait() {
            // If polling fails, the write fails as well, with the same reason.
            let _ = poll(&mut [PollFd::new(to.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE);
            let mut state = self.state();
            if state.is_stopped {
                continue;
            }
            let chunk = state.chunk();
            let written = match to.write(&chunk) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) =>
                {
                    0
                }
                // The workers continue, and a later write may succeed.
                Err(error) => {
                    if !std::mem::replace(&mut has_failed, true) {
                        tracing::warn!(%error, "the output cannot be written");
                    }
                    chunk.len()
                }
                Ok(count) => count,
            };
            state.bytes.drain(..written);
            if state.bytes.is_empty() {
                state.report_dropped();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};
    use std::sync::Arc;
    use std::thread;

    /// A stopped queue writes nothing, and keeps the bytes for another queue.
    #[test]
    fn stopped_queue_keeps_its_bytes() {
        let (reader, mut writer) = io::pipe().expect("a pipe");
        let queue = Arc::new(Queue::default());
        queue.stop();
        let writing = queue.clone();
        let thread = thread::spawn(move || writing.write_all(&mut writer));
        queue.push_line("one\n");
        queue.push_line("two\n");
        assert_eq!(queue.stop(), b"one\ntwo\n");
        queue.resume();
        let mut lines = BufReader::new(reader).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "one");
        queue.end();
        assert_eq!(lines.next().expect("a line").expect("text"), "two");
        thread.join().expect("no panic");
    }

    /// Lines beyond the bound are dropped and counted.
    #[test]
    fn slow_reader_loses_counted_lines() {
        let queue = Queue::default();
        let line = format!("{}\n", "x".repeat(QUEUED_BYTES / 2));
        (0..4).for_each(|_| queue.push_line(&line));
        let text = String::from_utf8(queue.stop()).expect("text");
        assert!(text.ends_with("cluster: 3 lines of output were dropped, because the reader is slow\n"));
    }
}
