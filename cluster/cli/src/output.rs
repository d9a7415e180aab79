//! The output of the workers: read line by line, and written by a separate thread. A slow reader never blocks a
//! worker: lines beyond a bound are dropped, and a line has the number of lost lines.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use cluster::Pipe;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::feed::{Feed, OutputLine, Record, Stream, now};
use crate::options::LogFormat;

/// The bytes kept for a slow reader.
const QUEUED_BYTES: usize = 1 << 20;

/// The longest line in bytes; a longer line becomes several.
const LONGEST_LINE: u64 = 16 << 10;

/// The longest wait for the last lines: a process may hold a pipe of an exited worker open, and the reader may be stuck.
const LAST_LINES: Duration = Duration::from_secs(1);

/// The output of all workers.
#[derive(Debug)]
pub(crate) struct Output {
    sink: Sink,
    readers: JoinSet<()>,
    /// The writing thread before the start. `None`: started.
    writer: Option<Writer>,
    /// Sent at the end of the writing thread.
    end: oneshot::Receiver<()>,
}

/// The thread that writes to standard output.
#[derive(Debug)]
struct Writer {
    queue: mpsc::Receiver<String>,
    load: Arc<Load>,
    end: oneshot::Sender<()>,
}

impl Writer {
    fn start(self) {
        thread::spawn(move || {
            write_all(&self.queue, &self.load, &mut io::stdout());
            // An error: the command no longer waits.
            let _ = self.end.send(());
        });
    }
}

/// Sends lines to the writing thread and to the feed.
#[derive(Debug, Clone)]
struct Sink {
    lines: mpsc::Sender<String>,
    load: Arc<Load>,
    format: LogFormat,
    feed: Feed,
}

/// The lines between the workers and the reader.
#[derive(Debug, Default)]
struct Load {
    queued_bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Output {
    pub(crate) fn new(format: LogFormat, feed: Feed) -> Self {
        let (lines, queue) = mpsc::channel();
        let (sender, end) = oneshot::channel();
        let load = Arc::<Load>::default();
        let writer = Some(Writer { queue, load: load.clone(), end: sender });
        Output { sink: Sink { lines, load, format, feed }, readers: JoinSet::new(), writer, end }
    }

    /// Reads a pipe of a worker to the end, in a task. The first call starts the thread: the start of a worker need not wait.
    pub(crate) fn read(&mut self, pipe: Pipe, slot: u32, worker: u64, stream: Stream) {
        if let Some(writer) = self.writer.take() {
            writer.start();
        }
        while self.readers.try_join_next().is_some() {}
        self.readers.spawn(read(pipe, slot, worker, stream, self.sink.clone()));
    }

    /// Waits until the last lines are written.
    pub(crate) async fn finish(self) {
        let Output { sink, mut readers, writer, end } = self;
        let _ = timeout(LAST_LINES, async { while readers.join_next().await.is_some() {} }).await;
        drop((sink, readers, writer));
        let _ = timeout(LAST_LINES, end).await;
    }
}

async fn read(pipe: Pipe, slot: u32, worker: u64, stream: Stream, sink: Sink) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut reader).take(LONGEST_LINE).read_until(b'\n', &mut line).await {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = String::from_utf8_lossy(text).into_owned();
        sink.write(OutputLine { time: now(), slot, worker, stream, line: text });
        line.clear();
    }
}

impl Sink {
    fn write(&self, line: OutputLine) {
        let text = match self.format {
            LogFormat::Text => format!("{line}\n"),
            LogFormat::Json => serde_json::to_string(&line).expect("texts and numbers") + "\n",
        };
        self.feed.publish(Record::Output(line));
        if self.load.queued_bytes.load(Ordering::Relaxed) + text.len() > QUEUED_BYTES {
            self.load.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.load.queued_bytes.fetch_add(text.len(), Ordering::Relaxed);
        // An error: the thread has panicked.
        let _ = self.lines.send(text);
    }
}

/// Writes lines until no sender is left.
fn write_all(queue: &mpsc::Receiver<String>, load: &Load, to: &mut impl Write) {
    let mut has_failed = false;
    while let Ok(line) = queue.recv() {
        // The workers continue, and the next line may be written.
        if let Err(error) = to.write_all(line.as_bytes())
            && !std::mem::replace(&mut has_failed, true)
        {
            tracing::warn!(%error, "the output cannot be written");
        }
        load.queued_bytes.fetch_sub(line.len(), Ordering::Relaxed);
        let dropped = load.dropped.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let _ =
                writeln!(to, "cluster: {dropped} lines of output were dropped, because the reader is slow");
        }
    }
}
