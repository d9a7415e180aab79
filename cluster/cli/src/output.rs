//! The output of the workers: read line by line, and written by a separate thread. A slow reader never blocks
//! a worker: lines beyond a bound are dropped, and a line of the output then reports how many.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use cluster::{Kept, Pipe, Predecessor};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::task::yield_now;
use tokio::time::timeout;

use crate::feed::{Feed, OutputLine, Record, Stream, now};
use crate::options::LogFormat;
use crate::output::queue::Queue;

mod queue;

/// The longest line in bytes; a longer line becomes several.
const LONGEST_LINE: usize = 16 << 10;

/// The largest number of bytes per read.
const CHUNK: usize = 8 << 10;

/// How long the end of the service waits for the last lines. The wait could last: a process may hold a pipe
/// of an exited worker open, and the reader of the output may be stuck.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The output of all workers.
#[derive(Debug)]
pub(crate) struct Output {
    sink: Sink,
    readers: JoinSet<()>,
    open: OpenPipes,
    /// The sender by which the writing thread reports its end. `None`: the thread has started, and owns the
    /// sender.
    writer: Option<oneshot::Sender<()>>,
    end: oneshot::Receiver<()>,
}

/// The pipes that are read at present.
type OpenPipes = Arc<Mutex<Vec<Weak<OpenPipe>>>>;

/// A pipe, and the received bytes of an incomplete line. Whenever the task of a reader waits, all other bytes
/// of the pipe are still in the kernel; a hand-over therefore loses none.
#[derive(Debug)]
struct OpenPipe {
    stream: UnixStream,
    source: Source,
    incomplete: Mutex<Vec<u8>>,
}

/// The origin of a line.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Source {
    slot: u32,
    worker: u64,
    stream: Stream,
}

/// Sends lines to the writing thread and to the feed.
#[derive(Debug, Clone)]
struct Sink {
    queue: Arc<Queue>,
    format: LogFormat,
    feed: Feed,
}

/// The output, serialized for a hand-over.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct OutputState {
    pipes: Vec<(RawFd, Source, Vec<u8>)>,
    queued: Vec<u8>,
}

/// Access to the output during a hand-over.
#[derive(Debug)]
pub(crate) struct OutputRemote {
    open: OpenPipes,
    queue: Arc<Queue>,
}

impl OutputRemote {
    /// Stops the writing thread until [`resume`](OutputRemote::resume), and returns the state.
    pub(crate) fn stop(&self, kept: &mut Kept) -> OutputState {
        OutputState { queued: self.queue.stop(), ..self.state(kept) }
    }

    /// The state without the queue of the writing thread.
    pub(crate) fn state(&self, kept: &mut Kept) -> OutputState {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let pipes = open.iter().filter_map(Weak::upgrade).map(|pipe| {
            let incomplete = pipe.incomplete.lock().unwrap_or_else(PoisonError::into_inner).clone();
            (kept.descriptor(&pipe.stream), pipe.source, incomplete)
        });
        OutputState { pipes: pipes.collect(), queued: Vec::new() }
    }

    pub(crate) fn resume(&self) {
        self.queue.resume();
    }
}

impl Output {
    pub(crate) fn new(format: LogFormat, feed: Feed) -> Self {
        let (writer, end) = oneshot::channel();
        let sink = Sink { queue: Arc::default(), format, feed };
        Output { sink, readers: JoinSet::new(), open: OpenPipes::default(), writer: Some(writer), end }
    }

    /// Starts the writing thread, unless started before. The thread starts after the first worker, so the
    /// first worker starts earlier.
    fn start_thread(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        let queue = self.sink.queue.clone();
        thread::spawn(move || {
            // The buffer of `std::io::Stdout` would be lost in a hand-over, so the thread writes to a copy of
            // the descriptor.
            match io::stdout().as_fd().try_clone_to_owned() {
                Ok(stdout) => queue.write_all(&mut File::from(stdout)),
                Err(error) => tracing::warn!(%error, "the output cannot be written"),
            }
            // Fails if the command no longer waits.
            let _ = writer.send(());
        });
    }

