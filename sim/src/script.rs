//! A run in words that survive a change: who went on, up to what, and what went wrong at which of their calls.
//!
//! A list of choices says "the third of five", and means something else as soon as anything before it is gone. A script
//! names processes instead: it can be cut, moved and thinned out, and still says much the same. It does not know which
//! scripts are worth trying: `shrink` does.

use std::collections::BTreeMap;

use crate::kernel::Step;
use crate::kernel::process::Pid;
use crate::program::{Actor, ClientId};
use crate::schedule::Point;

/// Who goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Who {
    Process(Pid),
    Client(ClientId),
    Driver,
    Clock,
}

impl From<Step> for Who {
    fn from(step: Step) -> Self {
        match step {
            Step::Run(pid)
            | Step::Start(pid)
            | Step::Read(pid, _)
            | Step::Writable(pid, _)
            | Step::Accept(pid, _)
            | Step::Receive(pid, _)
            | Step::Die(pid, _)
            | Step::LetGo(pid)
            | Step::Continue(pid) => Who::Process(pid),
            Step::Reap(_) => Who::Process(Pid::PRIMARY),
            Step::Act(client) | Step::Meet(client) => Who::Client(client),
            Step::Hear => Who::Driver,
            Step::Fire => Who::Clock,
        }
    }
}

/// The driver and the clock stand for the whole machine.
impl From<Who> for Actor {
    fn from(who: Who) -> Self {
        match who {
            Who::Process(pid) => pid.into(),
            Who::Client(client) => Actor::Client(client),
            Who::Driver | Who::Clock => Actor::Primary,
        }
    }
}

/// A step and what follows from it in its process; or some steps of whoever is next on a quiet machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// `None`: the quiet machine's.
    pub(crate) first: Option<Step>,
    /// What its process does not come to any more, as a hash; `None`: it goes on to the end of its reaction. This is not
    /// a number of steps, so that it still means the same when the reaction has become shorter or longer.
    pub(crate) until: Option<u64>,
    /// How many steps these were.
    pub(crate) steps: u32,
}

impl Segment {
    pub(crate) fn quiet(steps: u32) -> Self {
        Segment { first: None, until: None, steps }
    }

    pub(crate) fn who(self) -> Option<Who> {
        self.first.map(Who::from)
    }

    /// Whether `step`, before which the process would do `next`, still belongs to this segment after `done` steps.
    fn takes(self, done: u32, step: Step, next: impl Fn(Step) -> u64) -> bool {
        match self.first {
            None => done < self.steps,
            Some(first) if done == 0 => step == first,
            Some(first) => {
                let goes_on = matches!(step, Step::Run(_)) && Who::from(step) == Who::from(first);
                goes_on && self.until != Some(next(step))
            }
        }
    }
}

/// The `nth` time that `who` is asked this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Site {
    pub(crate) who: Who,
    pub(crate) point: Point,
    pub(crate) nth: u32,
}

/// See the module. After the last segment, and at every site that is not named, it is 0 that is chosen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Script {
    pub(crate) segments: Vec<Segment>,
    pub(crate) odd: BTreeMap<Site, u32>,
}

/// Counts how often everybody was asked what.
#[derive(Debug, Clone, Default)]
struct Sites {
    who: Option<Who>,
    asked: BTreeMap<(Who, Point), u32>,
}

impl Sites {
    fn next(&mut self, point: Point) -> Site {
        let who = self.who.unwrap_or(Who::Driver);
        let asked = self.asked.entry((who, point)).or_default();
        *asked += 1;
        Site { who, point, nth: *asked }
    }
}

/// Writes down a run as a script.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scribe {
    script: Script,
    sites: Sites,
    /// Up to and including the last step that a quiet machine would not have taken.
    used: usize,
    /// How many such steps there were.
    pub(crate) switches: u32,
    /// How many of them came between an input of a process and the end of its reaction.
    pub(crate) preemptions: u32,
}

impl Scribe {
    /// Of these enabled steps this one was taken; before a step of a process, this is what it would do `next`.
    pub(crate) fn step(
        &mut self,
        n: usize,
        step: impl Fn(usize) -> Step,
        next: impl Fn(Step) -> u64,
        chosen: usize,
    ) {
        let taken = step(chosen);
        let who = Who::from(taken);
        let before = self.sites.who.replace(who);
        let segments = &mut self.script.segments;
        match segments.last_mut() {
            Some(segment) if before == Some(who) && matches!(taken, Step::Run(_)) => segment.steps += 1,
            last => {
                let is_interrupted =
                    |step: &Step| matches!(step, Step::Run(_)) && Some(Who::from(*step)) == before;
                if let (Some(segment), Some(step)) = (last, (0..n).map(step).find(is_interrupted)) {
                    segment.until = Some(next(step));
                    self.preemptions += 1;
                }
                segments.push(Segment { first: Some(taken), until: None, steps: 1 });
            }
        }
        if chosen > 0 {
            self.switches += 1;
            self.used = self.script.segments.len();
        }
    }

    pub(crate) fn choice(&mut self, point: Point, value: u32) {
        let site = self.sites.next(point);
        if value > 0 {
            self.script.odd.insert(site, value);
        }
    }

    /// The script, without what a quiet machine does at the end anyway.
    pub(crate) fn script(mut self) -> Script {
        self.script.segments.truncate(self.used);
        self.script
    }
}

/// Plays a script.
#[derive(Debug, Clone)]
pub(crate) struct Player {
    script: Script,
    at: usize,
    done: u32,
    sites: Sites,
}

impl Player {
    pub(crate) fn new(script: Script) -> Self {
        Player { script, at: 0, done: 0, sites: Sites::default() }
    }

    /// Which of these enabled steps. A segment whose process cannot go on is skipped.
    pub(crate) fn step(
        &mut self,
        n: usize,
        step: impl Fn(usize) -> Step,
        next: impl Fn(Step) -> u64,
    ) -> usize {
        let chosen = self.find(n, &step, &next);
        self.sites.who = Some(step(chosen).into());
        chosen
    }

    fn find(&mut self, n: usize, step: &impl Fn(usize) -> Step, next: &impl Fn(Step) -> u64) -> usize {
        while let Some(segment) = self.script.segments.get(self.at) {
            if let Some(chosen) = (0..n).find(|&at| segment.takes(self.done, step(at), next)) {
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
        self.script.odd.get(&site).copied().unwrap_or(0)
    }
}
