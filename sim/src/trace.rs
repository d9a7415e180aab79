//! A readable trace: one row a crossing, one column an actor. It is only written when asked for, and decides nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use cluster_core::{Call, Event, ExitStatus, OsEvent, SocketId, WorkerEvent};

use crate::fault::Fault;
use crate::program::{Actor, ClientAction, ClientEvent, ClientId, Ending, SocketEvent};

/// How wide a column is at most.
const WIDTH: usize = 48;

/// How many rows a table has at most: there is a column for everybody in them.
const MOST: usize = 1000;

/// What happened, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    rows: Vec<Row>,
}

/// One thing that happened to somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// In which step, from 1.
    pub step: u64,
    /// To whom, or who did it.
    pub actor: Actor,
    /// What.
    pub what: Crossing,
}

/// What crosses the line between a process, or a client, and everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Crossing {
    /// A process exists.
    Started,
    /// Its program begins.
    Begins,
    /// It is over.
    Ended(ExitStatus),
    /// A machine asks the kernel for something.
    Call {
        /// What for.
        call: Call,
        /// What it was answered at once.
        answer: Option<OsEvent>,
    },
    /// The kernel tells a machine something.
    Input {
        /// What.
        event: OsEvent,
        /// Whose connection was accepted, if one was.
        client: Option<ClientId>,
    },
    /// The program of the primary hears something.
    PrimaryEvent(Event),
    /// The program of a worker hears something.
    WorkerEvent {
        /// What.
        event: WorkerEvent,
        /// Whose connection it is, if it is one.
        client: Option<ClientId>,
    },
    /// Something arrives at a connection that a program has.
    Arrived {
        /// At which.
        connection: SocketId,
        /// From whom.
        client: Option<ClientId>,
        /// Bytes, or the end.
        what: Result<Vec<u8>, Ending>,
    },
    /// Something happens at a listening or UDP socket that a program has.
    SocketEvent(SocketEvent),
    /// A client does something.
    ClientAction(ClientAction),
    /// A client hears something.
    ClientEvent(ClientEvent),
    /// A fault strikes: the rows after it, of the same step, show what comes of it.
    Fault(Fault),
    /// Somebody writes a line down.
    Observation(Cow<'static, str>),
}

impl Trace {
    /// Every row, in order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(crate) fn push(&mut self, step: u64, actor: Actor, what: Crossing) {
        self.rows.push(Row { step, actor, what });
    }

    /// A fault struck in the step whose rows begin at `at`.
    pub(crate) fn strike(&mut self, at: usize, step: u64, actor: Actor, fault: Fault) {
        self.rows.insert(at, Row { step, actor, what: Crossing::Fault(fault) });
    }

    /// The answer to the call in the last row.
    pub(crate) fn answer(&mut self, event: &OsEvent) {
        if let Some(Row { what: Crossing::Call { answer, .. }, .. }) = self.rows.last_mut() {
            *answer = Some(event.clone());
        }
    }

    /// The last crossings, and what is written down, if it is asked for: a suite sees it where it is compared. And how many
    /// come before.
    fn shown(&self, with_observed: bool) -> (usize, Vec<(&Row, Vec<char>)>) {
        let is_shown = |row: &&Row| with_observed || !matches!(row.what, Crossing::Observation(_));
        let before = self.rows.iter().filter(is_shown).count().saturating_sub(MOST);
        let rows = self.rows.iter().filter(is_shown).skip(before);
        (before, rows.map(|row| (row, letters(&row.what))).collect())
    }
}

/// What nobody should send to a terminal stands as a dot.
fn letters(what: &Crossing) -> Vec<char> {
    let shown = |letter: char| if letter.is_control() { '\u{b7}' } else { letter };
    what.to_string().chars().map(shown).collect()
}

