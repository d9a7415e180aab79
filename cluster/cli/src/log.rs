//! The log of the service on standard error, as texts or as objects.

use std::fmt;
use std::io;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer, debug_fn};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{self as log, FmtContext};
use tracing_subscriber::registry::LookupSpan;

use crate::feed;
use crate::options::LogFormat;

/// The variable that filters the log by level.
pub(crate) const FILTER: &str = "CLUSTER_LOG";

/// Starts the log.
pub(crate) fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_env(FILTER).unwrap_or_else(|_| "info".into());
    // Without colours also where another package of the build enables them: the log is often a file or a pipe.
    let log = log::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false);
    match format {
        LogFormat::Text => {
            let log = log.with_target(false).with_timer(Milliseconds);
            log.fmt_fields(debug_fn(write_field)).init();
        }
        LogFormat::Json => log.event_format(Objects).init(),
    }
}

/// The time in the log has the form of the time in the workers' output.
struct Milliseconds;

impl FormatTime for Milliseconds {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&feed::now())
    }
}

/// Writes the message, and the fields that the message does not contain.
fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match field.name() {
        "message" => write!(writer, "{value:?}"),
        "slot" | "worker" | "status" => Ok(()),
        "pid" => write!(writer, " (process {value:?})"),
        name => write!(writer, " {name}={value:?}"),
    }
}

/// The log as objects, one a line. Time, slot and worker have the names and places of the workers' output.
struct Objects;

#[derive(Serialize)]
struct Line {
    time: String,
    level: &'static str,
    #[serde(flatten)]
    fields: Fields,
}

#[derive(Default, Serialize)]
#[serde(transparent)]
struct Fields(Map<String, Value>);

impl<S, N> FormatEvent<S, N> for Objects
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let line = Line { time: feed::now(), level: event.metadata().level().as_str(), fields };
        writeln!(to, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

impl Fields {
    fn insert(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.insert(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.insert(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.insert(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.insert(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.insert(field, format!("{value:?}"));
    }
}
