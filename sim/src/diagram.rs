//! A run of the simulator as a sequence diagram: who is there, what happened to whom, and what led to what.
//!
//! It only arranges what a [`Trace`] holds. What an arrow is, is found in `arrows`; the words beside the lines are made in
//! `label`; how it looks is a matter of `page`, which puts all of it into one file.

use cluster_core::OsEvent;
use serde::Serialize;

use crate::{Actor, Crossing, Row, Trace};

mod arrows;
mod channel;
mod label;
mod network;
mod page;

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

/// What stands above the diagram.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct About {
    /// The scenario's name.
    pub name: String,
    /// The scenario's story, if it has one.
    pub story: String,
    /// What brings the run back: a line, or the command that takes it.
    pub line: String,
    /// What is wrong with the run, a paragraph each; nothing: all is well.
    pub faulty: Vec<String>,
    /// The step at which it went wrong, if it was at one.
    pub step: Option<u64>,
}

/// Somebody who does and sees things.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Column {
    /// Who.
    name: String,
    /// `primary`, `worker` or `client`.
    role: &'static str,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Mark {
    /// In which step, from 1.
    step: u64,
    /// To whom: the column.
    column: usize,
    /// What sort of thing it is.
    kind: Kind,
    /// In a few words.
    label: String,
    /// In full.
    detail: String,
    /// A descriptor goes with it.
    descriptor: bool,
    /// It sets off a reaction: what follows of the same process, up to the next such row.
    begins: bool,
    /// Nothing of this process comes after it.
    ends: bool,
}

/// What sort of thing happened; each can be hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Bytes on a channel.
    Message,
    /// A program hears an event.
    Event,
    /// A process is started or ends.
    Life,
    /// A process or a client is killed from outside, or comes to another bad end.
    Death,
    /// Clients and their connections.
    Network,
    /// Everything else between a process and its kernel.
    Kernel,
    /// Somebody writes a line down.
    Line,
    /// Something goes wrong on purpose.
    Fault,
}

/// What led to what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Arrow {
    /// The row it comes from.
    from: usize,
    /// The row it leads to; `None`: it never arrived.
    to: Option<usize>,
    /// The column it leads to.
    toward: usize,
    /// What sort of arrow it is.
    kind: Bond,
    /// What travels, in a few words.
    label: String,
}

/// How two rows belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Bond {
    /// A message was written and read.
    Message,
    /// The same, with a descriptor.
    Descriptor,
    /// The message arrived and its descriptor did not.
    Lost,
    /// A line that no machine has written.
    Garbage,
    /// A process is started, killed, or its end is told.
    Life,
    /// A channel is closed.
    Close,
    /// A connection is made, used or ended.
    Network,
}

impl Diagram {
    /// Draws what is in a trace.
    pub fn of(about: About, trace: &Trace) -> Self {
        let actors = actors(trace);
        let column = |actor: Actor| actors.binary_search(&actor).unwrap_or_default();
        let arrows = arrows::of(trace.rows(), column);
        let mut rows: Vec<_> = trace.rows().iter().map(|row| mark(row, column(row.actor))).collect();
        name_reads(&mut rows, trace.rows(), &arrows);
        Diagram { about, columns: actors.iter().copied().map(Column::of).collect(), rows, arrows }
    }

    /// One page that needs nothing else: no network, no font, no script of anybody.
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

/// Everybody to whom something happens.
fn actors(trace: &Trace) -> Vec<Actor> {
    let mut actors: Vec<_> = trace.rows().iter().map(|row| row.actor).collect();
    actors.sort_unstable();
    actors.dedup();
    actors
}

/// What was read is named after the messages that are complete by it, of which it may have only the last bytes.
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
