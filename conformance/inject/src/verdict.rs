//! The claims about a run: no panic, no hang, nothing left, no client lost beyond the ledger, every event in
//! order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cluster_conformance::observation::{Line, Observation, Observer};
use cluster_conformance::order;
use cluster_conformance::scenario::Scenario;
use cluster_conformance::trace::Trace;
use nix::errno::Errno;
use syscalls::Sysno;

use crate::clients::{AT_ONCE, CLIENTS, ClientEnd};
use crate::injection::{Failure, Injection, Victim};
use crate::known;
use crate::run::{Evidence, PROMPT, Setup};
use crate::server::{Cluster, RELOADED, SOCKET};
use crate::tracer::{ProcessEnd, ProcessReport};

/// The outcome of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Outcome {
    /// The process made fewer calls.
    NotReached,
    /// The table has no error for the arguments of the call; nothing was changed.
    Exempt,
    /// Every client was served by the first two workers.
    Unnoticed,
    /// Every client was served, and a worker was replaced.
    Replaced,
    /// A client was lost with the owner of the connection, as the ledger allows.
    Lost,
    /// The primary was killed, or ended with an error.
    Ended,
    /// A claim does not hold.
    Fails,
}

impl Outcome {
    pub(crate) const ALL: [Outcome; 7] = [
        Outcome::NotReached,
        Outcome::Exempt,
        Outcome::Unnoticed,
        Outcome::Replaced,
        Outcome::Lost,
        Outcome::Ended,
        Outcome::Fails,
    ];

    /// The outcomes of runs in which a call was changed.
    pub(crate) const COUNTED: [Outcome; 5] =
        [Outcome::Unnoticed, Outcome::Replaced, Outcome::Lost, Outcome::Ended, Outcome::Fails];

    /// The column of the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::NotReached => "not reached",
            Outcome::Exempt => "exempt",
            Outcome::Unnoticed => "unnoticed",
            Outcome::Replaced => "replaced",
            Outcome::Lost => "lost",
            Outcome::Ended => "ended",
            Outcome::Fails => "FAILS",
        }
    }
}

/// The sockets of the primary after the clients of an undisturbed run.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Undisturbed {
    pub(crate) sockets: usize,
}

/// The sockets at the exit of the primary: the pair of the runtime for signals.
const OF_PRIMARY: usize = 2;

/// The sockets at the exit of a worker: the same pair, and the channel, which a thread watches until the
/// exit.
const OF_WORKER: usize = 3;

/// The sockets and the descriptors of the runtime, of a process at the exit.
fn own(process: &ProcessReport) -> impl Iterator<Item = &String> {
    process.left.iter().filter(|target| target.starts_with("socket:") || target.starts_with("anon_inode:"))
}

/// The outcome, and the broken claims.
pub(crate) fn judge(
    setup: Setup,
    injection: Option<Injection>,
    evidence: &Evidence,
    undisturbed: Undisturbed,
) -> (Outcome, Vec<String>) {
    let judge = Judge { setup, injection, evidence };
    let mut broken = Vec::new();
    broken.extend(judge.hang());
    broken.extend(judge.panics());
    broken.extend(judge.ends());
    broken.extend(judge.descriptors(undisturbed));
    broken.extend(judge.files());
    broken.extend(judge.clients());
    broken.extend(judge.order());
    if !broken.is_empty() {
        let errors = evidence.stderr.lines().filter(|line| line.starts_with("Error: "));
        broken.extend(errors.map(str::to_owned));
    }
    let outcome = if broken.is_empty() { judge.outcome() } else { Outcome::Fails };
    (outcome, broken)
}

struct Judge<'a> {
    setup: Setup,
    injection: Option<Injection>,
    evidence: &'a Evidence,
}

