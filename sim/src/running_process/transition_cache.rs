//! The results of transitions. A process in the same state reacts to the same event in the same way, and a
//! hook that uses neither the kernel nor the checks has the same effect. A search meets most transitions many
//! times, and runs each transition once.
//!
//! A full cache is emptied, so the cache stays small beside the states of the search.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use cluster_core::OsEvent;
use foldhash::fast::FixedState;

use super::RunningProcess;
use crate::cow::{CowArc, Fingerprint, fingerprint};
use crate::observations::LogEntry;
use crate::program::Program;

/// The greatest number of results of each kind. A process takes a few kilobytes.
const CAPACITY: usize = 4096;

/// The results by process and input.
type Results<T> = HashMap<TransitionKey, T, FixedState>;

/// The fingerprints of a process and of its input.
type TransitionKey = (Fingerprint, Fingerprint);

/// A hook of a process, with its input.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HookKey(TransitionKey);

impl HookKey {
    /// The key of a hook. The input of most hooks is the next action of the process; `event` is another
    /// input.
    pub(super) fn new<P: Hash>(process: &CowArc<RunningProcess<P>>, event: &impl Hash) -> Self {
        HookKey((process.fingerprint(), fingerprint(event)))
    }
}

/// The lines that a hook has logged.
pub(crate) type HookLines = Arc<[LogEntry]>;

#[derive(Debug)]
struct AllResults<P> {
    reactions: Results<CowArc<RunningProcess<P>>>,
    hooks: Results<(CowArc<RunningProcess<P>>, HookLines)>,
}

/// A cache. Its copies share the results.
#[derive(Debug, Clone)]
pub(super) struct TransitionCache<P>(Arc<Mutex<AllResults<P>>>);

impl<P> Default for TransitionCache<P> {
    fn default() -> Self {
        let results = AllResults { reactions: Results::default(), hooks: Results::default() };
        TransitionCache(Arc::new(Mutex::new(results)))
    }
}

impl<P: Program> TransitionCache<P> {
    /// [`RunningProcess::react`], or its kept result.
    pub(super) fn react(&self, process: &mut CowArc<RunningProcess<P>>, event: Option<OsEvent>) {
        let reactions = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner).reactions;
        let key = (process.fingerprint(), fingerprint(&event));
        if let Some(after) = reactions.get(&key) {
            process.clone_from(after);
            return;
        }
        process.react(event);
        // Computes the fingerprint here, once for all copies.
        process.fingerprint();
        keep(reactions, key, process.clone());
    }

    /// Repeats the kept effect of a hook on its process. Returns the logged lines; `None`: the hook must run.
    pub(super) fn repeat(
        &self,
        process: &mut CowArc<RunningProcess<P>>,
        HookKey(key): HookKey,
    ) -> Option<HookLines> {
        let hooks = &self.0.lock().unwrap_or_else(PoisonError::into_inner).hooks;
        let (after, lines) = hooks.get(&key)?;
        process.clone_from(after);
        Some(Arc::clone(lines))
    }

    /// Keeps the effect of a hook.
    pub(super) fn keep(&self, HookKey(key): HookKey, after: &CowArc<RunningProcess<P>>, lines: &[LogEntry]) {
        let hooks = &mut self.0.lock().unwrap_or_else(PoisonError::into_inner).hooks;
        after.fingerprint();
        keep(hooks, key, (after.clone(), lines.into()));
    }
}

fn keep<T>(results: &mut Results<T>, key: TransitionKey, result: T) {
    if results.len() >= CAPACITY {
        results.clear();
    }
    results.insert(key, result);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use cluster_core::{Event, Primary, Settings};

    use super::*;
    use crate::explore::exhaustive;
    use crate::{Process, World};

    static RUNS: [AtomicU32; 2] = [AtomicU32::new(0), AtomicU32::new(0)];

    /// Forks two workers, counts events, and may look up a file at each event.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct Counting {
        looks: bool,
    }

    impl Program for Counting {
        fn primary_start(&mut self, primary: &mut Primary, _: &mut Process<'_>) {
            for _ in 0..2 {
                primary.fork().expect("the settings are valid");
            }
        }

        fn primary_event(&mut self, _: &mut Primary, process: &mut Process<'_>, event: Event) {
            RUNS[usize::from(self.looks)].fetch_add(1, Ordering::Relaxed);
            process.observe(format!("{event:?}"));
            if self.looks {
                process.mode("/nowhere");
            }
        }
    }

    #[test]
    fn hook_with_a_lookup_runs_again() {
        let [alone, looking] = [false, true].map(|looks| {
            let coverage = exhaustive(&World::new(Counting { looks }, Settings::default()), 100_000);
            let coverage = coverage.expect("every check holds");
            assert!(coverage.is_complete(), "{coverage}");
            (coverage.worlds, RUNS[usize::from(looks)].load(Ordering::Relaxed))
        });
        assert_eq!(alone.0, looking.0);
        assert!(alone.1 * 2 < looking.1, "{alone:?}, {looking:?}");
    }
}
