//! What processes have done before: the same process, in the same state, told the same, does the same. A search comes
//! to most of them many times, and need not run them again.
//!
//! It forgets everything now and then, so that it stays small beside what a search remembers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cluster_core::OsEvent;
use foldhash::fast::FixedState;

use super::RunningProcess;
use crate::cow::{CowArc, Fingerprint, fingerprint};
use crate::program::Program;

/// How many are known at most. A process is a few kilobytes.
const MOST: usize = 4096;

type Known<P> = HashMap<(Fingerprint, Fingerprint), CowArc<RunningProcess<P>>, FixedState>;

/// See the module. Copies know the same.
#[derive(Debug, Clone)]
pub(crate) struct TransitionCache<P>(Arc<Mutex<Known<P>>>);

impl<P> Default for TransitionCache<P> {
    fn default() -> Self {
        TransitionCache(Arc::new(Mutex::new(Known::default())))
    }
}

impl<P: Program> TransitionCache<P> {
    /// As [`RunningProcess::react`].
    pub(crate) fn react(&self, process: &mut CowArc<RunningProcess<P>>, event: Option<OsEvent>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (process.fingerprint(), fingerprint(&event));
        if let Some(after) = known.get(&key) {
            process.clone_from(after);
            return;
        }
        process.react(event);
        if known.len() >= MOST {
            known.clear();
        }
        // Its print is found once for all copies.
        process.fingerprint();
        known.insert(key, process.clone());
    }
}
