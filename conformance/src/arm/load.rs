//! A busy machine, for recordings under load: threads that only count, or a single core for all processes.

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::fixture::THREADS_A_CORE;

/// Keeps this thread, and every process that it starts, on one core until dropped.
#[derive(Debug)]
pub(super) struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Pins to the first core that this thread may use.
    ///
    /// # Errors
    ///
    /// The operating system refuses to report or to set the cores.
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
        // Fails rarely; then later runs are only slower.
        sched_setaffinity(Pid::from_raw(0), &self.before).unwrap_or_default();
    }
}

/// Keeps the machine busy until dropped.
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
            thread.join().expect("a counting thread does not panic");
        }
    }
}
