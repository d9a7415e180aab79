//! A program as a list of moves, one for each of the first events. The list is short enough for the name of a
//! scenario.
//!
//! Properties draw such programs at random. A program need not make sense, because the machines must survive
//! every program.

use std::fmt;
use std::str::FromStr;

use cluster_core::{Event, ListenOptions, ListenerId, Primary, Signal, Worker, WorkerEvent, WorkerId};

use super::address_of;
use super::unknown_name::{UnknownName, counts};
use crate::{Actor, ClientEvent, ClientId, Driver, Process, Program};

/// Workers, clients, and the moves of the primary and of each worker at their first events.
///
/// As text: `plan-<workers>-<clients>-<moves of the primary>-<moves of each worker>`, for example
/// `plan-2-1-..d1-.sx`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RandomProgram {
    /// The number of workers forked at the start.
    pub workers: u32,
    /// The number of clients that connect when the first worker listens. At each later `Listening` another
    /// client connects.
    pub clients: u32,
    /// The moves of the primary at its first events. The initial forks are not counted as events.
    pub primary: Vec<PrimaryMove>,
    /// The moves of each worker at its first events.
    pub worker: Vec<WorkerMove>,
    received: usize,
    listeners: Vec<ListenerId>,
    connected: bool,
}

/// A move of the primary. A digit is the id of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrimaryMove {
    /// `.`: nothing.
    Nothing,
    /// `f`: forks a worker.
    Fork,
    /// `s1`: sends a message.
    Send(u8),
    /// `d1`: disconnects a worker.
    Disconnect(u8),
    /// `a`: disconnects all workers.
    DisconnectAll,
    /// `k1`: kills a worker with SIGTERM.
    Kill(u8),
    /// `x`: exits.
    Exit,
}

/// A move of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerMove {
    /// `.`: nothing.
    Nothing,
    /// `l`: listens at one more port.
    Listen,
    /// `c`: closes the newest listener.
    Close,
    /// `s`: sends a message.
    Send,
    /// `d`: disconnects.
    Disconnect,
    /// `k`: asks the primary for a kill. Node: `worker.kill()`.
    Kill,
    /// `x`: exits with code 3.
    Exit,
    /// `z`: dies of SIGSEGV.
    Die,
}

impl RandomProgram {
    /// A program of these workers, clients and moves.
    pub fn new(workers: u32, clients: u32, primary: Vec<PrimaryMove>, worker: Vec<WorkerMove>) -> Self {
        RandomProgram {
            workers,
            clients,
            primary,
            worker,
            received: 0,
            listeners: Vec::new(),
            connected: false,
        }
    }
}

/// The move at the next event. Counts the event.
fn next<D: Copy>(received: &mut usize, moves: &[D]) -> Option<D> {
    *received += 1;
    moves.get(*received - 1).copied()
}

impl PrimaryMove {
    fn perform(self, primary: &mut Primary, process: &mut Process<'_>) {
        match self {
            PrimaryMove::Nothing => {}
            PrimaryMove::Fork => {
                primary.fork().expect("the settings are valid");
            }
            PrimaryMove::Send(to) => {
                let to = WorkerId(to.into());
                let _ = process.send_numbered(Actor::Worker(to), |message| primary.send(to, message));
            }
            PrimaryMove::Disconnect(worker) => primary.disconnect_worker(WorkerId(worker.into())),
            PrimaryMove::DisconnectAll => primary.disconnect_all(),
            PrimaryMove::Kill(worker) => primary.kill(WorkerId(worker.into()), Signal::SIGTERM),
            PrimaryMove::Exit => process.exit(0),
        }
    }

    fn read(letters: &mut std::str::Chars<'_>) -> Option<Self> {
        let letter = letters.next()?;
        let mut worker = || u8::try_from(letters.next()?.to_digit(10)?).ok();
        Some(match letter {
            '.' => PrimaryMove::Nothing,
            'f' => PrimaryMove::Fork,
            's' => PrimaryMove::Send(worker()?),
            'd' => PrimaryMove::Disconnect(worker()?),
            'a' => PrimaryMove::DisconnectAll,
            'k' => PrimaryMove::Kill(worker()?),
            'x' => PrimaryMove::Exit,
            _ => return None,
        })
    }
}

