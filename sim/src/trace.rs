//! A readable trace: one row a crossing, one column an actor. It is only written when asked for, and decides nothing.

use std::borrow::Cow;
use std::fmt;

use cluster_core::{Call, Event, OsEvent, SocketId, WorkerEvent};

use crate::program::{Actor, Ending};

/// How wide a column is.
const WIDTH: usize = 48;

/// What happened, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    step: u64,
    actor: Actor,
    text: String,
}

impl Trace {
    pub(crate) fn push(&mut self, step: u64, actor: Actor, text: String) {
        self.rows.push(Row { step, actor, text });
    }

    /// The answer to the call in the last row.
    pub(crate) fn answer(&mut self, text: Option<String>) {
        if let (Some(row), Some(text)) = (self.rows.last_mut(), text) {
            row.text.push_str(" -> ");
            row.text.push_str(&text);
        }
    }

    fn columns(&self) -> Vec<Actor> {
        let mut actors: Vec<Actor> = self.rows.iter().map(|row| row.actor).collect();
        actors.sort_unstable();
        actors.dedup();
        actors
    }
}

/// A table. Texts that are too long for their column go on in the next row.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns();
        write!(f, "{:>5}", "step")?;
        columns.iter().try_for_each(|actor| write!(f, " | {:<WIDTH$}", actor.to_string()))?;
        writeln!(f)?;
        for row in &self.rows {
            let at = columns.binary_search(&row.actor).unwrap_or(0);
            let letters: Vec<char> = row.text.chars().collect();
            for (line, part) in letters.chunks(WIDTH).enumerate() {
                let step = if line == 0 { row.step.to_string() } else { String::new() };
                write!(f, "{step:>5}")?;
                (0..at).try_for_each(|_| write!(f, " | {:WIDTH$}", ""))?;
                writeln!(f, " | {}", part.iter().collect::<String>())?;
            }
        }
        Ok(())
    }
}

/// A call, short.
pub(crate) fn call(call: &Call) -> String {
    if let Call::Write { channel, bytes, socket } = call {
        return format!("write {}{}: {}", channel.0, with(*socket), text(bytes));
    }
    if let Call::Spawn { worker, .. } = call {
        return format!("spawn {worker}");
    }
    format!("{call:?}")
}

/// The answer to a call, if it says anything.
pub(crate) fn answer(event: &OsEvent) -> Option<String> {
    if let OsEvent::Wrote { rest, .. } = event {
        return (!rest.is_empty()).then(|| format!("{} bytes left", rest.len()));
    }
    Some(format!("{event:?}"))
}

/// What the kernel tells, short.
pub(crate) fn os_event(event: &OsEvent) -> String {
    if let OsEvent::Read { channel, bytes, socket } = event {
        return format!("read {}{}: {}", channel.0, with(*socket), text(bytes));
    }
    format!("{event:?}")
}

/// What a program hears in the primary.
pub(crate) fn event(event: &Event) -> String {
    format!("* {event:?}")
}

/// What a program hears in a worker.
pub(crate) fn worker_event(event: &WorkerEvent) -> String {
    format!("* {event:?}")
}

/// What arrives at a connection.
pub(crate) fn received(connection: SocketId, arrived: &Result<Vec<u8>, Ending>) -> String {
    match arrived {
        Ok(bytes) => format!("* {connection:?}: {}", text(bytes)),
        Err(ending) => format!("* {connection:?}: {ending:?}"),
    }
}

fn with(socket: Option<SocketId>) -> String {
    socket.map_or_else(String::new, |socket| format!(" + {socket:?}"))
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    match String::from_utf8_lossy(bytes) {
        text if text.trim_end().contains('\n') => Cow::Owned(text.trim_end().replace('\n', "\\n")),
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_end()),
        Cow::Owned(text) => Cow::Owned(text),
    }
}