impl Judge<'_> {
    fn outcome(&self) -> Outcome {
        let followed = &self.evidence.followed;
        if self.injection.is_some() && !followed.hit {
            Outcome::NotReached
        } else if followed.exempt {
            Outcome::Exempt
        } else if !self.primary_finished() {
            Outcome::Ended
        } else if self.lost() > 0 {
            Outcome::Lost
        } else if followed.processes.len() > 1 + self.setup.cluster.workers() as usize
            || self.workers().any(|worker| !finished(worker))
        {
            Outcome::Replaced
        } else {
            Outcome::Unnoticed
        }
    }

    fn primary(&self) -> Option<&ProcessReport> {
        self.evidence.followed.processes.values().find(|process| process.number == 0)
    }

    fn workers(&self) -> impl Iterator<Item = &ProcessReport> {
        self.evidence.followed.processes.values().filter(|process| process.number > 0)
    }

    fn primary_finished(&self) -> bool {
        self.primary().is_some_and(finished)
    }

    fn lost(&self) -> usize {
        CLIENTS - self.evidence.clients.iter().filter(|end| matches!(end, ClientEnd::Served(_))).count()
    }

    /// The primary shuts down after the first SIGTERM, unless the runtime could not write the signal to the
    /// socket pair for signals.
    fn hang(&self) -> Option<String> {
        let Evidence { late, took, .. } = self.evidence;
        if !late.is_empty() {
            return Some(format!("hang: the processes {late:?} did not exit (0 is the primary)"));
        }
        let of_signals =
            |injection: Injection| self.setup.victim == Victim::Primary && injection.call == Sysno::sendto;
        let is_slow = *took >= PROMPT && !self.injection.is_some_and(of_signals);
        is_slow.then(|| format!("the run took {took:?}"))
    }

    fn panics(&self) -> Vec<String> {
        let unknown = known::unknown_panics(&self.evidence.stderr);
        unknown.into_iter().map(|line| format!("panic: {line}")).collect()
    }

    /// Whether the service was running: the supervisor has forked a worker.
    fn has_forked(&self) -> bool {
        let mut lines = self.evidence.lines.iter().filter(|line| line.observer == Observer::Primary);
        lines.any(|line| line.observation.what == "fork")
    }

    /// Whether a worker could not be started at all. After a lasting error, a supervisor without an earlier
    /// ready worker gives up.
    fn is_start_refused(&self) -> bool {
        let mut lines = self.evidence.lines.iter().filter(|line| line.observer == Observer::Primary);
        lines.any(|line| line.observation.what == "error")
    }

    /// Only the victim ends with an error, and a primary prints the reason. An end of the primary ends the
    /// workers.
    fn ends(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let is_killed = self.injection.is_some_and(|injection| injection.failure == Failure::Kill);
        let primary = self.primary().and_then(|primary| primary.end);
        match (primary, self.setup.victim) {
            (Some(ProcessEnd::Code(0)), _) => {}
            (Some(ProcessEnd::Code(_)), Victim::Worker) if self.is_start_refused() => {}
            (Some(end), Victim::Worker) => broken.push(format!("the primary ended with the victim: {end:?}")),
            (Some(ProcessEnd::Signal(_)), Victim::Primary) if is_killed => {}
            (Some(ProcessEnd::Signal(signal)), Victim::Primary) => {
                // The loader ends a program before `main` by a signal, too.
                let is_reported =
                    self.evidence.stderr.contains("memory allocation") || self.evidence.lines.is_empty();
                let end = format!("the primary ended by {signal}");
                broken.extend(Some(end).filter(|_| !is_reported));
            }
            (Some(ProcessEnd::Code(code)), Victim::Primary) => {
                let is_silent = self.evidence.stderr.trim().is_empty();
                broken.extend(is_silent.then(|| format!("the primary ended with {code} and without a word")));
                let was_running = self.has_forked() && !self.is_start_refused();
                broken.extend(was_running.then(|| format!("one error ended the service with {code}")));
            }
            (None, _) => broken.push("the end of the primary was not observed".to_owned()),
        }
        if self.setup.victim == Victim::Worker && self.primary_finished() {
            let others = self.workers().filter(|worker| worker.number > 1 && !finished(worker));
            broken.extend(
                others.map(|worker| format!("process {} ended, too: {:?}", worker.number, worker.end)),
            );
        }
        broken.extend(self.evidence.garbled.iter().map(|line| format!("standard output has `{line}`")));
        broken
    }

    /// A process closes every descriptor before `main` returns, and the primary closes the copies of
    /// connections.
    fn descriptors(&self, undisturbed: Undisturbed) -> Vec<String> {
        let mut broken = Vec::new();
        let ends_by_library = self.setup.cluster == Cluster::Node;
        for process in self.evidence.followed.processes.values().filter(|process| finished(process)) {
            if ends_by_library && process.number > 0 {
                continue;
            }
            let left: Vec<_> = own(process).collect();
            if left.len() > if process.number == 0 { OF_PRIMARY } else { OF_WORKER } {
                broken.push(format!("process {} left {left:?} open at its exit", process.number));
            }
        }
        let sockets = self.evidence.sockets;
        if sockets > undisturbed.sockets {
            broken.push(format!(
                "the primary has {sockets} sockets after the clients, not {}",
                undisturbed.sockets
            ));
        }
        broken
    }

    /// The path of the socket is removed, unless the primary was killed. A failed removal is logged; after
    /// ENOENT there is nothing to remove.
    fn files(&self) -> Option<String> {
        let is_killed = matches!(self.primary().and_then(|primary| primary.end), Some(ProcessEnd::Signal(_)));
        let is_absent = self.injection.is_some_and(|injection| {
            [Failure::Error(Errno::ENOENT), Failure::Repeated(Errno::ENOENT)].contains(&injection.failure)
        });
        let may_stay = is_killed || is_absent || self.evidence.stderr.contains("cannot remove");
        let may_stay = |name: &&String| *name == SOCKET && may_stay;
        let left: Vec<_> = self.evidence.files.iter().filter(|name| !may_stay(name)).collect();
        (!left.is_empty()).then(|| format!("the files {left:?} are left"))
    }

    /// The ledger: a connection is lost only together with its owner.
    fn clients(&self) -> Option<String> {
        if !self.primary_finished() {
            return None;
        }
        let ends = &self.evidence.clients;
        let bad = ends.iter().filter(|end| matches!(end, ClientEnd::Refused(_) | ClientEnd::Late)).count();
        let (lost, allowed) = (self.lost(), self.allowed());
        (bad > 0 || lost > allowed).then(|| format!("{lost} clients lost, {allowed} allowed: {ends:?}"))
    }

    fn allowed(&self) -> usize {
        let Some(injection) = self.injection.filter(|_| self.setup.victim == Victim::Worker) else {
            return 0;
        };
        let victim = self.workers().find(|worker| worker.number == 1);
        // std aborts a process without memory for a new thread. SIGKILL is a signal, too.
        if victim.is_some_and(|victim| matches!(victim.end, Some(ProcessEnd::Signal(_)))) {
            return AT_ONCE;
        }
        match injection.failure {
            Failure::Error(_) | Failure::Repeated(_) if OF_CONNECTIONS.contains(&injection.call) => {
                injection.failure.calls() as usize
            }
            Failure::Error(_) | Failure::Repeated(_) | Failure::Short | Failure::Kill | Failure::Stop => 0,
        }
    }

    fn order(&self) -> Vec<String> {
        let scenario = scenario(!self.primary_finished());
        let trace = Trace::of(complete(&self.evidence.lines), &BTreeSet::new());
        let misfits = order::check(&scenario, &trace);
        misfits.iter().map(|misfit| format!("contract: {misfit}")).collect()
    }
}

