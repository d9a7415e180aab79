//! Acks: a worker answers a connection only if the connection was offered, and once for each offer. The
//! primary answers every query for a listening socket.
//!
//! Among the lines that processes read, the check parses only offers, queries and answers. Lines of hostile
//! workers are not checked, nor are channels with another serialization.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use cluster_core::Primary;
use memchr::memchr;
use memchr::memmem::Finder;

use super::liveness::is_expected_to_run;
use crate::kernel::Kernel;
use crate::step::Pid;

/// A text to search lines for, prepared once.
type Word = LazyLock<Finder<'static>>;

/// The parts of lines that identify, in this order, an offer, the answer to an offer, a query, and every
/// answer.
static NEW: Word = LazyLock::new(|| Finder::new(br#""act":"newconn""#));
static ANSWER: Word = LazyLock::new(|| Finder::new(br#""accepted":"#));
static QUERY: Word = LazyLock::new(|| Finder::new(br#""act":"queryServer""#));
static ACK: Word = LazyLock::new(|| Finder::new(br#""ack":"#));
/// The sequence number of a query or offer, and the beginning of every line that is parsed.
static SEQ: Word = LazyLock::new(|| Finder::new(br#""seq":"#));
static CLUSTER: Word = LazyLock::new(|| Finder::new(b"NODE_CLUSTER"));

/// The sequence numbers of the offers that a worker has read but not answered, and of the queries that the
/// primary has read but not answered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Acks {
    offered: BTreeSet<(Pid, u64)>,
    asked: BTreeSet<(Pid, u64)>,
    /// The incomplete lines, by reader and by the worker of the channel.
    partial: BTreeMap<(Pid, Pid), Vec<u8>>,
}

impl Acks {
    /// Whether bytes can contain an offer, a query or an answer.
    pub(crate) fn concerns(&self, bytes: &[u8]) -> bool {
        !self.partial.is_empty() || !bytes.ends_with(b"\n") || has(bytes, &CLUSTER)
    }

    /// Records and checks bytes that a process has read from the channel of a worker.
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

    /// Records and checks complete lines, each with its newline.
    fn lines(&mut self, reader: Pid, worker: Pid, mut lines: &[u8]) -> Result<(), String> {
        while let Some(end) = memchr(b'\n', lines) {
            self.line(reader, worker, &lines[..end])?;
            lines = &lines[end + 1..];
        }
        Ok(())
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
                "worker {} answers for offer {seq}, which the primary did not make or which was answered before",
                worker.0
            )),
            Some(_) | None => Ok(()),
        }
    }
}

/// In the final state every living worker has an answer to each query, unless the worker is about to exit.
pub(crate) fn at_the_end(acks: &Acks, kernel: &Kernel, primary: &Primary) -> Result<(), String> {
    let unanswered = acks.asked.iter().find(|(worker, _)| {
        let process = kernel.processes.get(*worker);
        let keeps_running = primary.worker(worker.worker()).is_some_and(is_expected_to_run);
        process.is_alive() && !process.hostile && keeps_running && !kernel.processes.is_stopped(*worker)
    });
    match unanswered {
        Some((worker, seq)) => Err(format!("query {seq} of worker {} has no answer", worker.0)),
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
