//! Progress on standard error: a bar on a terminal, otherwise about ten lines.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};

/// The number of progress lines for a long count.
const LINES: u64 = 10;

/// The interval at which the count is read.
const GLANCE: Duration = Duration::from_millis(200);

/// The progress of a command.
#[derive(Debug)]
pub(super) enum Progress {
    Bar(ProgressBar),
    Lines { done: AtomicU64, of: u64, what: String },
}

impl Progress {
    /// Counts a known number of items, each with a line.
    pub(super) fn new(of: usize) -> Self {
        Progress::with(of as u64, "", "{bar:30} {pos}/{len} {wide_msg}")
    }

    /// Counts a large number of items, without a line for each.
    pub(super) fn of_many(of: u64, what: &str) -> Self {
        Progress::with(of, what, "{bar:30} {pos}/{len} {msg}, {per_sec}, {eta} left")
    }

    /// Counts an unknown number of items.
    pub(super) fn endless(what: &str) -> Self {
        if !Term::stderr().is_term() {
            eprintln!("{what} ...");
            return Progress::Lines { done: AtomicU64::new(0), of: 0, what: what.to_owned() };
        }
        let bar = ProgressBar::new_spinner().with_message(what.to_owned());
        bar.set_style(style("{spinner} {msg}, {elapsed}"));
        bar.enable_steady_tick(GLANCE);
        Progress::Bar(bar)
    }

    /// Shows the count of an atomic counter while `act` runs.
    pub(super) fn follow<T>(&self, done: &AtomicUsize, act: impl FnOnce() -> T) -> T {
        let (end, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                while ended.recv_timeout(GLANCE) == Err(RecvTimeoutError::Timeout) {
                    self.reach(done.load(Ordering::Relaxed) as u64);
                }
            });
            let result = act();
            drop(end);
            result
        })
    }

    fn with(of: u64, what: &str, template: &str) -> Self {
        if !Term::stderr().is_term() {
            return Progress::Lines { done: AtomicU64::new(0), of, what: what.to_owned() };
        }
        Progress::Bar(ProgressBar::new(of).with_style(style(template)).with_message(what.to_owned()))
    }

    /// Counts one item.
    pub(super) fn step(&self, what: &str) {
        self.count(what, false);
    }

    /// Counts one item that failed. The line is printed even without a terminal.
    pub(super) fn step_failed(&self, what: &str) {
        self.count(what, true);
    }

    fn count(&self, what: &str, is_printed: bool) {
        match self {
            Progress::Bar(bar) => {
                bar.set_message(what.to_owned());
                bar.inc(1);
            }
            Progress::Lines { done, of, .. } => {
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                if is_printed || is_due(done, *of) {
                    eprintln!("[{done}/{of}] {what}");
                }
            }
        }
    }

    /// Sets the number of finished claims.
    pub(super) fn reach(&self, now: u64) {
        match self {
            Progress::Bar(bar) => bar.set_position(now),
            Progress::Lines { done, of, what } => {
                let before = done.fetch_max(now, Ordering::Relaxed);
                let part = of.div_ceil(LINES);
                if now / part > before / part {
                    eprintln!("[{now}/{of}] {what}");
                }
            }
        }
    }
}

/// Whether an item gets a line: the first item, and each item that completes another tenth.
fn is_due(done: u64, of: u64) -> bool {
    let tenths = |done: u64| done * LINES / of.max(1);
    done == 1 || tenths(done) > tenths(done - 1)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is well-formed")
}

/// Removes the bar.
impl Drop for Progress {
    fn drop(&mut self) {
        match self {
            Progress::Bar(bar) => bar.finish_and_clear(),
            Progress::Lines { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_due;

    #[test]
    fn long_counts_have_few_lines() {
        let lines = |of: u64| (1..=of).filter(|done| is_due(*done, of)).count();
        assert_eq!([1, 2, 10, 11, 20, 1829, 100_000].map(lines), [1, 2, 10, 11, 11, 11, 11]);
    }
}
