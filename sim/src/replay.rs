//! A run as one line of printable characters, and back.
//!
//! `sim:v1:<scenario>:<faults>:<choices>:<steps>.<hash>.<marks>`. Choices are numbers with a repeat count,
//! `0x12.3.1x2`; the zeros at the end are omitted. The marks are pieces of the rolling hash, evenly spaced: they locate
//! the divergence of a replay. The caller finds the world of a scenario name.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;
use std::str::FromStr;

use cluster_core::{Call, OsEvent};

use crate::check::Failure;
use crate::fault::Faults;
use crate::kernel::Step;
use crate::observations::ObservationLog;
use crate::program::Program;
use crate::schedule::{Choice, Schedule};
use crate::world::World;

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
    /// Only the steps are counted.
    off: bool,
}

impl TraceHasher {
    /// Allocates the length of most runs at once: growing costs more.
    pub(crate) fn new() -> Self {
        TraceHasher { marks: Vec::with_capacity(64), ..TraceHasher::default() }
    }

    /// From here on only the steps are counted: no line will be needed.
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

    /// Of a write the bytes are hashed, of another call only its presence.
    pub(crate) fn call(&mut self, call: &Call) {
        if let Call::Write { bytes, .. } = call {
            self.fold_bytes(bytes);
        } else {
            self.fold(0);
        }
    }

    /// Hashes of an event what choices decide: the bytes read, the number of bytes taken, and every error.
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
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.fold(u64::from_le_bytes(word));
        }
    }

    pub(crate) fn line(&self, scenario: &str, schedule: &Schedule) -> String {
        let line = Line {
            scenario: scenario.to_owned(),
            faults: schedule.armed(),
            choices: schedule.taken().iter().map(|choice: &Choice| choice.value).collect(),
            steps: self.marks.len(),
            hash: self.hash,
            marks: self
                .marks
                .iter()
                .copied()
                .skip(spacing(self.marks.len()) - 1)
                .step_by(spacing(self.marks.len()))
                .collect(),
        };
        line.to_string()
    }
}

/// The distance between two marks in a run with this many steps.
fn spacing(steps: usize) -> usize {
    steps.div_ceil(MARKS).max(1)
}

/// A recorded run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    scenario: String,
    faults: Faults,
    choices: Vec<u32>,
    steps: usize,
    hash: u64,
    marks: Vec<u16>,
}

/// The result of a replay.
#[derive(Debug)]
pub struct Replayed<P> {
    /// The world at the end of the run.
    pub world: World<P>,
    /// The outcome of the checks.
    pub outcome: Result<(), Box<Failure>>,
    /// The steps of the first divergence from the recording, if any: the scenario or the code has changed.
    pub left: Option<RangeInclusive<usize>>,
}

impl Line {
    /// The scenario name.
    pub fn scenario(&self) -> &str {
        &self.scenario
    }

    /// The choices of the run.
    pub fn schedule(&self) -> Schedule {
        Schedule::replay(self.choices.clone())
    }

    /// The armed faults.
    pub fn faults(&self) -> Faults {
        self.faults
    }

    /// Replays the run in a world of its scenario.
    pub fn replay<P: Program>(&self, world: World<P>) -> Replayed<P> {
        let mut world = world.with_faults(self.faults).on(self.schedule());
        let outcome = world.run();
        let left = self.left(world.trace_hasher());
        Replayed { world, outcome, left }
    }

    fn left(&self, trace_hasher: &TraceHasher) -> Option<RangeInclusive<usize>> {
        let spacing = spacing(self.steps);
        for (n, mark) in (1..).zip(&self.marks) {
            if trace_hasher.marks.get(n * spacing - 1) != Some(mark) {
                return Some((n - 1) * spacing + 1..=n * spacing);
            }
        }
        let is_whole = trace_hasher.hash == self.hash && trace_hasher.marks.len() == self.steps;
        (!is_whole).then(|| self.marks.len() * spacing + 1..=trace_hasher.marks.len().max(self.steps))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { scenario, faults, choices, steps, hash, marks } = self;
        write!(f, "sim:v1:{scenario}:{faults}:{}:{steps}.{hash:016x}.", encode(choices))?;
        marks.iter().try_for_each(|mark| write!(f, "{mark:04x}"))
    }
}

fn encode(choices: &[u32]) -> String {
    let used = choices.iter().rposition(|&choice| choice != 0).map_or(0, |last| last + 1);
    let mut text = String::new();
    for run in choices[..used].chunk_by(|a, b| a == b) {
        let dot = if text.is_empty() { "" } else { "." };
        let _ = match run.len() {
            1 => write!(text, "{dot}{}", run[0]),
            n => write!(text, "{dot}{}x{n}", run[0]),
        };
    }
    if text.is_empty() { "-".into() } else { text }
}

