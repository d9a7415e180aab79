//! A worker's part of a scenario on the real face: what is seen, and what is done at once in reaction.
//!
//! The tasks that hear something call [`Part::see`] themselves, without awaiting anything in between: so a reaction
//! comes before the next event, as in Node's listeners. Servers are in `servers`, connections in `talk`.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{env, process, thread};

use cluster::{ChannelError, JoinError, Received, Worker, WorkerEvent};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::super::translate;
use super::child;
use super::own::{self, Servers};
use super::servers::{self, Turn};
use super::talk::{self, About, Ear, Open};
use super::{OWN_ARGS, PLAY, UNCAUGHT};
use crate::observation::{Observation, Observer};
use crate::program::{self, SendHandle, WorkerCommand};
use crate::scenario::Scenario;
use crate::words;

/// How long a worker that is blocked sleeps before it looks again.
const A_LITTLE: Duration = Duration::from_millis(1);

/// Plays until there is nothing more to hear. As in Node, a worker has nothing left to do then, unless it has servers that the
/// cluster does not know.
pub(super) async fn play(scenario: &Scenario, channel: Option<RawFd>) -> Result<(), JoinError> {
    let worker = Worker::join()?;
    // It wants to see how its servers are closed.
    worker.keep_running();
    let (alive, mut idle) = mpsc::channel(1);
    let part = Arc::new(Part::new(worker.clone(), scenario, channel, alive));
    part.see(&words::start(), None);
    while let Some(event) = worker.next().await {
        part.hear(event);
    }
    part.state().alive = None;
    idle.recv().await;
    worker.exit(0)
}

