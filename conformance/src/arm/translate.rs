//! Translates values of `cluster-core` to observations, and a scenario to settings. The simulator and the
//! real system share this translation, so both write the same line for the same event.

use std::borrow::Cow;

use cluster_core::{
    Errno, Event, ExitStatus, IncomingHandle, ListenAddress, ListenOptions, LocalAddress, Message,
    SchedulingPolicy, Serialization, Settings, Signal, SpawnOptions, Stdio, WorkerError, WorkerId,
    WorkerInfo, WorkerState,
};
use serde::Deserialize;
use serde_json::Value;

use crate::observation::Observation;
use crate::scenario::{self, Bind, Listen, Policy, Scenario, ServerName};
use crate::vocabulary::{self, ServerAddress};

/// The settings of a scenario's primary. The defaults are Node's.
pub(super) fn settings(scenario: &Scenario, command: SpawnOptions) -> Settings {
    let command = command.serialization(serialization(scenario));
    Settings { policy: policy(scenario.settings.policy), spawn: command, ..Settings::default() }
}

fn serialization(scenario: &Scenario) -> Serialization {
    match scenario.settings.serialization {
        scenario::Serialization::Json => Serialization::Json,
        scenario::Serialization::Advanced => Serialization::Advanced,
    }
}

/// The scheduling policy.
pub(super) fn policy(policy: Policy) -> SchedulingPolicy {
    match policy {
        Policy::RoundRobin => SchedulingPolicy::RoundRobin,
        Policy::Shared => SchedulingPolicy::Shared,
    }
}

/// A signal of a scenario as a signal of the core.
pub(super) fn signal(signal: crate::scenario::Signal) -> Signal {
    Signal::from_name(signal.name()).expect("the core knows every signal a scenario can name")
}

/// The options of a worker's server. `place` is the directory of the run.
pub(super) fn listen(listen: &Listen, place: &str) -> ListenOptions {
    let port = listen.port.unwrap_or_else(|| listen.port_of.as_ref().map_or(0, ServerName::port));
    let fd = listen.fd_of.as_ref().and_then(|server| server.fd);
    let Listen { host, ipv6_only, readable_all, writable_all, .. } = *listen;
    let address = match (&listen.path, fd) {
        (Some(path), _) => {
            ListenAddress::Path { path: format!("{place}/{path}"), readable_all, writable_all }
        }
        (None, Some(fd)) => ListenAddress::Descriptor { fd, udp: false },
        (None, None) => ListenAddress::Tcp { host, port, ipv6_only },
    };
    let Listen { exclusive, reuse_port, backlog, max_connections, .. } = *listen;
    ListenOptions { address, exclusive, reuse_port, backlog, max_connections }
}

/// The options of a worker's server for datagrams.
pub(super) fn bind(bind: &Bind) -> ListenOptions {
    let port = bind.port_of.as_ref().map_or(0, ServerName::port);
    let fd = bind.fd_of.as_ref().and_then(|server| server.fd);
    let Bind { v6, host, ipv6_only, reuse_address, exclusive, reuse_port, .. } = *bind;
    let udp = ListenAddress::Udp { v6, host, port: Some(port), ipv6_only, reuse_address };
    let address = fd.map_or(udp, |fd| ListenAddress::Descriptor { fd, udp: true });
    ListenOptions { address, exclusive, reuse_port, ..ListenOptions::default() }
}

/// The setup of a scenario. `own` holds the arguments that every run needs.
pub(super) fn setup(setup: &scenario::Setup, own: &[String]) -> SpawnOptions {
    let stdio = |stdio: &scenario::Stdio| match stdio {
        scenario::Stdio::Inherit => Stdio::Inherit,
        scenario::Stdio::Ignore => Stdio::Ignore,
        scenario::Stdio::Pipe => Stdio::Pipe,
        scenario::Stdio::Ipc => Stdio::Channel,
    };
    let mut options = SpawnOptions::new();
    if let Some(args) = &setup.args {
        options = options.args(own.iter().cloned().chain(args.iter().map(ToString::to_string)));
    }
    if let Some(args) = &setup.exec_argv {
        options = options.exec_argv(args.iter().map(ToString::to_string));
    }
    if let Some(port) = setup.inspect_port {
        options = options.inspect_port(port);
    }
    if let Some(directory) = &setup.cwd {
        options = options.cwd(directory.to_string());
    }
    if let Some(silent) = setup.silent {
        options = options.silent(silent);
    }
    if let Some(all) = &setup.stdio {
        options = options.stdio(all.iter().map(stdio));
    }
    options
}

/// The line for the event `setup` and for the action `settings`. The first `own` arguments are not written:
/// every run needs these arguments.
pub(super) fn settings_line(what: &str, options: &SpawnOptions, own: usize) -> Observation {
    let given: Vec<String> =
        options.args.as_deref().unwrap_or_default().iter().skip(own).map(ToString::to_string).collect();
    let directory = options.cwd.as_ref().map(ToString::to_string);
    vocabulary::settings(what, &given, directory.as_deref(), options.silent.unwrap_or_default())
}

/// The content of a line that a simulated worker writes to a pipe. The simulator has no pipes, so the channel
/// carries the line, in order.
pub(super) fn piped(fd: u32, text: &str) -> Value {
    serde_json::json!({ "fd": fd, "text": text })
}

