//! The texts of a row: a short text for the diagram, and the complete text for the side panel.
//!
//! A row without a rule here has the name of its variant as the text.

use std::borrow::Cow;
use std::fmt::Debug;

use cluster_core::{Call, Escaped, Event, ExitStatus, Message, OsEvent, SocketId, WorkerEvent};
use serde_json::Value;

use super::Kind;
use crate::{ClientAction, ClientEvent, ClientId, Crossing};

/// The greatest length of a label; the complete text is in the side panel.
const LONGEST: usize = 48;

/// A short text and its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) kind: Kind,
    pub(super) text: String,
    pub(super) descriptor: bool,
}

fn label(kind: Kind, text: impl Into<String>) -> Label {
    Label { kind, text: short(&text.into()), descriptor: false }
}

/// The short text of a crossing.
pub(super) fn of(what: &Crossing) -> Label {
    match what {
        Crossing::Started => label(Kind::Life, "is started"),
        Crossing::Begins => label(Kind::Life, "the program starts"),
        Crossing::Ended(status) => ended(*status),
        Crossing::Call { call, answer } => call_label(call, answer.as_ref()),
        Crossing::Input { event, client } => input(event, *client),
        Crossing::PrimaryEvent(event) => label(Kind::Event, primary(event)),
        Crossing::SupervisorEvent(event) => label(Kind::Event, format!("{event:?}")),
        Crossing::WorkerEvent { event, client } => label(Kind::Event, worker(event, *client)),
        Crossing::Arrived { client, what, .. } => {
            let from = client.map_or_else(|| "a client".to_owned(), |client| format!("client {}", client.0));
            label(
                Kind::Network,
                what.as_ref().map_or_else(
                    |ending| format!("{from} {}", words(ending)),
                    |bytes| format!("{from}: {}", String::from_utf8_lossy(bytes)),
                ),
            )
        }
        Crossing::SocketEvent(event) => label(Kind::Network, words(event)),
        Crossing::ClientAction(act) => {
            label(if *act == ClientAction::Reset { Kind::Death } else { Kind::Network }, act.to_string())
        }
        Crossing::ClientEvent(ClientEvent::Data(bytes)) => {
            label(Kind::Network, format!("receives {}", String::from_utf8_lossy(bytes)))
        }
        Crossing::ClientEvent(event) => label(Kind::Network, format!("receives: {}", words(event))),
        Crossing::Fault(fault) => label(Kind::Fault, words(fault)),
        Crossing::Observation(line) => label(Kind::Line, line.as_ref()),
    }
}

fn ended(status: ExitStatus) -> Label {
    match status {
        ExitStatus::Code(code) => label(Kind::Life, format!("exits with {code}")),
        ExitStatus::Signal(signal) => label(Kind::Death, format!("killed by {signal:?}")),
        ExitStatus::ReapedElsewhere => label(Kind::Death, "exits, status unknown"),
    }
}

fn call_label(call: &Call, answer: Option<&OsEvent>) -> Label {
    if let Call::Write { bytes, socket, .. } = call {
        return Label { kind: Kind::Message, text: short(&messages(bytes)), descriptor: socket.is_some() };
    }
    if let Call::Spawn { worker, .. } = call {
        let fails = if matches!(answer, Some(OsEvent::Spawned { .. })) { "" } else { ": fails" };
        return label(Kind::Life, format!("spawns worker {worker}{fails}"));
    }
    if let Call::Kill { worker, signal } = call {
        return label(Kind::Life, format!("{signal:?} to worker {worker}"));
    }
    let fails = answer.map(words).filter(|answer| answer.ends_with("failed"));
    label(Kind::Kernel, fails.map_or_else(|| words(call), |_| format!("{}: fails", words(call))))
}

