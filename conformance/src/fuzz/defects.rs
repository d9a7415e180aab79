//! Known defects of runtimes, after which a random run cannot be compared. `defects.json` lists them.
//!
//! Scenarios of the suite use `exceptions.json` instead.

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

use crate::arm::sim::Misreading;
use crate::exceptions::glob;
use crate::observation::{Line, Observation, Observer};
use crate::order::Misfit;
use crate::pattern::LinePattern;
use crate::trace::Trace;

/// The limit of lines with two readings, because each such line doubles the number of traces to search.
const MOST: usize = 6;

/// A defect of a runtime, with its signs: a mismatch, or a line that the runtime writes instead of another
/// line.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Defect {
    /// The runtimes: a name and version, in which `*` matches any text.
    pub runtime: String,
    /// The lines that do not fit. Empty: a line is missing.
    #[serde(default)]
    pub seen: Vec<LinePattern>,
    /// A part of the expectation at the mismatch.
    #[serde(default)]
    pub expected: String,
    /// A part of the standard error of the processes.
    #[serde(default)]
    pub stderr: String,
    /// The event that such a line may stand for, if the runtime reports one event as another.
    #[serde(default)]
    pub instead: Option<String>,
    /// The defect, in a sentence.
    pub defect: String,
}

impl Defect {
    /// Reads a list of defects.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is malformed.
    pub fn load(path: &Path) -> io::Result<Vec<Self>> {
        Ok(Self::parse(&fs::read_to_string(path)?)?)
    }

    /// Reads a list of defects from its text.
    ///
    /// # Errors
    ///
    /// The text is malformed.
    pub fn parse(text: &str) -> serde_json::Result<Vec<Self>> {
        serde_json::from_str(text)
    }

    /// Whether this defect explains the mismatch.
    pub(crate) fn is_behind(&self, runtime: &str, stderr: &str, misfit: &Misfit) -> bool {
        let fits = match &misfit.seen {
            Some((observer, _, line)) => {
                let line = Line { observer: *observer, observation: line.clone() };
                self.seen.iter().any(|pattern| pattern.fits(&line, None))
            }
            None => self.seen.is_empty(),
        };
        let is_seen = self.instead.is_none() && fits && glob(&self.runtime, runtime);
        is_seen && misfit.expected.contains(&self.expected) && stderr.contains(&self.stderr)
    }

    /// The lines of a defect that may stand for another event. Readings with only one such line are first.
    pub(crate) fn readings(&self, runtime: &str, trace: &Trace) -> Vec<Vec<Misreading>> {
        let Some(meant) = self.instead.as_ref().filter(|_| glob(&self.runtime, runtime)) else {
            return Vec::new();
        };
        let is_sign = |observer: Observer, line: &Observation| {
            let line = Line { observer, observation: line.clone() };
            self.seen.iter().any(|pattern| pattern.fits(&line, None))
        };
        let lines = trace.observers.iter().flat_map(|(&observer, lines)| {
            let signs = lines.iter().enumerate().filter(move |(_, line)| is_sign(observer, line));
            signs.map(move |(line, sign)| Misreading {
                observer,
                line,
                meant: meant.clone(),
                written: sign.what.clone(),
            })
        });
        let lines: Vec<Misreading> = lines.take(MOST).collect();
        let mut sets: Vec<u32> = (1..1 << lines.len()).collect();
        sets.sort_by_key(|set| set.count_ones());
        let of_set = |set: u32| {
            let chosen = lines.iter().enumerate().filter(|(bit, _)| set & 1 << bit != 0);
            chosen.map(|(_, line)| line.clone()).collect()
        };
        sets.into_iter().map(of_set).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn readings_start_with_one_line() {
        let text = r#"{ "runtime": "node v20.*", "seen": ["worker: end"], "instead": "reset", "defect": "It is an end." }"#;
        let defect: Defect = serde_json::from_str(text).expect("a defect");
        let lines =
            ["worker 1: end server=web", "worker 1: closed", "worker 2: end server=web", "client 1: end"];
        let trace = Trace::of(lines.map(|line| line.parse().expect(line)), &BTreeSet::new());
        assert!(defect.readings("node v24.21.0", &trace).is_empty());
        let number = |line: &Misreading| match line.observer {
            Observer::Worker(id) => (id, line.line),
            Observer::Primary | Observer::Client(_) => (0, line.line),
        };
        let readings = defect.readings("node v20.20.2", &trace);
        let numbers: Vec<Vec<_>> = readings.iter().map(|lines| lines.iter().map(number).collect()).collect();
        assert_eq!(numbers, [vec![(1, 0)], vec![(2, 0)], vec![(1, 0), (2, 0)]]);
        assert!(readings.iter().flatten().all(|line| line.meant == "reset" && line.written == "end"));
    }

    /// Defects of Node's workers also count under a Rust primary, and defects of Node's primary also count
    /// with Rust workers.
    #[test]
    fn defects_hold_for_mixed_clusters() {
        let defects = Defect::parse(include_str!("../../defects.json")).expect("a list of them");
        let known = |runtime: &str, stderr: &str, (seen, expected): (&str, &str)| {
            let Line { observer, observation } = seen.parse().expect("a line");
            let misfit = Misfit {
                seen: Some((observer, 1, observation)),
                expected: expected.to_owned(),
                requirement: None,
            };
            defects.iter().any(|defect| defect.is_behind(runtime, stderr, &misfit))
        };
        let codes = "code=0, or a code of the worker's rules";
        let twice = ("primary: exit worker=1 code=1 after_disconnect=true", codes);
        let unasked = ("primary: exit worker=1 code=1 after_disconnect=false", codes);
        let error = "Error [ERR_IPC_DISCONNECTED]: IPC channel is already disconnected".to_owned();
        let lost = ("primary: exit worker=1 connected=false", "connected=true");
        let versions = ["v20.20.2", "v22.23.3", "v24.21.0", "v26.10.0"];
        for [alone, workers, primary] in versions.map(|version| {
            let node = format!("node {version}");
            [node.clone(), format!("unix with workers on {node}"), format!("{node} with workers on unix")]
        }) {
            for runtime in [&alone, &workers, &primary] {
                assert!(known(runtime, &error, twice), "{runtime}");
                assert!(!known(runtime, "Error: another one", twice), "{runtime}: any exit with code 1");
                assert!(!known(runtime, &error, unasked), "{runtime}: no request to disconnect");
            }
            assert!(known(&alone, "", lost) && known(&primary, "", lost));
            assert!(!known(&workers, "", lost), "our primary emits both events");
        }
        assert!(!known("unix", &error, twice));
    }
}
