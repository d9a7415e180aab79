//! The primary's part of a scenario on the real system: receives events, and commands the primary.
//!
//! Events of the primary's own sockets and of pipes arrive in one inbox. So no event can occur between
//! another event and the reaction to it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::sync::Arc;
use std::{env, process};

use cluster::{Event, Pipe, Primary, Received, SchedulingPolicy, SpawnOptions, WorkerId, WorkerInfo};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::super::translate;
use super::connections::{self, Observe, OpenSockets, ReplyTarget};
use super::program_sockets::{self, Servers, Task};
use super::{PlayError, UNCAUGHT};
use crate::observation::{Observation, Observer};
use crate::program;
use crate::program::lines::Lines;
use crate::scenario::{self, PolicyFrom, PrimaryAction, Scenario, SendHandleTo, Token};
use crate::vocabulary;

/// Plays until no worker and no task is left. `workers` is the command of the workers. Empty: this program.
pub(super) async fn play(scenario: &Scenario, workers: &[String]) -> Result<(), PlayError> {
    let mut settings = translate::settings(scenario, command(workers));
    if scenario.settings.policy_from == PolicyFrom::Environment {
        settings.policy = SchedulingPolicy::default();
    }
    let primary = Primary::new(settings).expect("the caller runs inside a runtime");
    let (tasks, mut inbox) = unbounded_channel();
    let mut part = UnixPrimary::new(primary, scenario, workers, tasks);
    part.observe(&vocabulary::start(), None);
    while part.next_event(&mut inbox).await {}
    Ok(())
}

fn command(workers: &[String]) -> SpawnOptions {
    let Some((exec, args)) = workers.split_first() else { return SpawnOptions::new() };
    SpawnOptions::new().exec(exec.clone()).args(args.to_vec())
}

/// An event of a task.
enum TaskEvent {
    Seen(Observation, Option<ReplyTarget>),
    Piped {
        worker: WorkerId,
        fd: u32,
        text: String,
    },
    /// The task is over.
    Over,
}

struct UnixPrimary {
    primary: Primary,
    script: program::Primary,
    place: String,
    /// The arguments that every worker needs.
    own_args: Vec<String>,
    writes_setup: bool,
    open: OpenSockets,
    servers: Servers,
    /// The ports and descriptors of the primary's own servers, for the environment of every worker.
    env: BTreeMap<String, String>,
    tasks: UnboundedSender<TaskEvent>,
    running: usize,
    /// Files that occupy the free descriptors.
    exhausting_files: Vec<File>,
}

impl UnixPrimary {
    fn new(
        primary: Primary,
        scenario: &Scenario,
        workers: &[String],
        tasks: UnboundedSender<TaskEvent>,
    ) -> Self {
        UnixPrimary {
            primary,
            script: program::Primary::new(scenario),
            place: env::var("PLACE").unwrap_or_default(),
            own_args: workers.iter().skip(1).cloned().collect(),
            writes_setup: scenario.writes_setup(),
            open: OpenSockets::default(),
            servers: Servers::default(),
            env: BTreeMap::new(),
            tasks,
            running: 0,
            exhausting_files: Vec::new(),
        }
    }

    /// Handles one event. `false`: no event can follow.
    async fn next_event(&mut self, inbox: &mut UnboundedReceiver<TaskEvent>) -> bool {
        let event = tokio::select! {
            biased;
            Some(task_event) = inbox.recv() => {
                self.on_event(task_event);
                return true;
            }
            event = self.primary.next() => event,
        };
        match event {
            Some(event) => self.event(&event),
            None if self.running == 0 => return false,
            // No worker is left, but a task is.
            None => {
                let task_event = inbox.recv().await;
                if let Some(task_event) = task_event {
                    self.on_event(task_event);
                }
            }
        }
        true
    }