fn input(event: &OsEvent, client: Option<ClientId>) -> Label {
    if let OsEvent::Read { bytes, socket, .. } = event {
        return Label { kind: Kind::Message, text: short(&messages(bytes)), descriptor: socket.is_some() };
    }
    if let OsEvent::Exited { worker, status } = event {
        return label(Kind::Life, format!("worker {worker} has ended: {}", ended(*status).text));
    }
    if let OsEvent::ChannelClosed { channel } = event {
        return label(Kind::Kernel, format!("channel {} is closed", channel.0));
    }
    match client {
        Some(client) => label(Kind::Network, format!("accepts client {}", client.0)),
        None => label(Kind::Kernel, words(event)),
    }
}

/// A message as JSON.
fn text(message: &Message) -> String {
    message.json_text().map_or_else(|error| error.to_string(), Cow::into_owned)
}

fn primary(event: &Event) -> String {
    if let Event::Message { worker, message, .. } = event {
        return format!("message of worker {worker}: {}", text(message));
    }
    let (Event::Fork { worker, .. }
    | Event::Online { worker, .. }
    | Event::Listening { worker, .. }
    | Event::Disconnect { worker, .. }
    | Event::Exit { worker, .. }
    | Event::Error { worker, .. }) = event
    else {
        return words(event);
    };
    format!("{} of worker {worker}", words(event))
}

fn worker(event: &WorkerEvent, client: Option<ClientId>) -> String {
    if let WorkerEvent::Message { message, .. } = event {
        return format!("message: {}", text(message));
    }
    client.map_or_else(|| words(event), |client| format!("{} of client {}", words(event), client.0))
}

/// The text of a read: the messages that it completes, and whether a piece of another message follows.
pub(super) fn read(complete: &[&str], bytes: &[u8]) -> String {
    match (complete, bytes.ends_with(b"\n")) {
        ([], _) => format!("a piece, {} bytes", bytes.len()),
        (names, true) => short(&names.join(", ")),
        (names, false) => short(&format!("{}, and a piece", names.join(", "))),
    }
}

/// The names of the messages in the bytes. An incomplete message is called a piece.
fn messages(bytes: &[u8]) -> String {
    let names = bytes.split_inclusive(|byte| *byte == b'\n').map(message);
    names.collect::<Vec<_>>().join(", ")
}

/// The name of a line. Node's internal messages have names; messages of users are left unchanged.
pub(super) fn message(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    match serde_json::from_slice::<Value>(line) {
        Ok(value) => name(&value).unwrap_or_else(|| text.trim_end().to_owned()),
        Err(_) if line.ends_with(b"\n") => format!("no message: {}", text.trim_end()),
        Err(_) => format!("a piece, {} bytes", line.len()),
    }
}

fn name(value: &Value) -> Option<String> {
    match value.get("cmd")?.as_str()? {
        "NODE_CLUSTER" => inside(value),
        "NODE_HANDLE" => value.get("msg").and_then(|inner| name(inner).or_else(|| Some(inner.to_string()))),
        other => Some(other.strip_prefix("NODE_")?.to_lowercase().replace('_', " ")),
    }
}

fn inside(value: &Value) -> Option<String> {
    let number = |key: &str| value.get(key).and_then(Value::as_i64);
    if let Some(act) = value.get("act").and_then(Value::as_str) {
        return Some(number("seq").map_or_else(|| act.to_owned(), |seq| format!("{act} #{seq}")));
    }
    let refused = value.get("accepted").and_then(Value::as_bool) == Some(false);
    let kind = if refused { "refusal of" } else { "ack of" };
    number("ack").map(|ack| format!("{kind} #{ack}"))
}

fn short(text: &str) -> String {
    let line = Escaped(&text.replace('\n', " ")).to_string();
    if line.chars().count() <= LONGEST {
        return line;
    }
    line.chars().take(LONGEST - 1).chain(['…']).collect()
}

/// The complete text, over several lines.
pub(super) fn full(what: &Crossing) -> String {
    let text = complete(what);
    text.split('\n').map(|line| Escaped(line).to_string()).collect::<Vec<_>>().join("\n")
}

