//! A readable trace: a row for each crossing, and a column for each actor. A world records a trace only on
//! request.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use cluster_core::{Call, Escaped, Event, ExitStatus, OsEvent, SocketId, SupervisorEvent, WorkerEvent};

use crate::event::{Actor, ClientAction, ClientEvent, ClientId, Ending, SocketEvent};
use crate::fault::Fault;

/// The greatest width of a column.
const WIDTH: usize = 48;

/// The largest number of rows in a table. The table has a column for every actor of these rows.
const MOST: usize = 1000;

/// The rows of a run, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    rows: Vec<Row>,
}

/// One crossing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The step, from 1.
    pub step: u64,
    /// The process or client.
    pub actor: Actor,
    /// The crossing.
    pub what: Crossing,
}

/// Something that crosses the boundary of a process or a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Crossing {
    /// A process was started.
    Started,
    /// The program starts.
    Begins,
    /// The process has ended.
    Ended(ExitStatus),
    /// A machine calls the kernel.
    Call {
        /// The call.
        call: Call,
        /// The immediate answer.
        answer: Option<OsEvent>,
    },
    /// A machine receives an event of the kernel.
    Input {
        /// The event.
        event: OsEvent,
        /// The client of an accepted connection.
        client: Option<ClientId>,
    },
    /// The program of the primary receives an event.
    PrimaryEvent(Event),
    /// The program of a supervised primary receives an event of its supervisor.
    SupervisorEvent(SupervisorEvent),
    /// The program of a worker receives an event.
    WorkerEvent {
        /// The event.
        event: WorkerEvent,
        /// The client of a delivered connection.
        client: Option<ClientId>,
    },
    /// Bytes or an end arrive at a connection of a program.
    Arrived {
        /// The connection.
        connection: SocketId,
        /// The client.
        client: Option<ClientId>,
        /// The bytes, or the ending.
        what: Result<Vec<u8>, Ending>,
    },
    /// A listening or UDP socket of a program has an event.
    SocketEvent(SocketEvent),
    /// A client acts.
    ClientAction(ClientAction),
    /// A client receives an event.
    ClientEvent(ClientEvent),
    /// A fault strikes. The following rows of the same step show the effect.
    Fault(Fault),
    /// A process or client records an observation.
    Observation(Cow<'static, str>),
}

impl Trace {
    /// Every row, oldest first.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The number of rows before the program meets the outside: before the first fault, action of a client,
    /// and observation.
    pub(crate) fn start_up(&self) -> usize {
        let is_outside = |row: &Row| match row.what {
            Crossing::Fault(_)
            | Crossing::Observation(_)
            | Crossing::ClientAction(_)
            | Crossing::ClientEvent(_) => true,
            Crossing::Started
            | Crossing::Begins
            | Crossing::Ended(_)
            | Crossing::Call { .. }
            | Crossing::Input { .. }
            | Crossing::PrimaryEvent(_)
            | Crossing::SupervisorEvent(_)
            | Crossing::WorkerEvent { .. }
            | Crossing::Arrived { .. }
            | Crossing::SocketEvent(_) => false,
        };
        self.rows.iter().position(is_outside).unwrap_or(self.rows.len())
    }

    /// The number of first rows that both traces have.
    pub(crate) fn common(&self, other: &Trace) -> usize {
        self.rows.iter().zip(&other.rows).take_while(|(ours, theirs)| ours == theirs).count()
    }

    /// Removes the first `n` rows.
    pub(crate) fn skip(&mut self, n: usize) {
        self.rows.drain(..n);
    }

    /// Removes the rows after the last observation, except ends of processes. Returns the number of removed
    /// rows. Without an observation after the last fault, every row remains.
    pub(crate) fn skip_end(&mut self) -> usize {
        let last = |is_last: fn(&Row) -> bool| self.rows.iter().rposition(is_last);
        let observed = last(|row| matches!(row.what, Crossing::Observation(_)));
        let Some(end) = observed.filter(|at| Some(*at) > last(|row| matches!(row.what, Crossing::Fault(_))))
        else {
            return 0;
        };
        let (before, mut at) = (self.rows.len(), 0..);
        self.rows.retain(|row| at.next() <= Some(end) || matches!(row.what, Crossing::Ended(_)));
        before - self.rows.len()
    }

    pub(crate) fn push(&mut self, step: u64, actor: Actor, what: Crossing) {
        self.rows.push(Row { step, actor, what });
    }

    /// Inserts a fault before the rows of a step, which begin at `at`.
    pub(crate) fn strike(&mut self, at: usize, step: u64, actor: Actor, fault: Fault) {
        self.rows.insert(at, Row { step, actor, what: Crossing::Fault(fault) });
    }

