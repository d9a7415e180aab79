//! The output of the workers: read line by line, and written by a separate thread. A slow reader never blocks a
//! worker: lines beyond a bound are dropped, and a line has the number of lost lines.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;

use cluster::Pipe;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

use crate::feed::{Feed, OutputLine, Record, Stream, now};
use crate::options::LogFormat;

/// Lines kept for a slow reader.
const QUEUE: usize = 8_192;

/// The longest line in bytes; a longer line is cut.
const LONGEST: u64 = 64 << 10;

/// The output of all workers.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    lines: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
    format: LogFormat,
    feed: Feed,
}

impl Output {
    pub(crate) fn new(format: LogFormat, feed: Feed) -> Self {
        let (lines, queue) = sync_channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let lost = dropped.clone();
        thread::spawn(move || write_all(&queue, &lost, &mut io::stdout()));
        Output { lines, dropped, format, feed }
    }

    /// Reads a pipe of a worker to the end.
    pub(crate) async fn read(self, pipe: Pipe, slot: u32, worker: u64, stream: Stream) {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while let Ok(1..) = (&mut reader).take(LONGEST).read_until(b'\n', &mut line).await {
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let line_of_worker = OutputLine {
                time: now(),
                slot,
                worker,
                stream,
                line: String::from_utf8_lossy(text).into_owned(),
            };
            self.write(line_of_worker);
            line.clear();
        }
    }

    fn write(&self, line: OutputLine) {
        let text = match self.format {
            LogFormat::Text => format!("{} {} | {}\n", line.time, line.slot, line.line),
            LogFormat::Json => serde_json::to_string(&line).expect("texts and numbers") + "\n",
        };
        self.feed.publish(Record::Output(line));
        if let Err(TrySendError::Full(_)) = self.lines.try_send(text.into_bytes()) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Writes lines until no sender is left.
fn write_all(queue: &Receiver<Vec<u8>>, dropped: &AtomicU64, to: &mut impl Write) {
    while let Ok(line) = queue.recv() {
        // The reader may have closed the pipe. The workers continue.
        let _ = to.write_all(&line);
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(to, "cluster: {lost} lines of output were dropped: the reader is too slow");
        }
    }
}
