//! A supervisor, its inputs by name and its outputs as short lines. Time passes in `wait` only, timer by
//! timer.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test matches the variant under test alone")]

use std::fmt::Write as _;
use std::time::Duration;

use cluster_core::testing::{TestOs, drain};
use cluster_core::{
    Call, ChannelId, ExitStatus, GiveUpReason, Machine, OsEvent, Output, Signal, SlotInfo, SocketId,
    Supervisor, SupervisorEvent, SupervisorSettings, WorkerId,
};

/// Short times, in round numbers. Every request to shut down counts.
pub(crate) fn settings(workers: u32) -> SupervisorSettings {
    SupervisorSettings::new(workers)
        .ready_timeout(Duration::from_secs(10))
        .lame_duck(Duration::from_millis(500))
        .drain(Duration::from_secs(3))
        .term(Duration::from_secs(1))
        .shutdown(Duration::from_secs(4))
        .hurry_after(Duration::ZERO)
}

#[derive(Clone)]
pub(crate) struct Story {
    pub(crate) supervisor: Supervisor,
    pub(crate) os: TestOs,
    lines: Vec<String>,
    /// Events of the primary are lines as well.
    pub(crate) with_primary: bool,
}

fn text(event: &SupervisorEvent) -> String {
    use SupervisorEvent as E;
    match event {
        E::SlotReady { slot, worker } => format!("{slot}: worker {worker} ready"),
        E::StartFailed { slot, worker, failure } => {
            let worker = worker.map_or(0, |worker| worker.0);
            format!("{slot}: worker {worker} failed: {failure:?}")
        }
        E::Restarting { slot, after, .. } => format!("{slot}: restart after {} ms", after.as_millis()),
        E::SlotSuspended { slot } => format!("{slot}: suspended"),
        E::GaveUp { reason: GiveUpReason::Restarts { restarts, within }, .. } => {
            format!("gave up: {restarts} within {} s", within.as_secs())
        }
        E::GaveUp { reason, last, .. } => format!("gave up: {reason}, {last}"),
        E::Drained { slot, worker } => format!("{slot}: worker {worker} drained"),
        E::Cut { slot, worker, connections } => format!("{slot}: worker {worker} cut {connections:?}"),
        E::Withdrawn { slot, worker } => format!("{slot}: worker {worker} withdrawn"),
        E::Stuck { slot, worker } => format!("{slot}: worker {worker} stuck"),
        E::ReloadStarted { id, scope } => format!("reload {} started: {scope:?}", id.0),
        E::ReloadFinished { id, .. } => format!("reload {} finished", id.0),
        E::ReloadAbandoned { id, reason, .. } => format!("reload {} abandoned: {reason:?}", id.0),
        E::Scaled { workers } => format!("scaled to {workers}"),
        E::Hung { slot, worker } => format!("{slot}: worker {worker} hung"),
        E::Finished { code } => format!("finished {code}"),
        other => format!("{other:?}"),
    }
}

