//! Random choices, with a generator for the strikes of each fault. A new kind of fault changes only runs in
//! which the new fault strikes, and takes no strike from another fault.

use super::{Point, Random};
use crate::fault::{Fault, STRIKES_OF_ONE, number};
use crate::numbers::Numbers;

/// Random choices of one run.
#[derive(Debug, Clone)]
pub(super) struct Independent {
    /// Decides every choice except strikes.
    random: Random,
    dice: [Die; Fault::ALL.len()],
}

impl Independent {
    pub(super) fn new(seed: u64) -> Self {
        Independent { random: Random::new(seed), dice: Fault::ALL.map(|fault| Die::new(seed, fault)) }
    }

    pub(super) fn choose(&mut self, point: Point, n: u32) -> u32 {
        match point {
            Point::Fault(fault) => u32::from(self.dice[fault as usize].strikes()),
            Point::Step | Point::Writes | Point::Bytes | Point::Error | Point::Target => {
                self.random.choose(point, n)
            }
        }
    }
}

/// Decides whether one fault strikes.
#[derive(Debug, Clone)]
enum Die {
    /// A harmful fault. The number of opportunities before a strike is uniform below the period, and there
    /// are as many strikes as the run allows. So every opportunity within the period has the same
    /// probability; fixed odds would prefer the first opportunities.
    Harmful { numbers: Numbers, period: u32, gap: u32, left: u32 },
    /// A harmless fault: strikes at each opportunity with the same odds.
    Harmless { numbers: Numbers, odds: u32 },
}

impl Die {
    fn new(seed: u64, fault: Fault) -> Self {
        let mut numbers = Numbers::new(number(seed, fault));
        if fault.is_harmless() {
            let odds = numbers.pick(fault.odds());
            return Die::Harmless { numbers, odds };
        }
        let period = fault.opportunities() >> numbers.below(4);
        let left = 1 + numbers.below(u32::from(STRIKES_OF_ONE));
        let gap = numbers.below(period);
        Die::Harmful { numbers, period, gap, left }
    }

    fn strikes(&mut self) -> bool {
        match self {
            Die::Harmless { numbers, odds } => numbers.below(*odds) == 0,
            Die::Harmful { left: 0, .. } => false,
            Die::Harmful { gap: gap @ 1.., .. } => {
                *gap -= 1;
                false
            }
            Die::Harmful { numbers, period, gap, left } => {
                *gap = numbers.below(*period);
                *left -= 1;
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The opportunities at which a fault strikes, when each fault of `others` has an opportunity before each
    /// opportunity of `fault`.
    fn strikes(seed: u64, fault: Fault, others: &[Fault]) -> Vec<usize> {
        let mut random = Independent::new(seed);
        let mut strikes_now = || {
            for &other in others {
                random.choose(Point::Fault(other), 2);
            }
            random.choose(Point::Fault(fault), 2) == 1
        };
        (0..1000).filter(|_| strikes_now()).collect()
    }

    /// An additional fault changes neither the strikes of a fault nor the other choices.
    #[test]
    fn faults_strike_independently() {
        for seed in 0..50 {
            for fault in Fault::ALL {
                let others: Vec<_> = Fault::ALL.into_iter().filter(|&other| other != fault).collect();
                assert_eq!(
                    strikes(seed, fault, &others),
                    strikes(seed, fault, &[]),
                    "{fault} of seed {seed}"
                );
            }
            let mut random = Independent::new(seed);
            random.choose(Point::Fault(Fault::Kill), 2);
            let next = |mut random: Independent| random.choose(Point::Error, 1 << 30);
            assert_eq!(next(random), next(Independent::new(seed)));
        }
    }

    #[test]
    fn harmful_fault_strikes_few_times() {
        for fault in Fault::ALL.into_iter().filter(|fault| !fault.is_harmless()) {
            let counts: Vec<usize> = (0..50).map(|seed| strikes(seed, fault, &[]).len()).collect();
            assert!(
                counts.iter().all(|count| (1..=usize::from(STRIKES_OF_ONE)).contains(count)),
                "{fault}: {counts:?}"
            );
        }
    }
}