fn decode(text: &str) -> Option<Vec<u32>> {
    let mut choices = Vec::new();
    if text == "-" {
        return Some(choices);
    }
    for run in text.split('.') {
        let (value, count) = run.split_once('x').unwrap_or((run, "1"));
        let count = count.parse::<usize>().ok().filter(|&count| count <= 10_000_000 - choices.len())?;
        choices.extend(std::iter::repeat_n(value.parse::<u32>().ok()?, count));
    }
    Some(choices)
}

/// Why a line cannot be replayed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseError {
    /// The line does not begin with `sim:v1:`.
    Version,
    /// The line does not have six parts between colons.
    Parts,
    /// The faults are not letters and a limit.
    Faults,
    /// The choices are not numbers with repeat counts.
    Choices,
    /// The hash is not `<steps>.<16 hexadecimal digits>.<marks>`.
    Hash,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParseError::Version => "a replay line of this version begins with `sim:v1:`",
            ParseError::Parts => {
                "a replay line has the form `sim:v1:<scenario>:<faults>:<choices>:<hash>`; part of the line is missing"
            }
            ParseError::Faults => "the faults must be letters and a limit, such as `kw3`",
            ParseError::Choices => "the choices must be numbers with repeat counts, such as `0x12.3.1x2`, or `-`",
            ParseError::Hash => "the hash must be `<steps>.<16 hexadecimal digits>.<marks>`; the end of the line may be missing",
        })
    }
}

impl std::error::Error for ParseError {}

impl FromStr for Line {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let rest = text.trim().strip_prefix("sim:v1:").ok_or(ParseError::Version)?;
        let parts: Vec<&str> = rest.split(':').collect();
        let [scenario, faults, choices, hash] = parts[..] else { return Err(ParseError::Parts) };
        let (steps, hash, marks) = parse_hash(hash).ok_or(ParseError::Hash)?;
        Ok(Line {
            scenario: scenario.to_owned(),
            faults: Faults::parse(faults).ok_or(ParseError::Faults)?,
            choices: decode(choices).ok_or(ParseError::Choices)?,
            steps,
            hash,
            marks,
        })
    }
}

fn parse_hash(text: &str) -> Option<(usize, u64, Vec<u16>)> {
    let mut parts = text.split('.');
    let (steps, hash, marks) = (parts.next()?, parts.next()?, parts.next()?);
    let steps: usize = steps.parse().ok()?;
    let marks: Option<Vec<u16>> = marks
        .as_bytes()
        .chunks(4)
        .map(|mark| u16::from_str_radix(std::str::from_utf8(mark).ok()?, 16).ok())
        .collect();
    let marks = marks.filter(|marks| marks.len() == steps / spacing(steps))?;
    let hash = Some(hash).filter(|hash| hash.len() == 16)?;
    parts.next().is_none().then_some((steps, u64::from_str_radix(hash, 16).ok()?, marks))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            scenario: "serve".into(),
            faults: Faults::all(),
            choices: vec![0, 0, 3, 1, 1, 12, 0],
            steps: 40,
            hash: 0xab,
            marks: vec![7; 13],
        }
    }

    #[test]
    fn line_round_trips() {
        let text = line().to_string();
        assert!(
            text.starts_with("sim:v1:serve:ksbalrghwpetjf3:0x2.3.1x2.12:40.00000000000000ab.0007"),
            "{text}"
        );
        let mut expected = line();
        expected.choices.pop();
        assert_eq!(text.parse(), Ok(expected));
        assert_eq!(decode(&encode(&[])), Some(vec![]));
    }

    #[test]
    fn malformed_line_has_a_specific_error() {
        let text = line().to_string();
        let parse = |text: &str| text.parse::<Line>().map(|_| ());
        assert_eq!(parse("v2"), Err(ParseError::Version));
        assert_eq!(parse("sim:v1:serve:k3"), Err(ParseError::Parts));
        assert_eq!(parse(&text.replace("ksb", "k?")), Err(ParseError::Faults));
        assert_eq!(parse(&text.replace("0x2.", "0x2..")), Err(ParseError::Choices));
        assert_eq!(parse(&text.replace("0x2.", "0x99999999999.")), Err(ParseError::Choices));
        assert_eq!(parse(&text[..text.len() - 4]), Err(ParseError::Hash));
    }
}
