//! The results of transitions: a process in the same state reacts to the same event in the same way. A search meets
//! most transitions many times and runs each transition once.
//!
//! The cache is emptied when it is full, and so stays small beside the states of the search.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cluster_core::OsEvent;
use foldhash::fast::FixedState;

use super::RunningProcess;
use crate::cow::{CowArc, Fingerprint, fingerprint};
use crate::program::Program;

/// The greatest number of results. A process takes a few kilobytes.
const CAPACITY: usize = 4096;

type Results<P> = HashMap<(Fingerprint, Fingerprint), CowArc<RunningProcess<P>>, FixedState>;

/// A cache; its copies share the results.
#[derive(Debug, Clone)]
pub(super) struct TransitionCache<P>(Arc<Mutex<Results<P>>>);

impl<P> Default for TransitionCache<P> {
    fn default() -> Self {
        TransitionCache(Arc::new(Mutex::new(Results::default())))
    }
}

impl<P: Program> TransitionCache<P> {
    /// Reacts as [`RunningProcess::react`] does.
    pub(super) fn react(&self, process: &mut CowArc<RunningProcess<P>>, event: Option<OsEvent>) {
        let mut results = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (process.fingerprint(), fingerprint(&event));
        if let Some(after) = results.get(&key) {
            process.clone_from(after);
            return;
        }
        process.react(event);
        if results.len() >= CAPACITY {
            results.clear();
        }
        // Computes the fingerprint once for all copies.
        process.fingerprint();
        results.insert(key, process.clone());
    }
}
