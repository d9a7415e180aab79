//! The log lines of a simulated process: the events of `tracing` at the level `INFO` and above, with the time
//! of the world.

use std::cell::RefCell;
use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Event, Level, Metadata, Subscriber, dispatcher};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    /// Each thread makes only one subscriber, because a new subscriber visits every place in the program that
    /// logs.
    static DISPATCH: Dispatch = Dispatch::new(Lines);
}

/// Collects the lines of the process that runs on this thread.
struct Lines;

impl Subscriber for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = LogLine(event.metadata().level().to_string());
        event.record(&mut line);
        LINES.with_borrow_mut(|lines| lines.push(line.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// One line: the level, the message, and the fields.
struct LogLine(String);

impl Visit for LogLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A write to a text cannot fail.
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

/// Runs code of a process, and collects its log lines.
pub(super) fn logged<T>(run: impl FnOnce() -> T) -> T {
    DISPATCH.with(|dispatch| dispatcher::with_default(dispatch, run))
}

/// Takes the collected lines, each with the time of the world.
pub(super) fn take_lines(now_ms: u64) -> Vec<String> {
    let lines = LINES.with_borrow_mut(std::mem::take);
    let stamp = |line: String| format!("[{}.{:03} s] {line}", now_ms / 1000, now_ms % 1000);
    lines.into_iter().map(stamp).collect()
}
