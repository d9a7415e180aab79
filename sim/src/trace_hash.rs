//! The rolling hash of a run: the same run has the same hash on every machine and in every build.

use std::ops::RangeInclusive;

use cluster_core::{Call, OsEvent};

use crate::fault::Fault;
use crate::observations::ObservationLog;
use crate::step::Step;

/// The greatest number of marks in a line.
const MARKS: usize = 16;

/// The rolling hash of a run's history.
#[derive(Debug, Clone, Default)]
pub(crate) struct TraceHasher {
    hash: u64,
    steps: u64,
    /// A piece of the hash after each step.
    marks: Vec<u16>,
    logged: usize,
    /// Whether only the steps are counted.
    off: bool,
}

impl TraceHasher {
    /// Allocates the length of most runs at once, because growing costs more.
    pub(crate) fn new() -> Self {
        TraceHasher { marks: Vec::with_capacity(64), ..TraceHasher::default() }
    }

    /// From now on only counts the steps, because no line is needed.
    pub(crate) fn stop(&mut self) {
        (self.marks, self.off) = (Vec::new(), true);
    }

    pub(crate) fn begin(&mut self, step: Step) {
        let (tag, a, b) = match step {
            Step::Run(pid) => (1, pid.0, 0),
            Step::Start(pid) => (2, pid.0, 0),
            Step::Read(pid, channel) => (3, pid.0, channel.0),
            Step::Writable(pid, channel) => (4, pid.0, channel.0),
            Step::Accept(pid, socket) => (5, pid.0, socket.0),
            Step::Receive(pid, socket) => (6, pid.0, socket.0),
            Step::Signal(pid, signal) => (7, pid.0, signal.0.unsigned_abs().into()),
            Step::Reap(pid) => (8, pid.0, 0),
            Step::CloseInherited(pid) => (9, pid.0, 0),
            Step::ClientAction(client) => (10, client.0, 0),
            Step::ClientEvent(client) => (11, client.0, 0),
            Step::DriverEvent => (12, 0, 0),
            Step::Timer => (13, 0, 0),
            Step::Continue(pid) => (14, pid.0, 0),
        };
        self.fold((tag << 56) ^ (u64::from(a) << 28) ^ b);
    }

    /// Hashes the bytes of a write; of another call, only its presence.
    pub(crate) fn call(&mut self, call: &Call) {
        if let Call::Write { bytes, .. } = call {
            self.fold_bytes(bytes);
        } else {
            self.fold(0);
        }
    }

    /// Hashes the parts of an event that choices decide: the bytes read, the number of bytes taken, and every
    /// error.
    pub(crate) fn input(&mut self, event: &OsEvent) {
        if self.off {
            return;
        }
        if let OsEvent::Read { bytes, socket, .. } = event {
            self.fold(u64::from(socket.is_some()));
            self.fold_bytes(bytes);
        }
        if let OsEvent::Wrote { rest, .. } = event {
            self.fold(rest.len() as u64);
        }
        if let OsEvent::SpawnFailed { errno, .. }
        | OsEvent::KillFailed { errno, .. }
        | OsEvent::WriteFailed { errno, .. }
        | OsEvent::BindFailed { errno, .. }
        | OsEvent::ListenFailed { errno, .. }
        | OsEvent::AcceptFailed { errno, .. } = event
        {
            self.fold(u64::from(errno.0.unsigned_abs()));
        }
    }

    pub(crate) fn strike(&mut self, fault: Fault) {
        if !self.off {
            self.fold(u64::from(u32::from(fault.letter())));
        }
    }

    pub(crate) fn observations(&mut self, log: &ObservationLog) {
        if self.off || self.logged == log.len() {
            return;
        }
        for observation in log.since(self.logged) {
            self.fold_bytes(observation.text.as_bytes());
        }
        self.logged = log.len();
    }

    pub(crate) fn end(&mut self) {
        self.steps += 1;
        if !self.off {
            self.marks.push(self.mark());
        }
    }

    fn mark(&self) -> u16 {
        u16::try_from(self.hash >> 48).expect("16 bits")
    }

    /// The number of hashed steps.
    pub(crate) fn hashed_steps(&self) -> usize {
        self.marks.len()
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    fn fold(&mut self, word: u64) {
        self.hash = (self.hash.rotate_left(5) ^ word).wrapping_mul(0x517C_C1B7_2722_0A95);
    }

    fn fold_bytes(&mut self, bytes: &[u8]) {
        if self.off {
            return;
        }
        self.fold(bytes.len() as u64);
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.fold(u64::from_le_bytes(*word));
        }
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.fold(u64::from_le_bytes(last));
        }
    }

    /// The marks of the line of this run, evenly spaced.
    pub(crate) fn line_marks(&self) -> Vec<u16> {
        let spacing = spacing(self.marks.len());
        self.marks.iter().copied().skip(spacing - 1).step_by(spacing).collect()
    }

    /// The range of steps in which this run first differs from a recording with this hash, length and marks,
    /// if any.
    pub(crate) fn divergence(&self, hash: u64, steps: usize, marks: &[u16]) -> Option<RangeInclusive<usize>> {
        let spacing = spacing(steps);
        for (n, mark) in (1..).zip(marks) {
            if self.marks.get(n * spacing - 1) != Some(mark) {
                return Some((n - 1) * spacing + 1..=n * spacing);
            }
        }
        let is_same = self.hash == hash && self.marks.len() == steps;
        (!is_same).then(|| marks.len() * spacing + 1..=self.marks.len().max(steps))
    }
}

/// The distance between two marks in a run with this many steps.
pub(crate) fn spacing(steps: usize) -> usize {
    steps.div_ceil(MARKS).max(1)
}
