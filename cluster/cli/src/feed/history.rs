//! The recent records of one kind, and their readers. A reader reads at its own pace: records that leave the
//! history before the read are counted as lost. No reader has a queue of its own, so a slow reader costs no
//! memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Numbered, Record};

/// The number of bytes of recent records.
pub(super) const RECENT_BYTES: usize = 4 << 20;

/// The number of bytes of records per read. A read has one record at least.
const BATCH_BYTES: usize = 32 << 10;

/// The recent records of one kind.
#[derive(Debug, Default)]
pub(super) struct History {
    recent: Mutex<Recent>,
    /// The number of the last record.
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Recent {
    records: VecDeque<Arc<Numbered>>,
    last: u64,
    bytes: usize,
}

/// The recent records for a hand-over.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct HistoryMemory {
    last: u64,
    records: Vec<Record>,
}

impl Recent {
    /// The number of the oldest record; without records, the number of the next.
    fn first(&self) -> u64 {
        self.records.front().map_or(self.last + 1, |oldest| oldest.number)
    }
}

impl History {
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Continues the history of the previous program.
    pub(super) fn after(HistoryMemory { last, records }: HistoryMemory) -> History {
        let history = History::default();
        history.recent().last = last.saturating_sub(records.len() as u64);
        for record in records {
            history.push(record);
        }
        history
    }

    pub(super) fn memory(&self) -> HistoryMemory {
        let recent = self.recent();
        let records = recent.records.iter().map(|numbered| numbered.record.clone());
        HistoryMemory { last: recent.last, records: records.collect() }
    }

    pub(super) fn push(&self, record: Record) {
        let mut recent = self.recent();
        recent.last += 1;
        recent.bytes += record.bytes();
        let number = recent.last;
        recent.records.push_back(Arc::new(Numbered { number, record }));
        while recent.bytes > RECENT_BYTES
            && let Some(oldest) = recent.records.pop_front()
        {
            recent.bytes -= oldest.record.bytes();
        }
        drop(recent);
        self.last.send_replace(number);
    }

    pub(super) fn last(&self) -> u64 {
        self.recent().last
    }
}

/// The position of a reader in a history.
#[derive(Debug)]
pub(crate) struct Reader {
    history: Arc<History>,
    /// The number of the last read or lost record.
    after: u64,
    last: watch::Receiver<u64>,
}

/// The records of a read.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The number of records that the history has lost since the read before.
    pub(crate) lost: u64,
    pub(crate) records: Vec<Arc<Numbered>>,
}

impl Reader {
    /// Reads the records after a number. After 0: all recent records.
    pub(super) fn new(history: &Arc<History>, after: u64) -> Reader {
        let after = if after == 0 { history.recent().first() - 1 } else { after };
        Reader { history: history.clone(), after, last: history.last.subscribe() }
    }

    /// The next records. Empty: every record was read.
    pub(crate) fn read(&mut self) -> Batch {
        let recent = self.history.recent();
        let first = recent.first();
        let lost = first.saturating_sub(self.after + 1);
        let start = usize::try_from((self.after + 1).saturating_sub(first)).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let unread = recent.records.range(start.min(recent.records.len())..);
        let records: Vec<_> = unread
            .take_while(|numbered| {
                let is_first = bytes == 0;
                bytes += numbered.record.bytes();
                is_first || bytes <= BATCH_BYTES
            })
            .cloned()
            .collect();
        self.after = records.last().map_or(self.after + lost, |last| last.number);
        Batch { lost, records }
    }

    /// Waits until there is an unread record.
    pub(crate) async fn changed(&mut self) {
        let after = self.after;
        // Cannot fail: the reader holds the history, and the history the sender.
        let _ = self.last.wait_for(|last| *last > after).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{OutputLine, Stream, now};

    fn line(number: usize) -> Record {
        let line = format!("{number} {}", "x".repeat(1_000));
        Record::Output(OutputLine { time: now(), slot: 0, worker: 1, stream: Stream::Stdout, line })
    }

    /// A number of records that exceeds `RECENT_BYTES`.
    const MANY: usize = 2 * RECENT_BYTES / 1_000;

    #[test]
    fn recent_records_are_bounded() {
        let history = History::default();
        (0..MANY).for_each(|number| history.push(line(number)));
        let recent = history.recent();
        let bytes: usize = recent.records.iter().map(|numbered| numbered.record.bytes()).sum();
        assert_eq!(bytes, recent.bytes);
        assert!(bytes <= RECENT_BYTES && bytes > RECENT_BYTES - 2_000, "{bytes}");
        let last = recent.records.back().expect("a record").record.to_string();
        assert!(last.contains(&format!("| {} ", MANY - 1)), "{last}");
    }

    /// Each record is read once, in order, or counted as lost.
    #[test]
    fn slow_reader_counts_lost_records() {
        let history = Arc::new(History::default());
        history.push(line(0));
        let mut reader = Reader::new(&history, 0);
        assert_eq!(reader.read().records.len(), 1);
        (0..MANY).for_each(|number| history.push(line(number)));
        let (mut lost, mut numbers) = (0, Vec::new());
        loop {
            let batch = reader.read();
            lost += batch.lost;
            if batch.records.is_empty() {
                break;
            }
            numbers.extend(batch.records.iter().map(|numbered| numbered.number));
        }
        assert!(lost > 0);
        assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
        let ends = (numbers.first().copied(), numbers.last().copied());
        assert_eq!(ends, (Some(2 + lost), Some(1 + MANY as u64)));
    }

    /// Records continue with the next number after a hand-over.
    #[test]
    fn numbers_survive_a_hand_over() {
        let history = History::default();
        (0..MANY).for_each(|number| history.push(line(number)));
        let next = Arc::new(History::after(history.memory()));
        let mut reader = Reader::new(&next, MANY as u64);
        assert!(reader.read().records.is_empty());
        next.push(line(0));
        assert_eq!(reader.read().records[0].number, 1 + MANY as u64);
    }
}
