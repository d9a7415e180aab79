//! The recorded trace of Node that is nearest to a trace.

use std::path::PathBuf;

use crate::fixture::Fixture;
use crate::scenario::Scenario;
use crate::trace::Trace;

/// The recorded traces of a scenario, the newest Node first.
#[derive(Debug, Default)]
pub(super) struct RecordedTraces {
    /// Each trace with the number of runs.
    traces: Vec<(Trace, u32)>,
}

impl RecordedTraces {
    pub(super) fn load(directories: &[PathBuf], scenario: &Scenario) -> Self {
        let fixtures = directories.iter().rev().filter_map(|it| Fixture::load(it, &scenario.name).ok());
        let traces = fixtures.flat_map(|fixture| {
            let mut traces: Vec<_> = fixture
                .traces
                .into_iter()
                .map(|recorded| (recorded.trace, recorded.seen.values().sum::<u32>()))
                .collect();
            traces.sort_by_key(|(_, seen)| std::cmp::Reverse(*seen));
            traces
        });
        RecordedTraces { traces: traces.collect() }
    }

    /// The most frequent trace of the newest Node.
    pub(super) fn usual(&self) -> Option<&Trace> {
        self.traces.first().map(|(trace, _)| trace)
    }

    pub(super) fn has(&self, trace: &Trace) -> bool {
        self.traces.iter().any(|(one, _)| one == trace)
    }

    /// The trace with the fewest lines beyond the common beginning of each observer.
    pub(super) fn nearest(&self, trace: &Trace) -> Option<&Trace> {
        self.traces.iter().map(|(one, _)| one).min_by_key(|one| distance(one, trace))
    }
}

/// The number of lines behind the common beginning of each observer.
fn distance(one: &Trace, other: &Trace) -> usize {
    let all = one.observers.keys().chain(other.observers.keys().filter(|it| !one.observers.contains_key(it)));
    all.map(|observer| {
        let (one, other) = (one.seen_by(*observer), other.seen_by(*observer));
        let common = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        one.len() + other.len() - 2 * common
    })
    .sum()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn trace(lines: &[&str]) -> Trace {
        Trace::of(lines.iter().map(|line| line.parse().expect(line)), &BTreeSet::new())
    }

    #[test]
    fn nearest_has_longest_common_beginning() {
        let [long, short] = [
            trace(&["primary: start", "primary: fork", "worker 1: start"]),
            trace(&["primary: start", "primary: exit"]),
        ];
        let recorded = RecordedTraces { traces: vec![(short.clone(), 9), (long.clone(), 1)] };
        assert_eq!(recorded.usual(), Some(&short));
        assert_eq!(recorded.nearest(&trace(&["primary: start", "primary: fork"])), Some(&long));
        assert!(recorded.has(&long));
        assert_eq!(distance(&long, &trace(&["primary: start", "client 1: end"])), 3);
    }
}
