//! From the values of `cluster-core` to the words of observations, and from a scenario to its settings: the same for
//! the simulator and for the real system, so that both write the same line for the same thing. It runs nothing.

use cluster_core::{
    Errno, Event, ExitStatus, Life, SchedulingPolicy, Settings, Signal, WorkerError, WorkerId, WorkerState,
};
use serde_json::Value;

use crate::observation::Observation;
use crate::scenario::{Policy, Scenario};
use crate::words;

/// How the primary of a scenario is set up. What is not said there is as in Node.
pub(super) fn settings(scenario: &Scenario) -> Settings {
    let policy = match scenario.settings.policy {
        Policy::RoundRobin => SchedulingPolicy::RoundRobin,
        Policy::Shared => SchedulingPolicy::Shared,
    };
    Settings { policy, ..Settings::default() }
}

/// A signal of a scenario as the operating system has it.
pub(super) fn signal(signal: crate::scenario::Signal) -> Signal {
    Signal::from_name(signal.name()).expect("the core knows every signal a scenario can name")
}

/// The line a primary writes for an event. `known` is what it knows of a worker at this moment.
///
/// `None`: an event Node does not have, and no word either.
pub(super) fn event<'a>(event: &Event, known: impl Fn(WorkerId) -> Option<&'a Life>) -> Option<Observation> {
    let life = |worker: &WorkerId| life(known(*worker).expect("a worker is known while its events are told"));
    Some(match event {
        Event::Fork { worker } => words::life("fork", worker.0, life(worker)),
        Event::Online { worker } => words::life("online", worker.0, life(worker)),
        Event::Disconnect { worker } => words::life("disconnect", worker.0, life(worker)),
        Event::Listening { worker, address } => {
            let kind = address.address_type.to_string();
            let port = u16::try_from(address.port).unwrap_or(0);
            words::worker_listening(worker.0, address.address.as_deref(), &kind, port, life(worker))
        }
        Event::Message { worker, message, handle: _ } => {
            words::worker_message(worker.0, &text(message), life(worker))
        }
        Event::Exit { worker, status } => {
            let (code, signal) = ending(*status);
            words::exit(worker.0, code, signal.as_deref(), life(worker))
        }
        Event::Error { worker, error } => words::worker_error(worker.0, &error_name(error), life(worker)),
        Event::AllDisconnected => words::all_disconnected(),
        Event::Setup { .. } | Event::AcceptFailed { errno: _ } => return None,
    })
}

/// The line of the action `look`. `None`: everything that happens to this worker has happened, and it is forgotten.
pub(super) fn look(worker: u32, known: Option<&Life>) -> Option<Observation> {
    known.map(|known| words::life("look", worker, life(known)))
}

/// A message as a text; in a scenario it is one.
pub(super) fn text(message: &Value) -> String {
    message.as_str().map_or_else(|| message.to_string(), str::to_owned)
}

/// The name of an error number, as Node's `error.code`.
pub(super) fn errno(errno: Errno) -> String {
    errno.to_string()
}

fn life(known: &Life) -> words::Life<'static> {
    words::Life {
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
    }
}

fn error_name(error: &WorkerError) -> String {
    match error {
        WorkerError::Spawn(number) | WorkerError::Kill(number) | WorkerError::Write(number) => errno(*number),
        WorkerError::Protocol(_) | WorkerError::NotReceived => errno(Errno::EPROTO),
    }
}
