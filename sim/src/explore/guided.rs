//! The guided search: a best-first search by the number of wanted observations. Workers and clients act at
//! once where the trace permits. So the consequence of a wrong decision of the primary appears in the next
//! step, and not after unrelated steps.
//!
//! Nodes are expanded alternately by distance and at random, so that no plateau stops the search. If the
//! search finds nothing, this proves nothing.

use std::collections::BTreeMap;
use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::Deepest;
use super::forecast::Forecasts;
use super::progress::Progress;
use super::search::{Goal, Search, Turn, choices, following};
use super::visited::Visited;
use crate::event::Actor;
use crate::program::Program;
use crate::step::Pid;
use crate::step::Step;
use crate::world::World;

/// A path, and the world at its end.
struct Node<P> {
    world: World<P>,
    progress: Progress,
    path: Vec<u32>,
}

impl<P> Node<P> {
    fn made(&self) -> usize {
        self.progress.total()
    }
}

/// Which processes act at once. Each setting excludes different runs, so a search tries several settings in
/// turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Haste {
    /// Which reads of workers happen at once.
    pub(super) reads: Reads,
    /// The primary ends a reaction before other processes act.
    pub(super) primary: bool,
    /// A worker without further wanted observations still acts at once, and signals reach it at once.
    pub(super) finished: bool,
    /// Whether a worker with a doubtful outlook prunes a node, or only adds to the distance.
    pub(super) prunes: bool,
}

/// Which reads of workers happen at once. Two messages in one read may have another effect than two messages
/// in two reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reads {
    Never,
    /// Reads that lead to the next wanted observation of the worker.
    Observed,
    /// Reads of one message, by workers without sockets: their only inputs are messages.
    OneByOne,
}

/// When a search takes an enabled step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// At once: the result does not depend on other processes.
    Now,
    /// At once, if the resulting observations fit.
    Soon,
    /// At once, if the step leads to a wanted observation.
    Observed,
    /// Later, by a branch of the search.
    Later,
}

/// A node after all steps that happen at once.
enum Settled<P> {
    Goal(Vec<u32>),
    DeadEnd,
    /// The node, and the number of steps that do not fit yet.
    Open(Box<Node<P>>, usize),
}

/// The next step that happens at once.
enum Next<P> {
    Step(Box<Node<P>>),
    DeadEnd,
    /// No such step fits; the number of steps that do not fit.
    None(usize),
}

/// The distance of one step that does not fit, in observations.
const STUCK: usize = 2;

/// The distance of one doubtful worker, in observations.
const DOUBT: usize = 3;

/// A guided search with its setting and its records.
pub(super) struct Guided<'a> {
    search: Search<'a>,
    haste: Haste,
    visited: Visited,
    wanted: usize,
    forecasts: Forecasts,
}

impl<'a> Guided<'a> {
    pub(super) fn new(search: Search<'a>, haste: Haste) -> Self {
        let wanted = match &search.goal {
            Goal::Observing(wanted) => wanted.iter().map(|(_, texts)| texts.len()).sum(),
            Goal::FailedCheck => 0,
        };
        Guided { search, haste, visited: Visited::new(), wanted, forecasts: Forecasts::default() }
    }

    /// The choices that lead to the goal, if found within the budget; and the deepest point, with the number
    /// of visited worlds with a choice.
    pub(super) fn find<P: Program>(mut self, world: &World<P>) -> (Option<Vec<u32>>, Deepest) {
        let Goal::Observing(wanted) = &self.search.goal else { return (None, Deepest::default()) };
        let progress = Progress::new(wanted.len());
        let mut open = Open::default();
        let root = Node { world: world.clone().searched(), progress, path: Vec::new() };
        let mut found = self.put(root, &mut open);
        while found.is_none() && self.search.budget.spent(self.visited.len(), self.visited.bytes()).is_none()
        {
            self.search.budget.count(self.visited.len());
            let Some(node) = open.take() else { break };
            found = self.expand(&node, &mut open);
        }
        (found, self.search.take_deepest(self.visited.len()))
    }

