//! The matrix: every scenario on every runtime, as data. [`Runner`] fills the matrix, `judge` decides a cell,
//! and `markdown` prints the results.
//!
//! The data is a JSON value (`conformance report --json`). A trace is stored as numbers of lines, because
//! the traces of two runtimes have most lines in common.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::observation::{Observation, Observer};
use crate::requirement::{self, Area, Level, Requirement};
use crate::trace::Trace;

mod drawing;
mod judge;
mod markdown;
mod nearest;
mod runner;
mod summary;
mod web;

pub use markdown::Markdown;
pub use runner::{Contestant, Runner};
pub use summary::{Difference, Summary};

/// Every scenario on every runtime.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix {
    /// The day of the run: `2026-11-30`.
    pub date: String,
    /// The machine, in words.
    pub machine: String,
    /// The number of runs of a cell, unless a run does not end.
    pub runs: u32,
    /// The duration of the whole run, in seconds.
    pub seconds: u64,
    /// The columns.
    pub arms: Vec<RuntimeColumn>,
    /// The rows, sorted by name.
    pub scenarios: Vec<MatrixRow>,
    /// The differences of the runtimes in plain words, in the order of `arms`.
    pub summaries: Vec<Summary>,
    /// The text of every line of a trace, by number.
    pub lines: Vec<String>,
    /// Runs of the simulator, by number.
    pub drawings: Vec<drawing::Drawing>,
    /// The texts of drawings, by number.
    pub labels: Vec<String>,
}

/// A runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeColumn {
    /// The name and the version: `bun 1.4.4`.
    pub name: String,
    /// The reason, and the remedy, if the runtime is not installed.
    pub absent: Option<String>,
}

/// A scenario and its cells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixRow {
    /// The name.
    pub name: String,
    /// What happens in the scenario.
    pub description: String,
    /// The most frequent recorded trace of the newest Node, or the trace of a quiet run of the simulator.
    pub expected: Numbered,
    /// The run of the simulator with this trace.
    pub drawing: Option<usize>,
    /// The line for `conformance replay` of the run.
    pub replay: Option<String>,
    /// A cell for every runtime, in the order of [`Matrix::arms`].
    pub cells: Vec<MatrixCell>,
}

/// The lines of every observer, by number in [`Matrix::lines`].
pub type Numbered = BTreeMap<String, Vec<usize>>;

/// A scenario on a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatrixCell {
    /// The result.
    pub result: CellResult,
    /// The heaviest level of the differences.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The number of runs with the trace, and the number of runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<(u64, u64)>,
    /// The reason of a known defect, or why there is no trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The differences. A reader begins with the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Deviation>,
    /// The trace. `None`: no trace, or the expected trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<Numbered>,
    /// The nearest trace of Node, unless the trace of the row is the nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Numbered>,
    /// The nearest run of the simulator, unless the run of the row is the nearest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawing: Option<usize>,
    /// The line for `conformance replay` of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
}

impl MatrixCell {
    /// A cell without a trace.
    pub fn without_trace(result: CellResult, note: Option<String>) -> Self {
        MatrixCell {
            result,
            level: None,
            seen: None,
            note,
            differences: Vec::new(),
            trace: None,
            expected: None,
            drawing: None,
            replay: None,
        }
    }
}

/// The result of a runtime in a scenario. The best result is first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CellResult {
    /// Every trace is a trace of Node, or differs only where Node itself differs by version.
    Holds,
    /// Every difference is in `exceptions.json`, with a reason, and a difference is about a requirement of
    /// the documentation or of Node's code.
    KnownDefect,
    /// A trace differs.
    Differs,
    /// The runtime lacks a function of the scenario.
    CannotRun,
    /// The runtime is not installed.
    Absent,
}

impl CellResult {
    /// Every result, in the order of a legend.
    pub const ALL: [CellResult; 5] = [
        CellResult::Holds,
        CellResult::KnownDefect,
        CellResult::Differs,
        CellResult::CannotRun,
        CellResult::Absent,
    ];
}

impl fmt::Display for CellResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            CellResult::Holds => "holds",
            CellResult::KnownDefect => "differs by a known defect",
            CellResult::Differs => "differs",
            CellResult::CannotRun => "cannot run",
            CellResult::Absent => "absent",
        })
    }
}

/// A difference from Node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deviation {
    /// The name of the requirement. `None`: a clause without a requirement.
    pub requirement: Option<String>,
    /// The weight.
    pub level: Level,
    /// The observer of the line.
    pub observer: Option<String>,
    /// The number of the line in the observer's sequence, from 1.
    pub line: Option<usize>,
    /// The line.
    pub seen: Option<String>,
    /// The expectation.
    pub expected: String,
}

impl Deviation {
    /// The requirement.
    pub fn requirement(&self) -> Option<&'static Requirement> {
        self.requirement.as_deref().and_then(requirement::named)
    }

    /// The area. Differences without a requirement are about the end.
    pub fn area(&self) -> Area {
        self.requirement().map_or(Area::Exit, |one| one.area)
    }
}

impl Matrix {
    /// Reads the data. The levels and the summaries are made again, because a requirement or a note may have
    /// changed.
    ///
    /// # Errors
    ///
    /// The text is no matrix.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        let mut matrix: Matrix = serde_json::from_str(text)?;
        for cell in matrix.scenarios.iter_mut().flat_map(|row| &mut row.cells) {
            for one in &mut cell.differences {
                one.level = one.requirement().map_or(one.level, |requirement| requirement.level);
            }
            cell.level = cell.differences.iter().map(|one| one.level).min().or(cell.level);
        }
        matrix.summaries = summary::of(&matrix);
        Ok(matrix)
    }

    /// The data, with a row on every line, so a changed cell is a changed line.
    pub fn json(&self) -> String {
        let value = serde_json::to_value(self).expect("a matrix is plain data");
        let serde_json::Value::Object(fields) = value else { return value.to_string() };
        let field = |(name, value): (String, serde_json::Value)| {
            let serde_json::Value::Array(items) = &value else { return format!("{name:?}: {value}") };
            let items: Vec<_> = items.iter().map(ToString::to_string).collect();
            format!("{name:?}: [\n{}\n]", items.join(",\n"))
        };
        let fields: Vec<_> = fields.into_iter().map(field).collect();
        format!("{{\n{}\n}}\n", fields.join(",\n"))
    }

    /// A stored trace. Lines that cannot be read are left out.
    pub fn trace(&self, numbered: &Numbered) -> Trace {
        let mut trace = Trace::default();
        for (observer, numbers) in numbered {
            let Ok(observer) = observer.parse::<Observer>() else { continue };
            let texts = numbers.iter().filter_map(|number| self.lines.get(*number));
            for observation in texts.filter_map(|text| text.parse::<Observation>().ok()) {
                trace.push(observer, observation);
            }
        }
        trace
    }
}
