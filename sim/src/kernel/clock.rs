//! The clock: logical milliseconds. Time passes only when a timer fires.

use cluster_core::TimerId;

use crate::step::Pid;

/// The timers, by due time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Clock {
    now_ms: u64,
    timers: Vec<(u64, Pid, TimerId)>,
    /// A timer has fired before an earlier timer, or while a process was reacting.
    is_uneven: bool,
}

impl Clock {
    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Whether every timer fired when it was due, and was set without delay.
    pub(crate) fn is_even(&self) -> bool {
        !self.is_uneven
    }

    /// Records that the next timer fires while a process reacts to an input: the timers that the reaction
    /// sets are then late.
    pub(crate) fn passes_during_reaction(&mut self) {
        self.is_uneven |= self.timers.first().is_some_and(|&(due, ..)| due > self.now_ms);
    }

    /// Sets a timer. Timers due at the same time fire in the order of setting.
    pub(crate) fn set(&mut self, pid: Pid, timer: TimerId, after_ms: u64) {
        let due = self.now_ms.saturating_add(after_ms);
        let at = self.timers.partition_point(|&(other, ..)| other <= due);
        self.timers.insert(at, (due, pid, timer));
    }

    /// The process of the next timer.
    pub(crate) fn next(&self) -> Option<Pid> {
        self.timers.first().map(|&(_, pid, _)| pid)
    }

    /// The processes of the timers, by due time.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Pid> {
        self.timers.iter().map(|&(_, pid, _)| pid)
    }

    /// Fires the `n`th timer in the order of due times. The clock advances to the due time, which makes
    /// earlier timers late.
    pub(crate) fn fire(&mut self, n: usize) -> (Pid, TimerId) {
        let (due, pid, timer) = self.timers.remove(n);
        self.is_uneven |= self.timers.first().is_some_and(|&(first, ..)| first < due);
        self.now_ms = self.now_ms.max(due);
        (pid, timer)
    }

    /// Removes the timers of a process.
    pub(crate) fn forget(&mut self, pid: Pid) {
        self.timers.retain(|&(_, other, _)| other != pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_when_due() {
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
        assert_eq!((clock.fire(1).1, clock.now_ms), (TimerId(6), 29), "the clock jumps");
        assert_eq!((clock.fire(0).1, clock.now_ms), (TimerId(5), 29), "the clock does not run backwards");
    }
}
