//! The clock: logical milliseconds. Time passes only when a timer fires.

use cluster_core::TimerId;

use crate::step::Pid;

/// The timer of a program: the machines count their timers from 1. A process has at most one such timer.
const PROGRAM: TimerId = TimerId(u64::MAX);

/// A timer that has fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fired {
    Machine(TimerId),
    Program,
}

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

    /// Whether a timer is set.
    pub(crate) fn has_timers(&self) -> bool {
        !self.timers.is_empty()
    }

    /// The processes of the timers, by due time, and whether the program has set the timer.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (Pid, bool)> {
        self.timers.iter().map(|&(_, pid, timer)| (pid, timer == PROGRAM))
    }

    /// The time of the `n`th timer.
    pub(crate) fn due(&self, n: usize) -> Option<u64> {
        self.timers.get(n).map(|&(due, ..)| due)
    }

    /// Sets the timers of all programs.
    pub(crate) fn set_program_timers(&mut self, timers: impl IntoIterator<Item = (Pid, u64)>) {
        self.timers.retain(|&(.., timer)| timer != PROGRAM);
        for (pid, due) in timers {
            self.set(pid, PROGRAM, due.saturating_sub(self.now_ms));
        }
    }

    /// Fires the `n`th timer in the order of due times. The clock advances to the due time, which makes
    /// earlier timers late.
    pub(crate) fn fire(&mut self, n: usize) -> (Pid, Fired) {
        let (due, pid, timer) = self.timers.remove(n);
        self.is_uneven |= self.timers.first().is_some_and(|&(first, ..)| first < due);
        self.now_ms = self.now_ms.max(due);
        (pid, if timer == PROGRAM { Fired::Program } else { Fired::Machine(timer) })
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
        while clock.has_timers() {
            fired.push(clock.fire(0).1);
        }
        assert_eq!(fired, [2, 3, 1].map(|timer| Fired::Machine(TimerId(timer))));
        clock.set(Pid(1), TimerId(5), 1);
        assert_eq!(clock.now_ms, 20, "time has passed");
        clock.set(Pid(1), TimerId(6), 9);
        assert_eq!((clock.fire(1).1, clock.now_ms), (Fired::Machine(TimerId(6)), 29), "the clock jumps");
        assert_eq!(
            (clock.fire(0).1, clock.now_ms),
            (Fired::Machine(TimerId(5)), 29),
            "the clock does not run backwards"
        );
    }
}
