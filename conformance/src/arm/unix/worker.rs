//! A worker's part of a scenario on the real system: observes, and reacts at once.
//!
//! Tasks call [`UnixWorker::observe`] themselves, without an await before it, so a reaction precedes the next
//! event, as in Node's listeners. `servers` has the servers, and `connections` has the connections.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::path::Path;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use std::{env, process, thread};

use cluster::{ChannelError, JoinError, ListenOptions, Received, Worker, WorkerEvent};
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::super::translate;
use super::child;
use super::connections::{self, Observe, OpenSockets, ReplyTarget};
use super::program_sockets::{self, Servers};
use super::servers::{self, ServerWorker, Turn};
use super::{OWN_ARGS, PLAY, UNCAUGHT};
use crate::observation::{Observation, Observer};
use crate::program;
use crate::scenario::{Scenario, SendHandle, WorkerAction, WriteLine};
use crate::vocabulary;

/// The interval at which a blocked worker checks its path.
const A_LITTLE: Duration = Duration::from_millis(1);

/// Plays until no event can follow. Then the worker exits, as in Node, unless it has servers outside the
/// cluster.
pub(super) async fn play(scenario: &Scenario, channel: Option<RawFd>) -> Result<(), JoinError> {
    let worker = Worker::join_as_node()?;
    // Needed to observe the close of every server.
    worker.keep_running();
    let (alive, mut idle) = mpsc::channel(1);
    let part = Arc::new(UnixWorker::new(worker.clone(), scenario, channel, alive));
    part.observe(&vocabulary::start(), None);
    while let Some(event) = worker.next().await {
        part.on_event(event);
    }
    part.state().alive = None;
    idle.recv().await;
    worker.exit(0)
}

