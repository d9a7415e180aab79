//! A run of the simulator as a small value: the rows and arrows of the sequence diagram about
//! processes, messages and connections. The page draws the value with the script of `cluster_sim::diagram`.

use std::collections::BTreeMap;

use cluster_sim::diagram::{About, Diagram};
use cluster_sim::replay::Line;
use serde::{Deserialize, Serialize};

use crate::arm::sim::Sim;

/// The kinds of rows and of arrows, as `cluster_sim::diagram` names them.
const KINDS: [&str; 6] = ["message", "event", "life", "death", "network", "fault"];
const BONDS: [&str; 7] = ["message", "descriptor", "lost", "garbage", "life", "close", "network"];

/// Columns, rows and arrows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawing {
    /// The name and the role of every column.
    columns: Vec<(String, String)>,
    /// For every row: step, column, kind, label, and 1 for a descriptor + 2 for the begin + 4 for the end of
    /// a reaction.
    rows: Vec<(u64, usize, usize, usize, u8)>,
    /// For every arrow: from, to (or -1), the column of the effect, kind, label.
    arrows: Vec<(usize, isize, usize, usize, usize)>,
}

/// A diagram as its page reads it.
#[derive(Deserialize)]
struct Drawn {
    columns: Vec<DrawnColumn>,
    rows: Vec<DrawnRow>,
    arrows: Vec<DrawnArrow>,
}

#[derive(Deserialize)]
struct DrawnColumn {
    name: String,
    role: String,
}

#[derive(Deserialize)]
struct DrawnRow {
    step: u64,
    column: usize,
    kind: String,
    label: String,
    descriptor: bool,
    begins: bool,
    ends: bool,
}

#[derive(Deserialize)]
struct DrawnArrow {
    from: usize,
    to: Option<usize>,
    toward: usize,
    kind: String,
    label: String,
}

/// Texts without repetition.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) all: Vec<String>,
    numbers: BTreeMap<String, usize>,
}

impl Texts {
    pub(super) fn number(&mut self, text: String) -> usize {
        *self.numbers.entry(text).or_insert_with_key(|text| {
            self.all.push(text.clone());
            self.all.len() - 1
        })
    }
}

impl Drawing {
    /// The run of a replay line. `None`: the line is of another version.
    pub(super) fn of(replay: &str, sim: &Sim, labels: &mut Texts) -> Option<Self> {
        let line: Line = replay.parse().ok()?;
        let replayed = sim.replay(&line);
        let diagram = Diagram::of(About::default(), replayed.world.trace()?);
        let drawn: Drawn = serde_json::from_value(serde_json::to_value(&diagram).ok()?).ok()?;
        Some(Drawing::small(drawn, labels))
    }

    fn small(drawn: Drawn, labels: &mut Texts) -> Self {
        let mut places = BTreeMap::new();
        let mut rows = Vec::new();
        for (at, row) in drawn.rows.into_iter().enumerate() {
            let Some(kind) = KINDS.iter().position(|kind| *kind == row.kind) else { continue };
            places.insert(at, rows.len());
            let flags = u8::from(row.descriptor) + 2 * u8::from(row.begins) + 4 * u8::from(row.ends);
            rows.push((row.step, row.column, kind, labels.number(row.label), flags));
        }
        let arrows = drawn.arrows.into_iter().filter_map(|arrow| {
            let to = match arrow.to {
                Some(to) => isize::try_from(*places.get(&to)?).ok()?,
                None => -1,
            };
            let kind = BONDS.iter().position(|kind| *kind == arrow.kind)?;
            Some((*places.get(&arrow.from)?, to, arrow.toward, kind, labels.number(arrow.label)))
        });
        let arrows = arrows.collect();
        let columns = drawn.columns.into_iter().map(|column| (column.name, column.role)).collect();
        Drawing { columns, rows, arrows }
    }
}
