//! The simulator's counterpart of an injected failure: faults, the death of a process, or a program with a
//! mistake and the same trace.

use std::collections::BTreeSet;

use cluster_conformance::observation::{Observation, Observer};
use cluster_conformance::trace::Trace;
use cluster_core::WorkerId;
use cluster_sim::{Actor, Fault, Faults};
use nix::errno::Errno;
use syscalls::Sysno;

use crate::injection::{Failure, Victim};
use crate::record::Record;
use crate::simulated::Mishap;
use crate::verdict::Outcome;

/// A counterpart, and the trace to search for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counterpart {
    /// For the table.
    pub(crate) name: String,
    pub(crate) mishap: Mishap,
    pub(crate) trace: Trace,
}

/// The counterparts of a run, in the order of the search. The first has the fewest failures.
pub(crate) fn of(record: &Record) -> Vec<Counterpart> {
    let faults = faults(record.setup.victim, record.injection.call, record.injection.failure);
    let kinds = [&[][..], faults].into_iter().take(1 + usize::from(!faults.is_empty()));
    let strikes = u8::try_from(record.injection.failure.calls()).unwrap_or(u8::MAX);
    let ends = ends(record);
    let mishaps = kinds.flat_map(|faults| {
        ends.iter().flat_map(move |(dies, trace)| {
            drops(record, *dies).into_iter().map(move |drops| {
                let name = name(faults, *dies, !drops.is_empty());
                let mishap = Mishap { faults: Faults::only(faults).limit(strikes), dies: *dies, drops };
                Counterpart { name, mishap, trace: trace.clone() }
            })
        })
    });
    mishaps.collect()
}

fn name(faults: &[Fault], dies: Option<Actor>, drops: bool) -> String {
    let death = match dies {
        Some(Actor::Primary) => "death of the primary",
        Some(Actor::Worker(_)) => "death of the worker",
        Some(Actor::Client(_)) | None => "",
    };
    let drops = if drops { "connection closed by the program" } else { "" };
    let faults = faults.iter().map(|fault| format!("`{fault}`")).collect::<Vec<_>>().join(" or ");
    let parts = [death.to_owned(), drops.to_owned(), faults];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(", ")
}

/// The process that has ended by the failure, and the trace with a simulated death. A primary has either
/// died, or given up.
///
/// SIGKILL at any moment stands for every end of a process: machines pass the status of a worker through.
/// Without a primary no claim concerns the clients.
fn ends(record: &Record) -> Vec<(Option<Actor>, Trace)> {
    let mut trace = record.trace.clone();
    let lines = trace.observers.entry(Observer::Primary).or_default();
    // The primary writes `start` before its machine exists.
    lines.retain(|line| line.what != "start");
    if record.outcome == Outcome::Ended {
        trace.observers.retain(|observer, _| !matches!(observer, Observer::Client(_)));
        return vec![(Some(Actor::Primary), trace.clone()), (None, trace)];
    }
    let exit = lines.iter_mut().filter(|line| line.what == "exit" && line.worker() == Some(1));
    let mut dies = None;
    let is_death = |line: &Observation| line.detail("code") != Some("0") && !is_unknown(line);
    for line in exit.filter(|line| is_death(line)) {
        dies = Some(Actor::Worker(WorkerId(1)));
        set(line, "code", "-");
        set(line, "signal", "SIGKILL");
    }
    vec![(dies, trace)]
}

/// Whether the status of an exit is unknown.
fn is_unknown(line: &Observation) -> bool {
    ["code", "signal"].iter().all(|key| line.detail(key) == Some("-"))
}

fn set(line: &mut Observation, key: &str, value: &str) {
    for (_, text) in line.details.iter_mut().filter(|(name, _)| name == key) {
        value.clone_into(text);
    }
}

/// The connections that the program of the worker may have closed without an answer: as many successive
/// connections as lost clients. Each set is a possibility.
fn drops(record: &Record, dies: Option<Actor>) -> Vec<BTreeSet<u32>> {
    let ends = record.trace.observers.iter().filter(|(observer, _)| matches!(observer, Observer::Client(_)));
    let lost = ends.filter(|(_, lines)| lines.iter().any(|line| line.what == "lost")).count();
    let lost = u32::try_from(lost).unwrap_or(u32::MAX);
    if lost == 0 || dies.is_some() {
        return vec![BTreeSet::new()];
    }
    (0..MOST_CONNECTIONS).map(|first| (first..first + lost).collect()).collect()
}

/// The searched connections of a worker. Most workers have fewer.
const MOST_CONNECTIONS: u32 = 4;

/// The faults of the simulator for an error of a call. Empty: the machines observe a death or nothing.
fn faults(victim: Victim, call: Sysno, failure: Failure) -> &'static [Fault] {
    let errno = match failure {
        Failure::Error(errno) | Failure::Repeated(errno) => errno,
        Failure::Short => return &[Fault::ShortWrite],
        // A death is no fault here, and every schedule may delay a process.
        Failure::Kill | Failure::Stop => return &[],
    };
    match call {
        Sysno::accept4 if errno == Errno::ECONNABORTED => &[Fault::Aborted],
        Sysno::accept4 => &[Fault::AcceptFailure],
        Sysno::sendmsg if [Errno::EPIPE, Errno::ECONNRESET].contains(&errno) => &[Fault::HalfClose],
        Sysno::sendmsg => &[Fault::WriteFailure],
        Sysno::recvmsg => &[Fault::HalfClose, Fault::WriteFailure],
        Sysno::bind | Sysno::socket | Sysno::listen | Sysno::statx | Sysno::unlink => &[Fault::BindFailure],
        Sysno::getsockname | Sysno::setsockopt | Sysno::getsockopt if victim == Victim::Primary => {
            &[Fault::BindFailure]
        }
        Sysno::getsockname | Sysno::setsockopt | Sysno::getsockopt => &[Fault::LostDescriptor],
        Sysno::wait4 | Sysno::waitid => &[Fault::LostStatus],
        Sysno::kill | Sysno::pidfd_send_signal => &[Fault::KillFailure],
        Sysno::epoll_ctl if victim == Victim::Primary => &[Fault::SpawnFailure],
        _ => &[Fault::SpawnFailure, Fault::ExecFailure],
    }
}