/// The working directory.
fn here() -> String {
    env::current_dir().map(|here| here.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A worker and its rules, shared by the tasks of the process.
struct UnixWorker {
    worker: Worker,
    open: OpenSockets,
    /// The channel's descriptor, which the library does not expose.
    channel: Option<RawFd>,
    state: Mutex<State>,
}

struct State {
    script: program::Worker,
    /// Dropping a sender, or sending, closes the server.
    servers: BTreeMap<String, oneshot::Sender<()>>,
    /// Servers received with messages.
    own: Servers,
    /// The process runs as long as a clone of this sender exists.
    alive: Option<mpsc::Sender<()>>,
    /// Ends when the last server for datagrams in the order of closing has closed.
    last_turn: Option<oneshot::Receiver<()>>,
}

impl UnixWorker {
    fn new(worker: Worker, scenario: &Scenario, channel: Option<RawFd>, alive: mpsc::Sender<()>) -> Self {
        let script = program::Worker::new(scenario, worker.id().0).with_env(env::vars());
        let state = State {
            script,
            servers: BTreeMap::new(),
            own: Servers::default(),
            alive: Some(alive),
            last_turn: None,
        };
        UnixWorker { worker, open: OpenSockets::default(), channel, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A value that keeps the process running without its channel, until it is dropped.
    fn alive(&self) -> Option<mpsc::Sender<()>> {
        self.state().alive.clone()
    }

    /// The next position in the order in which servers for datagrams close.
    fn turn(&self) -> Turn {
        let mut state = self.state();
        let (turn, end) = Turn::behind(state.last_turn.take());
        state.last_turn = Some(end);
        turn
    }

    fn of_server(self: &Arc<Self>, options: &ListenOptions, is_udp: bool) -> ServerWorker {
        let is_exclusive = servers::is_exclusive(options);
        ServerWorker {
            worker: self.worker.clone(),
            open: self.open.clone(),
            observe: self.observer(),
            alive: is_exclusive.then(|| self.alive()).flatten(),
            turn: (is_udp && !is_exclusive).then(|| self.turn()),
        }
    }

    /// The receiver of the tasks' observations.
    fn observer(self: &Arc<Self>) -> Observe {
        let part = self.clone();
        Arc::new(move |seen, target| part.observe(&seen, target.as_ref()))
    }

    fn on_event(self: &Arc<Self>, event: WorkerEvent) {
        match event {
            WorkerEvent::Message { message, socket } => self.message(&translate::text(&message), socket),
            WorkerEvent::Disconnect => {
                let (meant, connected) = (self.worker.exited_after_disconnect(), self.worker.is_connected());
                self.observe(&vocabulary::disconnect(meant, connected), None);
                // As in Node: a worker that loses the channel without a disconnect exits at once.
                if !meant {
                    self.worker.exit(0);
                }
            }
            // In Node, a worker has a listener for failed sends: the messages are lost, and the end of the
            // channel follows.
            WorkerEvent::Error(error) => match error {
                ChannelError::Write { .. } | ChannelError::Delayed(_) => {}
                ChannelError::NotReceived | ChannelError::Protocol(_) => {
                    eprintln!("{error}");
                    process::exit(UNCAUGHT);
                }
            },
            // Scenarios have no words for further events of the library.
            WorkerEvent::LameDuck | _ => {}
        }
    }

    /// Observes the end of the channel before the consequences: the task of a consequence may have been woken
    /// first.
    fn catch_up(self: &Arc<Self>) {
        while !self.worker.is_connected() {
            let next = pin!(self.worker.next()).poll(&mut Context::from_waker(Waker::noop()));
            let Poll::Ready(Some(event)) = next else { return };
            self.on_event(event);
        }
    }

    /// Writes a line, and performs the actions of its rules. `target` is the peer of the line.
    fn observe(self: &Arc<Self>, seen: &Observation, target: Option<&ReplyTarget>) {
        if target.is_some() {
            self.catch_up();
        }
        self.write(seen);
        let actions = self.state().script.react(seen);
        for action in actions {
            self.perform(action, target);
        }
    }

    /// Adopts the handle of a message, with the text of the message as its name.
    fn message(self: &Arc<Self>, text: &str, socket: Option<Received>) {
        let with = socket.as_deref().map(connections::kind);
        let alive = self.alive();
        let adopted =
            socket.and_then(|socket| program_sockets::adopt(&self.observer(), &self.open, text, socket).ok());
        let target = adopted.map(|adopted| {
            self.state().own.extend(adopted.closing.map(|closing| (text.to_owned(), closing)));
            tokio::spawn(async move {
                adopted.task.await;
                drop(alive);
            });
            adopted.target
        });
        self.observe(&vocabulary::message(text, with), target.flatten().as_ref());
    }

    fn write(&self, seen: &Observation) {
        super::write(Observer::Worker(self.worker.id().0), seen);
    }

    fn disconnect_channel(&self) {
        let channel = self.channel.filter(|_| self.worker.is_connected());
        // Without a channel there is nothing to keep open.
        if let Some(channel) = channel {
            shutdown(channel, Shutdown::Both).unwrap_or_default();
        }
    }

    fn perform(self: &Arc<Self>, action: WorkerAction, target: Option<&ReplyTarget>) {
        match action {
            WorkerAction::Listen(listen) => {
                let (name, options) = (listen.server.to_string(), translate::listen(&listen, &here()));
                let closing = servers::open(self.of_server(&options, false), name.clone(), options);
                self.state().servers.insert(name, closing);
            }
            WorkerAction::Bind(bind) => {
                let (name, options) = (bind.server.to_string(), translate::bind(&bind));
                let closing = servers::bind(self.of_server(&options, true), name.clone(), options);
                self.state().servers.insert(name, closing);
            }
            WorkerAction::SendDatagram(send) => {
                let from = send.from.as_ref().map(|server| server.as_str());
                self.open.send_datagram(from, send.to.port(), send.text.as_str());
            }
            WorkerAction::SendHandle(send) => self.pass(&send, target),
            WorkerAction::Close(server) => self.close(server.as_str()),
            // Fails if the channel is closed: the manual states that the message is dropped.
            WorkerAction::Send(text) => drop(self.worker.send(Value::from(text.as_str()))),
            WorkerAction::SendForm(form) => drop(self.worker.send(translate::json(form.json()))),
            WorkerAction::TrySend(text) => self.try_send(text.as_str()),
            // Here the reserved message is rejected. Node swallows the message.
            WorkerAction::SendReserved => drop(self.worker.send(vocabulary::reserved())),
            WorkerAction::Disconnect => self.worker.disconnect(),
            WorkerAction::Kill => self.worker.kill(),
            WorkerAction::DisconnectChannel => self.disconnect_channel(),
            WorkerAction::Reply(text) => {
                if let Some(target) = target {
                    target.write(text.as_str());
                }
            }
            WorkerAction::End => target.into_iter().for_each(ReplyTarget::end),
            WorkerAction::EndAll => self.open.end_all(),
            WorkerAction::Write(line) => write_line(&line),
            WorkerAction::Inspect => {
                let (meant, connected) = (self.worker.exited_after_disconnect(), self.worker.is_connected());
                self.write(&vocabulary::look(meant, connected));
            }
            WorkerAction::Env(name) => self.write(&vocabulary::env(&name, env::var(&name).ok().as_deref())),
            WorkerAction::Args => {
                let given = env::args().skip_while(|argument| argument != PLAY).skip(OWN_ARGS);
                self.write(&vocabulary::args("args", &given.collect::<Vec<_>>()));
            }
            WorkerAction::ExecArgs => {
                let given = env::args().skip(1).take_while(|argument| argument != PLAY);
                self.write(&vocabulary::args("exec_args", &given.collect::<Vec<_>>()));
            }
            WorkerAction::Cwd => {
                let (here, place) = (here(), env::var("PLACE").unwrap_or_default());
                self.write(&vocabulary::cwd(if here == place { "." } else { &here }));
            }
            WorkerAction::LeaveChildWithChannel => self.leave_child(target),
            WorkerAction::BlockForever => loop {
                thread::park();
            },
            WorkerAction::BlockUntilPath(path) => {
                while !Path::new(path.as_str()).exists() {
                    thread::sleep(A_LITTLE);
                }
            }
            WorkerAction::Exit(code) => self.worker.exit(code),
            WorkerAction::Crash => self.worker.exit(UNCAUGHT),
            WorkerAction::Raise(signal) => super::die(signal),
        }
    }

    fn close(&self, server: &str) {
        let closing = self.state().servers.remove(server);
        let own = self.state().own.remove(server);
        drop((closing, own));
    }

    /// Starts a child with the channel and the connection of the line.
    fn leave_child(&self, target: Option<&ReplyTarget>) {
        if let Some(connection) = target.and_then(ReplyTarget::connection) {
            let channel = self.channel.expect("a worker has a channel");
            child::leave(channel, connection).expect("there is `cat`, and Linux is 5.6 at least");
        }
    }

    fn try_send(&self, text: &str) {
        let sent = self.worker.send(Value::String(text.to_owned())).is_ok();
        self.write(&vocabulary::tried(None, text, sent));
    }

    fn pass(&self, send: &SendHandle, target: Option<&ReplyTarget>) {
        let text = Value::from(send.text.as_str());
        let own = program_sockets::named(&self.state().own, send.what.as_ref());
        let socket = own.or_else(|| self.open.pass(target.filter(|_| send.what.is_none()), send.keep_open));
        // A closed handle cannot be sent, so the message is sent alone.
        let _ = match socket {
            Some(socket) => self.worker.send_with(&text, socket).is_ok(),
            None => self.worker.send(&text).is_ok(),
        };
    }
}

fn write_line(line: &WriteLine) {
    let fd = RawFd::try_from(line.fd).expect("a scenario names small numbers");
    // The pipes of these workers are sockets. Fails if the reader is closed, which does not matter.
    let _ = send(fd, format!("{}\n", *line.text).as_bytes(), MsgFlags::MSG_NOSIGNAL);
}
