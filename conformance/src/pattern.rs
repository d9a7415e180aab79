//! A pattern: a set of observations, written like an observation.
//!
//! `listening worker=1` matches every `listening` line with the detail `worker=1`. A following `#2` selects
//! the second matching line. A pattern matches single lines, and the user of the pattern counts.

use std::fmt;
use std::str::FromStr;

use crate::observation::{BadLine, Line, Observation, Observer};
use crate::text::read_as_text;

/// Lines with this word and at least these details.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    /// The word and the details.
    pub asked: Observation,
    /// `#n`: only the `n`th matching line, from 1.
    pub nth: Option<u32>,
}

impl Pattern {
    /// Whether the line matches, without `nth`.
    pub fn fits(&self, seen: &Observation) -> bool {
        let has = |(key, value): &(String, String)| seen.detail(key) == Some(value);
        self.asked.what == seen.what && self.asked.details.iter().all(has)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.asked)?;
        self.nth.map_or(Ok(()), |nth| write!(f, " #{nth}"))
    }
}

impl FromStr for Pattern {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Self, BadLine> {
        let Some((asked, nth)) = text.split_once(" #") else {
            return Ok(Pattern { asked: text.parse()?, nth: None });
        };
        let nth = nth.parse().ok().filter(|nth| *nth > 0);
        let nth =
            nth.ok_or_else(|| BadLine::new(text, "a number from 1 after `#`, and nothing behind it"))?;
        Ok(Pattern { asked: asked.parse()?, nth: Some(nth) })
    }
}

/// The observers of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Observers {
    /// One observer.
    One(Observer),
    /// Any worker.
    Workers,
    /// Any client.
    Clients,
    /// The client itself. For the steps of a client.
    Me,
}

impl Observers {
    /// Whether an observer matches. `me` is the client that asks.
    pub fn includes(self, observer: Observer, me: Option<Observer>) -> bool {
        match self {
            Observers::One(one) => one == observer,
            Observers::Workers => matches!(observer, Observer::Worker(_)),
            Observers::Clients => matches!(observer, Observer::Client(_)),
            Observers::Me => me == Some(observer),
        }
    }
}

impl fmt::Display for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Observers::One(one) => one.fmt(f),
            Observers::Workers => f.write_str("worker"),
            Observers::Clients => f.write_str("client"),
            Observers::Me => f.write_str("me"),
        }
    }
}

impl FromStr for Observers {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Self, BadLine> {
        match text {
            "worker" => Ok(Observers::Workers),
            "client" => Ok(Observers::Clients),
            "me" => Ok(Observers::Me),
            one => one.parse().map(Observers::One).map_err(|_| {
                BadLine::new(
                    text,
                    "`primary`, `worker N`, `worker`, `client N`, `client` or `me` before `: `",
                )
            }),
        }
    }
}

/// Lines of some observers: `primary: exit worker=1`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LinePattern {
    /// The observers.
    pub observers: Observers,
    /// The lines.
    pub pattern: Pattern,
}

impl LinePattern {
    /// Whether the line matches. `me` is the client that asks.
    pub fn fits(&self, line: &Line, me: Option<Observer>) -> bool {
        self.observers.includes(line.observer, me) && self.pattern.fits(&line.observation)
    }
}

impl fmt::Display for LinePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.observers, self.pattern)
    }
}

impl FromStr for LinePattern {
    type Err = BadLine;

    fn from_str(text: &str) -> Result<Self, BadLine> {
        let parts = text.split_once(": ");
        let (observers, pattern) =
            parts.ok_or_else(|| BadLine::new(text, "`OBSERVER: WORD key=value ...`"))?;
        Ok(LinePattern { observers: observers.parse()?, pattern: pattern.parse()? })
    }
}

read_as_text!(Pattern, LinePattern);

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, line: &str) -> bool {
        let pattern: LinePattern = pattern.parse().expect(pattern);
        pattern.fits(&line.parse().expect(line), Some(Observer::Client(2)))
    }

    #[test]
    fn pattern_matches_word_and_details() {
        assert!(fits("primary: exit", "primary: exit worker=1 code=3"));
        assert!(fits("primary: exit code=3", "primary: exit worker=1 code=3"));
        assert!(!fits("primary: exit code=4", "primary: exit worker=1 code=3"));
        assert!(!fits("primary: exit signal=-", "primary: exit worker=1 code=3"));
        assert!(!fits("primary: disconnect", "primary: exit worker=1 code=3"));
        assert!(!fits("worker: start", "primary: start"));
        assert!(fits("worker: start", "worker 3: start"));
        assert!(fits("me: end", "client 2: end") && !fits("me: end", "client 1: end"));
    }

    #[test]
    fn patterns_round_trip_through_text() {
        for text in ["primary: exit worker=1 #2", "worker 1: start", "client: data text=x", "me: end"] {
            assert_eq!(text.parse::<LinePattern>().expect(text).to_string(), text);
        }
        for text in ["exit", "you: exit", "primary: exit #0", "primary: exit #1 worker=1", "primary: #1"] {
            assert!(text.parse::<LinePattern>().is_err(), "{text}");
        }
    }
}
