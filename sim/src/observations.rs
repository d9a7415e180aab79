//! The log: observations and notices, oldest first, and the position of the driver.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use crate::cow::{CowArc, fingerprint};
use crate::event::Actor;

/// One observation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observation {
    /// The process or client that made the observation.
    pub observer: Actor,
    /// The text.
    pub text: Cow<'static, str>,
    /// The number of the object that the observation concerns, if any.
    pub object: Option<u64>,
}

/// The log.
#[derive(Debug, Clone, Default)]
pub(crate) struct ObservationLog {
    lines: CowArc<Vec<LogEntry>>,
    read: usize,
    dropped: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum LogEntry {
    Observation(Observation),
    Notice(Actor, Cow<'static, str>),
}

/// Lines that the driver has read are not part of the state.
impl Hash for ObservationLog {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let fingerprint =
            if self.read == 0 { self.lines.fingerprint() } else { fingerprint(&self.lines[self.read..]) };
        fingerprint.hash(state);
    }
}

impl ObservationLog {
    pub(crate) fn observe(&mut self, observer: Actor, text: Cow<'static, str>, object: Option<u64>) {
        self.lines.push(LogEntry::Observation(Observation { observer, text, object }));
    }

    pub(crate) fn notify_driver(&mut self, author: Actor, text: Cow<'static, str>) {
        self.lines.push(LogEntry::Notice(author, text));
    }

    /// Appends lines that an earlier run of the same hook has logged.
    pub(crate) fn extend(&mut self, lines: &[LogEntry]) {
        if !lines.is_empty() {
            self.lines.extend_from_slice(lines);
        }
    }

    /// The lines from a position on.
    pub(crate) fn lines_since(&self, position: usize) -> &[LogEntry] {
        &self.lines[position - self.dropped..]
    }

    /// The observations from a position on that are not discarded.
    pub(crate) fn since(&self, position: usize) -> impl Iterator<Item = &Observation> {
        self.lines[position.saturating_sub(self.dropped)..].iter().filter_map(|line| match line {
            LogEntry::Observation(observation) => Some(observation),
            LogEntry::Notice(..) => None,
        })
    }

    /// The number of lines ever written.
    pub(crate) fn len(&self) -> usize {
        self.dropped + self.lines.len()
    }

    /// The number of lines that the driver has ever read.
    pub(crate) fn read(&self) -> usize {
        self.dropped + self.read
    }

    pub(crate) fn has_unread(&self) -> bool {
        self.read < self.lines.len()
    }

    /// The next line for the driver.
    pub(crate) fn next_unread(&mut self) -> Option<LogEntry> {
        let line = self.lines.get(self.read)?.clone();
        self.read += 1;
        Some(line)
    }

    /// Discards the lines that the driver has read; a search records observations elsewhere.
    pub(crate) fn discard_read(&mut self) {
        if self.read > 0 {
            self.lines.drain(..self.read);
            self.dropped += std::mem::take(&mut self.read);
        }
    }
}