/// The directory of this process.
fn here() -> String {
    env::current_dir().map(|here| here.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A worker and its rules, shared by the tasks of its process.
pub(super) struct Part {
    pub(super) worker: Worker,
    pub(super) open: Open,
    /// The descriptor of the channel, which the face does not show.
    channel: Option<RawFd>,
    state: Mutex<State>,
}

struct State {
    script: program::Worker,
    /// Dropped or used, it closes the server.
    servers: BTreeMap<String, oneshot::Sender<()>>,
    /// Servers that came with messages.
    own: Servers,
    /// Whoever has a clone keeps the process alive.
    alive: Option<mpsc::Sender<()>>,
    /// Who is closed last of the servers for datagrams.
    last_turn: Option<oneshot::Receiver<()>>,
}

impl Part {
    fn new(worker: Worker, scenario: &Scenario, channel: Option<RawFd>, alive: mpsc::Sender<()>) -> Self {
        let script = program::Worker::new(scenario, worker.id().0).with_env(env::vars());
        let state = State {
            script,
            servers: BTreeMap::new(),
            own: Servers::default(),
            alive: Some(alive),
            last_turn: None,
        };
        Part { worker, open: Open::default(), channel, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As long as somebody has this, the process goes on without its channel.
    pub(super) fn alive(&self) -> Option<mpsc::Sender<()>> {
        self.state().alive.clone()
    }

    /// The next place in the order in which servers for datagrams are closed.
    pub(super) fn turn(&self) -> Turn {
        let mut state = self.state();
        let (turn, end) = Turn::behind(state.last_turn.take());
        state.last_turn = Some(end);
        turn
    }

    /// Whom tasks tell what they hear.
    pub(super) fn ear(self: &Arc<Self>) -> Ear {
        let part = self.clone();
        Arc::new(move |seen, about| part.see(&seen, about.as_ref()))
    }

    fn hear(self: &Arc<Self>, event: WorkerEvent) {
        match event {
            WorkerEvent::Message { message, socket } => self.message(&translate::text(&message), socket),
            WorkerEvent::Disconnect => {
                let (meant, connected) = (self.worker.exited_after_disconnect(), self.worker.is_connected());
                self.see(&words::disconnect(meant, connected), None);
                // As in Node: whoever did not mean to go sees nothing more.
                if !meant {
                    self.worker.exit(0);
                }
            }
            // Its messages are lost, and the end of the channel follows: whoever sends on Node asks to be told, and lets it be.
            WorkerEvent::Error(ChannelError::Write { .. } | ChannelError::Delayed(_)) => {}
            WorkerEvent::Error(error @ (ChannelError::NotReceived | ChannelError::Protocol(_))) => {
                eprintln!("{error}");
                process::exit(UNCAUGHT);
            }
        }
    }

    /// That the channel is closed is heard before anything else that has happened with it: whoever hears the latter may
    /// have been woken first.
    fn catch_up(self: &Arc<Self>) {
        while !self.worker.is_connected() {
            let next = pin!(self.worker.next()).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Some(event)) = next else { return };
            self.hear(event);
        }
    }

    /// Writes a line down and does what the rules say. `about` is whom it is about.
    pub(super) fn see(self: &Arc<Self>, seen: &Observation, about: Option<&About>) {
        if about.is_some() {
            self.catch_up();
        }
        self.write(seen);
        let commands = self.state().script.react(seen);
        for command in commands {
            self.obey(command, about);
        }
    }

    /// What comes with a message goes by the text of that message.
    fn message(self: &Arc<Self>, text: &str, socket: Option<Received>) {
        let with = socket.as_deref().map(talk::kind);
        let alive = self.alive();
        let adopted = socket.and_then(|socket| own::adopt(&self.ear(), &self.open, text, socket).ok());
        let about = adopted.map(|adopted| {
            self.state().own.extend(adopted.closing.map(|closing| (text.to_owned(), closing)));
            tokio::spawn(async move {
                adopted.task.await;
                drop(alive);
            });
            adopted.about
        });
        self.see(&words::message(text, with), about.flatten().as_ref());
    }

    fn write(&self, seen: &Observation) {
        super::write(Observer::Worker(self.worker.id().0), seen);
    }

    fn hang_up(&self) {
        let channel = self.channel.filter(|_| self.worker.is_connected());
        // One that is closed already is closed.
        if let Some(channel) = channel {
            shutdown(channel, Shutdown::Both).unwrap_or_default();
        }
    }

    fn obey(self: &Arc<Self>, command: WorkerCommand, about: Option<&About>) {
        match command {
            WorkerCommand::Listen { listen, port, fd } => {
                let options = translate::listen(&listen, port, fd, &here());
                let name = listen.server.to_string();
                let closing = servers::open(self.clone(), name.clone(), options);
                self.state().servers.insert(name, closing);
            }
            WorkerCommand::Bind { bind, port, fd } => {
                let name = bind.server.to_string();
                let closing = servers::bind(self.clone(), name.clone(), translate::bind(&bind, port, fd));
                self.state().servers.insert(name, closing);
            }
            WorkerCommand::SendDatagram { port, text, from } => self.open.tell(from.as_deref(), port, &text),
            WorkerCommand::SendHandle(pass) => self.pass(pass, about),
            WorkerCommand::Close { server } => {
                let closing = self.state().servers.remove(&server);
                let own = self.state().own.remove(&server);
                drop((closing, own));
            }
            WorkerCommand::Send { text } => {
                // On a closed channel nothing is sent, as the scenario says.
                let _ = self.worker.send(Value::String(text));
            }
            WorkerCommand::TrySend { text } => {
                let sent = self.worker.send(Value::String(text.clone())).is_ok();
                self.write(&words::tried(None, &text, sent));
            }
            WorkerCommand::SendReserved => {
                // It is refused, as it would be lost.
                let _ = self.worker.send(words::reserved());
            }
            WorkerCommand::Disconnect => self.worker.disconnect(),
            WorkerCommand::Kill => self.worker.kill(),
            WorkerCommand::DisconnectChannel => self.hang_up(),
            WorkerCommand::Reply { text } => about.into_iter().for_each(|about| about.say(&text)),
            WorkerCommand::End => about.into_iter().for_each(About::end),
            WorkerCommand::EndAll => self.open.end_all(),
            WorkerCommand::Write { fd, text } => {
                let fd = RawFd::try_from(fd).expect("a scenario names small numbers");
                // The pipes of our workers are sockets. One that nobody reads is nobody's concern.
                let _ = send(fd, format!("{text}\n").as_bytes(), MsgFlags::MSG_NOSIGNAL);
            }
            WorkerCommand::Inspect
            | WorkerCommand::Env { .. }
            | WorkerCommand::Args
            | WorkerCommand::ExecArgs
            | WorkerCommand::Cwd => self.tell_of_itself(&command),
            WorkerCommand::LeaveChildWithChannel => {
                if let Some(connection) = about.and_then(About::connection) {
                    let channel = self.channel.expect("a worker has a channel");
                    child::leave(channel, connection).expect("there is `cat`, and Linux is 5.6 at least");
                }
            }
            WorkerCommand::BlockForever => loop {
                thread::park();
            },
            WorkerCommand::BlockUntilPath { path } => {
                while !Path::new(&path).exists() {
                    thread::sleep(A_LITTLE);
                }
            }
            WorkerCommand::Exit { code } => self.worker.exit(code),
            WorkerCommand::Crash => self.worker.exit(UNCAUGHT),
            WorkerCommand::Raise { signal } => super::die(signal),
        }
    }

    /// Writes a line about this process, if that is the command.
    fn tell_of_itself(&self, command: &WorkerCommand) {
        if let WorkerCommand::Env { name } = command {
            self.write(&words::env(name, env::var(name).ok().as_deref()));
        } else if *command == WorkerCommand::Args {
            let given = env::args().skip_while(|argument| argument != PLAY).skip(OWN_ARGS);
            self.write(&words::args("args", &given.collect::<Vec<_>>()));
        } else if *command == WorkerCommand::ExecArgs {
            let given = env::args().skip(1).take_while(|argument| argument != PLAY);
            self.write(&words::args("exec_args", &given.collect::<Vec<_>>()));
        } else if *command == WorkerCommand::Cwd {
            let (here, place) = (here(), env::var("PLACE").unwrap_or_default());
            self.write(&words::cwd(if here == place { "." } else { &here }));
        } else {
            self.write(&words::look(self.worker.exited_after_disconnect(), self.worker.is_connected()));
        }
    }

    fn pass(&self, pass: SendHandle, about: Option<&About>) {
        let SendHandle { text, what, keep_open } = pass;
        let text = Value::String(text);
        let own = what.as_ref().and_then(|name| self.state().own.get(name).and_then(own::Closing::socket));
        let socket = own.or_else(|| self.open.pass(about.filter(|_| what.is_none()), keep_open));
        // What is gone cannot be sent: the message travels alone.
        let _ = match socket {
            Some(socket) => self.worker.send_with(&text, socket).is_ok(),
            None => self.worker.send(&text).is_ok(),
        };
    }
}
