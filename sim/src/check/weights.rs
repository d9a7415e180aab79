//! Weights: under the weighted policy, no worker receives more than a limit of connections while another
//! worker is free and receives none. The limit follows from the greatest and the least weight, so the check
//! holds at every moment of a slow start. Another worker is free as in `loads`.

use std::collections::{BTreeMap, BTreeSet};

use cluster_core::{Primary, SchedulingPolicy, WorkerId};

use super::fairness::may_receive;

/// The greatest weight over the least, and one connection for the turn that has begun.
const LIMIT: u32 = 11;

/// For each free worker: the connections that each other worker has received since the last connection of the
/// free worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Weights {
    passed: BTreeMap<(WorkerId, u16), BTreeMap<WorkerId, u32>>,
}

impl Weights {
    /// Whether the primary hands off by weights.
    pub(crate) fn concern(policy: SchedulingPolicy) -> bool {
        matches!(policy, SchedulingPolicy::Weighted { .. })
    }

    /// Checks a connection that was handed to a worker while other workers were free.
    pub(crate) fn given(
        &mut self,
        (to, port): (WorkerId, u16),
        free: impl Iterator<Item = WorkerId>,
        primary: &Primary,
    ) -> Result<(), String> {
        let free = free.filter(|worker| primary.worker(*worker).is_some_and(may_receive));
        let free: BTreeSet<WorkerId> = free.collect();
        self.passed.retain(|(worker, at), _| *at != port || free.contains(worker));
        for worker in free {
            let passed = self.passed.entry((worker, port)).or_default().entry(to).or_default();
            *passed += 1;
            if *passed > LIMIT {
                return Err(format!(
                    "worker {to} received {passed} connections while worker {worker} was free"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster_core::Settings;

    /// The twelfth connection beside a free worker fails, unless the free worker has received a connection.
    #[test]
    fn free_worker_is_passed_rarely() {
        let [one, two] = [1, 2].map(WorkerId);
        let mut primary = Primary::new(Settings::default());
        for _ in [one, two] {
            primary.fork().expect("the settings are valid");
        }
        let mut weights = Weights::default();
        for _ in 0..2 {
            for _ in 0..LIMIT {
                assert_eq!(weights.given((one, 80), [two].into_iter(), &primary), Ok(()));
            }
            assert!(weights.clone().given((one, 80), [two].into_iter(), &primary).is_err());
            assert_eq!(weights.given((two, 80), [one].into_iter(), &primary), Ok(()));
        }
    }
}
