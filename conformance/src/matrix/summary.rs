//! The differences of each runtime in plain words: by area, the heaviest level first.
//!
//! `notes.json` has a sentence about a runtime and a requirement. Without a note, the sentence is the
//! behaviour of Node that the runtime lacks.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::{CellResult, Deviation, Matrix, MatrixCell};
use crate::exceptions::glob;
use crate::requirement::{self, Area, Level};

/// A runtime in numbers and sentences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// The runtime.
    pub runtime: String,
    /// The number of scenarios by result.
    pub counts: BTreeMap<CellResult, usize>,
    /// The differences, by area and level.
    pub differences: Vec<Difference>,
}

/// One kind of difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The area.
    pub area: Area,
    /// The weight.
    pub level: Level,
    /// The requirement.
    pub requirement: String,
    /// What the runtime does, if there is a note.
    pub note: Option<String>,
    /// What Node does.
    pub node: String,
    /// The scenarios with this difference.
    pub scenarios: Vec<String>,
}

/// A sentence about a runtime.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    /// The runtimes; `*` matches any text.
    runtime: String,
    requirement: String,
    text: String,
}

static NOTES: LazyLock<Vec<Note>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../notes.json")).expect("notes.json is part of the program")
});

/// The summary of each runtime.
pub(super) fn of(matrix: &Matrix) -> Vec<Summary> {
    (0..matrix.arms.len()).map(|column| of_runtime(matrix, column)).collect()
}

fn of_runtime(matrix: &Matrix, column: usize) -> Summary {
    let runtime = &matrix.arms[column].name;
    let mut counts = BTreeMap::new();
    let mut found: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for row in &matrix.scenarios {
        let Some(cell) = row.cells.get(column) else { continue };
        *counts.entry(cell.result).or_insert(0) += 1;
        for name in named(cell) {
            let scenarios = found.entry(name).or_default();
            if !scenarios.contains(&row.name) {
                scenarios.push(row.name.clone());
            }
        }
    }
    let mut differences: Vec<_> =
        found.into_iter().filter_map(|(name, scenarios)| difference(runtime, name, scenarios)).collect();
    differences.sort_by_key(|one| (one.area, one.level, std::cmp::Reverse(one.scenarios.len())));
    Summary { runtime: runtime.clone(), counts, differences }
}

/// The requirements that a cell breaks. A missing line often follows from another difference. So missing
/// lines count only if no line is wrong.
fn named(cell: &MatrixCell) -> Vec<&str> {
    let wrong = cell.differences.iter().filter(|one| one.seen.is_some());
    let mut names: Vec<_> = wrong.filter_map(requirement_name).collect();
    if names.is_empty() {
        names.extend(cell.differences.first().and_then(requirement_name));
    }
    names
}

fn requirement_name(difference: &Deviation) -> Option<&str> {
    difference.requirement.as_deref()
}

fn difference(runtime: &str, name: &str, scenarios: Vec<String>) -> Option<Difference> {
    let requirement = requirement::named(name)?;
    let note = NOTES.iter().find(|note| note.requirement == name && glob(&note.runtime, runtime));
    Some(Difference {
        area: requirement.area,
        level: requirement.level,
        requirement: name.to_owned(),
        note: note.map(|note| note.text.clone()),
        node: requirement.behaviour.to_owned(),
        scenarios,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_name_requirements() {
        for Note { runtime, requirement, text } in NOTES.iter() {
            assert!(requirement::named(requirement).is_some(), "{runtime}: {requirement}");
            assert!(text.ends_with('.'), "{text}");
        }
    }
}
