//! The words of the observations: one function for each word, so that every Rust arm writes the same line for
//! the same event.
//!
//! `recorder/recorder.cjs` writes the same lines in JavaScript, and `scenarios/README.md` explains the lines.
//! Ports are numbers here, and [`Canon`](crate::trace::Canon) replaces them by symbols.

use crate::observation::{Observation, Observer};

/// A word and the keys of its line.
pub type Entry = (&'static str, &'static [&'static str]);

const SETTINGS: [&str; 3] = ["args", "cwd", "silent"];

const LIFE: [&str; 6] = ["worker", "state", "after_disconnect", "connected", "dead", "listed"];

/// The lines of a primary. Every line except `start` and `all_disconnected` ends with the state of the
/// worker.
pub const PRIMARY: &[Entry] = &[
    ("start", &[]),
    ("fork", &LIFE),
    ("online", &LIFE),
    (
        "listening",
        &["worker", "address", "type", "port", "state", "after_disconnect", "connected", "dead", "listed"],
    ),
    ("message", &["worker", "text", "with", "state", "after_disconnect", "connected", "dead", "listed"]),
    ("pipe", &["worker", "fd", "text", "state", "after_disconnect", "connected", "dead", "listed"]),
    ("disconnect", &LIFE),
    ("exit", &["worker", "code", "signal", "state", "after_disconnect", "connected", "dead", "listed"]),
    ("error", &["worker", "error", "state", "after_disconnect", "connected", "dead", "listed"]),
    ("look", &LIFE),
    ("tried", &["worker", "text", "sent"]),
    ("all_disconnected", &[]),
    ("setup", &SETTINGS),
    ("settings", &SETTINGS),
    ("opened", &["server", "port", "path"]),
    ("connection", &["server"]),
    ("data", &["server", "text"]),
    ("end", &["server"]),
    ("reset", &["server"]),
    ("datagram", &["server", "text", "port"]),
];

/// The lines of a worker.
pub const WORKER: &[Entry] = &[
    ("start", &[]),
    ("listening", &["server", "port", "path"]),
    ("listen_failed", &["server", "error", "port", "path"]),
    ("connection", &["server"]),
    ("data", &["server", "text"]),
    ("end", &["server"]),
    ("reset", &["server"]),
    ("closed", &["server"]),
    ("datagram", &["server", "text", "port"]),
    ("message", &["text", "with"]),
    ("disconnect", &["after_disconnect", "connected"]),
    ("env", &["name", "value"]),
    ("look", &["after_disconnect", "connected"]),
    ("args", &["given"]),
    ("exec_args", &["given"]),
    ("cwd", &["path"]),
    ("tried", &["text", "sent"]),
];

/// The lines of a client.
pub(crate) const CLIENT: &[Entry] = &[
    ("connected", &["server"]),
    ("refused", &["server"]),
    ("data", &["text"]),
    ("end", &[]),
    ("reset", &[]),
    ("mode", &["server", "is"]),
    ("backlog", &["server", "is"]),
];

/// The lines that actions write. No rule acts on these lines.
pub(crate) const WRITTEN_BY_ACTIONS: [&str; 7] =
    ["look", "env", "settings", "args", "exec_args", "cwd", "tried"];

/// The words of an observer.
pub fn of(observer: Observer) -> &'static [Entry] {
    match observer {
        Observer::Primary => PRIMARY,
        Observer::Worker(_) => WORKER,
        Observer::Client(_) => CLIENT,
    }
}

/// The state of a worker in the primary at the moment of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life<'a> {
    /// Node: `worker.state`: `none`, `online`, `listening`, `disconnected`, `dead`.
    pub state: &'a str,
    /// Node: `worker.exitedAfterDisconnect`. `None`: `undefined`.
    pub after_disconnect: Option<bool>,
    /// Node: `worker.isConnected()`.
    pub connected: bool,
    /// Node: `worker.isDead()`.
    pub dead: bool,
    /// Whether the worker is in Node's `cluster.workers`.
    pub listed: bool,
}

/// Primary: a line without other details than the state: `fork`, `online`, `disconnect`, and the action
/// `inspect`.
pub fn life(what: &str, worker: u64, life: Life<'_>) -> Observation {
    ending(Observation::new(what).with("worker", worker), life)
}

/// Primary: `listening`. `address` is the host that the worker has sent, or the name of a path. `kind` is
/// Node's `addressType`. A path has the port -1.
pub(crate) fn worker_listening(
    worker: u64,
    address: Option<&str>,
    kind: &str,
    port: i32,
    life: Life<'_>,
) -> Observation {
    let seen = Observation::new("listening").with("worker", worker).with("address", address.unwrap_or("-"));
    ending(seen.with("type", kind).with("port", port), life)
}

/// Primary: `message`. `with`: the kind of the handle.
pub(crate) fn worker_message(worker: u64, text: &str, with: Option<&str>, life: Life<'_>) -> Observation {
    let seen = Observation::new("message").with("worker", worker).with("text", text);
    ending(came_with(seen, with), life)
}

/// Primary: a line of text from a worker's pipe.
pub fn pipe(worker: u64, fd: u32, text: &str, life: Life<'_>) -> Observation {
    ending(Observation::new("pipe").with("worker", worker).with("fd", fd).with("text", text), life)
}

