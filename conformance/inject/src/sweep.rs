//! The positions: every occurrence of every call of a process, with every failure, until a run ends
//! undisturbed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::ensure;
use syscalls::Sysno;

use crate::errnos;
use crate::injection::{Failure, Injection, Victim};
use crate::record::{self, Record};
use crate::run::{self, Setup};
use crate::server::Cluster;
use crate::verdict::{self, Outcome, Undisturbed};

/// The number of undisturbed runs before a sweep.
const PROFILES: u32 = 3;

/// The number of runs in a row without the position after which a series ends: the number of calls differs by
/// a few between runs.
const MISSED: u32 = 2;

/// Which positions.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) clusters: Vec<Cluster>,
    pub(crate) victims: Vec<Victim>,
    /// Empty: all.
    pub(crate) calls: Vec<Sysno>,
    /// Empty: all.
    pub(crate) failures: Vec<Failure>,
    /// A single occurrence.
    pub(crate) nth: Option<u32>,
    /// The first occurrences of each call, and the first error.
    pub(crate) quick: bool,
    pub(crate) jobs: usize,
}

/// The occurrences of each call in a quick sweep.
const QUICK: u32 = 1;

/// A call and a failure: the occurrences follow each other.
#[derive(Debug, Clone, Copy)]
struct Series {
    setup: Setup,
    undisturbed: Undisturbed,
    call: Sysno,
    failure: Failure,
}

/// Runs the selected positions, and reports each record at once.
///
/// # Errors
///
/// This machine cannot run the cluster, or an undisturbed run breaks a claim.
pub(crate) fn sweep(
    selection: &Selection,
    report: impl Fn(&Record) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Vec<Record>> {
    let mut all = Vec::new();
    for &cluster in &selection.clusters {
        for &victim in &selection.victims {
            all.extend(series(Setup { cluster, victim }, selection)?);
        }
    }
    let (next, records) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> anyhow::Result<()> {
        while let Some(series) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
            perform(*series, selection, |record| {
                report(&record)?;
                records.lock().expect("no report panics").push(record);
                Ok(())
            })?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..selection.jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
    })?;
    Ok(records.into_inner().expect("no report panics"))
}

/// The calls of an undisturbed process, each with the failures.
fn series(setup: Setup, selection: &Selection) -> anyhow::Result<Vec<Series>> {
    let (calls, undisturbed) = profile(setup)?;
    let is_selected = |call: &Sysno| selection.calls.is_empty() || selection.calls.contains(call);
    let calls = calls.into_keys().filter(is_selected);
    Ok(calls
        .flat_map(|call| {
            let errors = errnos::listed(call).iter().take(if selection.quick { 1 } else { usize::MAX });
            let is_message = call == Sysno::sendmsg;
            let failures = errors.map(|errno| Failure::Error(*errno)).chain([Failure::Kill, Failure::Stop]);
            let repeated = if selection.quick { &[] } else { errnos::listed(call) };
            let failures = failures
                .chain(is_message.then_some(Failure::Short))
                .chain(repeated.iter().map(|errno| Failure::Repeated(*errno)));
            let is_selected =
                |failure: &Failure| selection.failures.is_empty() || selection.failures.contains(failure);
            let failures: Vec<_> = failures.filter(is_selected).collect();
            failures.into_iter().map(move |failure| Series { setup, undisturbed, call, failure })
        })
        .collect())
}

/// The calls of a process, with the numbers, in undisturbed runs.
pub(crate) fn profile(setup: Setup) -> anyhow::Result<(BTreeMap<Sysno, u32>, Undisturbed)> {
    let (mut calls, mut undisturbed) = (BTreeMap::new(), Undisturbed::default());
    for _ in 0..PROFILES {
        let evidence = run::run(setup, None, None)?;
        undisturbed.sockets = undisturbed.sockets.max(evidence.sockets);
        let (_, broken) = verdict::judge(setup, None, &evidence, undisturbed);
        ensure!(broken.is_empty(), "an undisturbed run breaks claims: {broken:#?}\n{evidence}");
        for (call, count) in evidence.followed.calls {
            let most = calls.entry(call).or_insert(count);
            *most = count.max(*most);
        }
    }
    Ok((calls, undisturbed))
}

fn perform(
    series: Series,
    selection: &Selection,
    report: impl Fn(Record) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let Series { setup, undisturbed, call, failure } = series;
    let mut missed = 0;
    let last = if selection.quick { QUICK } else { u32::MAX };
    let range = selection.nth.map_or(1..=last, |nth| nth..=nth);
    for nth in range {
        let injection = Injection { call, nth, failure };
        let evidence = run::run(setup, Some(injection), Some(undisturbed.sockets))?;
        let (outcome, broken) = verdict::judge(setup, Some(injection), &evidence, undisturbed);
        missed = if outcome == Outcome::NotReached { missed + 1 } else { 0 };
        let milliseconds = evidence.took.as_millis();
        let trace = record::trace(&evidence);
        report(Record { setup, injection, outcome, broken, milliseconds, trace })?;
        if missed == MISSED {
            break;
        }
    }
    Ok(())
}