    /// Takes all steps of a node that happen at once, and stores the node. Returns the path if the node
    /// reaches the goal.
    fn put<P: Program>(&mut self, node: Node<P>, open: &mut Open<P>) -> Option<Vec<u32>> {
        match self.settle(node) {
            Settled::Goal(path) => return Some(path),
            Settled::DeadEnd => {}
            Settled::Open(node, stuck) => {
                let doubtful = self.forecasts.doubtful(&mut self.search, &node.world, &node.progress);
                let doubtful = doubtful.filter(|&doubtful| doubtful == 0 || !self.haste.prunes);
                if let Some(doubtful) = doubtful
                    && self.visited.visit(self.search.hash(&node.world, &node.progress), 0).is_none()
                {
                    let unreported = node.world.state.kernel.processes.unreported();
                    let distance = self.wanted - node.made() + STUCK * stuck + DOUBT * doubtful + unreported;
                    open.put(distance, *node);
                }
            }
        }
        None
    }

    /// Stores every successor of a node; returns the path of a successor at the goal.
    fn expand<P: Program>(&mut self, node: &Node<P>, open: &mut Open<P>) -> Option<Vec<u32>> {
        let n = node.world.enabled_len();
        for at in (0..n).rev() {
            let mut again = Some(choices(n, at, &[]));
            while let Some(choices) = again {
                let child = self.child(node, &choices);
                again = child.1;
                if let Some(child) = child.0
                    && let Some(path) = self.put(child, open)
                {
                    return Some(path);
                }
            }
        }
        None
    }

    /// The successor of a node by these choices, if the observations fit; and the next choices for the same
    /// step.
    fn child<P: Program>(&mut self, node: &Node<P>, choices: &[u32]) -> (Option<Node<P>>, Option<Vec<u32>>) {
        let (mut world, mut progress) = (node.world.clone(), node.progress.clone());
        self.search.path.clone_from(&node.path);
        let turn = self.search.step(&mut world, &mut progress, choices);
        let again = following(world.schedule().taken(), usize::from(node.world.enabled_len() > 1));
        let path = self.search.path.clone();
        ((turn == Turn::Continue).then_some(Node { world, progress, path }), again)
    }

    fn settle<P: Program>(&mut self, mut node: Node<P>) -> Settled<P> {
        loop {
            let n = node.world.refresh();
            if n == 0 {
                let Node { mut world, progress, path } = node;
                self.search.path.clone_from(&path);
                let is_goal = self.search.end(&mut world, &progress) == Turn::Goal;
                return if is_goal { Settled::Goal(path) } else { Settled::DeadEnd };
            }
            match self.next(&node, n) {
                Next::Step(next) => node = *next,
                Next::DeadEnd => return Settled::DeadEnd,
                Next::None(stuck) => return Settled::Open(Box::new(node), stuck),
            }
        }
    }

    fn next<P: Program>(&mut self, node: &Node<P>, n: usize) -> Next<P> {
        let made = node.made();
        let (mut unobserved, mut stuck) = (None, 0);
        for at in 0..n {
            let step = node.world.enabled(at);
            let urgency = self.urgency(node, step, n);
            if urgency == Urgency::Later {
                continue;
            }
            // A read takes only the first of several waiting messages.
            let child = self.child(node, &choices(n, at, &[1])).0;
            match (child, urgency) {
                (Some(child), Urgency::Now) => return Next::Step(Box::new(child)),
                (Some(child), _) if child.made() > made => return Next::Step(Box::new(child)),
                (Some(child), Urgency::Soon) => unobserved = unobserved.or(Some(child)),
                (Some(_), Urgency::Observed | Urgency::Later) => {}
                (None, Urgency::Now) if !self.may_die_first(node, step) => return Next::DeadEnd,
                (None, _) => stuck += 1,
            }
        }
        unobserved.map_or(Next::None(stuck), |child| Next::Step(Box::new(child)))
    }

