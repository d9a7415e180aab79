//! A run as one line of printable characters: writes and parses replay lines.
//!
//! `sim:v1:<scenario>:<faults>:<choices>:<steps>.<hash>.<marks>`. Choices are numbers with a repeat count, as
//! in `0x12.3.1x2`; the zeros at the end are omitted. The marks are pieces of the rolling hash at even
//! distances, and locate the divergence of a replay. The caller provides the world for the scenario name.

use std::fmt::{self, Write as _};
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::fault::Faults;
use crate::schedule::{Choice, Schedule};
use crate::trace_hash::{TraceHasher, spacing};

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

impl Line {
    /// The line of a run.
    pub(crate) fn of(scenario: &str, schedule: &Schedule, hasher: &TraceHasher) -> Self {
        Line {
            scenario: scenario.to_owned(),
            faults: schedule.armed(),
            choices: schedule.taken().iter().map(|choice: &Choice| choice.value).collect(),
            steps: hasher.hashed_steps(),
            hash: hasher.hash(),
            marks: hasher.line_marks(),
        }
    }

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

    /// The range of steps in which a replay first differs from the line, if any.
    pub(crate) fn divergence(&self, replay: &TraceHasher) -> Option<RangeInclusive<usize>> {
        replay.divergence(self.hash, self.steps, &self.marks)
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

/// The reason why a line cannot be replayed.
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
            text.starts_with("sim:v1:serve:ksbalrghwpetjfoiuxvcd3:0x2.3.1x2.12:40.00000000000000ab.0007"),
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
