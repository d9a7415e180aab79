//! The verbs of primaries, workers and clients, and their arguments.
//!
//! The documentation of a verb is a row of the manual: an example, a colon, and the effect.
//! `MANUAL=update cargo test -p cluster-conformance --lib manual` writes the rows to `scenarios/README.md`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::deserialize;
use super::error::ValidationError;
use super::listen::{Bind, Listen, Open};
use super::token::{ServerName, Signal, Target, Text, Token};
use super::verb::{Argument, Part, arguments, verbs};
use super::{Policy, Setup};
use crate::families::Families;
use crate::pattern::LinePattern;

verbs! {
    /// An action of a primary.
    pub enum PrimaryAction {
        /// `{ "fork": 2 }`: fork two workers; all rules of a file together at most 1000
        Fork(count: #[serde(deserialize_with = "deserialize::few")] u32),
        /// `{ "fork_with": { "COLOR": "blue" } }`: fork one worker with variables; `$port` is the port of the
        /// line. A worker with `PORT_web` can use the port of the server `web`
        ForkWith(variables: BTreeMap<String, Token>),
        /// `{ "setup": { "args": ["a"], "cwd": "/", "silent": true } }`: Node: `cluster.setupPrimary()`;
        /// omitted settings are unchanged. `/nowhere` is a directory that does not exist.
        /// `"stdio": ["ignore", "inherit", "inherit", "ipc", "pipe"]`: the first descriptors of workers,
        /// `ipc` exactly once. `"exec_argv": ["--inspect-port=9300"]`: arguments of Node's executable for
        /// workers (workers in Rust accept this option alone); `"inspect_port": 4711`.
        Setup(setup: Setup),
        /// `"settings"`: write the current settings
        Settings,
        /// `{ "policy": "shared" }`: Node: an assignment to `cluster.schedulingPolicy`
        Policy(policy: Policy),
        /// `{ "open": { "server": "mine" } }`: open a server of the primary's own, on 127.0.0.1.
        /// `"path": "mine.sock"`: at a path. `"udp": true`: for datagrams. `"bound": true`: only bound, for
        /// workers that listen on the descriptor. Workers forked afterwards receive the port and the
        /// descriptor
        Open(open: Open),
        /// `{ "close": "mine" }`: close a server. A primary with an open server of its own does not end,
        /// unless the server is only bound
        Close(server: ServerName),
        /// `{ "send_handle": { "to": 1, "text": "yours" } }`: on `connection`, `data`: send the connection
        /// with a message. `"what": "mine"`: the server instead. `"keep_open": true`: the sender keeps a copy
        SendHandle(send: SendHandleTo),
        /// `{ "reply": "hello" }`: as in a worker
        [OnConnection] Reply(text: Text),
        /// `"end"`: as in a worker
        [OnConnection] End,
        /// `{ "send": { "to": 1, "text": "go" } }`: send a message
        Send(send: SendTo),
        /// `{ "disconnect": 1 }`: Node: `worker.disconnect()`
        Disconnect(worker: Target),
        /// `"disconnect_all"`: Node: `cluster.disconnect()`; the callback is observed as `all_disconnected`
        DisconnectAll,
        /// `{ "kill": { "worker": 1, "signal": "SIGTERM" } }`: Node: `worker.kill(signal)`. `SIGHUP`,
        /// `SIGINT`, `SIGTERM`, `SIGKILL`
        Kill(kill: KillWorker),
        /// `{ "try_send": { "to": 1, "text": "go" } }`: send a message, even to a worker without a channel,
        /// and write whether `send` accepted it
        TrySend(send: SendTo),
        /// `{ "block_until_exit": 1 }`: block until the process of the worker has ended: the descriptors are
        /// closed, and the primary has not observed the end yet. In the simulator the block may end at any
        /// time
        BlockUntilExit(worker: Target),
        /// `{ "inspect": 1 }`: write what the primary knows of a worker; not after both `disconnect` and
        /// `exit` of the worker
        Inspect(worker: Target),
        /// `"exhaust_fds"`: open files until no descriptor is left (EMFILE). The processes of such a scenario
        /// have a limit of 256
        ExhaustFds,
        /// `"free_fds"`: close the files
        FreeFds,
        /// `{ "exit": 0 }`: end the process with a code
        [Ends] Exit(code: i32),
        /// `"crash"`: an uncaught exception: the code is 1
        [Ends] Crash,
        /// `{ "raise": "SIGKILL" }`: end the process by a signal
        [Ends] Raise(signal: Signal),
    }
}

verbs! {
    /// An action of a worker.
    pub enum WorkerAction {
        /// `{ "listen": { "server": "web" } }`: open a server, on every address and a port chosen by the
        /// kernel. `"host": "127.0.0.1"`: on an address. `"port_of": "admin"`: at the port of the server
        /// `admin`, which is of the same worker or in the worker's environment. `"port": 42`: at a port.
        /// `"path": "web.sock"`: at a path in the directory of the run, with `readable_all` and
        /// `writable_all`. `"fd_of": "mine"`: on the descriptor of a server of the primary's own.
        /// `ipv6_only`, `exclusive`, `reuse_port`: Node's options. `backlog`, `max_connections`: numbers.
        /// `form`: the JavaScript of a worker on Node, to create the server and call `listen`: a form of
        /// `forms/families.json` under the host, `any` or `path`; other workers open the server of the same
        /// meaning. Only with `host`, `path` and `max_connections`
        Listen(listen: Listen),
        /// `{ "bind": { "server": "inbox" } }`: open a server for datagrams. `"v6": true`: of IPv6. `host`,
        /// `port_of`, `fd_of`, `ipv6_only`, `reuse_address`, `reuse_port`, `exclusive`. `form`: as for
        /// `listen`, of the `bind` families; only with `v6` and `host`
        Bind(bind: Bind),
        /// `{ "send_datagram": { "to": "inbox", "text": "hello" } }`: send a datagram to the port of the
        /// server on 127.0.0.1, from a new socket. `"from": "mine"`: from a server
        SendDatagram(send: SendDatagramFrom),
        /// `{ "close": "web" }`: close a server; open connections are unaffected
        Close(server: ServerName),
        /// `{ "send": "ready" }`: send a message to the primary
        Send(text: Text),
        /// `{ "send_form": "{ b: null }" }`: send the value of a JavaScript expression to the primary: a form
        /// of `forms/families.json`. A worker on Node sends by an overload of `process.send`; the line has
        /// the JSON text
        SendForm(form: MessageForm),
        /// `{ "try_send": "ready" }`: send a message to the primary, even on a closed channel, and write
        /// whether `send` accepted it
        TrySend(text: Text),
        /// `"send_reserved"`: send a message with a `cmd` reserved for Node
        SendReserved,
        /// `{ "send_handle": { "text": "yours" } }`: on `connection`, `data`: send this connection with a
        /// message to the primary; `what` and `keep_open` as in the primary
        SendHandle(send: SendHandle),
        /// `"disconnect"`: Node: `cluster.worker.disconnect()`
        Disconnect,
        /// `"kill"`: Node: `cluster.worker.kill()`
        Kill,
        /// `"disconnect_channel"`: Node: `process.disconnect()`: the channel closes without a message to the
        /// cluster
        DisconnectChannel,
        /// `"block_forever"`: block the process forever
        [Ends] BlockForever,
        /// `"leave_child_with_channel"`: on `connection`, `data`: start a child, which also holds the channel
        /// of the worker, and ends when the client has ended; once per worker
        [OnConnection] LeaveChildWithChannel,
        /// `{ "block_until_path": "gate.sock" }`: block the process until a path of the directory of the run
        /// exists, for example as a server of the primary's own. The last action of a list
        [Ends] BlockUntilPath(path: Token),
        /// `{ "exit": 3 }`: end with a code
        [Ends] Exit(code: i32),
        /// `"crash"`: an uncaught exception: the code is 1
        [Ends] Crash,
        /// `{ "raise": "SIGKILL" }`: end by a signal
        [Ends] Raise(signal: Signal),
        /// `{ "reply": "hello" }`: on `connection`, `data`, `message with=connection`: write a line to the
        /// client; on `datagram`: send an answer
        [OnConnection] Reply(text: Text),
        /// `"end"`: on `connection`, `data`: end the connection. A connection without `end` is held open
        [OnConnection] End,
        /// `"end_all"`: end every open connection
        EndAll,
        /// `{ "env": "COLOR" }`: write a variable of the environment
        Env(name: String),
        /// `"inspect"`: write what the worker knows of its own state
        Inspect,
        /// `"args"`: write the arguments, without those of the arm
        Args,
        /// `"exec_args"`: write the arguments of Node's executable
        ExecArgs,
        /// `"cwd"`: write the working directory
        Cwd,
        /// `{ "write": { "fd": 4, "text": "hello" } }`: write a line to a descriptor; 3 is the channel, where
        /// no honest program writes
        Write(line: WriteLine),
    }
}

verbs! {
    /// A step of a client.
    pub enum Step {
        /// `{ "await": "primary: listening #2" }`: continue when a matching line was written since the start
        /// of the run; with `#2`, when two were
        Await(line: LinePattern),
        /// `{ "connect": "web" }`: connect to the port of the server on 127.0.0.1, or to the path, as soon as
        /// a `listening` line of the server was written
        [Connects] Connect(server: ServerName),
        /// `{ "connect_v6": "web" }`: connect on `::1`
        [Connects] ConnectV6(server: ServerName),
        /// `{ "send_datagram": { "to": "inbox", "text": "hello" } }`: send a datagram to the server on
        /// 127.0.0.1. Answers arrive at the same socket
        SendDatagram(send: SendDatagram),
        /// `{ "send_datagram_v6": { "to": "inbox", "text": "hello" } }`: the same, on `::1`
        SendDatagramV6(send: SendDatagram),
        /// `{ "mode": "web" }`: write the permissions of the path of the server
        Mode(server: ServerName),
        /// `{ "backlog": "web" }`: write the limit of connections that the kernel queues for the server
        Backlog(server: ServerName),
        /// `{ "write": "hello" }`: write a line
        [OnConnection] Write(text: Token),
        /// `"end"`: end the client's side. Without `end` the client waits for the end of the server
        [OnConnection] End,
        /// `"reset"`: reset the connection
        [OnConnection] Reset,
    }
}

arguments! {
    /// A message to a worker.
    pub struct SendTo {
        /// The receiver.
        pub to: Target,
        /// The text; a JSON string on the wire.
        pub text: Token,
    }

    /// A signal for a worker.
    pub struct KillWorker {
        /// The worker.
        pub worker: Target,
        /// The signal.
        pub signal: Signal,
    }

    /// A datagram of a client.
    pub struct SendDatagram {
        /// The receiving server.
        pub to: ServerName,
        /// The text.
        pub text: Token,
    }

    /// A datagram of a worker.
    pub struct SendDatagramFrom {
        /// The receiving server.
        pub to: ServerName,
        /// The text.
        pub text: Text,
        /// The sending server for datagrams; by default a new socket.
        #[serde(default)]
        pub from: Option<ServerName>,
    }

    /// A line for a descriptor.
    pub struct WriteLine {
        /// The descriptor.
        pub fd: u32,
        /// The text.
        pub text: Text,
    }
}

/// A message of a worker with a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendHandle {
    /// The text of the message.
    pub text: Text,
    /// The server to send; by default the connection of the observation.
    #[serde(default)]
    pub what: Option<ServerName>,
    /// Whether the sender keeps its copy.
    #[serde(default)]
    pub keep_open: bool,
}