/// The lines of a call; one line for each known part of a write.
fn call_texts(call: &Call) -> Vec<String> {
    match call {
        Call::Spawn { worker, env, .. } => {
            let slot = env.iter().find(|(name, _)| *name == "CLUSTER_SLOT").expect("a slot");
            vec![format!("spawn {worker} in slot {}", slot.1)]
        }
        Call::Write { channel, bytes, .. } => {
            let line = String::from_utf8_lossy(bytes);
            let named = [
                ("NODE_CLUSTER_LAME_DUCK", "lame duck"),
                ("NODE_CLUSTER_PING", "ping"),
                (r#""act":"disconnect""#, "disconnect"),
                (r#""act":"newconn""#, "connection"),
            ];
            let found = named.iter().filter(|(part, _)| line.contains(part));
            found.map(|(_, name)| format!("{name} -> {}", channel.0)).collect()
        }
        Call::Kill { worker, signal } => vec![format!("{signal} -> {worker}")],
        Call::PauseAccept { socket } => vec![format!("stop accepting at {}", socket.0)],
        Call::Close { socket } => vec![format!("close {}", socket.0)],
        _ => Vec::new(),
    }
}

impl Story {
    pub(crate) fn new(settings: SupervisorSettings) -> Self {
        Story::on(TestOs::default(), settings)
    }

    pub(crate) fn on(mut os: TestOs, settings: SupervisorSettings) -> Self {
        let supervisor = Supervisor::new(settings).expect("possible settings");
        os.discards_calls = true;
        let mut story = Story { supervisor, os, lines: Vec::new(), with_primary: false };
        story.drain();
        story
    }

    /// The lines since the last call.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }

    /// A command of the program.
    pub(crate) fn command(&mut self, command: impl FnOnce(&mut Supervisor)) -> Vec<String> {
        command(&mut self.supervisor);
        self.drain();
        self.lines()
    }

    fn input(&mut self, event: OsEvent) {
        self.supervisor.handle(event);
        self.drain();
    }

    fn drain(&mut self) {
        let Story { supervisor, os, lines, with_primary } = self;
        drain(supervisor, os, |output| match output {
            Output::Event(SupervisorEvent::Primary(event)) if *with_primary => {
                let line = format!("{event:?}");
                lines.push(line.split([' ', '(']).next().unwrap_or_default().to_owned());
            }
            Output::Event(SupervisorEvent::Primary(_)) => {}
            Output::Event(event) => lines.push(text(&event)),
            Output::Call(call) => lines.extend(call_texts(&call)),
        });
    }

    fn read(&mut self, worker: u64, line: &str) {
        let bytes = format!("{line}\n").into_bytes();
        self.input(OsEvent::Read { channel: ChannelId(worker), bytes, socket: None });
    }

    /// A part of a line arrives.
    pub(crate) fn begins_line(&mut self, worker: u64, part: &str) {
        let bytes = part.as_bytes().to_vec();
        self.input(OsEvent::Read { channel: ChannelId(worker), bytes, socket: None });
    }

    /// The worker is online, and sends its messages from then on.
    pub(crate) fn online(&mut self, worker: u64) -> Vec<String> {
        self.read(worker, r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#);
        self.lines()
    }

    /// The worker is online and listens at port 80.
    pub(crate) fn serves(&mut self, worker: u64) -> Vec<String> {
        self.read(worker, r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#);
        self.listens(worker, 80)
    }

    /// The worker listens at a port.
    pub(crate) fn listens(&mut self, worker: u64, port: u16) -> Vec<String> {
        let mut line = String::new();
        let _ = write!(
            line,
            r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","index":0,"data":null,"address":"127.0.0.1","port":{port},"addressType":4,"seq":1}}"#
        );
        self.read(worker, &line);
        let line = format!(
            r#"{{"cmd":"NODE_CLUSTER","act":"listening","index":0,"address":"127.0.0.1","port":{port},"addressType":4,"seq":2}}"#
        );
        self.read(worker, &line);
        self.lines()
    }

    pub(crate) fn says(&mut self, worker: u64, json: &str) -> Vec<String> {
        self.read(worker, json);
        self.lines()
    }

    /// A client connects to the first listening socket.
    pub(crate) fn connect(&mut self) -> Vec<String> {
        self.os.count_after(100);
        let socket = self.os.next_socket();
        self.input(OsEvent::Accepted { listener: SocketId(1), socket, client: None });
        self.lines()
    }

    /// The channel of the worker closes, and its process continues.
    pub(crate) fn closes(&mut self, worker: u64) -> Vec<String> {
        self.input(OsEvent::ChannelClosed { channel: ChannelId(worker) });
        self.lines()
    }

    /// The process of the worker is reaped.
    pub(crate) fn is_reaped(&mut self, worker: u64, status: ExitStatus) -> Vec<String> {
        self.input(OsEvent::Exited { worker: WorkerId(worker), status });
        self.lines()
    }

    /// The worker exits with a code.
    pub(crate) fn exits(&mut self, worker: u64, code: i32) -> Vec<String> {
        self.input(OsEvent::ChannelClosed { channel: ChannelId(worker) });
        self.is_reaped(worker, ExitStatus::Code(code))
    }

    /// The worker is killed.
    pub(crate) fn dies(&mut self, worker: u64) -> Vec<String> {
        self.input(OsEvent::ChannelClosed { channel: ChannelId(worker) });
        self.is_reaped(worker, ExitStatus::Signal(Signal::SIGKILL))
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, ms: u64) -> Vec<String> {
        let until = self.os.now() + ms;
        while let Some(timer) = self.os.next_timer(Some(until)) {
            self.input(timer);
        }
        self.lines()
    }

    /// The next timer that changes anything fires, if any.
    pub(crate) fn next_timer(&mut self) -> Vec<String> {
        while let Some(timer) = self.os.next_timer(None) {
            let before = self.slots();
            self.input(timer);
            if !self.lines.is_empty() || self.slots() != before {
                break;
            }
        }
        self.lines()
    }

    /// The slots in short: number, state, worker.
    pub(crate) fn slots(&self) -> String {
        let slot = |info: SlotInfo| {
            let worker = info.worker.map_or(String::new(), |worker| format!(" {worker}"));
            format!("{}:{:?}{worker}", info.slot, info.state)
        };
        self.supervisor.slots().map(slot).collect::<Vec<_>>().join(", ")
    }
}

/// A cluster in which every worker of `count` listens at port 80.
pub(crate) fn serving(settings: SupervisorSettings, count: u64) -> Story {
    let mut story = Story::new(settings);
    for worker in 1..=count {
        story.online(worker);
        story.listens(worker, 80);
    }
    story.lines();
    story
}