    /// Adds the answer to the call in the last row.
    pub(crate) fn answer(&mut self, event: &OsEvent) {
        if let Some(Row { what: Crossing::Call { answer, .. }, .. }) = self.rows.last_mut() {
            *answer = Some(event.clone());
        }
    }

    /// The last rows, and the number of rows before them; with or without observations, which a suite prints
    /// elsewhere.
    fn shown(&self, with_observed: bool) -> (usize, Vec<(&Row, Vec<char>)>) {
        let is_shown = |row: &&Row| with_observed || !matches!(row.what, Crossing::Observation(_));
        let before = self.rows.iter().filter(is_shown).count().saturating_sub(MOST);
        let rows = self.rows.iter().filter(is_shown).skip(before);
        (before, rows.map(|row| (row, printable(&row.what))).collect())
    }
}

/// The text with a dot instead of each character that has no glyph: a terminal would interpret control and
/// format characters.
fn printable(what: &Crossing) -> Vec<char> {
    let shown = |letter: char| if Escaped::is_escaped(letter) { '\u{b7}' } else { letter };
    what.to_string().chars().map(shown).collect()
}

/// A table of the last thousand rows. A long text continues in the next row. The alternate form (`{:#}`) also
/// contains the observations.
impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, rows) = self.shown(f.alternate());
        if before > 0 {
            writeln!(f, "{before} earlier rows are omitted")?;
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

/// A short text. `*` precedes an event of a program, and `!` a fault.
impl fmt::Display for Crossing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Crossing::Started => f.write_str("is started"),
            Crossing::Begins => f.write_str("begins"),
            Crossing::Ended(status) => write!(f, "ends: {status:?}"),
            Crossing::Call { call, answer } => {
                f.write_str(&call_text(call))?;
                answer.as_ref().and_then(answered).map_or(Ok(()), |answer| write!(f, " -> {answer}"))
            }
            Crossing::Input { event: OsEvent::Read { channel, bytes, socket }, .. } => {
                write!(f, "read {}{}: {}", channel.0, with(*socket), text(bytes))
            }
            Crossing::Input { event, .. } => write!(f, "{event:?}"),
            // The settings are long and nearly always the same.
            Crossing::PrimaryEvent(Event::Setup { .. }) => f.write_str("* Setup"),
            Crossing::PrimaryEvent(event) => write!(f, "* {event:?}"),
            Crossing::SupervisorEvent(event) => write!(f, "* {event:?}"),
            Crossing::WorkerEvent { event, .. } => write!(f, "* {event:?}"),
            Crossing::Arrived { connection, what: Ok(bytes), .. } => {
                write!(f, "* {connection:?}: {}", text(bytes))
            }
            Crossing::Arrived { connection, what: Err(ending), .. } => {
                write!(f, "* {connection:?}: {ending:?}")
            }
            Crossing::SocketEvent(event) => write!(f, "* {event:?}"),
            Crossing::ClientAction(act) => act.fmt(f),
            Crossing::ClientEvent(event) => f.write_str(&received(event)),
            Crossing::Fault(fault) => write!(f, "! {fault:?}"),
            Crossing::Observation(line) => write!(f, "observes: {line}"),
        }
    }
}

impl fmt::Display for ClientAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientAction::Connect(to) => write!(f, "connects to {to}"),
            ClientAction::Send(bytes) => write!(f, "sends {}", text(bytes)),
            ClientAction::SendTo(to, bytes) => write!(f, "sends to {to}: {}", text(bytes)),
            ClientAction::End => f.write_str("ends its side"),
            ClientAction::Reset => f.write_str("resets its connection"),
        }
    }
}

fn received(event: &ClientEvent) -> String {
    if let ClientEvent::Data(bytes) = event { format!("* {}", text(bytes)) } else { format!("* {event:?}") }
}

fn call_text(call: &Call) -> String {
    if let Call::Write { channel, bytes, socket } = call {
        return format!("write {}{}: {}", channel.0, with(*socket), text(bytes));
    }
    if let Call::Spawn { worker, .. } = call {
        return format!("spawn {worker}");
    }
    format!("{call:?}")
}

/// The answer to a call, unless it has no information.
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
    fn table_is_bounded_and_printable() {
        let mut trace = Trace::default();
        for step in 0..MOST as u64 + 7 {
            trace.push(step, Actor::Primary, Crossing::Observation("\u{1b}[2J\none\u{202e}".into()));
        }
        let table = format!("{trace:#}");
        assert!(table.starts_with("7 earlier rows are omitted\n step | primary"), "{table}");
        assert_eq!(table.lines().count(), MOST + 2);
        assert!(table.ends_with(" | observes: \u{b7}[2J\u{b7}one\u{b7}\n"), "{table}");
        assert_eq!(trace.to_string().lines().count(), 1, "observations are no crossings");
    }
}
