//! The steps that could be taken, oldest first, and what was last seen of each.
//!
//! Most of what happens concerns few of them: a step is looked at again when something that it depends on was touched.
//! It does not know what a step depends on, nor whether it can be taken; the kernel and the world do.

use std::ops::{BitOr, BitOrAssign};

use super::process::Pid;
use super::socket::Kind;
use super::{Step, Verdict};
use crate::program::ClientId;

/// A set of things that steps depend on. Some share a bit: a step is then looked at in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Marks(u64);

impl BitOr for Marks {
    type Output = Marks;

    fn bitor(self, other: Marks) -> Marks {
        Marks(self.0 | other.0)
    }
}

impl BitOrAssign for Marks {
    fn bitor_assign(&mut self, other: Marks) {
        *self = *self | other;
    }
}

impl Marks {
    pub(crate) const NONE: Marks = Marks(0);
    pub(crate) const ALL: Marks = Marks(u64::MAX);
    /// Of a step that was not looked at yet.
    const NEW: Marks = Marks(1 << 59);
    /// Who listens where, and who waits there.
    pub(crate) const DOORS: Marks = Marks(1 << 60);
    /// The datagrams that wait.
    pub(crate) const MAILBOXES: Marks = Marks(1 << 61);
    const PRIMARY: Marks = Marks(1 << 62);
    /// A great many steps depend on it, and it changes seldom.
    const LIFE_OF_PRIMARY: Marks = Marks(1 << 63);

    /// A process and its descriptors; of a worker also its life, its channel, and whether it has something to do.
    pub(crate) fn process(pid: Pid) -> Marks {
        if pid == Pid::PRIMARY { Marks::PRIMARY } else { Marks(1 << (pid.0 % 32)) }
    }

    /// Whether a process lives and is not stopped.
    pub(crate) fn life(pid: Pid) -> Marks {
        if pid == Pid::PRIMARY { Marks::LIFE_OF_PRIMARY } else { Marks::process(pid) }
    }

    pub(crate) fn client(ClientId(client): ClientId) -> Marks {
        Marks(1 << (32 + client % 27))
    }

    fn meet(self, other: Marks) -> bool {
        self.0 & other.0 != 0
    }

    /// What hangs on a file. The client behind a connection has a mark of its own.
    pub(crate) fn file(kind: &Kind) -> Marks {
        match kind {
            Kind::Listener(_) => Marks::DOORS,
            Kind::Datagrams(_) => Marks::MAILBOXES,
            Kind::Connection(_) => Marks::NONE,
        }
    }
}

/// A step, and what was last seen of it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    seen: Seen,
    step: Step,
}

/// What there is to see of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) depends: Marks,
    /// Whether it can be taken, if nothing but a busy primary is in its way.
    pub(crate) verdict: Verdict,
    /// The primary hears it, if it is not busy.
    pub(crate) by_primary: bool,
}

impl Seen {
    fn verdict(self, primary_hears: bool) -> Verdict {
        if self.by_primary && !primary_hears { Verdict::Waiting } else { self.verdict }
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ready(Vec<Entry>);

impl Entry {
    fn new(step: Step) -> Self {
        let seen = Seen { depends: Marks::ALL, verdict: Verdict::Waiting, by_primary: false };
        Entry { seen, step }
    }
}

impl Ready {
    /// Comes before all others.
    pub(crate) fn first(&mut self, step: Step) {
        self.0.insert(0, Entry::new(step));
    }

    /// Comes after all others, unless it is there.
    pub(crate) fn last(&mut self, step: Step) {
        if self.find(step).is_none() {
            self.0.push(Entry::new(step));
        }
    }

    /// If it is there, it comes after all others now.
    pub(crate) fn put_off(&mut self, step: Step) {
        if let Some(at) = self.find(step) {
            self.0[at..].rotate_left(1);
        }
    }

    pub(crate) fn remove(&mut self, at: usize) {
        self.0.remove(at);
    }

    pub(crate) fn get(&self, at: usize) -> Option<Step> {
        self.0.get(at).map(|entry| entry.step)
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = Step> {
        self.0.iter().map(|entry| entry.step)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    fn find(&self, step: Step) -> Option<usize> {
        self.0.iter().position(|entry| entry.step == step)
    }

    /// Looks again at what is new or depends on what was touched, drops what will never be taken, and writes down where
    /// those stand that can be.
    pub(crate) fn survey(
        &mut self,
        touched: Marks,
        primary_hears: bool,
        look: impl Fn(Step) -> Seen,
        enabled: &mut Vec<usize>,
    ) {
        let touched = touched | Marks::NEW;
        let mut is_any_gone = false;
        for entry in &mut self.0 {
            if entry.seen.depends.meet(touched) {
                entry.seen = look(entry.step);
            }
            #[cfg(test)]
            assert_eq!(entry.seen, look(entry.step), "{:?} was touched unseen", entry.step);
            is_any_gone |= entry.seen.verdict(primary_hears) == Verdict::Gone;
        }
        if is_any_gone {
            self.0.retain(|entry| entry.seen.verdict(primary_hears) != Verdict::Gone);
        }
        // Every place is written down, and stays if the step there can be taken: this spares a guess for each.
        enabled.resize(self.0.len(), 0);
        let mut n = 0;
        for (at, entry) in self.0.iter().enumerate() {
            enabled[n] = at;
            n += usize::from(entry.seen.verdict(primary_hears) == Verdict::Enabled);
        }
        enabled.truncate(n);
    }
}
