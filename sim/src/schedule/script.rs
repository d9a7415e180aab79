//! A run, described so that the description survives changes: which processes ran, how far each ran, and the
//! other choices of each.
//!
//! A list of choices is positional: after a change of an earlier choice, "the third of five" means another
//! step. A script names processes instead, so most of it keeps its meaning when parts are removed or moved.
//! `shrink` proposes the changes.

use std::collections::BTreeMap;

use crate::event::{Actor, ClientId};
use crate::schedule::Point;
use crate::step::Pid;
use crate::step::Step;

/// Which process, client or device makes a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    Process(Pid),
    Client(ClientId),
    Driver,
    Clock,
}

impl From<Step> for Owner {
    fn from(step: Step) -> Self {
        match step {
            Step::Run(pid)
            | Step::Start(pid)
            | Step::Read(pid, _)
            | Step::Writable(pid, _)
            | Step::Accept(pid, _)
            | Step::Receive(pid, _)
            | Step::Signal(pid, _)
            | Step::CloseInherited(pid)
            | Step::Continue(pid) => Owner::Process(pid),
            Step::Reap(_) => Owner::Process(Pid::PRIMARY),
            Step::ClientAction(client) | Step::ClientEvent(client) => Owner::Client(client),
            Step::DriverEvent => Owner::Driver,
            Step::Timer => Owner::Clock,
        }
    }
}

/// The driver and the clock have no column of their own: their steps are shown at the primary.
impl From<Owner> for Actor {
    fn from(owner: Owner) -> Self {
        match owner {
            Owner::Process(pid) => pid.into(),
            Owner::Client(client) => Actor::Client(client),
            Owner::Driver | Owner::Clock => Actor::Primary,
        }
    }
}

/// A step and the rest of the reaction of its process; or a number of steps as on a quiet machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Burst {
    /// `None`: steps as on a quiet machine.
    pub(crate) first: Option<Step>,
    /// The action before which the burst ends, as a hash. `None`: the reaction is complete. A number of steps
    /// would change its meaning with the length of the reaction.
    pub(crate) until: Option<u64>,
    /// The number of steps.
    pub(crate) steps: u32,
}

impl Burst {
    pub(crate) fn quiet(steps: u32) -> Self {
        Burst { first: None, until: None, steps }
    }

    pub(crate) fn owner(self) -> Option<Owner> {
        self.first.map(Owner::from)
    }

    /// Whether `step` belongs to the burst after `done` steps. `next` is a hash of the next action of the
    /// process.
    fn takes(self, done: u32, step: Step, next: impl Fn(Step) -> u64) -> bool {
        match self.first {
            None => done < self.steps,
            Some(first) if done == 0 => step == first,
            Some(first) => {
                let goes_on = matches!(step, Step::Run(_)) && Owner::from(step) == Owner::from(first);
                goes_on && self.until != Some(next(step))
            }
        }
    }
}

/// The `nth` choice of a kind by an owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChoiceSite {
    pub(crate) owner: Owner,
    pub(crate) point: Point,
    pub(crate) nth: u32,
}

/// A script. The choice is 0 after the last burst, and at every site that the script does not name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Script {
    pub(crate) bursts: Vec<Burst>,
    pub(crate) non_default: BTreeMap<ChoiceSite, u32>,
}

/// Counts the choices of each owner and kind.
#[derive(Debug, Clone, Default)]
struct SiteCounter {
    owner: Option<Owner>,
    asked: BTreeMap<(Owner, Point), u32>,
}

impl SiteCounter {
    fn next(&mut self, point: Point) -> ChoiceSite {
        let owner = self.owner.unwrap_or(Owner::Driver);
        let asked = self.asked.entry((owner, point)).or_default();
        *asked += 1;
        ChoiceSite { owner, point, nth: *asked }
    }
}

/// Records a run as a script.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder {
    script: Script,
    sites: SiteCounter,
    /// The number of bursts up to the last step that a quiet machine would not have taken.
    used: usize,
    /// The number of steps that a quiet machine would have taken later.
    pub(crate) switches: u32,
    /// The number of such steps between an input of a process and the end of the reaction.
    pub(crate) preemptions: u32,
}

impl Recorder {
    /// Records which of the enabled steps was taken. `next` is a hash of the next action of the process of a
    /// step.
    pub(crate) fn step(
        &mut self,
        n: usize,
        step: impl Fn(usize) -> Step,
        next: impl Fn(Step) -> u64,
        chosen: usize,
    ) {
        let taken = step(chosen);
        let owner = Owner::from(taken);
        let before = self.sites.owner.replace(owner);
        let bursts = &mut self.script.bursts;
        match bursts.last_mut() {
            Some(burst) if before == Some(owner) && matches!(taken, Step::Run(_)) => burst.steps += 1,
            last => {
                let is_interrupted =
                    |step: &Step| matches!(step, Step::Run(_)) && Some(Owner::from(*step)) == before;
                if let (Some(burst), Some(step)) = (last, (0..n).map(step).find(is_interrupted)) {
                    burst.until = Some(next(step));
                    self.preemptions += 1;
                }
                bursts.push(Burst { first: Some(taken), until: None, steps: 1 });
            }
        }
        if chosen > 0 {
            self.switches += 1;
            self.used = self.script.bursts.len();
        }
    }

    pub(crate) fn choice(&mut self, point: Point, value: u32) {
        let site = self.sites.next(point);
        if value > 0 {
            self.script.non_default.insert(site, value);
        }
    }

    /// The script, without steps at its end that a quiet machine takes anyway.
    pub(crate) fn script(mut self) -> Script {
        self.script.bursts.truncate(self.used);
        self.script
    }
}

/// Makes the choices of a script.
#[derive(Debug, Clone)]
pub(crate) struct Player {
    script: Script,
    at: usize,
    done: u32,
    sites: SiteCounter,
}

impl Player {
    pub(crate) fn new(script: Script) -> Self {
        Player { script, at: 0, done: 0, sites: SiteCounter::default() }
    }

    /// Chooses one of the enabled steps. Skips a burst if its process cannot continue.
    pub(crate) fn step(
        &mut self,
        n: usize,
        step: impl Fn(usize) -> Step,
        next: impl Fn(Step) -> u64,
    ) -> usize {
        let chosen = self.find(n, &step, &next);
        self.sites.owner = Some(step(chosen).into());
        chosen
    }

    fn find(&mut self, n: usize, step: &impl Fn(usize) -> Step, next: &impl Fn(Step) -> u64) -> usize {
        while let Some(burst) = self.script.bursts.get(self.at) {
            if let Some(chosen) = (0..n).find(|&at| burst.takes(self.done, step(at), next)) {
                self.done += 1;
                return chosen;
            }
            self.at += 1;
            self.done = 0;
        }
        0
    }

    pub(crate) fn choose(&mut self, point: Point) -> u32 {
        let site = self.sites.next(point);
        self.script.non_default.get(&site).copied().unwrap_or(0)
    }
}
