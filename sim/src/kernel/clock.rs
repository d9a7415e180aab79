//! The clock: logical milliseconds that pass only when a timer fires. It knows nothing of real time.

use cluster_core::TimerId;

use super::process_table::Pid;

/// Timers, in the order in which they are due.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Clock {
    now_ms: u64,
    timers: Vec<(u64, Pid, TimerId)>,
}

impl Clock {
    /// Among timers that are due at the same time, the one that was set first comes first.
    pub(crate) fn set(&mut self, pid: Pid, timer: TimerId, after_ms: u64) {
        let due = self.now_ms.saturating_add(after_ms);
        let at = self.timers.partition_point(|&(other, ..)| other <= due);
        self.timers.insert(at, (due, pid, timer));
    }

    /// Whose timer is the next to fire.
    pub(crate) fn next(&self) -> Option<Pid> {
        self.timers.first().map(|&(_, pid, _)| pid)
    }

    /// Whose timers wait, in the order in which they are due.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Pid> {
        self.timers.iter().map(|&(_, pid, _)| pid)
    }

    /// Lets the time of the `n`th timer come; 0 is the next. Those it has passed over are late.
    pub(crate) fn fire(&mut self, n: usize) -> (Pid, TimerId) {
        let (due, pid, timer) = self.timers.remove(n);
        self.now_ms = self.now_ms.max(due);
        (pid, timer)
    }

    /// The timers of a process end with it.
    pub(crate) fn forget(&mut self, pid: Pid) {
        self.timers.retain(|&(_, other, _)| other != pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_the_order_in_which_they_are_due() {
        let mut clock = Clock::default();
        for (timer, after) in [(1, 20), (2, 10), (3, 10)] {
            clock.set(Pid(1), TimerId(timer), after);
        }
        clock.set(Pid(2), TimerId(4), 0);
        clock.forget(Pid(2));
        let mut fired = Vec::new();
        while clock.next().is_some() {
            fired.push(clock.fire(0).1.0);
        }
        assert_eq!(fired, [2, 3, 1]);
        clock.set(Pid(1), TimerId(5), 1);
        assert_eq!(clock.now_ms, 20, "time has passed");
        clock.set(Pid(1), TimerId(6), 9);
        assert_eq!((clock.fire(1).1, clock.now_ms), (TimerId(6), 29), "it has jumped");
        assert_eq!((clock.fire(0).1, clock.now_ms), (TimerId(5), 29), "and does not go back");
    }
}