fn complete(what: &Crossing) -> String {
    match what {
        Crossing::Call { call: Call::Write { channel, bytes, socket }, answer } => {
            let head = carried("writes to channel", channel.0, *socket);
            let all = matches!(answer, Some(OsEvent::Wrote { rest, .. }) if rest.is_empty());
            let answer = if all { String::new() } else { answered(answer.as_ref()) };
            format!("{head}\n\n{}{answer}", lines(bytes))
        }
        Crossing::Input { event: OsEvent::Read { channel, bytes, socket }, .. } => {
            format!("{}\n\n{}", carried("reads from channel", channel.0, *socket), lines(bytes))
        }
        Crossing::Call { call, answer } => {
            format!("{call:#?}{}", answered(answer.as_ref()))
        }
        Crossing::Input { event, .. } => format!("{event:#?}"),
        Crossing::PrimaryEvent(event) => format!("{event:#?}"),
        Crossing::SupervisorEvent(event) => format!("{event:#?}"),
        Crossing::WorkerEvent { event, .. } => format!("{event:#?}"),
        Crossing::SocketEvent(event) => format!("{event:#?}"),
        Crossing::Observation(line) => line.clone().into_owned(),
        Crossing::Started
        | Crossing::Begins
        | Crossing::Ended(_)
        | Crossing::Arrived { .. }
        | Crossing::ClientAction(_)
        | Crossing::ClientEvent(_)
        | Crossing::Fault(_) => what.to_string(),
    }
}

fn answered(answer: Option<&OsEvent>) -> String {
    answer.map_or_else(String::new, |answer| format!("\n\nanswer: {answer:#?}"))
}

fn carried(what: &str, channel: u64, socket: Option<SocketId>) -> String {
    socket.map_or_else(
        || format!("{what} {channel}"),
        |socket| format!("{what} {channel}, with the descriptor of socket {}", socket.0),
    )
}

/// The messages as indented JSON, other lines unchanged.
fn lines(bytes: &[u8]) -> String {
    let text = |line: &[u8]| {
        let value = serde_json::from_slice::<Value>(line).ok();
        let pretty = value.and_then(|value| serde_json::to_string_pretty(&value).ok());
        pretty.unwrap_or_else(|| String::from_utf8_lossy(line).trim_end().to_owned())
    };
    bytes.split_inclusive(|byte| *byte == b'\n').map(text).collect::<Vec<_>>().join("\n")
}

/// The name of a variant as words: `ResumeAccept { .. }` is `resume accept`.
fn words(thing: &impl Debug) -> String {
    let text = format!("{thing:?}");
    let mut words = String::new();
    for letter in text.chars().take_while(char::is_ascii_alphanumeric) {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_its_node_name() {
        for (line, name) in [
            (r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#, "online #0"),
            (r#"{"cmd":"NODE_CLUSTER","ack":3,"accepted":true,"seq":4}"#, "ack of #3"),
            (r#"{"cmd":"NODE_CLUSTER","ack":3,"accepted":false,"seq":4}"#, "refusal of #3"),
            (r#"{"cmd":"NODE_HANDLE","msg":{"cmd":"NODE_CLUSTER","act":"newconn","seq":2}}"#, "newconn #2"),
            (r#"{"cmd":"NODE_HANDLE_ACK"}"#, "handle ack"),
            (r#""hello""#, r#""hello""#),
            (r#"{"cmd":"mine","n":1}"#, r#"{"cmd":"mine","n":1}"#),
            ("{}}", "no message: {}}"),
        ] {
            assert_eq!(message(format!("{line}\n").as_bytes()), name);
        }
        assert_eq!(message(br#"{"cmd":"NODE"#), "a piece, 12 bytes");
        assert_eq!(read(&["online #0"], b"x"), "online #0, and a piece");
    }
}
