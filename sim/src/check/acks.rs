//! Acks: a worker answers for a connection only if it was offered that connection, and once for each offer; and whoever
//! asks the primary where to listen is answered.
//!
//! It reads what processes read, line by line, and knows only the lines that offer, ask and answer. What hostile workers
//! write is not looked at, and of channels that carry no lines nothing is known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use cluster_core::Primary;
use memchr::memmem::Finder;

use super::liveness::stays;
use crate::kernel::Kernel;
use crate::kernel::process_table::Pid;

/// What a line says: prepared once, as every line is searched for it.
type Word = LazyLock<Finder<'static>>;

/// In the line of an offer, in that of an answer to one, in that of a question, and in every answer.
static NEW: Word = LazyLock::new(|| Finder::new(br#""act":"newconn""#));
static ANSWER: Word = LazyLock::new(|| Finder::new(br#""accepted":"#));
static QUERY: Word = LazyLock::new(|| Finder::new(br#""act":"queryServer""#));
static ACK: Word = LazyLock::new(|| Finder::new(br#""ack":"#));
/// The number of a question, and what begins every line that is looked at.
static SEQ: Word = LazyLock::new(|| Finder::new(br#""seq":"#));
static CLUSTER: Word = LazyLock::new(|| Finder::new(b"NODE_CLUSTER"));

/// Which offers each worker has read and not answered, by their number; and which questions of it the primary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Acks {
    offered: BTreeSet<(Pid, u64)>,
    asked: BTreeSet<(Pid, u64)>,
    /// Lines that are not whole yet: of a worker, and of the primary from a worker.
    partial: BTreeMap<(Pid, Pid), Vec<u8>>,
}

impl Acks {
    /// Whether these bytes can say anything of offers and questions.
    pub(crate) fn concerns(&self, bytes: &[u8]) -> bool {
        !self.partial.is_empty() || !bytes.ends_with(b"\n") || has(bytes, &CLUSTER)
    }

    /// A process has read these bytes, on the channel of this worker.
    pub(crate) fn read(&mut self, reader: Pid, worker: Pid, bytes: &[u8]) -> Result<(), String> {
        let before = self.partial.remove(&(reader, worker)).unwrap_or_default();
        if before.is_empty() && bytes.ends_with(b"\n") {
            return self.lines(reader, worker, bytes);
        }
        let mut bytes = [&before, bytes].concat();
        let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let rest = bytes.split_off(whole);
        if !rest.is_empty() {
            self.partial.insert((reader, worker), rest);
        }
        self.lines(reader, worker, &bytes)
    }

    fn lines(&mut self, reader: Pid, worker: Pid, lines: &[u8]) -> Result<(), String> {
        lines.split(|&byte| byte == b'\n').try_for_each(|line| self.line(reader, worker, line))
    }

    fn line(&mut self, reader: Pid, worker: Pid, line: &[u8]) -> Result<(), String> {
        if reader != Pid::PRIMARY {
            if has(line, &NEW)
                && let Some(seq) = number(line, &SEQ)
            {
                self.offered.insert((worker, seq));
            }
            if let Some(ack) = number(line, &ACK) {
                self.asked.remove(&(worker, ack));
            }
            return Ok(());
        }
        if has(line, &QUERY)
            && let Some(seq) = number(line, &SEQ)
        {
            self.asked.insert((worker, seq));
        }
        match number(line, &ACK) {
            Some(seq) if has(line, &ANSWER) && !self.offered.remove(&(worker, seq)) => Err(format!(
                "worker {} answers for offer {seq}, which it was not made or has answered",
                worker.0
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// Nothing can happen any more, and who is to stay has all its answers.
pub(crate) fn at_the_end(acks: &Acks, kernel: &Kernel, primary: &Primary) -> Result<(), String> {
    let waits = acks.asked.iter().find(|(worker, _)| {
        let process = kernel.process(*worker);
        let is_to_stay = primary.worker(worker.worker()).is_some_and(stays);
        process.is_alive() && !process.hostile && is_to_stay
    });
    match waits {
        Some((worker, seq)) => Err(format!("question {seq} of worker {} has no answer", worker.0)),
        None => Ok(()),
    }
}

fn has(line: &[u8], word: &Word) -> bool {
    word.find(line).is_some()
}

fn number(line: &[u8], name: &Word) -> Option<u64> {
    let after = &line[name.find(line)? + name.needle().len()..];
    let end = after.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(after.len());
    std::str::from_utf8(&after[..end]).ok()?.parse().ok()
}
