//! Rules across observers. They need no common clock: an effect occurs at most as often as its cause.

use std::collections::BTreeSet;

use super::Misfit;
use crate::observation::{Observation, Observer};
use crate::requirement::{CONNECTION_SERVED, LISTENING_EVENT, ONLINE_EVENT};
use crate::trace::Trace;

pub(super) fn check(trace: &Trace, to_the_end: bool) -> Vec<Misfit> {
    let mut misfits: Vec<_> = workers(trace).into_iter().filter_map(|id| listening(trace, id)).collect();
    if to_the_end {
        misfits.extend(workers(trace).into_iter().filter_map(|id| online(trace, id)));
    }
    misfits.extend(connections(trace));
    misfits
}

fn workers(trace: &Trace) -> BTreeSet<u64> {
    let id = |(observer, line): (Observer, &Observation)| match observer {
        Observer::Primary => line.worker(),
        Observer::Worker(id) => Some(id),
        Observer::Client(_) => None,
    };
    trace.lines().filter_map(id).collect()
}

/// A worker's server listens before the primary receives `listening`.
fn listening(trace: &Trace, id: u64) -> Option<Misfit> {
    let served = count(trace.seen_by(Observer::Worker(id)), |line| line.what == "listening");
    let reports = |line: &Observation| line.what == "listening" && line.worker() == Some(id);
    let lines = trace.seen_by(Observer::Primary).iter().enumerate();
    let (index, line) = lines.filter(|(_, line)| reports(line)).nth(served)?;
    let seen = Some((Observer::Primary, index + 1, line.clone()));
    let expected = format!("at most the {served} `listening` of worker {id}");
    Some(Misfit { seen, expected, requirement: Some(&LISTENING_EVENT) })
}

/// A worker sends `online` before its program starts, and sent messages arrive.
fn online(trace: &Trace, id: u64) -> Option<Misfit> {
    let started = !trace.seen_by(Observer::Worker(id)).is_empty();
    let reports = |line: &Observation| line.what == "online" && line.worker() == Some(id);
    let missed = started && !trace.seen_by(Observer::Primary).iter().any(reports);
    let expected = || format!("primary: `online` of the started worker {id}");
    missed.then(|| Misfit::missing(Some(&ONLINE_EVENT), expected()))
}

/// A worker reports a connection only if a client has connected.
fn connections(trace: &Trace) -> Option<Misfit> {
    let lines = |what: &'static str| trace.lines().filter(move |(_, line)| line.what == what);
    let connected = lines("connected").count();
    let (observer, line) = lines("connection").nth(connected)?;
    let number = 1 + trace.seen_by(observer).iter().position(|one| std::ptr::eq(one, line))?;
    let seen = Some((observer, number, line.clone()));
    let expected = format!("at most the {connected} connections of the clients");
    Some(Misfit { seen, expected, requirement: Some(&CONNECTION_SERVED) })
}

fn count(lines: &[Observation], wanted: impl Fn(&Observation) -> bool) -> usize {
    lines.iter().filter(|line| wanted(line)).count()
}
