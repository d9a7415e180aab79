//! The feed: the events of a service and the output of the workers, for `cluster events` and `cluster logs`.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use cluster::{Event, SlotId, SupervisorEvent, WorkerId};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// The records queued for a reader. A slower reader loses the oldest records.
const READER_RECORDS: usize = 1_024;

/// The number of bytes of recent records, kept for new readers.
const RECENT_BYTES: usize = 1 << 20;

/// The pause between two records of failed accepts.
const ACCEPT_FAILURES: Duration = Duration::from_secs(10);

/// A record with a number. Numbers ascend from 1 without a gap, also over an upgrade.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) number: u64,
    pub(crate) record: Record,
}

/// An event, or a line of output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub(crate) enum Record {
    Event(EventRecord),
    Output(OutputLine),
}

/// An event of the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EventRecord {
    /// The time, as in RFC 3339.
    pub(crate) time: String,
    /// The name of the event, for example `slot-ready`.
    pub(crate) event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<u64>,
    /// The number of the reload or restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reload: Option<u64>,
    /// The event as a sentence.
    pub(crate) text: String,
}

/// A line of a worker's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OutputLine {
    /// The time, as in RFC 3339.
    pub(crate) time: String,
    pub(crate) slot: u32,
    pub(crate) worker: u64,
    pub(crate) stream: Stream,
    /// The text without the line ending. Bytes other than UTF-8 are replaced.
    pub(crate) line: String,
}

/// The stream of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// The line in the output of `cluster run`.
impl fmt::Display for OutputLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} | {}", self.time, self.slot, self.line)
    }
}

impl fmt::Display for EventRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.time, self.text)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Record::Event(event) => event.fmt(f),
            Record::Output(line) => line.fmt(f),
        }
    }
}

impl Record {
    /// The approximate memory of the record.
    fn bytes(&self) -> usize {
        let texts = match self {
            Record::Event(event) => event.time.len() + event.event.len() + event.text.len(),
            Record::Output(line) => line.time.len() + line.line.len(),
        };
        size_of::<Record>() + texts
    }
}

/// Distributes records to all readers, and keeps the recent records.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    sender: broadcast::Sender<Arc<Numbered>>,
    recent: Arc<Mutex<Recent>>,
}

#[derive(Debug, Default)]
struct Recent {
    records: VecDeque<Arc<Numbered>>,
    /// The number of the last record.
    last: u64,
    bytes: usize,
    /// When the last failed accept was recorded.
    accept_failed: Option<Instant>,
}

impl Recent {
    /// Whether an event is a failed accept shortly after a recorded failure. Without free descriptors every
    /// accept fails, so a record stands for all failures of `ACCEPT_FAILURES`.
    fn is_repeated(&mut self, event: &SupervisorEvent) -> bool {
        let SupervisorEvent::Primary(Event::AcceptFailed { .. }) = event else { return false };
        let is_repeated = self.accept_failed.is_some_and(|last| last.elapsed() < ACCEPT_FAILURES);
        if !is_repeated {
            self.accept_failed = Some(Instant::now());
        }
        is_repeated
    }

    fn push(&mut self, record: Arc<Numbered>) {
        self.bytes += record.record.bytes();
        self.records.push_back(record);
        while self.bytes > RECENT_BYTES
            && let Some(oldest) = self.records.pop_front()
        {
            self.bytes -= oldest.record.bytes();
        }
    }
}

/// The recent records for a hand-over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FeedMemory {
    last: u64,
    records: Vec<Record>,
}

impl Feed {
    pub(crate) fn memory(&self) -> FeedMemory {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let records = recent.records.iter().map(|numbered| numbered.record.clone()).collect();
        FeedMemory { last: recent.last, records }
    }

    pub(crate) fn new() -> Self {
        Feed { sender: broadcast::Sender::new(READER_RECORDS), recent: Arc::default() }
    }

    /// A feed with the recent records of the previous program.
    pub(crate) fn after(memory: FeedMemory) -> Self {
        let feed = Feed::new();
        let FeedMemory { last, records } = memory;
        feed.recent.lock().unwrap_or_else(PoisonError::into_inner).last = last - records.len() as u64;
        for record in records {
            feed.publish(record);
        }
        feed
    }

    pub(crate) fn publish(&self, record: Record) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.last += 1;
        let record = Arc::new(Numbered { number: recent.last, record });
        recent.push(record.clone());
        // Fails if there is no reader.
        let _ = self.sender.send(record);
    }

    /// Publishes the record of an event.
    pub(crate) fn publish_event(&self, event: &SupervisorEvent) {
        let is_repeated = self.recent.lock().unwrap_or_else(PoisonError::into_inner).is_repeated(event);
        if let Some(record) = record(event).filter(|_| !is_repeated) {
            self.publish(Record::Event(record));
        }
    }

    /// Publishes an event of the service, rather than of the supervisor, and returns the record.
    pub(crate) fn publish_text(&self, event: &str, text: String) -> Record {
        let (event, time) = (event.to_owned(), now());
        let record = Record::Event(EventRecord { time, event, slot: None, worker: None, reload: None, text });
        self.publish(record.clone());
        record
    }

    /// Publishes an event about a worker, found by the service.
    pub(crate) fn publish_of_worker(&self, event: &str, slot: u32, worker: WorkerId, text: String) {
        let (event, time, slot, worker) = (event.to_owned(), now(), Some(slot), Some(worker.0));
        self.publish(Record::Event(EventRecord { time, event, slot, worker, reload: None, text }));
    }

    /// A receiver of all later records.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Numbered>> {
        self.sender.subscribe()
    }

    /// The recent records, and a receiver of all later records.
    pub(crate) fn recent(&self) -> (Vec<Arc<Numbered>>, broadcast::Receiver<Arc<Numbered>>) {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        (recent.records.iter().cloned().collect(), self.sender.subscribe())
    }
}

