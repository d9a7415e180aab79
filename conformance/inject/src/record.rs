//! The record of a run, as a value and as a line of a file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use clap::ValueEnum as _;
use cluster_conformance::observation::{Line, Observation, Observer};
use cluster_conformance::trace::Trace;
use serde::{Deserialize, Serialize};

use crate::clients::ClientEnd;
use crate::injection::{Injection, Victim};
use crate::run::{Evidence, Setup};
use crate::server::Cluster;
use crate::verdict::Outcome;

/// One run of a sweep.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) setup: Setup,
    pub(crate) injection: Injection,
    pub(crate) outcome: Outcome,
    pub(crate) broken: Vec<String>,
    pub(crate) milliseconds: u128,
    pub(crate) trace: Trace,
}

/// The lines of the processes, and the end of each client.
pub(crate) fn trace(evidence: &Evidence) -> Trace {
    let ends = (1..).zip(&evidence.clients);
    let clients =
        ends.map(|(client, end)| Line { observer: Observer::Client(client), observation: seen(end) });
    Trace::of(evidence.lines.iter().cloned().chain(clients), &BTreeSet::new())
}

pub(crate) fn seen(end: &ClientEnd) -> Observation {
    match end {
        ClientEnd::Served(worker) => Observation::new("answer").with("worker", worker),
        ClientEnd::Refused(kind) => Observation::new("refused").with("error", format!("{kind:?}")),
        ClientEnd::Lost => Observation::new("lost"),
        ClientEnd::Late => Observation::new("late"),
    }
}

/// The line of a record.
#[derive(Debug, Serialize, Deserialize)]
struct Text {
    cluster: String,
    victim: String,
    call: String,
    nth: u32,
    failure: String,
    outcome: String,
    trace: Trace,
}

/// A file of records, one per line.
#[derive(Debug)]
pub(crate) struct Recorder(Mutex<File>);

impl Recorder {
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| path.display().to_string())?;
        Ok(Recorder(Mutex::new(file)))
    }

    pub(crate) fn write(&self, record: &Record) -> io::Result<()> {
        let Record { setup: Setup { cluster, victim }, injection, outcome, trace, .. } = record;
        let line = Text {
            cluster: cluster.name().to_owned(),
            victim: victim.to_string(),
            call: injection.call.to_string(),
            nth: injection.nth,
            failure: injection.failure.to_string(),
            outcome: outcome.name().to_owned(),
            trace: trace.clone(),
        };
        let line = serde_json::to_string(&line)?;
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{line}")
    }
}

/// The records of a file.
///
/// # Errors
///
/// The file cannot be read, or has other lines.
pub(crate) fn read(path: &Path) -> anyhow::Result<Vec<Record>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let read = |(number, line): (usize, io::Result<String>)| {
        parse(&line?).with_context(|| format!("{}, line {number}", path.display()))
    };
    (1..).zip(BufReader::new(file).lines()).map(read).collect()
}

fn parse(line: &str) -> anyhow::Result<Record> {
    let Text { cluster, victim, call, nth, failure, outcome, trace } = serde_json::from_str(line)?;
    let other = |text: String| anyhow::anyhow!("unknown: {text}");
    let cluster = Cluster::from_str(&cluster, false).map_err(other)?;
    let victim = Victim::from_str(&victim, false).map_err(other)?;
    let call = call.parse().map_err(|()| other(call))?;
    let failure = failure.parse().map_err(other)?;
    let known = Outcome::ALL.into_iter().find(|known| known.name() == outcome);
    Ok(Record {
        setup: Setup { cluster, victim },
        injection: Injection { call, nth, failure },
        outcome: known.ok_or_else(|| other(outcome))?,
        broken: Vec::new(),
        milliseconds: 0,
        trace,
    })
}
