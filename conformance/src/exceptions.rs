//! Deliberate differences from a runtime, each with its reason, in the file `exceptions.json`.
//!
//! An exception only removes lines from the comparison. The contract defines the behaviour of this project.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::observation::{Line, Observation, Observer};
use crate::order::Misfit;
use crate::pattern::LinePattern;
use crate::runtimes::compared_as;
use crate::scenario::{ClauseKind, Scenario};
use crate::trace::Trace;

/// The exceptions of this repository.
pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/exceptions.json");

/// Lines that a runtime writes at another position than the Rust arms.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The scenarios: a name, in which `*` matches any text.
    pub scenario: String,
    /// The runtimes: a name with a version, such as `node v20.20.2`. `*` matches any text.
    pub runtime: String,
    /// The lines.
    pub lines: LinePattern,
    /// Whether the runtime never writes these lines, although the Rust arms do. For this runtime, clauses of
    /// a contract that count these lines are skipped.
    #[serde(default)]
    pub lacks: bool,
    /// Whether the runtime writes these lines only after a rare race. Then the exception counts as needed,
    /// even if no run has the lines.
    #[serde(default)]
    pub rare: bool,
    /// The difference between the runtime and the Rust arms, and the reason for the difference.
    pub reason: String,
}

impl Exception {
    /// Whether the exception is about this scenario on this runtime. An exception of Node.js also concerns a
    /// runtime that is compared with Node.js.
    pub fn concerns(&self, scenario: &str, runtime: &str) -> bool {
        let is_meant = |runtime| glob(&self.runtime, runtime);
        glob(&self.scenario, scenario) && (is_meant(runtime) || is_meant(compared_as(runtime)))
    }

    /// The error of an exception that no trace needed.
    pub fn stale_error(&self) -> String {
        let Exception { scenario, runtime, lines, .. } = self;
        format!(
            "exceptions.json: no line of `{runtime}` in `{scenario}` matches `{lines}`: remove this exception"
        )
    }

    /// Whether the exception removes this line.
    pub fn means(&self, observer: Observer, line: &Observation) -> bool {
        self.lines.fits(&Line { observer, observation: line.clone() }, None)
    }
}

/// All exceptions, and whether each was needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exceptions {
    all: Vec<Exception>,
    needed: Vec<bool>,
}

impl Exceptions {
    /// Reads a file of exceptions.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or is malformed: the line and the expectation.
    pub fn load(path: &Path) -> Result<Self, ExceptionError> {
        let failed = |what: String| ExceptionError::new(path, what);
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&text).map(Exceptions::new).map_err(|error| failed(error.to_string()))
    }

    /// These exceptions. At first, only the rare exceptions count as needed.
    pub fn new(all: Vec<Exception>) -> Self {
        Exceptions { needed: all.iter().map(|one| one.rare).collect(), all }
    }

    /// These exceptions, and others.
    #[must_use]
    pub(crate) fn and(self, more: Vec<Exception>) -> Self {
        let Exceptions { mut all, mut needed } = self;
        needed.extend(more.iter().map(|one| one.rare));
        all.extend(more);
        Exceptions { all, needed }
    }

    /// The runtime pattern of every exception.
    pub fn runtimes(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|exception| exception.runtime.as_str())
    }

    /// The exception that [excuses](Exceptions::excuse) a mismatch. Does not mark the exception as needed.
    pub(crate) fn excuse_for(&self, scenario: &str, runtime: &str, misfit: &Misfit) -> Option<&Exception> {
        let (observer, _, line) = misfit.seen.as_ref()?;
        self.concerning(scenario, runtime).find(|exception| exception.means(*observer, line))
    }

    /// Whether an exception removes the line of a mismatch. Marks the exception as needed.
    pub fn excuse(&mut self, scenario: &str, runtime: &str, misfit: &Misfit) -> bool {
        let line = misfit.seen.as_ref();
        line.is_some_and(|(observer, _, line)| self.mean(scenario, runtime, *observer, line))
    }

    /// The trace without the lines that exceptions for this runtime remove. Both sides of a comparison need
    /// this.
    #[must_use]
    pub fn apply(&mut self, scenario: &str, runtime: &str, trace: &Trace) -> Trace {
        self.miss(scenario, runtime, trace);
        let mut kept = Trace::default();
        for (observer, line) in trace.lines() {
            if !self.mean(scenario, runtime, observer, line) {
                kept.push(observer, line.clone());
            }
        }
        kept
    }

    /// Marks exceptions with `lacks` as needed if the trace has none of their lines.
    fn miss(&mut self, scenario: &str, runtime: &str, trace: &Trace) {
        for (one, needed) in self.all.iter().zip(&mut self.needed) {
            let has = || trace.lines().any(|(observer, line)| one.means(observer, line));
            *needed |= one.lacks && one.concerns(scenario, runtime) && !has();
        }
    }

    /// The scenario without the clauses that count lines which the runtime lacks.
    pub fn relieve(&self, scenario: &Scenario, runtime: &str) -> Scenario {
        let lacked: Vec<_> = self.concerning(&scenario.name, runtime).filter(|one| one.lacks).collect();
        let mut relieved = scenario.clone();
        relieved.contract.retain(|clause| match &clause.kind {
            ClauseKind::Seen { line, .. } => !lacked.iter().any(|one| one.lines == *line),
            ClauseKind::Before { .. } | ClauseKind::Cycle { .. } | ClauseKind::OneOf(_) => true,
        });
        relieved
    }

    /// Whether an exception removes this line. Marks the exception as needed, unless the exception has
    /// `lacks`.
    pub fn mean(&mut self, scenario: &str, runtime: &str, observer: Observer, line: &Observation) -> bool {
        let means = |one: &Exception| one.concerns(scenario, runtime) && one.means(observer, line);
        let found = self.all.iter().position(means);
        found.inspect(|index| self.needed[*index] |= !self.all[*index].lacks).is_some()
    }

    /// The exceptions about this scenario on this runtime.
    pub(crate) fn concerning(&self, scenario: &str, runtime: &str) -> impl Iterator<Item = &Exception> {
        self.all.iter().filter(move |exception| exception.concerns(scenario, runtime))
    }

    /// The exceptions that were not needed. If everything was compared, each of them is an error.
    pub fn stale(&self) -> impl Iterator<Item = &Exception> {
        self.all.iter().zip(&self.needed).filter(|(_, needed)| !**needed).map(|(one, _)| one)
    }
}

