//! Probabilistic concurrency testing. The process or client with the highest priority runs, and a few times a
//! run the running process or client falls behind all others. A bug that needs `d` such changes is found with
//! a known probability, in a run of any length (Burckhardt et al., 2010). Other choices are random.

use std::collections::BTreeMap;

use super::Random;
use crate::schedule::script::Owner;
use crate::step::Step;

/// The assumed length of a run in steps. Later steps change no priority.
const LENGTH: u32 = 512;

/// The priorities, and the steps at which they change.
#[derive(Debug, Clone)]
pub(super) struct Pct {
    pub(super) random: Random,
    /// The owner with the highest priority runs.
    priorities: BTreeMap<Owner, u32>,
    /// The numbers of the steps at which the running process falls. The next step is last.
    falls: Vec<u32>,
    steps: u32,
}

impl Pct {
    pub(super) fn new(seed: u64, falls: u8) -> Self {
        let mut random = Random::new(seed);
        let mut falls: Vec<u32> = (0..falls).map(|_| random.numbers.below(LENGTH)).collect();
        falls.sort_unstable_by(|a, b| b.cmp(a));
        Pct { random, priorities: BTreeMap::new(), falls, steps: 0 }
    }

    /// Chooses one of the enabled steps.
    pub(super) fn step(&mut self, n: usize, step: &impl Fn(usize) -> Step) -> usize {
        let mut chosen = self.first(n, step);
        while self.falls.pop_if(|fall| *fall <= self.steps).is_some() {
            let behind = u32::try_from(self.falls.len()).expect("fewer than 256 falls");
            self.priorities.insert(step(chosen).into(), behind);
            chosen = self.first(n, step);
        }
        self.steps += 1;
        chosen
    }

    /// The first step of the owner with the highest priority.
    fn first(&mut self, n: usize, step: &impl Fn(usize) -> Step) -> usize {
        let mut best = (0, 0);
        for at in 0..n {
            let numbers = &mut self.random.numbers;
            let drawn = || u32::from(u8::MAX) + numbers.below(u32::MAX - u32::from(u8::MAX));
            let priority = *self.priorities.entry(step(at).into()).or_insert_with(drawn);
            if at == 0 || priority > best.1 {
                best = (at, priority);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::Pid;

    /// Without a fall the same process continues, so each fall is a switch.
    #[test]
    fn each_fall_is_one_switch() {
        let step = |at| Step::Run(Pid(u32::try_from(at).expect("three processes")));
        for falls in 0..4 {
            let mut pct = Pct::new(7, falls);
            let run: Vec<usize> = (0..1000).map(|_| pct.step(3, &step)).collect();
            let switches = run.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert_eq!(switches, usize::from(falls), "{falls}");
        }
    }
}
