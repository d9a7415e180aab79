//! How far it has come: a bar on a terminal, lines elsewhere, both on standard error.

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};

/// What the user sees while waiting.
#[derive(Debug)]
pub(super) enum Progress {
    Bar(ProgressBar),
    Lines { done: u64, of: u64 },
}

impl Progress {
    /// So many things are to be done.
    pub(super) fn new(of: usize) -> Self {
        let of = of as u64;
        if !Term::stderr().is_term() {
            return Progress::Lines { done: 0, of };
        }
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {wide_msg}");
        let bar = ProgressBar::new(of).with_style(style.expect("the template is well-formed"));
        Progress::Bar(bar)
    }

    /// One more is done.
    pub(super) fn step(&mut self, what: &str) {
        match self {
            Progress::Bar(bar) => {
                bar.set_message(what.to_owned());
                bar.inc(1);
            }
            Progress::Lines { done, of } => {
                *done += 1;
                eprintln!("[{done}/{of}] {what}");
            }
        }
    }
}

/// The bar goes away.
impl Drop for Progress {
    fn drop(&mut self) {
        match self {
            Progress::Bar(bar) => bar.finish_and_clear(),
            Progress::Lines { .. } => {}
        }
    }
}
