//! The statistics of Node.js workers. The preload measures only while requests for statistics arrive, and an
//! answer arrives only after the status is complete. So each status has the answers to the requests of the
//! previous status.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use cluster::{Event, SlotInfo, SlotState, SupervisorHandle, WorkerId};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The name of the request.
const REQUEST: &str = "NODE_CLUSTER_STATS";

/// The name of the answer.
const ANSWER: &str = "CLUSTER_STATS";

/// The measurements of a worker since the previous answer. Times are in milliseconds, sizes in bytes. The
/// preload uses names of JavaScript.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Statistics {
    /// The number of open connections.
    pub(crate) connections: u64,
    #[serde(alias = "heapUsed")]
    pub(crate) heap_used: u64,
    #[serde(alias = "heapTotal")]
    pub(crate) heap_total: u64,
    /// The mean delay of the event loop.
    #[serde(alias = "delayMean")]
    pub(crate) delay_mean: f64,
    /// The longest delay of the event loop.
    #[serde(alias = "delayMax")]
    pub(crate) delay_max: f64,
    /// The share of time in which the event loop was busy: 0 to 1.
    pub(crate) utilization: f64,
}

/// An answer of the preload.
#[derive(Deserialize)]
struct Answer {
    cmd: String,
    #[serde(flatten)]
    statistics: Statistics,
}

/// The last answer of each worker.
#[derive(Debug, Default)]
pub(crate) struct Answers(Mutex<BTreeMap<WorkerId, Statistics>>);

impl Answers {
    /// Records an answer. Removes the answer of an exited worker.
    pub(crate) fn observe(&self, event: &Event) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Event::Message { worker, message, .. } = event
            && let Ok(Answer { cmd, statistics }) = message.to()
            && cmd == ANSWER
        {
            answers.insert(*worker, statistics);
        } else if let Event::Exit { worker, .. } = event {
            answers.remove(worker);
        }
    }

    /// The last answer of a worker.
    pub(crate) fn of(&self, worker: Option<WorkerId>) -> Option<Statistics> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&worker?).copied()
    }
}

/// Asks each ready worker for statistics.
pub(crate) async fn ask(supervisor: &SupervisorHandle, slots: &[SlotInfo]) {
    for slot in slots.iter().filter(|slot| slot.state == SlotState::Ready) {
        if let Some(worker) = slot.worker {
            // Fails if the worker has exited or does not read. The next status asks again.
            let _ = supervisor.send(worker, json!({ "cmd": REQUEST })).await;
        }
    }
}
