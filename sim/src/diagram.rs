//! A run of the simulator as a sequence diagram: processes, clients, events and causes.
//!
//! The diagram arranges the rows of a [`Trace`]. `arrows` finds the arrows, `label` writes the texts, and
//! `page` puts everything into one file.

use cluster_core::OsEvent;
use serde::Serialize;

use crate::{Actor, Crossing, Row, Trace};

mod arrows;
mod channel;
mod label;
mod network;
mod page;

pub use page::template;

/// A run, ready to be drawn.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagram {
    about: About,
    /// From left to right.
    columns: Vec<Column>,
    /// From top to bottom.
    rows: Vec<Mark>,
    arrows: Vec<Arrow>,
}

/// The header of the page.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The scenario's name.
    pub name: String,
    /// The scenario's description, or empty.
    pub description: String,
    /// The replay line, or the command for a replay.
    pub line: String,
    /// The violations, a paragraph each. Empty for a run without a failure.
    pub faulty: Vec<String>,
    /// The step of the failure, if known.
    pub step: Option<u64>,
}

/// A process or a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Column {
    /// The displayed name.
    name: String,
    /// `primary`, `worker` or `client`.
    role: &'static str,
}

/// A row of the diagram: an action of a process or client, or an event there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Mark {
    /// The step, from 1.
    step: u64,
    /// The column of the process or client.
    column: usize,
    /// The kind, by which a reader can hide rows.
    kind: Kind,
    /// A short text.
    label: String,
    /// The complete text.
    detail: String,
    /// Whether a descriptor is sent or received.
    descriptor: bool,
    /// The row begins a reaction, which lasts until the next such row of the same process.
    begins: bool,
    /// The process has no later row.
    ends: bool,
}

/// The kind of a row; each can be hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Bytes on a channel.
    Message,
    /// An event of a program.
    Event,
    /// A start or a normal end of a process.
    Life,
    /// A kill, a crash or a reset.
    Death,
    /// Clients and connections.
    Network,
    /// Every other call and event of the kernel.
    Kernel,
    /// An observation.
    Line,
    /// A fault.
    Fault,
}

/// A cause and an effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Arrow {
    /// The row of the cause.
    from: usize,
    /// The row of the effect. `None`: the run ended before the effect.
    to: Option<usize>,
    /// The column of the effect.
    toward: usize,
    /// The kind of the arrow.
    kind: Bond,
    /// A short text about the content.
    label: String,
}

/// How the rows of an arrow are related.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Bond {
    /// A message was written and read.
    Message,
    /// A message with a descriptor.
    Descriptor,
    /// A message without the lost descriptor.
    Lost,
    /// A line that no machine has written.
    Garbage,
    /// A start, a kill, or the report of an exit.
    Life,
    /// A close of a channel.
    Close,
    /// A connect, data or an end of a connection.
    Network,
}

impl Diagram {
    /// The diagram of a trace.
    pub fn of(about: About, trace: &Trace) -> Self {
        let actors = actors(trace);
        let column = |actor: Actor| actors.binary_search(&actor).unwrap_or_default();
        let arrows = arrows::of(trace.rows(), column);
        let mut rows: Vec<_> = trace.rows().iter().map(|row| mark(row, column(row.actor))).collect();
        name_reads(&mut rows, trace.rows(), &arrows);
        Diagram { about, columns: actors.iter().copied().map(Column::of).collect(), rows, arrows }
    }

    /// The page as one file without references to network, fonts or scripts.
    pub fn page(&self) -> String {
        page::of(self)
    }
}

impl Column {
    fn of(actor: Actor) -> Self {
        let role = match actor {
            Actor::Primary => "primary",
            Actor::Worker(_) => "worker",
            Actor::Client(_) => "client",
        };
        Column { name: actor.to_string(), role }
    }
}

/// Every process and client with a row.
fn actors(trace: &Trace) -> Vec<Actor> {
    let mut actors: Vec<_> = trace.rows().iter().map(|row| row.actor).collect();
    actors.sort_unstable();
    actors.dedup();
    actors
}

/// Names a read after the messages that the read completes, even if earlier reads had most of the bytes.
fn name_reads(marks: &mut [Mark], rows: &[Row], arrows: &[Arrow]) {
    for (at, (mark, row)) in marks.iter_mut().zip(rows).enumerate() {
        if let Crossing::Input { event: OsEvent::Read { bytes, .. }, .. } = &row.what {
            let complete =
                arrows.iter().filter(|arrow| arrow.to == Some(at)).map(|arrow| arrow.label.as_str());
            mark.label = label::read(&complete.collect::<Vec<_>>(), bytes);
        }
    }
}

fn mark(row: &Row, column: usize) -> Mark {
    let label::Label { kind, text, descriptor } = label::of(&row.what);
    let begins = matches!(row.what, Crossing::Started | Crossing::Input { .. } | Crossing::Arrived { .. });
    let ends = matches!(row.what, Crossing::Ended(_));
    Mark {
        step: row.step,
        column,
        kind,
        label: text,
        detail: label::full(&row.what),
        descriptor,
        begins,
        ends,
    }
}