/// A table of the last thousand rows. Texts that are too long for their column go on in the next row. In the alternate form
/// (`{:#}`) with what programs have written down.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, rows) = self.shown(f.alternate());
        if before > 0 {
            writeln!(f, "{before} rows before these are left out")?;
        }
        let mut columns: BTreeMap<Actor, usize> = BTreeMap::new();
        for (row, letters) in &rows {
            let width = columns.entry(row.actor).or_insert(row.actor.to_string().len());
            *width = letters.len().clamp(*width, WIDTH);
        }
        write!(f, "{:>5}", "step")?;
        columns.iter().try_for_each(|(actor, width)| write!(f, " | {:<width$}", actor.to_string()))?;
        writeln!(f)?;
        for (row, letters) in rows {
            for (line, part) in letters.chunks(WIDTH).enumerate() {
                let step = if line == 0 { row.step.to_string() } else { String::new() };
                write!(f, "{step:>5}")?;
                columns.range(..row.actor).try_for_each(|(_, width)| write!(f, " | {:width$}", ""))?;
                writeln!(f, " | {}", part.iter().collect::<String>())?;
            }
        }
        Ok(())
    }
}

/// Short. What a program hears begins with `*`, a fault with `!`.
impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Crossing::Started => f.write_str("is started"),
            Crossing::Begins => f.write_str("begins"),
            Crossing::Ended(status) => write!(f, "ends: {status:?}"),
            Crossing::Call { call, answer } => {
                f.write_str(&said(call))?;
                answer.as_ref().and_then(answered).map_or(Ok(()), |answer| write!(f, " -> {answer}"))
            }
            Crossing::Input { event: OsEvent::Read { channel, bytes, socket }, .. } => {
                write!(f, "read {}{}: {}", channel.0, with(*socket), text(bytes))
            }
            Crossing::Input { event, .. } => write!(f, "{event:?}"),
            // What workers are started with stays the same in nearly every run, and is long.
            Crossing::PrimaryEvent(Event::Setup { .. }) => f.write_str("* Setup"),
            Crossing::PrimaryEvent(event) => write!(f, "* {event:?}"),
            Crossing::WorkerEvent { event, .. } => write!(f, "* {event:?}"),
            Crossing::Arrived { connection, what: Ok(bytes), .. } => {
                write!(f, "* {connection:?}: {}", text(bytes))
            }
            Crossing::Arrived { connection, what: Err(ending), .. } => {
                write!(f, "* {connection:?}: {ending:?}")
            }
            Crossing::SocketEvent(event) => write!(f, "* {event:?}"),
            Crossing::ClientAction(act) => act.fmt(f),
            Crossing::ClientEvent(event) => f.write_str(&heard(event)),
            Crossing::Fault(fault) => write!(f, "! {fault:?}"),
            Crossing::Observation(line) => write!(f, "writes down: {line}"),
        }
    }
}

impl fmt::Display for ClientAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientAction::Connect(to) => write!(f, "connects to {to}"),
            ClientAction::Send(bytes) => write!(f, "sends {}", text(bytes)),
            ClientAction::SendTo(to, bytes) => write!(f, "sends to {to}: {}", text(bytes)),
            ClientAction::End => f.write_str("is done"),
            ClientAction::Reset => f.write_str("resets its connection"),
        }
    }
}

fn heard(event: &ClientEvent) -> String {
    if let ClientEvent::Data(bytes) = event { format!("* {}", text(bytes)) } else { format!("* {event:?}") }
}

fn said(call: &Call) -> String {
    if let Call::Write { channel, bytes, socket } = call {
        return format!("write {}{}: {}", channel.0, with(*socket), text(bytes));
    }
    if let Call::Spawn { worker, .. } = call {
        return format!("spawn {worker}");
    }
    format!("{call:?}")
}

/// The answer to a call, if it says anything.
fn answered(event: &OsEvent) -> Option<String> {
    if let OsEvent::Wrote { rest, .. } = event {
        return (!rest.is_empty()).then(|| format!("{} bytes left", rest.len()));
    }
    Some(format!("{event:?}"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_an_end_and_does_nothing_to_a_terminal() {
        let mut trace = Trace::default();
        for step in 0..MOST as u64 + 7 {
            trace.push(step, Actor::Primary, Crossing::Observation("\u{1b}[2J\none".into()));
        }
        let table = format!("{trace:#}");
        assert!(table.starts_with("7 rows before these are left out\n step | primary"), "{table}");
        assert_eq!(table.lines().count(), MOST + 2);
        assert!(table.ends_with(" | writes down: \u{b7}[2J\u{b7}one\n"), "{table}");
        assert_eq!(trace.to_string().lines().count(), 1, "nothing has crossed");
    }
}