impl Argument for SendHandle {
    fn visit(&mut self, visitor: &mut dyn FnMut(Part<'_>)) {
        visitor(Part::Text(&mut self.text));
        visitor(self.what.as_mut().map_or(Part::Connection, Part::Server));
    }
}

/// A message of a primary that carries a socket.
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendHandleTo {
    /// The receiver.
    pub to: u64,
    /// The text of the message.
    pub text: Token,
    /// The server to send; by default the connection of the observation.
    #[serde(default)]
    pub what: Option<ServerName>,
    /// Whether the sender keeps its copy.
    #[serde(default)]
    pub keep_open: bool,
}

impl Argument for SendHandleTo {
    fn visit(&mut self, visitor: &mut dyn FnMut(Part<'_>)) {
        visitor(self.what.as_mut().map_or(Part::Connection, Part::Server));
    }
}

/// A message in JavaScript: one of the [families](crate::families).
#[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(transparent)]
pub struct MessageForm(String);

impl MessageForm {
    /// The JSON text of the message.
    ///
    /// # Panics
    ///
    /// Never in a valid scenario: another form is an error of the file.
    pub fn json(&self) -> &'static str {
        Families::ours().message(&self.0).expect("a scenario with another form is refused")
    }
}

impl Argument for MessageForm {
    fn check(&self) -> Result<(), ValidationError> {
        super::listen::is_form(&self.0, Families::ours().message(&self.0).is_some())
    }
}

impl Step {
    /// The address of this machine in the version of the Internet Protocol that the step uses.
    pub(crate) fn loopback(&self) -> IpAddr {
        if matches!(self, Step::ConnectV6(_) | Step::SendDatagramV6(_)) {
            Ipv6Addr::LOCALHOST.into()
        } else {
            Ipv4Addr::LOCALHOST.into()
        }
    }
}

impl PrimaryAction {
    /// The number of forked workers.
    pub fn forks(&self) -> u32 {
        if let PrimaryAction::Fork(count) = self {
            *count
        } else {
            matches!(self, PrimaryAction::ForkWith(_)).into()
        }
    }
}
