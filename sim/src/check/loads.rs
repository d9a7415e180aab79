//! Loads: under least connections, no worker receives a connection while another free worker has reported
//! fewer connections. Under two choices, the worker with the most reported connections of all workers of the
//! primary receives none while another worker is free.
//!
//! The check reads the reports in the bytes that the primary reads from workers. All reports since the last
//! check count, because the primary may hand off a connection between two messages of one read. Another
//! worker is free if [`Fairness`](super::fairness) has known the worker as free at the last check and still
//! does.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use cluster_core::{Primary, SchedulingPolicy, WorkerId};
use memchr::memmem;

use super::fairness::may_receive;

/// Part of each report.
const COUNT: &[u8] = br#""count":"#;

/// The reports of the workers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Loads {
    /// The range of the numbers since the last check, and the last number.
    reported: BTreeMap<WorkerId, (RangeInclusive<u64>, u64)>,
    /// The incomplete last line of each worker.
    partial: BTreeMap<WorkerId, Vec<u8>>,
}

impl Loads {
    /// Whether the primary hands off by loads.
    pub(crate) fn concern(policy: SchedulingPolicy) -> bool {
        matches!(policy, SchedulingPolicy::LeastConnections | SchedulingPolicy::PowerOfTwo)
    }

    /// Whether the bytes may contain a report.
    pub(crate) fn concerns(&self, bytes: &[u8]) -> bool {
        !self.partial.is_empty() || !bytes.ends_with(b"\n") || memmem::find(bytes, COUNT).is_some()
    }

    /// The primary has read bytes.
    pub(crate) fn read(&mut self, worker: WorkerId, bytes: &[u8]) {
        let mut text = self.partial.remove(&worker).unwrap_or_default();
        text.extend_from_slice(bytes);
        let whole = memchr::memrchr(b'\n', &text).map_or(0, |at| at + 1);
        let lines = text[..whole].split(|byte| *byte == b'\n');
        for line in lines.filter(|line| memmem::find(line, COUNT).is_some()) {
            let line: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
            if let Some(count) = line["count"].as_u64() {
                let (range, last) = self.reported.entry(worker).or_insert((0..=0, 0));
                *range = *range.start().min(&count)..=*range.end().max(&count);
                *last = count;
            }
        }
        text.drain(..whole);
        if !text.is_empty() {
            self.partial.insert(worker, text);
        }
    }

    /// Called when the handoffs since the last check are checked.
    pub(crate) fn settle(&mut self) {
        for (range, last) in self.reported.values_mut() {
            *range = *last..=*last;
        }
    }

    /// Checks a connection that was handed to a worker while other workers were free.
    pub(crate) fn given(
        &self,
        to: WorkerId,
        free: impl Iterator<Item = WorkerId>,
        primary: &Primary,
    ) -> Result<(), String> {
        let least = *self.range(to).start();
        let has_fewer = |worker: &WorkerId| *self.range(*worker).end() < least;
        let is_able = |worker: &WorkerId| *worker != to && primary.worker(*worker).is_some_and(may_receive);
        let mut free = free.filter(is_able);
        let fewer = if primary.settings().policy == SchedulingPolicy::LeastConnections {
            free.find(has_fewer)
        } else {
            free.next().filter(|_| primary.workers().filter(is_able).all(|worker| has_fewer(&worker)))
        };
        fewer.map_or(Ok(()), |fewer| {
            let open = self.range(fewer);
            Err(format!(
                "worker {to} received a connection with {least} open, while worker {fewer} was free with {open:?}"
            ))
        })
    }

    fn range(&self, worker: WorkerId) -> RangeInclusive<u64> {
        self.reported.get(&worker).map_or(0..=0, |(range, _)| range.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report may be split between two reads, and the range has every number since the last check.
    #[test]
    fn split_reports_are_read() {
        const ONE: WorkerId = WorkerId(1);
        let mut loads = Loads::default();
        loads.read(ONE, b"{\"count\":3,\"seq\":1}\n{\"cmd\":\"NODE_CLUSTER_LOAD\",\"cou");
        assert_eq!(loads.range(ONE), 0..=3);
        assert!(loads.concerns(b"\n"));
        loads.read(ONE, b"nt\":2}\n");
        loads.settle();
        assert_eq!(loads.range(ONE), 2..=2);
        assert!(!loads.concerns(b"\n"));
    }
}