    fn on_event(&mut self, task_event: TaskEvent) {
        match task_event {
            TaskEvent::Seen(seen, target) => self.observe(&seen, target.as_ref()),
            TaskEvent::Piped { worker, fd, text } => {
                if let Some(seen) = translate::pipe(worker, fd, &text, self.primary.worker(worker)) {
                    self.observe(&seen, None);
                }
            }
            TaskEvent::Over => self.running -= 1,
        }
    }

    fn event(&mut self, event: &Event) {
        if matches!(event, Event::Setup { .. }) && !self.writes_setup {
            return;
        }
        let socket = if let Event::Message { handle: Some(passed), .. } = event {
            self.primary.take_socket(*passed)
        } else {
            None
        };
        let with = socket.as_deref().map(connections::kind);
        let target = socket.and_then(|received| self.adopt(event, received));
        let own = self.own_args.len();
        let known = |worker| self.primary.worker(worker);
        let seen = translate::event(event, &self.place, own, known, &mut |_, _| with.unwrap_or_default());
        if let Some(seen) = seen {
            self.observe(&seen, target.as_ref());
        }
    }

    /// Adopts the handle of a message, with the text of the message as its name.
    fn adopt(&mut self, event: &Event, received: Received) -> Option<ReplyTarget> {
        let Event::Message { message, .. } = event else { return None };
        let name = translate::text(message);
        let adopted = program_sockets::adopt(&self.observer(), &self.open, &name, received).ok()?;
        self.servers.extend(adopted.closing.map(|closing| (name, closing)));
        self.run(adopted.task);
        adopted.target
    }

    fn observer(&self) -> Observe {
        let tasks = self.tasks.clone();
        // The send cannot fail: the inbox outlives every task.
        Arc::new(move |seen, target| tasks.send(TaskEvent::Seen(seen, target)).unwrap_or_default())
    }

    fn run(&mut self, task: Task) {
        self.running += 1;
        let tasks = self.tasks.clone();
        tokio::spawn(async move {
            task.await;
            tasks.send(TaskEvent::Over).unwrap_or_default();
        });
    }

    fn observe(&mut self, seen: &Observation, target: Option<&ReplyTarget>) {
        super::write(Observer::Primary, seen);
        for action in self.script.react(seen) {
            self.perform(action, target);
        }
    }

    fn perform(&mut self, action: PrimaryAction, target: Option<&ReplyTarget>) {
        match action {
            PrimaryAction::Fork(count) => (0..count).for_each(|_| self.fork(BTreeMap::new())),
            PrimaryAction::ForkWith(variables) => self.fork(variables),
            PrimaryAction::Setup(options) => self.primary.setup(translate::setup(&options, &self.own_args)),
            PrimaryAction::Settings => {
                let command = &self.primary.settings().spawn;
                let seen = translate::settings_line("settings", command, self.own_args.len());
                super::write(Observer::Primary, &seen);
            }
            PrimaryAction::Policy(policy) => {
                // Fails after the first fork. Node ignores such an assignment.
                let _ = self.primary.set_policy(translate::policy(policy));
            }
            PrimaryAction::Open(open) => self.open(&open),
            PrimaryAction::Close(server) => drop(self.servers.remove(server.as_str())),
            PrimaryAction::SendHandle(send) => self.pass(&send, target),
            PrimaryAction::Reply(text) => {
                if let Some(target) = target {
                    target.write(text.as_str());
                }
            }
            PrimaryAction::End => target.into_iter().for_each(ReplyTarget::end),
            PrimaryAction::Send(message) => {
                // Fails if the worker has no channel: the manual states that the message is dropped.
                let _ = self.primary.send(WorkerId(message.to.id()), Value::from(message.text.as_str()));
            }
            PrimaryAction::TrySend(message) => {
                let (worker, text) = (message.to.id(), message.text.as_str());
                let sent = self.primary.send(WorkerId(worker), Value::from(text)).is_ok();
                super::write(Observer::Primary, &vocabulary::tried(Some(worker), text, sent));
            }
            PrimaryAction::BlockUntilExit(worker) => {
                let pid = self.primary.worker(WorkerId(worker.id())).and_then(WorkerInfo::pid);
                pid.into_iter().for_each(outlive);
            }
            PrimaryAction::Disconnect(worker) => self.primary.disconnect_worker(WorkerId(worker.id())),
            PrimaryAction::DisconnectAll => self.primary.disconnect_all(),
            PrimaryAction::Kill(kill) => {
                self.primary.kill(WorkerId(kill.worker.id()), translate::signal(kill.signal));
            }
            PrimaryAction::Inspect(worker) => {
                let worker = worker.id();
                if let Some(seen) = translate::look(worker, self.primary.worker(WorkerId(worker))) {
                    super::write(Observer::Primary, &seen);
                }
            }
            PrimaryAction::ExhaustFds => {
                self.exhausting_files.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
            }
            PrimaryAction::FreeFds => self.exhausting_files.clear(),
            PrimaryAction::Exit(code) => process::exit(code),
            PrimaryAction::Crash => process::exit(UNCAUGHT),
            PrimaryAction::Raise(signal) => super::die(signal),
        }
    }