fn finished(process: &ProcessReport) -> bool {
    process.end == Some(ProcessEnd::Code(0))
}

/// Calls of the server on a client's connection.
const OF_CONNECTIONS: [Sysno; 7] = [
    Sysno::recvfrom,
    Sysno::sendto,
    Sysno::shutdown,
    Sysno::epoll_ctl,
    Sysno::read,
    Sysno::write,
    Sysno::writev,
];

/// Adds the lines missing after a kill between a call and the line about the call.
fn complete(lines: &[Line]) -> Vec<Line> {
    let mut served: BTreeMap<u64, i32> = BTreeMap::new();
    for line in lines.iter().filter(|line| line.observation.what == "listening") {
        match line.observer {
            Observer::Worker(worker) => *served.entry(worker).or_default() += 1,
            Observer::Primary => {
                *served.entry(line.observation.worker().unwrap_or_default()).or_default() -= 1;
            }
            Observer::Client(_) => {}
        }
    }
    let missing = served.into_iter().filter(|(_, count)| *count < 0);
    let added = missing.map(|(worker, _)| Line {
        observer: Observer::Worker(worker),
        observation: Observation::new("listening").with("server", "web").with("port", 1),
    });
    // A worker may be killed before `online` is written: the primary cannot observe the start.
    let is_online = |worker: u64| {
        let mut primary = lines.iter().filter(|line| line.observer == Observer::Primary);
        primary.any(|line| line.observation.what == "online" && line.observation.worker() == Some(worker))
    };
    let is_observable = |line: &&Line| match line.observer {
        Observer::Worker(worker) => is_online(worker),
        Observer::Primary => line.observation.what != RELOADED,
        Observer::Client(_) => true,
    };
    lines.iter().filter(is_observable).cloned().chain(added).collect()
}

/// A scenario with the events of a supervised cluster: a supervisor disconnects workers at any time. The
/// contract permits only the exits and disconnects of a rule. So the scenario has rules for the message
/// `never`: no worker sends the message.
fn scenario(may_die: bool) -> Scenario {
    let (end, clause) = if may_die { (MAY_DIE, MAY_START) } else { ("", FORKS) };
    let json = SCENARIO.replace("END_OF_PRIMARY", end).replace("CLAUSE", clause);
    Scenario::parse(Path::new("inject.json"), &json).expect("the scenario below")
}

const MAY_DIE: &str = r#", { "on": "message text=end", "do": [{ "exit": 1 }] }"#;
const MAY_START: &str = r#""seen": "primary: start", "times": [0, 1]"#;
const FORKS: &str = r#""seen": "primary: fork worker=1", "times": 1"#;

const SCENARIO: &str = r#"{
  "name": "inject",
  "description": "A supervisor disconnects workers at any time.",
  "primary": [
    { "on": "start", "do": [{ "fork": 2 }] },
    { "on": "message text=never", "do": ["disconnect_all"] }END_OF_PRIMARY
  ],
  "worker": [
    { "on": "start", "do": [{ "listen": { "server": "web" } }] },
    { "on": "message text=never", "do": [{ "exit": 1 }] },
    { "on": "message text=never", "do": [{ "exit": 2 }] },
    { "on": "message text=never", "do": [{ "exit": 101 }] },
    { "on": "message text=never", "do": [{ "exit": 127 }] }
  ],
  "contract": [{ "because": "Once.", CLAUSE }]
}"#;
