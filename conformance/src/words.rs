//! The words of the observations: one function a word, so that every Rust arm writes the same line for the same thing.
//!
//! `recorder/recorder.cjs` writes the same lines in JavaScript, and `scenarios/README.md` explains them.
//! Ports are numbers here; [`Canon`](crate::trace::Canon) makes them symbols.

use crate::observation::{Observation, Observer};

/// A word and the keys that its line may have.
pub type Entry = (&'static str, &'static [&'static str]);

const LIFE: [&str; 6] = ["worker", "state", "after_disconnect", "connected", "dead", "listed"];

/// What a primary may write. Every line but `start` and `all_disconnected` ends with what is known of the worker.
pub const PRIMARY: &[Entry] = &[
    ("start", &[]),
    ("fork", &LIFE),
    ("online", &LIFE),
    (
        "listening",
        &["worker", "address", "type", "port", "state", "after_disconnect", "connected", "dead", "listed"],
    ),
    ("message", &["worker", "text", "state", "after_disconnect", "connected", "dead", "listed"]),
    ("disconnect", &LIFE),
    ("exit", &["worker", "code", "signal", "state", "after_disconnect", "connected", "dead", "listed"]),
    ("error", &["worker", "error", "state", "after_disconnect", "connected", "dead", "listed"]),
    ("look", &LIFE),
    ("all_disconnected", &[]),
];

/// What a worker may write.
pub const WORKER: &[Entry] = &[
    ("start", &[]),
    ("listening", &["server", "port"]),
    ("listen_failed", &["server", "error", "port"]),
    ("connection", &["server"]),
    ("data", &["server", "text"]),
    ("end", &["server"]),
    ("reset", &["server"]),
    ("closed", &["server"]),
    ("message", &["text"]),
    ("disconnect", &["after_disconnect", "connected"]),
    ("env", &["name", "value"]),
];

/// What a client may write.
pub const CLIENT: &[Entry] = &[
    ("connected", &["server"]),
    ("refused", &["server"]),
    ("data", &["text"]),
    ("end", &[]),
    ("reset", &[]),
];

/// What this observer may write.
pub fn of(observer: Observer) -> &'static [Entry] {
    match observer {
        Observer::Primary => PRIMARY,
        Observer::Worker(_) => WORKER,
        Observer::Client(_) => CLIENT,
    }
}

/// What the primary knows about a worker at the moment it writes a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life<'a> {
    /// Node: `worker.state`: `none`, `online`, `listening`, `disconnected`, `dead`.
    pub state: &'a str,
    /// Node: `worker.exitedAfterDisconnect`, `None` for `undefined`.
    pub after_disconnect: Option<bool>,
    /// Node: `worker.isConnected()`.
    pub connected: bool,
    /// Node: `worker.isDead()`.
    pub dead: bool,
    /// Whether it is in Node's `cluster.workers`.
    pub listed: bool,
}

/// Primary: one of the events that have no details of their own: `fork`, `online`, `disconnect`, and the action `look`.
pub fn life(what: &str, worker: u32, life: Life<'_>) -> Observation {
    ending(Observation::new(what).with("worker", worker), life)
}

/// Primary: `listening`. `address` is the host as the worker gave it, `kind` Node's `addressType`.
pub fn worker_listening(
    worker: u32,
    address: Option<&str>,
    kind: &str,
    port: u16,
    life: Life<'_>,
) -> Observation {
    let seen = Observation::new("listening").with("worker", worker).with("address", address.unwrap_or("-"));
    ending(seen.with("type", kind).with("port", port), life)
}

/// Primary: `message`.
pub fn worker_message(worker: u32, text: &str, life: Life<'_>) -> Observation {
    ending(Observation::new("message").with("worker", worker).with("text", text), life)
}

/// Primary: `exit`, with a code or the name of a signal.
pub fn exit(worker: u32, code: Option<i32>, signal: Option<&str>, life: Life<'_>) -> Observation {
    let code = code.map_or_else(|| "-".to_owned(), |code| code.to_string());
    let seen = Observation::new("exit").with("worker", worker).with("code", code);
    ending(seen.with("signal", signal.unwrap_or("-")), life)
}

/// Primary: `error`, with the name of the errno.
pub fn worker_error(worker: u32, error: &str, life: Life<'_>) -> Observation {
    ending(Observation::new("error").with("worker", worker).with("error", error), life)
}

fn ending(seen: Observation, life: Life<'_>) -> Observation {
    let after_disconnect =
        life.after_disconnect.map_or("undefined", |yes| if yes { "true" } else { "false" });
    seen.with("state", life.state)
        .with("after_disconnect", after_disconnect)
        .with("connected", life.connected)
        .with("dead", life.dead)
        .with("listed", life.listed)
}

/// Primary: the callback of Node's `cluster.disconnect()`.
pub fn all_disconnected() -> Observation {
    Observation::new("all_disconnected")
}

/// Primary and worker: the program begins.
pub fn start() -> Observation {
    Observation::new("start")
}

/// Worker: a server serves.
pub fn listening(server: &str, port: u16) -> Observation {
    Observation::new("listening").with("server", server).with("port", port)
}

/// Worker: a server does not serve. `port` is the one asked for, `error` the name of the errno.
pub fn listen_failed(server: &str, error: &str, port: u16) -> Observation {
    Observation::new("listen_failed").with("server", server).with("error", error).with("port", port)
}

/// Worker: `connection`, `end`, `reset` or `closed` of a server.
pub fn server(what: &str, server: &str) -> Observation {
    Observation::new(what).with("server", server)
}

/// Worker: a line of text came over a connection.
pub fn server_data(server: &str, text: &str) -> Observation {
    Observation::new("data").with("server", server).with("text", text)
}

/// Worker: a message came from the primary.
pub fn message(text: &str) -> Observation {
    Observation::new("message").with("text", text)
}

/// Worker: the channel is closed. `after_disconnect` is false where Node has `undefined`.
pub fn disconnect(after_disconnect: bool, connected: bool) -> Observation {
    Observation::new("disconnect").with("after_disconnect", after_disconnect).with("connected", connected)
}

/// Worker: the action `env`.
pub fn env(name: &str, value: Option<&str>) -> Observation {
    Observation::new("env").with("name", name).with("value", value.unwrap_or("-"))
}

/// Client: `connected` or `refused` by a server.
pub fn client(what: &str, server: &str) -> Observation {
    Observation::new(what).with("server", server)
}

/// Client: a line of text came.
pub fn client_data(text: &str) -> Observation {
    Observation::new("data").with("text", text)
}

/// Client: `end` or `reset`.
pub fn client_over(what: &str) -> Observation {
    Observation::new(what)
}
