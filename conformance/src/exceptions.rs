//! Deliberate differences from a runtime, each with its reason, in one file: `exceptions.json`.
//!
//! An exception takes lines out of the comparison. It does not say what we do instead: the contract does.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::observation::{Line, Observation, Observer};
use crate::order::Misfit;
use crate::pattern::LinePattern;
use crate::trace::Trace;

/// The exceptions of this repository.
pub const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/exceptions.json");

/// Lines that a runtime writes at another place than we do.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Of which scenarios: a name, in which `*` is anything.
    pub scenario: String,
    /// Of which runtimes: a name and version such as `node v20.20.2`, in which `*` is anything.
    pub runtime: String,
    /// Which lines.
    pub lines: LinePattern,
    /// What differs, and why that is meant.
    pub reason: String,
}

impl Exception {
    /// Reads all exceptions of a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or has a mistake: line and what was expected.
    pub fn load(path: &Path) -> Result<Vec<Self>, ExceptionError> {
        let failed = |what: String| ExceptionError { path: path.to_owned(), what };
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        serde_json::from_str(&text).map_err(|error| failed(error.to_string()))
    }

    /// Whether it is about this scenario on this runtime.
    pub fn concerns(&self, scenario: &str, runtime: &str) -> bool {
        glob(&self.scenario, scenario) && glob(&self.runtime, runtime)
    }

    /// Whether it excuses a misfit of the runtime's trace: one of its lines, or that such a line is missing.
    pub fn excuses(&self, misfit: &Misfit) -> bool {
        misfit.seen.as_ref().is_some_and(|(observer, _, line)| self.means(*observer, line))
    }

    /// The trace without the lines that are not compared. Do this to both sides.
    #[must_use]
    pub fn apply(&self, trace: &Trace) -> Trace {
        let mut kept = Trace::default();
        for (observer, line) in trace.lines().filter(|(observer, line)| !self.means(*observer, line)) {
            kept.push(observer, line.clone());
        }
        kept
    }

    /// Whether this line is not compared.
    pub fn means(&self, observer: Observer, line: &Observation) -> bool {
        self.lines.fits(&Line { observer, observation: line.clone() }, None)
    }
}

/// Whether `*` in the pattern can be replaced so that it is this text.
pub fn glob(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(head) else { return false };
    (0..=rest.len()).filter(|at| rest.is_char_boundary(*at)).any(|at| glob(tail, &rest[at..]))
}

/// An exception file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExceptionError {
    path: PathBuf,
    what: String,
}

impl fmt::Display for ExceptionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

impl std::error::Error for ExceptionError {}

#[cfg(test)]
mod tests {
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
    fn an_exception_takes_out_its_lines_and_no_others() {
        let all = Exception::load(Path::new(FILE)).expect("the file of this repository");
        let early = all.iter().find(|exception| exception.concerns("disconnect_of_three", "node v20.20.2"));
        let early = early.expect("Node calls back early");
        let trace =
            Trace::of(["primary: start", "primary: all_disconnected"].map(|line| line.parse().expect(line)));
        assert_eq!(early.apply(&trace), Trace::of(["primary: start"].map(|line| line.parse().expect(line))));
        assert!(!early.concerns("disconnect_of_three", "sim"));
    }
}
