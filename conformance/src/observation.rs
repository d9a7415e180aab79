//! An observation: one line of one observer. It has a word and details; this file converts it to text and
//! back.
//!
//! The words have no meaning here: [`crate::vocabulary`] writes them, and [`crate::order`] checks them.

use std::fmt;
use std::str::FromStr;

use crate::text::{read_as_text, write_as_text};

/// The observer that writes a line. The order is: the primary, the workers by id, the clients by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Observer {
    /// The primary process.
    Primary,
    /// The worker with an id.
    Worker(u64),
    /// The client with a number, from 1 in the order of the scenario.
    Client(u32),
}

impl fmt::Display for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Observer::Primary => f.write_str("primary"),
            Observer::Worker(id) => write!(f, "worker {id}"),
            Observer::Client(number) => write!(f, "client {number}"),
        }
    }
}

impl FromStr for Observer {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Self, BadLine> {
        fn number<N: FromStr + Default + PartialOrd>(digits: &str) -> Option<N> {
            digits.parse().ok().filter(|number| *number > N::default())
        }
        let observer = match text.split_once(' ') {
            None if text == "primary" => Some(Observer::Primary),
            Some(("worker", id)) => number(id).map(Observer::Worker),
            Some(("client", id)) => number(id).map(Observer::Client),
            _ => None,
        };
        observer.ok_or_else(|| BadLine::new(text, "`primary`, `worker N` or `client N`"))
    }
}

/// A word, then details as `key=value` in a fixed order, without spaces.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Observation {
    /// The word: `fork`, `exit`, `connection`, ...
    pub what: String,
    /// The details, in order.
    pub details: Vec<(String, String)>,
}

impl Observation {
    /// The word alone.
    pub fn new(what: &str) -> Self {
        Observation { what: what.to_owned(), details: Vec::new() }
    }

    /// Appends a detail.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl fmt::Display) -> Self {
        self.details.push((key.to_owned(), value.to_string()));
        self
    }

    /// The value of a detail, if present.
    pub fn detail(&self, key: &str) -> Option<&str> {
        self.details.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The worker of a primary's line.
    pub fn worker(&self) -> Option<u64> {
        self.detail("worker")?.parse().ok()
    }

    /// The port as a number, before [`Canon`](crate::trace::Canon) replaces it by a symbol.
    pub fn port(&self) -> Option<u16> {
        self.detail("port")?.parse().ok()
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.details.iter().try_for_each(|(key, value)| write!(f, " {key}={value}"))
    }
}

impl FromStr for Observation {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Self, BadLine> {
        let mut words = text.split(' ');
        let is_word =
            |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let what = words.next().filter(is_word);
        let what = what.ok_or_else(|| BadLine::new(text, "a word, then `key=value`s"))?;
        let detail = |word: &str| word.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
        let details = words.map(detail).collect::<Option<Vec<_>>>();
        let details = details.ok_or_else(|| BadLine::new(text, "only `key=value`s after the word"))?;
        Ok(Observation { what: what.to_owned(), details })
    }
}

/// An observation with its observer, as processes write it: `worker 1: connection server=web`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Line {
    /// The observer.
    pub observer: Observer,
    /// The observation.
    pub observation: Observation,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.observer, self.observation)
    }
}

impl FromStr for Line {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Self, BadLine> {
        let parts = text.split_once(": ");
        let (observer, observation) = parts.ok_or_else(|| BadLine::new(text, "`OBSERVER: OBSERVATION`"))?;
        Ok(Line { observer: observer.parse()?, observation: observation.parse()? })
    }
}

/// The error of a line that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    text: String,
    expected: &'static str,
}

impl BadLine {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        BadLine { text: text.to_owned(), expected }
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: expected {}", self.text, self.expected)
    }
}

impl std::error::Error for BadLine {}

read_as_text!(Observer, Observation);
write_as_text!(Observer, Observation);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_round_trip_through_text() {
        for text in ["primary: start", "worker 12: connection server=web", "client 1: data text=a:b port=1"] {
            assert_eq!(text.parse::<Line>().expect(text).to_string(), text);
        }
    }

    #[test]
    fn lines_reject_malformed_text() {
        for text in ["", "primary", "primary:start", "worker: start", "worker 0: start", "proxy: start"] {
            assert!(text.parse::<Line>().is_err(), "{text}");
        }
        for text in ["", "a=b", "start now", "start  a=b"] {
            assert!(text.parse::<Observation>().is_err(), "{text}");
        }
    }
}