/// Primary: the event `setup`, and the action `settings`, without the arguments that every run needs.
pub fn settings(what: &str, args: &[String], cwd: Option<&str>, silent: bool) -> Observation {
    let args = if args.is_empty() { "-".to_owned() } else { args.join(",") };
    Observation::new(what).with("args", args).with("cwd", cwd.unwrap_or("-")).with("silent", silent)
}

/// Primary: a server of the primary's own is open.
pub fn opened(server: &str, address: &ServerAddress) -> Observation {
    address.end(Observation::new("opened").with("server", server))
}

/// Primary and worker: the action `try_send`. In a primary, the line names the receiver.
pub fn tried(worker: Option<u64>, text: &str, sent: bool) -> Observation {
    let seen = Observation::new("tried");
    let seen = worker.into_iter().fold(seen, |seen, worker| seen.with("worker", worker));
    seen.with("text", text).with("sent", sent)
}

/// Primary: `exit`, with a code or with the name of a signal.
pub fn exit(worker: u64, code: Option<i32>, signal: Option<&str>, life: Life<'_>) -> Observation {
    let code = code.map_or_else(|| "-".to_owned(), |code| code.to_string());
    let seen = Observation::new("exit").with("worker", worker).with("code", code);
    ending(seen.with("signal", signal.unwrap_or("-")), life)
}

/// Primary: `error`, with the name of the error number.
pub(crate) fn worker_error(worker: u64, error: &str, life: Life<'_>) -> Observation {
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

/// The address of a server, as written in an observation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ServerAddress {
    /// At a port.
    Port(u16),
    /// At a path: the name in the directory of the run.
    Path(String),
}

impl ServerAddress {
    /// The address in a line.
    pub(crate) fn of(seen: &Observation) -> Option<Self> {
        let path = || seen.detail("path").map(|path| ServerAddress::Path(path.to_owned()));
        seen.port().map(ServerAddress::Port).or_else(path)
    }

    /// At a path in any directory.
    pub fn path(path: &str) -> Self {
        ServerAddress::Path(file_name(path).to_owned())
    }

    fn end(&self, seen: Observation) -> Observation {
        match self {
            ServerAddress::Port(port) => seen.with("port", port),
            ServerAddress::Path(path) => seen.with("path", path),
        }
    }
}

/// The last part of a path.
pub fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Worker: a server listens.
pub fn listening(server: &str, address: &ServerAddress) -> Observation {
    address.end(Observation::new("listening").with("server", server))
}

/// Worker: a server cannot listen at the requested address. `error` is the name of the error number.
pub fn listen_failed(server: &str, error: &str, address: &ServerAddress) -> Observation {
    address.end(Observation::new("listen_failed").with("server", server).with("error", error))
}

/// Worker and primary: `connection`, `end` or `reset` of a server; worker: `closed`.
pub fn server(what: &str, server: &str) -> Observation {
    Observation::new(what).with("server", server)
}

/// Worker and primary: a line of text from a connection.
pub(crate) fn server_data(server: &str, text: &str) -> Observation {
    Observation::new("data").with("server", server).with("text", text)
}

/// Worker and primary: a datagram. `port` is the port of the sender.
pub fn datagram(server: &str, text: &str, port: u16) -> Observation {
    Observation::new("datagram").with("server", server).with("text", text).with("port", port)
}

/// Worker: a message from the primary. `with`: the kind of the handle.
pub fn message(text: &str, with: Option<&str>) -> Observation {
    came_with(Observation::new("message").with("text", text), with)
}

fn came_with(seen: Observation, with: Option<&str>) -> Observation {
    match with {
        Some(with) => seen.with("with", with),
        None => seen,
    }
}

/// Worker: the actions `args` and `exec_args`.
pub fn args(what: &str, given: &[String]) -> Observation {
    let given = if given.is_empty() { "-".to_owned() } else { given.join(",") };
    Observation::new(what).with("given", given)
}

/// Worker: the action `cwd`.
pub fn cwd(path: &str) -> Observation {
    Observation::new("cwd").with("path", path)
}

/// Worker: the channel is closed. `after_disconnect` is false where Node has `undefined`.
pub fn disconnect(after_disconnect: bool, connected: bool) -> Observation {
    Observation::new("disconnect").with("after_disconnect", after_disconnect).with("connected", connected)
}

/// Worker: `look`, the line of the action `inspect`.
pub fn look(after_disconnect: bool, connected: bool) -> Observation {
    Observation::new("look").with("after_disconnect", after_disconnect).with("connected", connected)
}

/// A message like an internal message of Node. Node does not pass such a message on to the program.
pub fn reserved() -> serde_json::Value {
    serde_json::json!({ "cmd": "NODE_CLUSTER", "ack": 4711 })
}

/// Worker: the action `env`.
pub fn env(name: &str, value: Option<&str>) -> Observation {
    Observation::new("env").with("name", name).with("value", value.unwrap_or("-"))
}

/// Client: `connected` or `refused` by a server.
pub fn client(what: &str, server: &str) -> Observation {
    Observation::new(what).with("server", server)
}

/// Client: the steps `mode` and `backlog`. The value is `-` if there is no server.
pub fn outside(what: &str, server: &str, is: Option<&str>) -> Observation {
    Observation::new(what).with("server", server).with("is", is.unwrap_or("-"))
}

/// Client: a line of text from the server.
pub(crate) fn client_data(text: &str) -> Observation {
    Observation::new("data").with("text", text)
}

/// Client: `end` or `reset`.
pub(crate) fn client_over(what: &str) -> Observation {
    Observation::new(what)
}
