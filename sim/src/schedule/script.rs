//! A run in words that survive a change: who went on, up to what, and what went wrong at which of their calls.
//!
//! A list of choices says "the third of five", and means something else as soon as anything before it is gone. A script
//! names processes instead: it can be cut, moved and thinned out, and still says much the same. It does not know which
//! scripts are worth trying: `shrink` does.

use std::collections::BTreeMap;

use crate::kernel::Step;
use crate::kernel::process_table::Pid;
use crate::program::{Actor, ClientId};
use crate::schedule::Point;

/// Who goes on.
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

/// The driver and the clock stand for the whole machine.
impl From<Owner> for Actor {
    fn from(owner: Owner) -> Self {
        match owner {
            Owner::Process(pid) => pid.into(),
            Owner::Client(client) => Actor::Client(client),
            Owner::Driver | Owner::Clock => Actor::Primary,
        }
    }
}

/// A step and what follows from it in its process; or some steps of whoever is next on a quiet machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Burst {
    /// `None`: the quiet machine's.
    pub(crate) first: Option<Step>,
    /// What its process does not come to any more, as a hash; `None`: it goes on to the end of its reaction. This is not
    /// a number of steps, so that it still means the same when the reaction has become shorter or longer.
    pub(crate) until: Option<u64>,
    /// How many steps these were.
    pub(crate) steps: u32,
}

impl Burst {
    pub(crate) fn quiet(steps: u32) -> Self {
        Burst { first: None, until: None, steps }
    }

    pub(crate) fn owner(self) -> Option<Owner> {
        self.first.map(Owner::from)
    }

    /// Whether `step`, before which the process would do `next`, still belongs to this segment after `done` steps.
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

/// The `nth` time that `owner` is asked this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ChoiceSite {
    pub(crate) owner: Owner,
    pub(crate) point: Point,
    pub(crate) nth: u32,
}

/// See the module. After the last segment, and at every site that is not named, it is 0 that is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Script {
    pub(crate) bursts: Vec<Burst>,
    pub(crate) non_default: BTreeMap<ChoiceSite, u32>,
}

/// Counts how often everybody was asked what.
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

/// Writes down a run as a script.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder {
    script: Script,
    sites: SiteCounter,
    /// Up to and including the last step that a quiet machine would not have taken.
    used: usize,
    /// How many such steps there were.
    pub(crate) switches: u32,
    /// How many of them came between an input of a process and the end of its reaction.
    pub(crate) preemptions: u32,
}

impl Recorder {
    /// Of these enabled steps this one was taken; before a step of a process, this is what it would do `next`.
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

    /// The script, without what a quiet machine does at the end anyway.
    pub(crate) fn script(mut self) -> Script {
        self.script.bursts.truncate(self.used);
        self.script
    }
}

/// Plays a script.
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

    /// Which of these enabled steps. A segment whose process cannot go on is skipped.
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
