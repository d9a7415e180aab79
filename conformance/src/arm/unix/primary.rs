//! The primary's part of a scenario on the real face: events in, commands out.
//!
//! What its own sockets and the pipes of its workers hear comes through one inbox, so that nothing happens between an
//! event and the reaction to it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::sync::Arc;
use std::{env, process};

use cluster::{Command, Event, Pipe, Primary, Received, SchedulingPolicy, WorkerId, WorkerInfo};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::super::translate;
use super::own::{self, Servers, Task};
use super::talk::{self, About, Ear, Open};
use super::{PlayError, UNCAUGHT};
use crate::observation::{Observation, Observer};
use crate::program::lines::Lines;
use crate::program::{self, PrimaryCommand, SendHandle};
use crate::scenario::{self, PolicyFrom, Scenario};
use crate::words;

/// Plays until no worker is left, and nothing of its own. `workers` is what they execute, if they are not this program.
pub(super) async fn play(scenario: &Scenario, workers: &[String]) -> Result<(), PlayError> {
    let mut settings = translate::settings(scenario, command(workers));
    if scenario.settings.policy_from == PolicyFrom::Environment {
        settings.policy = SchedulingPolicy::default();
    }
    let primary = Primary::new(settings).expect("it is called inside a runtime");
    let (tasks, mut inbox) = unbounded_channel();
    let mut part = PrimaryPart::new(primary, scenario, workers, tasks);
    part.see(&words::start(), None);
    while part.go_on(&mut inbox).await {}
    Ok(())
}

fn command(workers: &[String]) -> Command {
    let Some((exec, args)) = workers.split_first() else { return Command::default() };
    Command { exec: Some(exec.clone()), args: args.to_vec(), ..Command::default() }
}

/// What comes from a task.
enum Heard {
    Seen(Observation, Option<About>),
    Piped {
        worker: WorkerId,
        fd: u32,
        text: String,
    },
    /// The task is over.
    Over,
}

struct PrimaryPart {
    primary: Primary,
    script: program::Primary,
    place: String,
    /// The arguments that every worker needs.
    own_args: Vec<String>,
    tells: bool,
    open: Open,
    servers: Servers,
    /// What every worker is told of the primary's own servers.
    env: BTreeMap<String, String>,
    tasks: UnboundedSender<Heard>,
    running: usize,
    /// What takes the descriptors away.
    hoarded: Vec<File>,
}

impl PrimaryPart {
    fn new(primary: Primary, scenario: &Scenario, workers: &[String], tasks: UnboundedSender<Heard>) -> Self {
        PrimaryPart {
            primary,
            script: program::Primary::new(scenario),
            place: env::var("PLACE").unwrap_or_default(),
            own_args: workers.iter().skip(1).cloned().collect(),
            tells: scenario.tells_of_setup(),
            open: Open::default(),
            servers: Servers::default(),
            env: BTreeMap::new(),
            tasks,
            running: 0,
            hoarded: Vec::new(),
        }
    }

