//! A program made of a list of deeds, one at each of the first events, which fits into the name of a scenario.
//!
//! Properties draw such plans at random. Whether a plan is a good idea is not asked: the machines must bear them all.

use std::fmt;
use std::str::FromStr;

use cluster_core::{Event, ListenOptions, ListenerId, Primary, Signal, Worker, WorkerEvent, WorkerId};

use super::scenario::{UnknownName, counts};
use crate::{Actor, ClientEvent, ClientId, Driver, Process, Program};

/// Some workers, some clients, and what the primary and each worker do at their first events.
///
/// As text: `plan-<workers>-<clients>-<deeds of the primary>-<deeds of each worker>`, `plan-2-1-..d1-.sx`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Plan {
    /// How many workers are forked at the start.
    pub workers: u32,
    /// How many clients come when the first worker listens; at each later listening comes one more.
    pub clients: u32,
    /// What the primary does at its first events, the forks at the start aside.
    pub primary: Vec<PrimaryDeed>,
    /// What each worker does at its first events.
    pub worker: Vec<WorkerDeed>,
    heard: usize,
    listeners: Vec<ListenerId>,
    came: bool,
}

/// What a primary does at an event. Workers are named by a digit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrimaryDeed {
    /// `.`: nothing.
    Nothing,
    /// `f`: it forks a worker.
    Fork,
    /// `s1`: it sends a message.
    Send(u8),
    /// `d1`: it disconnects a worker.
    Disconnect(u8),
    /// `a`: it disconnects all.
    DisconnectAll,
    /// `k1`: it kills a worker with SIGTERM.
    Kill(u8),
    /// `x`: it exits.
    Exit,
}

/// What a worker does at an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WorkerDeed {
    /// `.`: nothing.
    Nothing,
    /// `l`: it listens at one more port.
    Listen,
    /// `c`: it closes its newest listener.
    Close,
    /// `s`: it sends a message.
    Send,
    /// `d`: it disconnects.
    Disconnect,
    /// `k`: it kills itself through its primary. Node: `worker.kill()`.
    Kill,
    /// `x`: it exits with code 3.
    Exit,
    /// `z`: it dies of SIGSEGV.
    Die,
}

impl Plan {
    /// So many workers and clients, and these deeds.
    pub fn new(workers: u32, clients: u32, primary: Vec<PrimaryDeed>, worker: Vec<WorkerDeed>) -> Self {
        Plan { workers, clients, primary, worker, heard: 0, listeners: Vec::new(), came: false }
    }
}

/// What is to be done at this event, the `heard`th.
fn next<D: Copy>(heard: &mut usize, deeds: &[D]) -> Option<D> {
    *heard += 1;
    deeds.get(*heard - 1).copied()
}

impl PrimaryDeed {
    fn perform(self, primary: &mut Primary, process: &mut Process<'_>) {
        match self {
            PrimaryDeed::Nothing => {}
            PrimaryDeed::Fork => {
                primary.fork().expect("nothing impossible was set up");
            }
            PrimaryDeed::Send(to) => {
                let to = WorkerId(to.into());
                let _ = process.numbered(Actor::Worker(to), |message| primary.send(to, message));
            }
            PrimaryDeed::Disconnect(worker) => primary.disconnect_worker(WorkerId(worker.into())),
            PrimaryDeed::DisconnectAll => primary.disconnect_all(),
            PrimaryDeed::Kill(worker) => primary.kill(WorkerId(worker.into()), Signal::SIGTERM),
            PrimaryDeed::Exit => process.exit(0),
        }
    }

    fn read(letters: &mut std::str::Chars<'_>) -> Option<Self> {
        let letter = letters.next()?;
        let mut worker = || u8::try_from(letters.next()?.to_digit(10)?).ok();
        Some(match letter {
            '.' => PrimaryDeed::Nothing,
            'f' => PrimaryDeed::Fork,
            's' => PrimaryDeed::Send(worker()?),
            'd' => PrimaryDeed::Disconnect(worker()?),
            'a' => PrimaryDeed::DisconnectAll,
            'k' => PrimaryDeed::Kill(worker()?),
            'x' => PrimaryDeed::Exit,
            _ => return None,
        })
    }
}

