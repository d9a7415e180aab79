//! Forecasts: whether a worker can still record the wanted observations. A forecast runs only this worker, on
//! the messages that the primary has already sent.
//!
//! Forecasts prune only the guided search, which may miss runs anyway. No negative answer about a trace
//! depends on a forecast.

use std::collections::HashMap;

use cluster_core::ChannelId;
use foldhash::fast::FixedState;

use super::progress::Progress;
use super::search::{Goal, Search, Turn, choices};
use crate::cow::{Fingerprint, fingerprint};
use crate::event::Actor;
use crate::kernel::channel::End;
use crate::program::Program;
use crate::step::{Pid, Step};
use crate::world::World;

/// The effect of the messages in the channel of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outlook {
    /// The wanted observations are possible, or depend on other inputs.
    Open,
    /// The wanted observations are possible only if one read returns these messages together with a later
    /// message.
    Doubtful,
    /// The wanted observations are impossible.
    Lost,
}

/// The largest number of steps of a forecast. A forecast that needs more counts as open.
const STEPS: usize = 200;

/// The largest number of stored forecasts.
const STORED: usize = 100_000;

/// Forecasts, stored by the state of the worker and of the channel.
#[derive(Debug, Default)]
pub(super) struct Forecasts {
    known: HashMap<Fingerprint, Outlook, FixedState>,
}

impl Forecasts {
    /// The number of workers with a doubtful outlook. `None`: the outlook of a worker is lost.
    pub(super) fn doubtful<P: Program>(
        &mut self,
        search: &mut Search<'_>,
        world: &World<P>,
        progress: &Progress,
    ) -> Option<usize> {
        let path = std::mem::take(&mut search.path);
        let mut doubtful = Some(0);
        for (at, made) in progress.all().iter().enumerate() {
            let outlook = match unfinished(search, at, *made) {
                Some(pid) => self.outlook(search, world, progress, pid),
                None => Outlook::Open,
            };
            doubtful = match outlook {
                Outlook::Open => doubtful,
                Outlook::Doubtful => doubtful.map(|doubtful| doubtful + 1),
                Outlook::Lost => None,
            };
        }
        search.path = path;
        doubtful
    }

    fn outlook<P: Program>(
        &mut self,
        search: &mut Search<'_>,
        world: &World<P>,
        progress: &Progress,
        pid: Pid,
    ) -> Outlook {
        if world.state.kernel.processes.has_ended(pid) {
            return Outlook::Lost;
        }
        if pid == Pid::PRIMARY
            || !world.state.kernel.processes.is_alive(pid)
            || !world.schedule().faults().is_none()
        {
            return Outlook::Open;
        }
        let Some((channel, side)) = world.state.kernel.channels.get(pid, ChannelId::PRIMARY) else {
            return Outlook::Open;
        };
        let made = search.observer(pid.into()).map(|at| progress.of(at));
        let (host, process) = (world.state.running.get(pid), world.state.kernel.processes.get(pid));
        let is_connected = channel.is_connected(side);
        let state = fingerprint(&(host, process, channel.end(side), is_connected, made, progress.objects()));
        if let Some(&outlook) = self.known.get(&state) {
            return outlook;
        }
        let outlook = Ahead { search, pid, steps: STEPS }.run(world.clone(), progress.clone());
        if self.known.len() >= STORED {
            self.known.clear();
        }
        self.known.insert(state, outlook);
        outlook
    }
}

/// Whether a message behind the waiting messages is in a later read, or has the same effect in a later read.
/// A request to disconnect is the last message that changes the reaction to earlier messages.
fn is_complete(end: &End) -> bool {
    end.holds_descriptor() || end.contains(b"disconnect")
}

/// The process of this observer, if more observations are wanted.
fn unfinished(search: &Search<'_>, at: usize, made: usize) -> Option<Pid> {
    let Goal::Observing(wanted) = &search.goal else { return None };
    let (actor, texts) = wanted[at];
    if made >= texts.len() {
        return None;
    }
    match actor {
        Actor::Primary => Some(Pid::PRIMARY),
        Actor::Worker(worker) => Some(worker.into()),
        Actor::Client(_) => None,
    }
}

/// A run of one worker ahead of all other processes.
struct Ahead<'a, 'b> {
    search: &'a mut Search<'b>,
    pid: Pid,
    /// The number of remaining steps.
    steps: usize,
}

impl Ahead<'_, '_> {
    /// Runs the worker until the next step depends on another process, or until the outlook is known.
    fn run<P: Program>(&mut self, mut world: World<P>, mut progress: Progress) -> Outlook {
        loop {
            if world.state.kernel.processes.has_ended(self.pid) {
                return if self.is_done(&progress) { Outlook::Open } else { Outlook::Lost };
            }
            // A socket can receive an input first.
            let has_sockets = !world.state.kernel.processes.get(self.pid).descriptors().is_empty();
            if has_sockets || self.steps == 0 || self.is_done(&progress) {
                return Outlook::Open;
            }
            let n = world.refresh();
            let Some(at) = (0..n).find(|&at| self.is_own(world.enabled(at))) else {
                let read = (0..n).find(|&at| world.enabled(at) == Step::Read(self.pid, ChannelId::PRIMARY));
                return read.map_or(Outlook::Open, |at| self.read(&world, &progress, n, at));
            };
            if self.step(&mut world, &mut progress, &choices(n, at, &[])) != Turn::Continue {
                return Outlook::Lost;
            }
        }
    }

    /// The best outlook among reads of one message, of two messages, and so on.
    fn read<P: Program>(&mut self, world: &World<P>, progress: &Progress, n: usize, at: usize) -> Outlook {
        let writes = world.state.kernel.channels.waiting_writes(self.pid, ChannelId::PRIMARY);
        let channel = world.state.kernel.channels.get(self.pid, ChannelId::PRIMARY);
        let may_grow = channel
            .is_some_and(|(channel, side)| channel.is_connected(side) && !is_complete(channel.end(side)));
        let mut best = Outlook::Lost;
        for taken in 1..=writes.max(1) {
            if best == Outlook::Open || self.steps == 0 {
                return Outlook::Open;
            }
            let (mut world, mut progress) = (world.clone(), progress.clone());
            let inside = if taken >= writes { 0 } else { u32::try_from(taken).expect("few writes wait") };
            let turn = self.step(&mut world, &mut progress, &choices(n, at, &[inside]));
            let outlook = if turn == Turn::Continue { self.run(world, progress) } else { Outlook::Lost };
            let grows = taken >= writes && may_grow;
            best = best.min(if grows { outlook.min(Outlook::Doubtful) } else { outlook });
        }
        best
    }

    fn step<P: Program>(&mut self, world: &mut World<P>, progress: &mut Progress, choices: &[u32]) -> Turn {
        self.steps = self.steps.saturating_sub(1);
        self.search.step(world, progress, choices)
    }

    /// Whether a step depends on this worker alone.
    fn is_own(&self, step: Step) -> bool {
        matches!(step, Step::Run(pid) | Step::Start(pid) | Step::Writable(pid, _) if pid == self.pid)
    }

    fn is_done(&self, progress: &Progress) -> bool {
        self.search
            .observer(self.pid.into())
            .is_none_or(|at| unfinished(self.search, at, progress.of(at)).is_none())
    }
}