    fn urgency<P: Program>(&self, node: &Node<P>, step: Step, n: usize) -> Urgency {
        let world = &node.world;
        let is_dying =
            |pid| (0..n).any(|at| matches!(world.enabled(at), Step::Signal(dying, _) if dying == pid));
        match step {
            Step::Run(Pid::PRIMARY) if !self.haste.primary => Urgency::Later,
            Step::Run(pid) if is_dying(pid) || world.state.running.is_about_to_close_channel(pid) => {
                Urgency::Later
            }
            // A client may wait for a line of this reaction. The client may then connect before the listener
            // closes.
            Step::Run(pid) if world.is_about_to_close_listener(pid) && self.has_unfinished_clients(node) => {
                Urgency::Later
            }
            // A worker without further wanted observations may also be killed before this step.
            Step::Run(pid) | Step::Signal(pid, _)
                if pid != Pid::PRIMARY && !self.is_wanted(node, pid.into()) =>
            {
                if self.haste.finished {
                    Urgency::Soon
                } else {
                    Urgency::Later
                }
            }
            // A client observes nothing after its own end or reset.
            Step::ClientAction(client)
                if self.is_wanted(node, Actor::Client(world.observer_of_client(client)))
                    || world.state.kernel.network.clients.looks_up_sockets(client) =>
            {
                Urgency::Later
            }
            Step::DriverEvent | Step::ClientEvent(_) | Step::Run(_) | Step::ClientAction(_) => Urgency::Now,
            Step::Start(pid)
            | Step::Read(pid, _)
            | Step::Writable(pid, _)
            | Step::Receive(pid, _)
            | Step::Accept(pid, _)
                if pid == Pid::PRIMARY || is_dying(pid) || !self.is_wanted(node, pid.into()) =>
            {
                Urgency::Later
            }
            Step::Read(..) if self.haste.reads == Reads::Never => Urgency::Later,
            Step::Read(pid, _)
                if self.haste.reads == Reads::OneByOne
                    && world.state.kernel.processes.get(pid).descriptors().is_empty() =>
            {
                Urgency::Soon
            }
            Step::Read(..) | Step::Accept(..) | Step::Receive(..) => Urgency::Observed,
            Step::Start(_) | Step::Writable(..) => Urgency::Soon,
            Step::Signal(..) | Step::Reap(_) | Step::CloseInherited(_) | Step::Continue(_) | Step::Timer => {
                Urgency::Later
            }
        }
    }

    /// Whether further observations of some client are wanted.
    fn has_unfinished_clients<P>(&self, node: &Node<P>) -> bool {
        let Goal::Observing(wanted) = &self.search.goal else { return false };
        let is_unfinished = |((actor, texts), made): (&(Actor, &[String]), &usize)| {
            matches!(actor, Actor::Client(_)) && *made < texts.len()
        };
        wanted.iter().zip(node.progress.all()).any(is_unfinished)
    }

    /// Whether further observations of an observer are wanted.
    fn is_wanted<P>(&self, node: &Node<P>, observer: Actor) -> bool {
        let Goal::Observing(wanted) = &self.search.goal else { return false };
        let at = self.search.observer(observer);
        at.is_some_and(|at| node.progress.of(at) < wanted[at].1.len())
    }

    /// Whether the process may be killed before the step, because no further observations are wanted.
    fn may_die_first<P>(&self, node: &Node<P>, step: Step) -> bool {
        matches!(step, Step::Run(pid) if !self.is_wanted(node, pid.into()))
    }
}

/// The nodes not expanded yet, by distance from the goal.
struct Open<P> {
    nodes: BTreeMap<usize, Vec<Node<P>>>,
    turn: u64,
}

impl<P> Default for Open<P> {
    fn default() -> Self {
        Open { nodes: BTreeMap::new(), turn: 0 }
    }
}

impl<P> Open<P> {
    fn put(&mut self, distance: usize, node: Node<P>) {
        self.nodes.entry(distance).or_default().push(node);
    }

    /// Takes alternately the last of the nearest nodes and a random node.
    fn take(&mut self) -> Option<Node<P>> {
        self.turn += 1;
        if self.turn.is_multiple_of(2) { self.take_any() } else { self.take_nearest() }
    }

    fn take_nearest(&mut self) -> Option<Node<P>> {
        let mut nearest = self.nodes.first_entry()?;
        let node = nearest.get_mut().pop();
        if nearest.get().is_empty() {
            nearest.remove();
        }
        node
    }

    /// A random node at a random distance; each distance has the same probability.
    fn take_any(&mut self) -> Option<Node<P>> {
        let random = FixedState::default().hash_one(self.turn);
        let [one, other] =
            [random >> 32, random & u64::from(u32::MAX)].map(|half| usize::try_from(half).expect("32 bits"));
        let distance = *self.nodes.keys().nth(one % self.nodes.len().max(1))?;
        let nodes = self.nodes.get_mut(&distance)?;
        let node = nodes.swap_remove(other % nodes.len());
        if nodes.is_empty() {
            self.nodes.remove(&distance);
        }
        Some(node)
    }
}
