//! Scenarios with a name as the complete definition, so every line can be replayed anywhere.
//!
//! `<program>[+<policy>][+keep][+<bytes>b][+<connections>q]`: the program as text, the policy (`shared`,
//! `sticky`, `least`, `two`, `weighted`, `custom`), `keep_listening`, the capacity of a channel, and the
//! largest number of connections queued in the primary.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use cluster_core::{SchedulingPolicy, Settings};

use super::unknown_name::UnknownName;
use super::{RandomProgram, ReplyServer};
use crate::check::Failure;
use crate::program::Program;
use crate::replay::{Line, ParseError, Replayed};
use crate::trace::Trace;
use crate::world::World;

/// The policies with a name. Round robin has none.
const POLICIES: [(&str, SchedulingPolicy); 6] = [
    ("shared", SchedulingPolicy::Shared),
    ("sticky", SchedulingPolicy::Sticky),
    ("least", SchedulingPolicy::LeastConnections),
    ("two", SchedulingPolicy::PowerOfTwo),
    ("custom", SchedulingPolicy::Custom),
    ("weighted", SchedulingPolicy::Weighted { slow_start: Duration::from_secs(10) }),
];

/// A program and its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scenario<P> {
    /// The program; its text is the name of the scenario.
    pub program: P,
    /// The scheduling policy.
    pub policy: SchedulingPolicy,
    /// See [`Settings::keep_listening`].
    pub keep_listening: bool,
    /// The capacity of a channel in each direction, in bytes; `None`: as on Linux.
    pub channel_bytes: Option<usize>,
    /// The largest number of connections queued in the primary for each socket; `None`: the default. See
    /// [`cluster_core::Limits::queued_connections`].
    pub queued: Option<usize>,
}

impl<P> Scenario<P> {
    /// This program with the default settings.
    pub fn new(program: P) -> Self {
        let Settings { policy, keep_listening, .. } = Settings::default();
        Scenario { program, policy, keep_listening, channel_bytes: None, queued: None }
    }
}

impl<P: Program + fmt::Display> Scenario<P> {
    /// The world of the scenario, on a quiet schedule.
    pub fn world(&self) -> World<P> {
        let Scenario { policy, keep_listening, .. } = *self;
        let mut settings = Settings { policy, keep_listening, ..Settings::default() };
        if let Some(queued) = self.queued {
            settings.limits.queued_connections = queued;
        }
        let world = World::new(self.program.clone(), settings).named(self.to_string());
        match self.channel_bytes {
            Some(bytes) => world.with_channel_bytes(bytes),
            None => world,
        }
    }

    fn replay(&self, line: &Line) -> ReplayOutcome {
        let Replayed { world, outcome, left } = line.replay(self.world().traced());
        ReplayOutcome { trace: world.trace().cloned().unwrap_or_default(), outcome, left }
    }
}

impl<P: fmt::Display> fmt::Display for Scenario<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program)?;
        if let Some((name, _)) = POLICIES.iter().find(|(_, policy)| *policy == self.policy) {
            write!(f, "+{name}")?;
        }
        if self.keep_listening {
            f.write_str("+keep")?;
        }
        self.channel_bytes.map_or(Ok(()), |bytes| write!(f, "+{bytes}b"))?;
        self.queued.map_or(Ok(()), |queued| write!(f, "+{queued}q"))
    }
}

impl<P: FromStr> FromStr for Scenario<P> {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName(text.to_owned());
        let mut parts = text.split('+');
        let program = parts.next().and_then(|program| program.parse().ok()).ok_or_else(unknown)?;
        let mut scenario = Scenario::new(program);
        for part in parts {
            if let Some((_, policy)) = POLICIES.iter().find(|(name, _)| *name == part) {
                scenario.policy = *policy;
                continue;
            }
            match part {
                "keep" => scenario.keep_listening = true,
                limit => {
                    let (bytes, queued) = (amount(limit, 'b'), amount(limit, 'q'));
                    if bytes.or(queued).is_none() {
                        return Err(unknown());
                    }
                    scenario.channel_bytes = bytes.or(scenario.channel_bytes);
                    scenario.queued = queued.or(scenario.queued);
                }
            }
        }
        Ok(scenario)
    }
}

/// Parses an amount with its unit, such as `17b`. 0 is invalid.
fn amount(text: &str, unit: char) -> Option<usize> {
    text.strip_suffix(unit)?.parse().ok().filter(|&amount| amount > 0)
}

/// The outcome of a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayOutcome {
    /// Every step.
    pub trace: Trace,
    /// The outcome of the checks.
    pub outcome: Result<(), Box<Failure>>,
    /// The range of steps in which the run first differs from the recording, if any.
    pub left: Option<RangeInclusive<usize>>,
}

/// The reason why a line was not replayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplayError {
    /// The text is no replay line.
    Line(ParseError),
    /// The simulator has no scenario of this name.
    Name(UnknownName),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplayError::Line(error) => error.fmt(f),
            ReplayError::Name(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReplayError {}

/// Replays a line of a scenario of the simulator itself.
///
/// # Errors
///
/// The text is not a replay line, or the scenario belongs to another program: then use [`Line::replay`] with
/// the world of that program.
pub fn replay(line: &str) -> Result<ReplayOutcome, ReplayError> {
    let line: Line = line.parse().map_err(ReplayError::Line)?;
    if let Ok(scenario) = line.scenario().parse::<Scenario<RandomProgram>>() {
        return Ok(scenario.replay(&line));
    }
    let scenario: Scenario<ReplyServer> = line.scenario().parse().map_err(ReplayError::Name)?;
    Ok(scenario.replay(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for name in [
            "plan-3-0-.fs1d2ak3x-.lcsdkxz+shared+keep+17b",
            "plan-1-1--",
            "plan-2-2-..-s+keep+3q",
            "plan-2-2--+least+keep",
            "plan-2-2--+two",
            "plan-2-2--+weighted",
            "plan-2-2--+custom",
        ] {
            let scenario: Scenario<RandomProgram> = name.parse().expect("a scenario name");
            assert_eq!(scenario.to_string(), name);
            assert_eq!(name.parse(), Ok(scenario));
        }
        for name in ["standard", "serve-3-4", "serve-2-1+shared", "serve-1-1-0"] {
            let scenario: Scenario<ReplyServer> = name.parse().expect("a scenario name");
            assert_eq!(scenario.to_string(), name);
        }
    }

    #[test]
    fn unknown_scenario_is_an_error() {
        for name in [
            "plan-1-1-s-",
            "plan-1-1-q-",
            "plan-1-1",
            "serve-1",
            "serve-999999999-1",
            "standard+0b",
            "standard+b",
            "",
        ] {
            let line = format!("sim:v1:{name}:3:-:0.0000000000000000.");
            let error = replay(&line).expect_err(name);
            assert!(matches!(&error, ReplayError::Name(UnknownName(text)) if text == name), "{error:?}");
        }
        assert!(matches!(replay("standard"), Err(ReplayError::Line(_))));
    }

    #[test]
    fn line_of_a_random_program_replays() {
        let scenario: Scenario<RandomProgram> =
            "plan-2-1-..s1..d1-.sx+keep+90b".parse().expect("a scenario name");
        let mut world = scenario.world().with_faults(crate::Faults::all()).on(crate::Schedule::seed(4));
        let outcome = world.run();
        let again = replay(&world.replay_line()).expect("a replay line");
        assert_eq!((again.outcome, again.left), (outcome, None));
    }
}
