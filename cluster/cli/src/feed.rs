//! The events of a service and the output of the workers, for readers.

use std::sync::Arc;
use std::time::SystemTime;

use cluster::{Event, SlotId, SupervisorEvent, WorkerId};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// The records kept for a slow reader; older records are lost for the reader.
const BACKLOG: usize = 4_096;

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
    /// In the form of RFC 3339.
    pub(crate) time: String,
    /// The name of the event, such as `slot-ready`.
    pub(crate) event: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slot: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) worker: Option<u64>,
    /// For people.
    pub(crate) text: String,
}

/// A line of a worker's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct OutputLine {
    /// In the form of RFC 3339.
    pub(crate) time: String,
    pub(crate) slot: u32,
    pub(crate) worker: u64,
    pub(crate) stream: Stream,
    /// Without the end of the line. Bytes other than UTF-8 are replaced.
    pub(crate) line: String,
}

/// The stream of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Distributes records to all readers.
#[derive(Debug, Clone)]
pub(crate) struct Feed(broadcast::Sender<Arc<Record>>);

impl Feed {
    pub(crate) fn new() -> Self {
        Feed(broadcast::Sender::new(BACKLOG))
    }

    pub(crate) fn publish(&self, record: Record) {
        // An error: there is no reader.
        let _ = self.0.send(Arc::new(record));
    }

    /// The records from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Arc<Record>> {
        self.0.subscribe()
    }
}

/// The time now, in the form of RFC 3339.
pub(crate) fn now() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// The record of an event; `None` for events without meaning to people.
pub(crate) fn record(event: &SupervisorEvent) -> Option<EventRecord> {
    let (name, slot, worker) = describe(event)?;
    let (slot, worker) = (slot.map(|slot| slot.0), worker.map(|worker| worker.0));
    Some(EventRecord { time: now(), event: name.to_owned(), slot, worker, text: event.to_string() })
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
