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

/// What there is to see of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether it can be taken, if nothing but a busy primary is in its way.
    pub(crate) verdict: Verdict,
    /// The primary hears it, if it is not busy.
    pub(crate) by_primary: bool,
    pub(crate) depends: Marks,
}

/// A step, and what was last seen of it.
#[derive(Debug, Clone, Copy)]
struct Entry {
    step: Step,
    depends: Marks,
    flags: u8,
}

// The flags of an entry.
const ENABLED: u8 = 1;
const GONE: u8 = 2;
const BY_PRIMARY: u8 = 4;

impl Entry {
    fn new(step: Step) -> Self {
        Entry { step, depends: Marks::ALL, flags: 0 }
    }

    fn see(&mut self, Seen { verdict, by_primary, depends }: Seen) {
        let flag = match verdict {
            Verdict::Enabled => ENABLED,
            Verdict::Gone => GONE,
            Verdict::Waiting => 0,
        };
        (self.flags, self.depends) = (flag | if by_primary { BY_PRIMARY } else { 0 }, depends);
    }

    /// What is there to see now was seen: whatever it depends on was touched.
    #[cfg(test)]
    fn assert_touched(&self, now: Seen) {
        let mut looked = Entry::new(self.step);
        looked.see(now);
        assert_eq!((self.flags, self.depends), (looked.flags, looked.depends), "{:?}", self.step);
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ready(Vec<Entry>);

impl Ready {
    /// Becomes a copy, in the room it has.
    pub(crate) fn take_over(&mut self, other: &Ready) {
        self.0.clone_from(&other.0);
    }

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

    /// Takes the step at this place. One that there may be more of comes after all others now.
    pub(crate) fn take(&mut self, at: usize) {
        let Entry { step, .. } = self.0.remove(at);
        if step.recurs() {
            self.0.push(Entry::new(step));
        }
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
        let busy = if primary_hears { 0 } else { BY_PRIMARY };
        if self.pass(touched | Marks::NEW, busy, &look, enabled) {
            self.0.retain(|entry| entry.flags & (GONE | busy) != GONE);
            self.pass(Marks::NONE, busy, look, enabled);
        }
    }

    /// Says whether there is something to drop.
    fn pass(
        &mut self,
        touched: Marks,
        busy: u8,
        look: impl Fn(Step) -> Seen,
        enabled: &mut Vec<usize>,
    ) -> bool {
        // Every place is written down, and stays if the step there can be taken: this spares a guess for each.
        enabled.resize(self.0.len(), 0);
        let (mut n, mut is_any_gone) = (0, false);
        for (at, entry) in self.0.iter_mut().enumerate() {
            if entry.depends.meet(touched) {
                entry.see(look(entry.step));
            }
            #[cfg(test)]
            entry.assert_touched(look(entry.step));
            enabled[n] = at;
            n += usize::from(entry.flags & (ENABLED | busy) == ENABLED);
            is_any_gone |= entry.flags & (GONE | busy) == GONE;
        }
        enabled.truncate(n);
        is_any_gone
    }
}