    /// Takes over the pipes and the queue of the previous program.
    ///
    /// # Errors
    /// The runtime cannot register a pipe.
    pub(crate) fn restore(
        &mut self,
        state: OutputState,
        predecessor: &mut Predecessor,
    ) -> anyhow::Result<()> {
        if !state.queued.is_empty() {
            self.sink.queue.push(&state.queued);
            self.start_thread();
        }
        for (number, source, incomplete) in state.pipes {
            let stream = std::os::unix::net::UnixStream::from(predecessor.descriptor(number));
            let stream = UnixStream::from_std(stream).context("cannot read the output of a worker")?;
            self.spawn(stream, source, incomplete);
        }
        Ok(())
    }

    pub(crate) fn remote(&self) -> OutputRemote {
        OutputRemote { open: self.open.clone(), queue: self.sink.queue.clone() }
    }

    /// Starts a task to read a pipe of a worker to the end.
    pub(crate) fn read(&mut self, pipe: Pipe, slot: u32, worker: u64, stream: Stream) {
        let (kept, socket) = pipe.into_parts();
        self.spawn(socket, Source { slot, worker, stream }, kept);
    }

    fn spawn(&mut self, stream: UnixStream, source: Source, incomplete: Vec<u8>) {
        self.start_thread();
        while self.readers.try_join_next().is_some() {}
        let pipe = Arc::new(OpenPipe { stream, source, incomplete: Mutex::new(incomplete) });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|pipe| pipe.strong_count() > 0);
        open.push(Arc::downgrade(&pipe));
        drop(open);
        self.readers.spawn(read(pipe, self.sink.clone()));
    }

    /// Waits until the last lines are written.
    pub(crate) async fn finish(self) {
        let Output { sink, mut readers, writer, end, .. } = self;
        drop(writer);
        let _ = timeout(LAST_LINES, async { while readers.join_next().await.is_some() {} }).await;
        sink.queue.end();
        let _ = timeout(LAST_LINES, end).await;
    }
}

async fn read(pipe: Arc<OpenPipe>, sink: Sink) {
    let mut buffer = vec![0; CHUNK];
    sink.write_lines(&pipe, &[]);
    while pipe.stream.readable().await.is_ok() {
        match pipe.stream.try_read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => sink.write_lines(&pipe, &buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
        // Lets other tasks run, even if the worker writes without a pause: above all, the tasks that send
        // these lines to clients.
        yield_now().await;
    }
    let last = std::mem::take(&mut *pipe.incomplete.lock().unwrap_or_else(PoisonError::into_inner));
    if !last.is_empty() {
        sink.write(pipe.source, &last);
    }
}

impl Sink {
    /// Writes the complete lines, and keeps the bytes of an incomplete line.
    fn write_lines(&self, pipe: &OpenPipe, bytes: &[u8]) {
        let mut incomplete = pipe.incomplete.lock().unwrap_or_else(PoisonError::into_inner);
        // The kept bytes contain no line ending, unless the previous program has kept the bytes.
        incomplete.extend_from_slice(bytes);
        let mut start = 0;
        loop {
            let rest = &incomplete[start..];
            let end = rest.iter().take(LONGEST_LINE).position(|byte| *byte == b'\n');
            match end {
                Some(end) => {
                    self.write(pipe.source, &rest[..end]);
                    start += end + 1;
                }
                None if rest.len() >= LONGEST_LINE => {
                    self.write(pipe.source, &rest[..LONGEST_LINE]);
                    start += LONGEST_LINE;
                }
                None => break,
            }
        }
        incomplete.drain(..start);
    }

    fn write(&self, source: Source, line: &[u8]) {
        let Source { slot, worker, stream } = source;
        let text = String::from_utf8_lossy(line).into_owned();
        let line = OutputLine { time: now(), slot, worker, stream, line: text };
        let text = match self.format {
            LogFormat::Text => format!("{line}\n"),
            LogFormat::Json => serde_json::to_string(&line).expect("texts and numbers") + "\n",
        };
        self.feed.publish(Record::Output(line));
        self.queue.push_line(&text);
    }
}