/// Whether a pattern matches the text. `*` in the pattern matches any text.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(head) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| glob(tail, &rest[at..]))
}

/// A malformed or unreadable file of exceptions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExceptionError {
    path: PathBuf,
    what: String,
}

impl ExceptionError {
    pub(crate) fn new(path: &Path, what: String) -> Self {
        ExceptionError { path: path.to_owned(), what }
    }
}

impl fmt::Display for ExceptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for ExceptionError {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn globs() {
        for (pattern, text) in
            [("*", ""), ("a*", "abc"), ("*c", "abc"), ("a*c", "abc"), ("*b*", "abc"), ("abc", "abc")]
        {
            assert!(glob(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("", "a"), ("a", "ab"), ("a*c", "ab"), ("*b", "abc"), ("a*b*b", "ab")] {
            assert!(!glob(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn lacking_lines_relieve_the_runtime() {
        let directory = Path::new(crate::scenario::DIRECTORY);
        let scenario = Scenario::load(&directory.join("unacknowledged_connection.json"));
        let scenario = scenario.expect("a valid scenario");
        let mut all = Exceptions::load(Path::new(FILE)).expect("no error");
        let claims = |scenario: &Scenario| scenario.contract.len();
        assert_eq!(all.relieve(&scenario, "unix"), scenario);
        assert_eq!(claims(&all.relieve(&scenario, "node v20.20.2")), claims(&scenario) - 1);
        let before = all.stale().count();
        let served = Trace::of(["client 1: data text=from-2".parse().expect("a line")], &BTreeSet::new());
        assert_eq!(all.apply(&scenario.name, "node v20.20.2", &served), Trace::default());
        assert_eq!(all.stale().count(), before - 1, "the disconnect is lacking, the text is not");
        let _ = all.apply(&scenario.name, "node v20.20.2", &Trace::default());
        assert_eq!(all.stale().count(), before - 2);
    }

    #[test]
    fn exceptions_remove_only_their_lines() {
        let mut all = Exceptions::load(Path::new(FILE)).expect("no error");
        let parse =
            |lines: &[&str]| Trace::of(lines.iter().map(|line| line.parse().expect(line)), &BTreeSet::new());
        let (long, short) =
            (parse(&["primary: start", "primary: all_disconnected"]), parse(&["primary: start"]));
        let unneeded = all.stale().count();
        assert_eq!(all.apply("disconnect_of_three", "sim", &long), long);
        assert_eq!(all.stale().count(), unneeded);
        assert_eq!(all.apply("disconnect_of_three", "node v20.20.2", &long), short);
        assert_eq!(all.stale().count(), unneeded - 1);
    }

    #[test]
    fn exceptions_report_line_of_mistake() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("exceptions.json");
        fs::write(&path, "[\n{ \"scenari\": 1 }]").expect("a new file");
        let error = Exceptions::load(&path).expect_err("a mistake").to_string();
        assert!(error.contains("unknown field `scenari`") && error.contains("line 2"), "{error}");
    }
}