impl fmt::Display for PrimaryMove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrimaryMove::Nothing => f.write_str("."),
            PrimaryMove::Fork => f.write_str("f"),
            PrimaryMove::Send(worker) => write!(f, "s{worker}"),
            PrimaryMove::Disconnect(worker) => write!(f, "d{worker}"),
            PrimaryMove::DisconnectAll => f.write_str("a"),
            PrimaryMove::Kill(worker) => write!(f, "k{worker}"),
            PrimaryMove::Exit => f.write_str("x"),
        }
    }
}

impl WorkerMove {
    const ALL: [(char, WorkerMove); 8] = [
        ('.', WorkerMove::Nothing),
        ('l', WorkerMove::Listen),
        ('c', WorkerMove::Close),
        ('s', WorkerMove::Send),
        ('d', WorkerMove::Disconnect),
        ('k', WorkerMove::Kill),
        ('x', WorkerMove::Exit),
        ('z', WorkerMove::Die),
    ];

    fn read(letter: char) -> Option<Self> {
        WorkerMove::ALL.iter().find(|(its, _)| *its == letter).map(|&(_, next_move)| next_move)
    }
}

impl fmt::Display for WorkerMove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = WorkerMove::ALL.iter().find(|(_, next_move)| next_move == self);
        letter.map_or(Ok(()), |(letter, _)| write!(f, "{letter}"))
    }
}

impl fmt::Display for RandomProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plan-{}-{}-", self.workers, self.clients)?;
        self.primary.iter().try_for_each(|next_move| write!(f, "{next_move}"))?;
        f.write_str("-")?;
        self.worker.iter().try_for_each(|next_move| write!(f, "{next_move}"))
    }
}

impl FromStr for RandomProgram {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let read = || {
            let rest = text.strip_prefix("plan-")?;
            let [workers, clients, primary, worker] = rest.split('-').collect::<Vec<_>>()[..] else {
                return None;
            };
            let (workers, clients) = counts(workers, clients)?;
            let mut letters = primary.chars();
            let mut moves = Vec::new();
            while !letters.as_str().is_empty() {
                moves.push(PrimaryMove::read(&mut letters)?);
            }
            let worker: Option<Vec<WorkerMove>> = worker.chars().map(WorkerMove::read).collect();
            Some(RandomProgram::new(workers, clients, moves, worker?))
        };
        read().ok_or_else(|| UnknownName(text.to_owned()))
    }
}

impl Program for RandomProgram {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("the settings are valid");
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        if matches!(event, Event::Fork { worker: WorkerId(n) } if n < self.workers.into()) {
            primary.fork().expect("the settings are valid");
        } else if let Some(next_move) = next(&mut self.received, &self.primary) {
            next_move.perform(primary, process);
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        self.listeners.push(worker.listen(ListenOptions::default()));
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if let WorkerEvent::Listening { listener, address, .. } = &event {
            process.notify_driver(address.port().to_string());
            worker.accept(*listener);
        }
        if let WorkerEvent::Connection { listener, .. } = event {
            worker.accept(listener);
        }
        match next(&mut self.received, &self.worker).unwrap_or(WorkerMove::Nothing) {
            WorkerMove::Nothing => {}
            WorkerMove::Listen => self.listeners.push(worker.listen(ListenOptions::default())),
            WorkerMove::Close => self.listeners.pop().into_iter().for_each(|listener| worker.close(listener)),
            WorkerMove::Send => {
                let _ = process.send_numbered(Actor::Primary, |message| worker.send(message));
            }
            WorkerMove::Disconnect => worker.disconnect(),
            WorkerMove::Kill => worker.kill(),
            WorkerMove::Exit => process.exit(3),
            WorkerMove::Die => process.raise(Signal::SIGSEGV),
        }
    }

    fn notified(&mut self, driver: &mut Driver<'_>, _: Actor, port: &str) {
        let is_first = !std::mem::replace(&mut self.connected, true);
        for client in 0..if is_first { self.clients } else { 1 } {
            driver.connect_from(address_of(client), port.parse().expect("a port number"));
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        if event == ClientEvent::Connected {
            driver.send(client, b"hello");
            driver.end(client);
        }
    }
}