/// The present time, as in RFC 3339, for people alone: the wall clock jumps, so no decision depends on the
/// time.
#[expect(clippy::disallowed_methods, reason = "a printed time")]
pub(crate) fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// The record of an event. `None`: the event changes nothing visible, for example a message of a worker.
fn record(event: &SupervisorEvent) -> Option<EventRecord> {
    let (name, slot, worker) = describe(event)?;
    let (slot, worker) = (slot.map(|slot| slot.0), worker.map(|worker| worker.0));
    let (event_name, reload, text) = (name.to_owned(), reload_of(event), event.to_string());
    Some(EventRecord { time: now(), event: event_name, slot, worker, reload, text })
}

/// The number of the reload that an event begins or ends.
fn reload_of(event: &SupervisorEvent) -> Option<u64> {
    if let SupervisorEvent::ReloadStarted { id, .. }
    | SupervisorEvent::ReloadFinished { id, .. }
    | SupervisorEvent::ReloadAbandoned { id, .. } = event
    {
        return Some(id.0);
    }
    None
}

fn describe(event: &SupervisorEvent) -> Option<(&'static str, Option<SlotId>, Option<WorkerId>)> {
    Some(match event {
        SupervisorEvent::Primary(event) => {
            let (name, worker) = describe_primary(event)?;
            (name, None, worker)
        }
        SupervisorEvent::SlotReady { slot, worker } => ("slot-ready", Some(*slot), Some(*worker)),
        SupervisorEvent::StartFailed { slot, worker, .. } => ("start-failed", Some(*slot), *worker),
        SupervisorEvent::Restarting { slot, worker, .. } => ("restarting", Some(*slot), *worker),
        SupervisorEvent::SlotSuspended { slot } => ("slot-suspended", Some(*slot), None),
        SupervisorEvent::GaveUp { slot, .. } => ("gave-up", Some(*slot), None),
        SupervisorEvent::ReloadStarted { .. } => ("reload-started", None, None),
        SupervisorEvent::ReloadFinished { .. } => ("reload-finished", None, None),
        SupervisorEvent::ReloadAbandoned { .. } => ("reload-abandoned", None, None),
        SupervisorEvent::Scaled { .. } => ("scaled", None, None),
        SupervisorEvent::Hung { slot, worker } => ("hung", Some(*slot), Some(*worker)),
        SupervisorEvent::Drained { slot, worker } => ("drained", Some(*slot), Some(*worker)),
        SupervisorEvent::Cut { slot, worker, .. } => ("cut", Some(*slot), Some(*worker)),
        SupervisorEvent::Withdrawn { slot, worker } => ("withdrawn", Some(*slot), Some(*worker)),
        SupervisorEvent::Stuck { slot, worker } => ("stuck", Some(*slot), Some(*worker)),
        SupervisorEvent::ShutdownStarted => ("shutdown-started", None, None),
        SupervisorEvent::Finished { .. } => ("finished", None, None),
        _ => ("other", None, None),
    })
}

fn describe_primary(event: &Event) -> Option<(&'static str, Option<WorkerId>)> {
    Some(match event {
        Event::Fork { worker } => ("fork", Some(*worker)),
        Event::Online { worker } => ("online", Some(*worker)),
        Event::Listening { worker, .. } => ("listening", Some(*worker)),
        Event::Disconnect { worker } => ("disconnect", Some(*worker)),
        Event::Exit { worker, .. } => ("exit", Some(*worker)),
        Event::Error { worker, .. } => ("error", Some(*worker)),
        Event::AcceptFailed { .. } => ("accept-failed", None),
        Event::Setup { .. } | Event::Message { .. } | Event::AllDisconnected => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(number: usize) -> Record {
        let line = format!("{number} {}", "x".repeat(1_000));
        Record::Output(OutputLine { time: now(), slot: 0, worker: 1, stream: Stream::Stdout, line })
    }

    /// Without free descriptors each accept fails at once: other records would be lost in the flood.
    #[test]
    fn failed_accepts_are_one_record() {
        let feed = Feed::new();
        let failed = SupervisorEvent::Primary(Event::AcceptFailed { errno: cluster::Errno::EMFILE });
        (0..100).for_each(|_| feed.publish_event(&failed));
        assert_eq!(feed.recent().0.len(), 1);
    }

    #[test]
    fn recent_records_are_bounded() {
        let feed = Feed::new();
        (0..3_000).for_each(|number| feed.publish(line(number)));
        let (recent, _) = feed.recent();
        let bytes: usize = recent.iter().map(|numbered| numbered.record.bytes()).sum();
        assert!(bytes <= RECENT_BYTES && bytes > RECENT_BYTES - 2_000, "{bytes}");
        assert!(recent.last().expect("a record").record.to_string().contains("| 2999 "));
    }
}