    /// Hears one thing. `false`: there is nothing more to hear.
    async fn go_on(&mut self, inbox: &mut UnboundedReceiver<Heard>) -> bool {
        let event = tokio::select! {
            biased;
            Some(heard) = inbox.recv() => {
                self.hear(heard);
                return true;
            }
            event = self.primary.next() => event,
        };
        match event {
            Some(event) => self.event(&event),
            None if self.running == 0 => return false,
            // No worker is left, but something of its own.
            None => {
                let heard = inbox.recv().await;
                if let Some(heard) = heard {
                    self.hear(heard);
                }
            }
        }
        true
    }

    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Seen(seen, about) => self.see(&seen, about.as_ref()),
            Heard::Piped { worker, fd, text } => {
                if let Some(seen) = translate::pipe(worker, fd, &text, self.primary.worker(worker)) {
                    self.see(&seen, None);
                }
            }
            Heard::Over => self.running -= 1,
        }
    }

    fn event(&mut self, event: &Event) {
        if matches!(event, Event::Setup { .. }) && !self.tells {
            return;
        }
        let socket = if let Event::Message { handle: Some(passed), .. } = event {
            self.primary.take_socket(*passed)
        } else {
            None
        };
        let with = socket.as_deref().map(talk::kind);
        let about = socket.and_then(|received| self.adopt(event, received));
        let own = self.own_args.len();
        let known = |worker| self.primary.worker(worker);
        let seen = translate::event(event, &self.place, own, known, &mut |_, _| with.unwrap_or_default());
        if let Some(seen) = seen {
            self.see(&seen, about.as_ref());
        }
    }

    /// What comes with a message goes by the text of that message.
    fn adopt(&mut self, event: &Event, received: Received) -> Option<About> {
        let Event::Message { message, .. } = event else { return None };
        let name = translate::text(message);
        let adopted = own::adopt(&self.ear(), &self.open, &name, received).ok()?;
        self.servers.extend(adopted.closing.map(|closing| (name, closing)));
        self.run(adopted.task);
        adopted.about
    }

    fn ear(&self) -> Ear {
        let tasks = self.tasks.clone();
        // The inbox is open as long as somebody plays.
        Arc::new(move |seen, about| tasks.send(Heard::Seen(seen, about)).unwrap_or_default())
    }

    fn run(&mut self, task: Task) {
        self.running += 1;
        let tasks = self.tasks.clone();
        tokio::spawn(async move {
            task.await;
            tasks.send(Heard::Over).unwrap_or_default();
        });
    }

    fn see(&mut self, seen: &Observation, about: Option<&About>) {
        super::write(Observer::Primary, seen);
        for command in self.script.react(seen) {
            self.obey(command, about);
        }
    }

    fn obey(&mut self, command: PrimaryCommand, about: Option<&About>) {
        match command {
            PrimaryCommand::Fork { env } => self.fork(env),
            PrimaryCommand::Setup(setup) => self.primary.setup(translate::setup(&setup, &self.own_args)),
            PrimaryCommand::Settings => {
                let command = &self.primary.settings().command;
                let seen = translate::settings_line("settings", command, self.own_args.len());
                super::write(Observer::Primary, &seen);
            }
            PrimaryCommand::Policy(policy) => {
                // Once it is decided, Node says nothing of a later one.
                let _ = self.primary.set_policy(translate::policy(policy));
            }
            PrimaryCommand::Open(open) => self.open(&open),
            PrimaryCommand::Close { server } => drop(self.servers.remove(&server)),
            PrimaryCommand::SendHandle { worker, pass } => self.pass(WorkerId(worker), pass, about),
            PrimaryCommand::Reply { text } => about.into_iter().for_each(|about| about.say(&text)),
            PrimaryCommand::End => about.into_iter().for_each(About::end),
            PrimaryCommand::Send { worker, text } => {
                // To a worker that is not connected nothing is sent, as the scenario says.
                let _ = self.primary.send(WorkerId(worker), Value::String(text));
            }
            PrimaryCommand::TrySend { worker, text } => {
                let sent = self.primary.send(WorkerId(worker), Value::String(text.clone())).is_ok();
                super::write(Observer::Primary, &words::tried(Some(worker), &text, sent));
            }
            PrimaryCommand::BlockUntilExit { worker } => {
                let pid = self.primary.worker(WorkerId(worker)).and_then(WorkerInfo::pid);
                pid.into_iter().for_each(outlive);
            }
            PrimaryCommand::Disconnect { worker } => self.primary.disconnect_worker(WorkerId(worker)),
            PrimaryCommand::DisconnectAll => self.primary.disconnect_all(),
            PrimaryCommand::Kill { worker, signal } => {
                self.primary.kill(WorkerId(worker), translate::signal(signal));
            }
            PrimaryCommand::Inspect { worker } => {
                if let Some(seen) = translate::look(worker, self.primary.worker(WorkerId(worker))) {
                    super::write(Observer::Primary, &seen);
                }
            }
            PrimaryCommand::ExhaustFds => {
                self.hoarded.extend(std::iter::from_fn(|| File::open("/dev/null").ok()))
            }
            PrimaryCommand::FreeFds => self.hoarded.clear(),
            PrimaryCommand::Exit { code } => process::exit(code),
            PrimaryCommand::Crash => process::exit(UNCAUGHT),
            PrimaryCommand::Raise { signal } => super::die(signal),
        }
    }

    fn fork(&mut self, env: Vec<(String, String)>) {
        let env = self.env.clone().into_iter().chain(env);
        let worker = self.primary.fork_with_env(env).expect("nothing impossible was set up");
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
        let opened = own::open(&self.ear(), &self.open, asked);
        let (task, closing, at) = opened.expect("a scenario opens what can be opened");
        self.run(task);
        if let words::Whereabouts::Port(port) = at {
            self.env.insert(format!("PORT_{name}"), port.to_string());
        }
        self.env.insert(format!("FD_{name}"), closing.number().to_string());
        self.servers.insert(name.clone(), closing);
        self.tasks.send(Heard::Seen(words::opened(&name, &at), None)).unwrap_or_default();
    }

    fn pass(&mut self, worker: WorkerId, pass: SendHandle, about: Option<&About>) {
        let SendHandle { text, what, keep_open } = pass;
        let text = Value::String(text);
        let own = what.as_ref().and_then(|name| self.servers.get(name).and_then(own::Closing::socket));
        let socket = own.or_else(|| self.open.pass(about.filter(|_| what.is_none()), keep_open));
        // What is gone cannot be sent: the message travels alone.
        let _ = match socket {
            Some(socket) => self.primary.send_with(worker, &text, socket).is_ok(),
            None => self.primary.send(worker, &text).is_ok(),
        };
    }
}

/// Until a process that nobody reaps meanwhile has ended, and has nothing open any more: with its last thread.
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

/// A worker's standard output is where it writes its lines: they go on to ours.
async fn forward(mut pipe: Pipe) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        std::io::stdout().write_all(&buffer[..count]).unwrap_or_default();
        std::io::stdout().flush().unwrap_or_default();
    }
}

/// What a worker writes to another pipe is heard.
async fn listen(mut pipe: Pipe, tasks: UnboundedSender<Heard>, worker: WorkerId, fd: u32) {
    let (mut lines, mut buffer) = (Lines::default(), [0; 4096]);
    while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
        for text in lines.push(&buffer[..count]) {
            tasks.send(Heard::Piped { worker, fd, text }).unwrap_or_default();
        }
    }
}
