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

// The flags of an entry as it is while the primary is busy; shifted by `WHILE_IT_HEARS`, as it is while it is not.
const ENABLED: u8 = 1;
const GONE: u8 = 2;
const WHILE_IT_HEARS: u8 = 2;

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
        let meanwhile = if by_primary { 0 } else { flag };
        (self.flags, self.depends) = (flag << WHILE_IT_HEARS | meanwhile, depends);
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

    /// Looks again at what is new or depends on what was touched, drops what will never be taken, and marks where those
    /// stand that can be.
    pub(crate) fn survey(
        &mut self,
        touched: Marks,
        primary_hears: bool,
        look: impl Fn(Step) -> Seen,
        enabled: &mut Places,
    ) {
        let touched = touched | Marks::NEW;
        let mut any = 0;
        for entry in &mut self.0 {
            if entry.depends.meet(touched) {
                entry.see(look(entry.step));
            }
            #[cfg(test)]
            entry.assert_touched(look(entry.step));
            any |= entry.flags;
        }
        let [can_be_taken, is_gone] =
            [ENABLED, GONE].map(|flag| if primary_hears { flag << WHILE_IT_HEARS } else { flag });
        if any & is_gone != 0 {
            self.0.retain(|entry| entry.flags & is_gone == 0);
        }
        enabled.mark(&self.0, |entry| entry.flags & can_be_taken != 0);
    }
}

/// Some of the places of a row, a bit for each: marking has no branch to mispredict.
#[derive(Debug, Clone, Default)]
pub(crate) struct Places(Vec<u64>);

impl Places {
    const IN_A_WORD: usize = 64;

    /// Becomes a copy, in the room it has.
    pub(crate) fn take_over(&mut self, other: &Places) {
        self.0.clone_from(&other.0);
    }

    /// These of a row, and no others.
    fn mark<T>(&mut self, row: &[T], is_one: impl Fn(&T) -> bool) {
        let word = |part: &[T]| part.iter().rev().fold(0, |word, it| word << 1 | u64::from(is_one(it)));
        self.0.clear();
        self.0.extend(row.chunks(Self::IN_A_WORD).map(word));
    }

    pub(crate) fn add(&mut self, place: usize) {
        let (word, bit) = (place / Self::IN_A_WORD, place % Self::IN_A_WORD);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << bit;
    }

    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The `n`th, from 0. There are more than `n`.
    pub(crate) fn nth(&self, mut n: usize) -> usize {
        for (at, &word) in self.0.iter().enumerate() {
            let mut word = word;
            while word != 0 {
                if n == 0 {
                    return at * Self::IN_A_WORD + word.trailing_zeros() as usize;
                }
                (n, word) = (n - 1, word & (word - 1));
            }
        }
        unreachable!("there are more")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_found_in_every_word() {
        let mut places = Places::default();
        let wanted = [0, 3, 63, 64, 130, 191, 320];
        for place in wanted {
            places.add(place);
        }
        assert_eq!(places.len(), wanted.len());
        assert_eq!([0, 1, 2, 3, 4, 5, 6].map(|n| places.nth(n)), wanted);
    }
}
