//! A machine that is not idle, for recordings under load: threads that count until they are dropped, or one core for all.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::fixture::THREADS_A_CORE;

/// This thread, and every process it starts, stays on one core for as long as this lives.
#[derive(Debug)]
pub(super) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// The first core that this thread may use.
    ///
    /// # Errors
    ///
    /// The operating system does not say which, or does not do it.
    pub(super) fn new() -> io::Result<Self> {
        let this_thread = Pid::from_raw(0);
        let before = sched_getaffinity(this_thread)?;
        let first = (0..CpuSet::count()).find(|core| before.is_set(*core) == Ok(true));
        let mut one = CpuSet::new();
        one.set(first.expect("a thread runs on a core"))?;
        sched_setaffinity(this_thread, &one)?;
        Ok(Pinned { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // It was so before; if it cannot be so again, what is run next is merely slower.
        sched_setaffinity(Pid::from_raw(0), &self.before).unwrap_or_default();
    }
}

/// The machine is busy for as long as this lives.
#[derive(Debug)]
pub(super) struct Busy {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    pub(super) fn new() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = (0..cores * THREADS_A_CORE).map(|_| count_until(stop.clone())).collect();
        Busy { stop, threads }
    }
}

fn count_until(stop: Arc<AtomicBool>) -> JoinHandle<()> {
    thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    })
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("a thread that counts does not fail");
        }
    }
}
