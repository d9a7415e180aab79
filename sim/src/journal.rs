//! What observers wrote down, in the order in which they did, and how far the driver has read. It interprets nothing.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use crate::part::{Part, print};
use crate::program::Actor;

/// One line by one observer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Observation {
    /// Who saw it.
    pub observer: Actor,
    /// What.
    pub text: Cow<'static, str>,
}

/// The log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Journal {
    lines: Part<Vec<Line>>,
    heard: usize,
    dropped: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Line {
    Observation(Observation),
    Note(Actor, Cow<'static, str>),
}

/// What the driver has heard has had its effect.
impl Hash for Journal {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let print = if self.heard == 0 { self.lines.print() } else { print(&self.lines[self.heard..]) };
        print.hash(state);
    }
}

impl Journal {
    pub(crate) fn observe(&mut self, observer: Actor, text: Cow<'static, str>) {
        self.lines.push(Line::Observation(Observation { observer, text }));
    }

    pub(crate) fn note(&mut self, author: Actor, text: Cow<'static, str>) {
        self.lines.push(Line::Note(author, text));
    }

    /// Everything from a position on, as far as it is still here.
    pub(crate) fn since(&self, position: usize) -> impl Iterator<Item = &Observation> {
        self.lines[position.saturating_sub(self.dropped)..].iter().filter_map(|line| match line {
            Line::Observation(observation) => Some(observation),
            Line::Note(..) => None,
        })
    }

    /// How many lines were ever written.
    pub(crate) fn len(&self) -> usize {
        self.dropped + self.lines.len()
    }

    /// How many lines the driver has ever heard.
    pub(crate) fn heard(&self) -> usize {
        self.dropped + self.heard
    }

    pub(crate) fn has_unheard(&self) -> bool {
        self.heard < self.lines.len()
    }

    /// The next line for the driver.
    pub(crate) fn hear(&mut self) -> Option<Line> {
        let line = self.lines.get(self.heard)?.clone();
        self.heard += 1;
        Some(line)
    }

    /// Drops what the driver has heard: a search remembers it elsewhere.
    pub(crate) fn forget(&mut self) {
        if self.heard > 0 {
            self.lines.drain(..self.heard);
            self.dropped += std::mem::take(&mut self.heard);
        }
    }
}