    fn fork(&mut self, variables: BTreeMap<String, Token>) {
        let variables = variables.into_iter().map(|(name, value)| (name, value.to_string()));
        let env = self.env.clone().into_iter().chain(variables);
        let worker = self.primary.fork_with_env(env).expect("the settings are valid");
        for (fd, pipe) in self.primary.stdio(worker) {
            let tasks = self.tasks.clone();
            if fd == 1 {
                self.run(Box::pin(forward(pipe)));
            } else if fd > 1 {
                self.run(Box::pin(listen(pipe, tasks, worker, fd)));
            }
        }
    }

    fn open(&mut self, asked: &scenario::Open) {
        let name = asked.server.to_string();
        let opened = program_sockets::open(&self.observer(), &self.open, asked);
        let (task, closing, at) = opened.expect("a scenario opens what can be opened");
        self.run(task);
        if let vocabulary::ServerAddress::Port(port) = at {
            self.env.insert(format!("PORT_{name}"), port.to_string());
        }
        self.env.insert(format!("FD_{name}"), closing.number().to_string());
        self.servers.insert(name.clone(), closing);
        self.tasks.send(TaskEvent::Seen(vocabulary::opened(&name, &at), None)).unwrap_or_default();
    }

    fn pass(&mut self, send: &SendHandleTo, target: Option<&ReplyTarget>) {
        let (worker, text) = (WorkerId(send.to), Value::from(send.text.as_str()));
        let own = program_sockets::named(&self.servers, send.what.as_ref());
        let socket = own.or_else(|| self.open.pass(target.filter(|_| send.what.is_none()), send.keep_open));
        // A closed handle cannot be sent, so the message is sent alone.
        let _ = match socket {
            Some(socket) => self.primary.send_with(worker, &text, socket).is_ok(),
            None => self.primary.send(worker, &text).is_ok(),
        };
    }
}

/// Waits until the last thread of a process has ended: then the process has exited, and all its descriptors
/// are closed. Nothing reaps the process meanwhile.
fn outlive(pid: u32) {
    let ended = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let is_zombie = stat.rsplit(')').next().is_some_and(|state| state.starts_with(" Z"));
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        threads == 0 || (is_zombie && threads == 1)
    };
    while !ended() {
        std::thread::yield_now();
    }
}

/// Forwards a worker's standard output, which carries the worker's lines, to the standard output of this
/// process.
async fn forward(mut pipe: Pipe) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        std::io::stdout().write_all(&buffer[..count]).unwrap_or_default();
        std::io::stdout().flush().unwrap_or_default();
    }
}

/// Reports the lines of another pipe of a worker.
async fn listen(mut pipe: Pipe, tasks: UnboundedSender<TaskEvent>, worker: WorkerId, fd: u32) {
    let (mut lines, mut buffer) = (Lines::default(), [0; 4096]);
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        for text in lines.push(&buffer[..count]) {
            tasks.send(TaskEvent::Piped { worker, fd, text }).unwrap_or_default();
        }
    }
}
