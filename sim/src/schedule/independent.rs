//! Random choices with strikes of each fault by a generator of its own. A new kind of fault changes no run in
//! which that fault does not strike, and takes no strike from another fault.

use super::{Point, Random};
use crate::fault::{Fault, STRIKES_OF_ONE, number};
use crate::numbers::Numbers;

/// Random choices of one run.
#[derive(Debug, Clone)]
pub(super) struct Independent {
    /// Every choice other than a strike.
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

/// Whether one fault strikes.
#[derive(Debug, Clone)]
enum Die {
    /// A harmful fault: strikes after a number of opportunities that is uniform below the period, as often as
    /// the run allows. Any opportunity within the period is equally probable, where fixed odds would prefer
    /// the first.
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

    /// The opportunities at which a fault strikes, when the faults of `others` have an opportunity before
    /// each.
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

    /// A further fault changes neither the strikes of a fault nor the other choices.
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
