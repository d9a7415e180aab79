//! Whether the simulator can produce the trace of each recorded run, with the counterpart of the fault.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use cluster_conformance::observation::Observer;
use cluster_core::WorkerId;
use cluster_sim::explore::{self, Deepest, Observed, Reached};
use cluster_sim::{Actor, ClientId, Schedule};

use crate::counterpart::{self, Counterpart};
use crate::record::Record;
use crate::server::Cluster;
use crate::simulated::SimulatedServer;
use crate::verdict::Outcome;

/// The result of the searches for one trace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Member {
    /// The processes have written no line: the position precedes the machine.
    Empty,
    /// With this counterpart.
    In(String),
    /// The budget has ended a search. The deepest point, in words.
    Undecided(String),
    /// No schedule of any counterpart produces the trace. The deepest point, in words.
    Out(String),
}

/// A distinct trace, the result, and the positions with the trace.
#[derive(Debug)]
pub(crate) struct Judged<'a> {
    pub(crate) member: Member,
    pub(crate) records: Vec<&'a Record>,
}

/// The runs to judge, and the bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    /// All distinct traces. Otherwise one run for each process, call and failure.
    pub(crate) all: bool,
    /// The worlds of a search.
    pub(crate) budget: usize,
    pub(crate) jobs: usize,
}

/// A search, and the positions with the trace.
type Group<'a> = (Cluster, Vec<Counterpart>, Vec<&'a Record>);

/// Searches for the traces of runs in which a call was changed, and reports each result at once. Equal traces
/// with equal counterparts are searched once.
pub(crate) fn judge(
    records: &[Record],
    effort: Effort,
    report: impl Fn(&Judged<'_>) + Sync,
) -> Vec<Judged<'_>> {
    let groups = groups(records, effort.all);
    let (next, judged) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some((cluster, counterparts, records)) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found =
                Judged { member: search(*cluster, counterparts, effort.budget), records: records.clone() };
            report(&found);
            judged.lock().unwrap_or_else(PoisonError::into_inner).push(found);
        }
    };
    thread::scope(|scope| {
        for _ in 0..effort.jobs.max(1) {
            scope.spawn(work);
        }
    });
    judged.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn groups(records: &[Record], all: bool) -> Vec<Group<'_>> {
    let mut groups: BTreeMap<String, Group<'_>> = BTreeMap::new();
    let mut sampled = BTreeSet::new();
    for record in records.iter().filter(|record| Outcome::COUNTED.contains(&record.outcome)) {
        let Record { setup, injection, .. } = record;
        let kind = format!("{} {} {}", setup.victim, injection.call, injection.failure);
        if sampled.insert(kind) || all {
            let counterparts = counterpart::of(record);
            let group = groups.entry(format!("{:?} {counterparts:?}", setup.cluster));
            group.or_insert((setup.cluster, counterparts, Vec::new())).2.push(record);
        }
    }
    groups.into_values().collect()
}

fn search(cluster: Cluster, counterparts: &[Counterpart], budget: usize) -> Member {
    let mut undecided = false;
    let mut deepest: Option<(usize, String)> = None;
    for counterpart in counterparts {
        if counterpart.trace.seen_by(Observer::Primary).is_empty() {
            return Member::Empty;
        }
        let wanted = wanted(counterpart);
        for patient in [true, false] {
            let world = SimulatedServer::world(cluster, counterpart.mishap.clone());
            let world = if patient { world.with_patient_timers() } else { world };
            let point = match explore::reaches(&world, &wanted, budget) {
                Reached::Yes(choices) => {
                    // Only a replay is evidence.
                    let mut run = world.on(Schedule::replay(choices));
                    assert!(run.run().is_ok(), "a search takes no step that fails");
                    assert_eq!(
                        explore::observed(run.observations()),
                        wanted,
                        "the search has found the trace"
                    );
                    return Member::In(counterpart.name.clone());
                }
                Reached::No(point) => point,
                Reached::Unknown(point) => {
                    undecided = true;
                    point
                }
            };
            if deepest.as_ref().is_none_or(|(made, _)| point.made > *made) {
                deepest = Some((point.made, words(&counterpart.name, &point)));
            }
        }
    }
    let words = deepest.map(|(_, words)| words).unwrap_or_default();
    if undecided { Member::Undecided(words) } else { Member::Out(words) }
}

fn words(name: &str, Deepest { made, wanted, misfit, worlds, .. }: &Deepest) -> String {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "nothing".to_owned());
    let misfit = misfit.as_ref().map(|misfit| {
        format!("; {}: found `{}`, wanted `{}`", misfit.observer, text(&misfit.found), text(&misfit.wanted))
    });
    format!("[{name}] {made} of {wanted} lines in {worlds} worlds{}", misfit.unwrap_or_default())
}

fn wanted(counterpart: &Counterpart) -> Observed {
    let lines = counterpart.trace.observers.iter();
    lines
        .map(|(observer, lines)| (actor(*observer), lines.iter().map(ToString::to_string).collect()))
        .collect()
}

fn actor(observer: Observer) -> Actor {
    match observer {
        Observer::Primary => Actor::Primary,
        Observer::Worker(id) => Actor::Worker(WorkerId(id)),
        Observer::Client(number) => Actor::Client(ClientId(number)),
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Member::Empty => f.write_str("no line"),
            Member::In(name) if name.is_empty() => f.write_str("in"),
            Member::In(name) => write!(f, "in: {name}"),
            Member::Undecided(words) => write!(f, "undecided: {words}"),
            Member::Out(words) => write!(f, "OUT: {words}"),
        }
    }
}

/// The counts of traces and positions, by result.
#[derive(Debug)]
pub(crate) struct MemberTable<'a>(pub(crate) &'a [Judged<'a>]);

/// Markdown.
impl fmt::Display for MemberTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: BTreeMap<(u8, &str), [usize; 2]> = BTreeMap::new();
        for Judged { member, records } in self.0 {
            let row = match member {
                Member::In(name) if name.is_empty() => (0, "in without a failure"),
                Member::In(name) => (1, name.as_str()),
                Member::Empty => (2, "no line, before the machine"),
                Member::Undecided(_) => (3, "undecided"),
                Member::Out(_) => (4, "OUT"),
            };
            let [traces, positions] = rows.entry(row).or_default();
            *traces += 1;
            *positions += records.len();
        }
        writeln!(f, "| counterpart in the simulator | traces | positions |\n|---|---:|---:|")?;
        rows.iter().try_for_each(|((_, name), [traces, positions])| {
            writeln!(f, "| {name} | {traces} | {positions} |")
        })
    }
}
