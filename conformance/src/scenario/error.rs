//! An error in a scenario file, with the position and the expectation.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A file that cannot be read, or an error in a file. Prints as `file:line: expectation`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenarioError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1; `None` if the file could not be read.
    pub line: Option<usize>,
    /// What is wrong, and what is expected.
    pub what: String,
}

impl ScenarioError {
    pub(super) fn unreadable(path: &Path, error: &io::Error) -> Self {
        ScenarioError { path: path.to_owned(), line: None, what: format!("cannot be read: {error}") }
    }

    pub(super) fn syntax(path: &Path, error: &serde_json::Error) -> Self {
        let full = error.to_string();
        let what = full.rsplit_once(" at line ").map_or(full.as_str(), |(what, _)| what);
        ScenarioError { path: path.to_owned(), line: Some(error.line()), what: what.to_owned() }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        self.line.map_or(Ok(()), |line| write!(f, "{line}:"))?;
        write!(f, " {}", self.what)
    }
}

impl std::error::Error for ScenarioError {}

/// An error in a file that is valid JSON. `at` is a piece of the file, and marks the line.
#[derive(Debug)]
pub(crate) struct ValidationError {
    pub(super) at: String,
    pub(super) what: String,
}

impl ValidationError {
    pub(super) fn new(at: impl Into<String>, what: impl Into<String>) -> Self {
        ValidationError { at: at.into(), what: what.into() }
    }

    /// The error with the first line that contains the piece: every occurrence of a wrong name is wrong.
    pub(super) fn in_file(self, path: &Path, text: &str) -> ScenarioError {
        let line = text.lines().position(|line| line.contains(&self.at)).map_or(1, |index| index + 1);
        ScenarioError { path: path.to_owned(), line: Some(line), what: self.what }
    }
}