fn unpiped(message: &Message) -> Option<(u32, String)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Piped {
        fd: u32,
        text: String,
    }
    message.to::<Piped>().ok().map(|Piped { fd, text }| (fd, text))
}

/// The address of a server.
pub(super) fn local(address: &LocalAddress) -> ServerAddress {
    match address {
        LocalAddress::Ip(_) | LocalAddress::Zoned { .. } => ServerAddress::Port(address.port()),
        LocalAddress::Path(path) => ServerAddress::path(path),
    }
}

/// The requested address of a server.
pub(super) fn asked(address: &ListenAddress) -> ServerAddress {
    if let ListenAddress::Path { path, .. } = address {
        ServerAddress::path(path)
    } else {
        ServerAddress::Port(address.port())
    }
}

/// The line for an event in the primary. `known` returns the state of a worker.
///
/// `None`: Node has no such event. `place` is the directory of the run. The first `own_args` arguments are
/// those that every worker needs. `adopt` receives the handle and the text of a message, and returns the kind
/// of the handle.
pub fn event<'a>(
    event: &Event,
    place: &str,
    own_args: usize,
    known: impl Fn(WorkerId) -> Option<&'a WorkerInfo>,
    adopt: &mut impl FnMut(IncomingHandle, &str) -> &'static str,
) -> Option<Observation> {
    let life =
        |worker: &WorkerId| life(known(*worker).expect("a worker is known while its events are emitted"));
    Some(match event {
        Event::Fork { worker } => vocabulary::life("fork", worker.0, life(worker)),
        Event::Online { worker } => vocabulary::life("online", worker.0, life(worker)),
        Event::Disconnect { worker } => vocabulary::life("disconnect", worker.0, life(worker)),
        Event::Listening { worker, address } => {
            let kind = address.address_type.to_string();
            let at = address
                .address
                .as_deref()
                .map(|at| at.strip_prefix(place).map_or(at, |name| name.trim_start_matches('/')));
            vocabulary::worker_listening(worker.0, at, &kind, address.port, life(worker))
        }
        Event::Message { worker, message, handle } => {
            if let Some((fd, text)) = unpiped(message) {
                return Some(vocabulary::pipe(worker.0, fd, &text, life(worker)));
            }
            let text = text(message);
            let with = handle.map(|passed| adopt(passed, &text));
            vocabulary::worker_message(worker.0, &text, with, life(worker))
        }
        Event::Setup { options } => settings_line("setup", options, own_args),
        Event::Exit { worker, status, .. } => {
            let (code, signal) = ending(*status);
            vocabulary::exit(worker.0, code, signal.as_deref(), life(worker))
        }
        Event::Error { worker, error } => {
            vocabulary::worker_error(worker.0, &error_name(error), life(worker))
        }
        Event::AllDisconnected => vocabulary::all_disconnected(),
        Event::AcceptFailed { errno: _ } => return None,
    })
}

/// The line for the action `inspect`. `None`: the worker is forgotten, because all its events have occurred.
pub(super) fn look(worker: u64, known: Option<&WorkerInfo>) -> Option<Observation> {
    known.map(|known| vocabulary::life("look", worker, life(known)))
}

/// The line for a text from a pipe. `None`: the worker is forgotten.
pub(super) fn pipe(worker: WorkerId, fd: u32, text: &str, known: Option<&WorkerInfo>) -> Option<Observation> {
    known.map(|known| vocabulary::pipe(worker.0, fd, text, life(known)))
}

/// The message with this JSON text.
pub(super) fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("the families of forms are JSON")
}

/// A message as text: a string without quotes, any other value as JSON.
pub(super) fn text(message: &Message) -> String {
    let json = || message.json_text().map_or_else(|error| error.to_string(), Cow::into_owned);
    message.to::<String>().unwrap_or_else(|_| json())
}

/// The name of an error number, as Node's `error.code`.
pub(super) fn errno(errno: Errno) -> String {
    errno.to_string()
}

fn life(known: &WorkerInfo) -> vocabulary::Life<'static> {
    vocabulary::Life {
        state: match known.state() {
            WorkerState::None => "none",
            WorkerState::Online => "online",
            WorkerState::Listening => "listening",
            WorkerState::Disconnected => "disconnected",
            WorkerState::Dead => "dead",
        },
        after_disconnect: known.exited_after_disconnect(),
        connected: known.is_connected(),
        dead: known.is_dead(),
        listed: known.is_listed(),
    }
}

fn ending(status: ExitStatus) -> (Option<i32>, Option<String>) {
    match status {
        ExitStatus::Code(code) => (Some(code), None),
        ExitStatus::Signal(signal) => (None, Some(signal.to_string())),
        ExitStatus::ReapedElsewhere => (None, None),
    }
}

fn error_name(error: &WorkerError) -> String {
    match error {
        WorkerError::Spawn { errno: number, .. }
        | WorkerError::Kill(number)
        | WorkerError::Write { errno: number, .. }
        | WorkerError::Delayed(number) => errno(*number),
        WorkerError::Protocol(_)
        | WorkerError::NotReceived
        | WorkerError::Lingers
        | WorkerError::RetainedChannel => errno(Errno::EPROTO),
    }
}