impl fmt::Display for PrimaryDeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrimaryDeed::Nothing => f.write_str("."),
            PrimaryDeed::Fork => f.write_str("f"),
            PrimaryDeed::Send(worker) => write!(f, "s{worker}"),
            PrimaryDeed::Disconnect(worker) => write!(f, "d{worker}"),
            PrimaryDeed::DisconnectAll => f.write_str("a"),
            PrimaryDeed::Kill(worker) => write!(f, "k{worker}"),
            PrimaryDeed::Exit => f.write_str("x"),
        }
    }
}

impl WorkerDeed {
    const ALL: [(char, WorkerDeed); 8] = [
        ('.', WorkerDeed::Nothing),
        ('l', WorkerDeed::Listen),
        ('c', WorkerDeed::Close),
        ('s', WorkerDeed::Send),
        ('d', WorkerDeed::Disconnect),
        ('k', WorkerDeed::Kill),
        ('x', WorkerDeed::Exit),
        ('z', WorkerDeed::Die),
    ];

    fn read(letter: char) -> Option<Self> {
        WorkerDeed::ALL.iter().find(|(its, _)| *its == letter).map(|&(_, deed)| deed)
    }
}

impl fmt::Display for WorkerDeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = WorkerDeed::ALL.iter().find(|(_, deed)| deed == self);
        letter.map_or(Ok(()), |(letter, _)| write!(f, "{letter}"))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "plan-{}-{}-", self.workers, self.clients)?;
        self.primary.iter().try_for_each(|deed| write!(f, "{deed}"))?;
        f.write_str("-")?;
        self.worker.iter().try_for_each(|deed| write!(f, "{deed}"))
    }
}

impl FromStr for Plan {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let read = || {
            let rest = text.strip_prefix("plan-")?;
            let [workers, clients, primary, worker] = rest.split('-').collect::<Vec<_>>()[..] else {
                return None;
            };
            let (workers, clients) = counts(workers, clients)?;
            let mut letters = primary.chars();
            let mut deeds = Vec::new();
            while !letters.as_str().is_empty() {
                deeds.push(PrimaryDeed::read(&mut letters)?);
            }
            let worker: Option<Vec<WorkerDeed>> = worker.chars().map(WorkerDeed::read).collect();
            Some(Plan::new(workers, clients, deeds, worker?))
        };
        read().ok_or_else(|| UnknownName(text.to_owned()))
    }
}

impl Program for Plan {
    fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
        primary.fork().expect("nothing impossible was set up");
    }

    fn primary_event(&mut self, primary: &mut Primary, process: &mut Process<'_>, event: Event) {
        if matches!(event, Event::Fork { worker: WorkerId(n) } if n < self.workers.into()) {
            primary.fork().expect("nothing impossible was set up");
        } else if let Some(deed) = next(&mut self.heard, &self.primary) {
            deed.perform(primary, process);
        }
    }

    fn worker_start(&mut self, worker: &mut Worker, _: &mut Process<'_>) {
        self.listeners.push(worker.listen(ListenOptions::default()));
    }

    fn worker_event(&mut self, worker: &mut Worker, process: &mut Process<'_>, event: WorkerEvent) {
        if let WorkerEvent::Listening { listener, address, .. } = &event {
            process.note(address.port().to_string());
            worker.accept(*listener);
        }
        if let WorkerEvent::Connection { listener, .. } = event {
            worker.accept(listener);
        }
        match next(&mut self.heard, &self.worker).unwrap_or(WorkerDeed::Nothing) {
            WorkerDeed::Nothing => {}
            WorkerDeed::Listen => self.listeners.push(worker.listen(ListenOptions::default())),
            WorkerDeed::Close => self.listeners.pop().into_iter().for_each(|listener| worker.close(listener)),
            WorkerDeed::Send => {
                let _ = process.numbered(Actor::Primary, |message| worker.send(message));
            }
            WorkerDeed::Disconnect => worker.disconnect(),
            WorkerDeed::Kill => worker.kill(),
            WorkerDeed::Exit => process.exit(3),
            WorkerDeed::Die => process.die(Signal::SIGSEGV),
        }
    }

    fn noted(&mut self, driver: &mut Driver<'_>, _: Actor, port: &str) {
        let is_first = !std::mem::replace(&mut self.came, true);
        for _ in 0..if is_first { self.clients } else { 1 } {
            driver.connect(port.parse().expect("workers note ports"));
        }
    }

    fn client_event(&mut self, driver: &mut Driver<'_>, client: ClientId, event: ClientEvent) {
        if event == ClientEvent::Connected {
            driver.send(client, b"hello");
            driver.end(client);
        }
    }
}
