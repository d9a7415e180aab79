//! What processes have done before: the same process, in the same state, told the same, does the same. A search comes
//! to most of them many times, and need not run them again.
//!
//! It forgets everything now and then, so that it stays small beside what a search remembers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use cluster_core::OsEvent;
use foldhash::fast::FixedState;

use super::Host;
use crate::part::{Part, Print, print};
use crate::program::Program;

/// How many are known at most. A process is a few kilobytes.
const MOST: usize = 4096;

type Known<P> = HashMap<(Print, Print), Part<Host<P>>, FixedState>;

/// See the module. Copies know the same.
#[derive(Debug, Clone)]
pub(crate) struct Moves<P>(Arc<Mutex<Known<P>>>);

impl<P> Default for Moves<P> {
    fn default() -> Self {
        Moves(Arc::new(Mutex::new(Known::default())))
    }
}

impl<P: Program> Moves<P> {
    /// As [`Host::react`].
    pub(crate) fn react(&self, host: &mut Part<Host<P>>, event: Option<OsEvent>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (host.print(), print(&event));
        if let Some(after) = known.get(&key) {
            host.clone_from(after);
            return;
        }
        host.react(event);
        if known.len() >= MOST {
            known.clear();
        }
        // Its print is found once for all copies.
        host.print();
        known.insert(key, host.clone());
    }
}
