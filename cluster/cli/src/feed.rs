//! The feed: the events of a service and the output of the workers, for `cluster events` and `cluster logs`.
//! Each kind has a history of its own: a flood of output removes no event.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use cluster::{Event, SlotId, SupervisorEvent, WorkerId};
use serde::{Deserialize, Serialize};

use history::{History, HistoryMemory};

mod history;

pub(crate) use history::{Batch, Reader};

/// The pause between two records of failed accepts.
const ACCEPT_FAILURES: Duration = Duration::from_secs(10);

/// The name of the event about a ready worker.
pub(crate) const SLOT_READY: &str = "slot-ready";

/// A record with a number. The numbers of a kind ascend from 1 without a gap, also over an upgrade.
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

/// The kind of a [`Record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum RecordKind {
    Event,
    Output,
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
    /// Whether the record is of a slot. `None`: any slot.
    pub(crate) fn is_of_slot(&self, slot: Option<u32>) -> bool {
        let own = match self {
            Record::Event(event) => event.slot,
            Record::Output(line) => Some(line.slot),
        };
        slot.is_none() || own == slot
    }

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
#[derive(Debug, Clone, Default)]
pub(crate) struct Feed {
    events: Arc<History>,
    output: Arc<History>,
    known: Arc<Mutex<OfEvents>>,
}

/// What the records of later events need.
#[derive(Debug, Default)]
struct OfEvents {
    /// When the last failed accept was recorded.
    accept_failed: Option<Instant>,
    /// The slot of each worker that has not exited.
    slots: BTreeMap<WorkerId, u32>,
}

impl OfEvents {
    /// Whether an event is a failed accept shortly after a recorded failure. Without free descriptors every
    /// accept fails, so one record stands for all failures within `ACCEPT_FAILURES`.
    fn is_repeated(&mut self, event: &SupervisorEvent) -> bool {
        let SupervisorEvent::Primary(Event::AcceptFailed { .. }) = event else { return false };
        let is_repeated = self.accept_failed.is_some_and(|last| last.elapsed() < ACCEPT_FAILURES);
        if !is_repeated {
            self.accept_failed = Some(Instant::now());
        }
        is_repeated
    }

    /// The slot of the worker of an event.
    fn slot(&mut self, event: &SupervisorEvent, worker: u64) -> Option<u32> {
        let worker = WorkerId(worker);
        if let SupervisorEvent::Primary(Event::Exit { .. }) = event {
            self.slots.remove(&worker)
        } else {
            self.slots.get(&worker).copied()
        }
    }
}

/// The recent records for a hand-over.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FeedMemory {
    events: HistoryMemory,
    output: HistoryMemory,
    slots: BTreeMap<WorkerId, u32>,
}

impl Feed {
    pub(crate) fn memory(&self) -> FeedMemory {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        FeedMemory { events: self.events.memory(), output: self.output.memory(), slots: known.slots.clone() }
    }

    /// A feed with the recent records of the previous program.
    pub(crate) fn after(FeedMemory { events, output, slots }: FeedMemory) -> Self {
        let [events, output] = [events, output].map(|memory| Arc::new(History::after(memory)));
        Feed { events, output, known: Arc::new(Mutex::new(OfEvents { slots, accept_failed: None })) }
    }

    pub(crate) fn publish(&self, record: Record) {
        let history = match record {
            Record::Event(_) => &self.events,
            Record::Output(_) => &self.output,
        };
        history.push(record);
    }

    /// Remembers the slot of a forked worker.
    pub(crate) fn forked(&self, worker: WorkerId, slot: u32) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).slots.insert(worker, slot);
    }

    /// Publishes the record of an event.
    pub(crate) fn publish_event(&self, event: &SupervisorEvent) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_repeated(event) {
            return;
        }
        let Some(mut record) = record(event) else { return };
        let of_worker = record.worker.and_then(|worker| known.slot(event, worker));
        record.slot = record.slot.or(of_worker);
        drop(known);
        self.publish(Record::Event(record));
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

    /// A reader of all later events.
    pub(crate) fn later_events(&self) -> Events {
        Events { reader: Reader::new(&self.events, self.events.last()), unread: Vec::new().into_iter() }
    }

    /// A reader of the records of a kind after a number; 0: of all recent records. Also the number of the
    /// last record.
    pub(crate) fn read(&self, kind: RecordKind, after: u64) -> (Reader, u64) {
        let history = match kind {
            RecordKind::Event => &self.events,
            RecordKind::Output => &self.output,
        };
        (Reader::new(history, after), history.last())
    }
}

/// A reader of events, one by one.
#[derive(Debug)]
pub(crate) struct Events {
    reader: Reader,
    unread: std::vec::IntoIter<Arc<Numbered>>,
}

impl Events {
    /// The next event. `None`: every event was read.
    pub(crate) fn read(&mut self) -> Option<EventRecord> {
        loop {
            let numbered = self.unread.next().or_else(|| {
                self.unread = self.reader.read().records.into_iter();
                self.unread.next()
            })?;
            if let Record::Event(event) = &numbered.record {
                return Some(event.clone());
            }
        }
    }

    /// Waits for the next event.
    pub(crate) async fn next(&mut self) -> EventRecord {
        loop {
            if let Some(event) = self.read() {
                return event;
            }
            self.reader.changed().await;
        }
    }
}

/// The present time, as in RFC 3339, only for people: the wall clock jumps, so no decision depends on the
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
        SupervisorEvent::SlotReady { slot, worker } => (SLOT_READY, Some(*slot), Some(*worker)),
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

    /// Without free descriptors each accept fails at once: other records would be lost in the flood.
    #[test]
    fn failed_accepts_are_one_record() {
        let feed = Feed::default();
        let mut events = feed.later_events();
        let failed = SupervisorEvent::Primary(Event::AcceptFailed { errno: cluster::Errno::EMFILE });
        (0..100).for_each(|_| feed.publish_event(&failed));
        assert_eq!(std::iter::from_fn(|| events.read()).count(), 1);
    }

    /// The events of a worker have its slot, up to the exit.
    #[test]
    fn events_of_workers_have_slots() {
        let feed = Feed::default();
        let mut events = feed.later_events();
        let worker = WorkerId(7);
        feed.forked(worker, 3);
        let status = cluster::ExitStatus::Code(0);
        feed.publish_event(&SupervisorEvent::Primary(Event::Fork { worker }));
        let exit = Event::Exit { worker, status, exited_after_disconnect: true };
        feed.publish_event(&SupervisorEvent::Primary(exit));
        let slots: Vec<_> = std::iter::from_fn(|| events.read()).map(|event| event.slot).collect();
        assert_eq!(slots, [Some(3), Some(3)]);
        assert!(feed.memory().slots.is_empty());
    }
}
