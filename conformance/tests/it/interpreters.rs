//! The two interpreters agree: for a recorded trace, the Rust interpreter returns the actions that the
//! JavaScript interpreter has performed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cluster_conformance::fixture::{self, Fixture};
use cluster_conformance::observation::{Observation, Observer};
use cluster_conformance::program::{Primary, Worker};
use cluster_conformance::scenario::{self, PrimaryAction, Scenario, WorkerAction};
use cluster_conformance::trace::Trace;

/// Texts of messages, by worker.
type Texts = BTreeMap<u64, Vec<String>>;

/// The actions that the Rust interpreter returns for a recorded run.
#[derive(Debug, Default)]
struct Asked {
    forks: usize,
    looks: usize,
    envs: usize,
    to_workers: Texts,
    to_primary: Texts,
    replies: Vec<String>,
}

impl Asked {
    fn in_run(scenario: &Scenario, trace: &Trace) -> Self {
        let mut asked = Asked::default();
        let mut primary = Primary::new(scenario);
        for line in trace.seen_by(Observer::Primary) {
            primary.react(line).iter().for_each(|action| asked.of_primary(action));
        }
        for id in trace.observers.keys().copied().filter_map(worker) {
            let mut program = Worker::new(scenario, id);
            for line in trace.seen_by(Observer::Worker(id)) {
                program.react(line).iter().for_each(|action| asked.of_worker(id, action));
            }
        }
        asked.replies.sort();
        asked
    }

    fn of_primary(&mut self, action: &PrimaryAction) {
        self.forks += action.forks() as usize;
        if let PrimaryAction::Inspect(_) = action {
            self.looks += 1;
        } else if let PrimaryAction::Reply(text) = action {
            self.replies.push(text.to_string());
        } else if let PrimaryAction::SendHandle(send) = action {
            self.to_workers.entry(send.to).or_default().push(send.text.to_string());
        } else if let PrimaryAction::Send(send) | PrimaryAction::TrySend(send) = action {
            self.to_workers.entry(send.to.id()).or_default().push(send.text.to_string());
        }
    }

    fn of_worker(&mut self, id: u64, action: &WorkerAction) {
        let mut send = |text: &str| self.to_primary.entry(id).or_default().push(text.to_owned());
        if let WorkerAction::Send(text) | WorkerAction::TrySend(text) = action {
            send(text.as_str());
        } else if let WorkerAction::SendHandle(handle) = action {
            send(handle.text.as_str());
        } else if let WorkerAction::SendForm(form) = action {
            send(form.json());
        } else if let WorkerAction::Reply(text) = action {
            self.replies.push(text.to_string());
        } else if let WorkerAction::Env(_) = action {
            self.envs += 1;
        } else if *action == WorkerAction::Inspect {
            self.looks += 1;
        }
    }
}

fn worker(observer: Observer) -> Option<u64> {
    if let Observer::Worker(id) = observer { Some(id) } else { None }
}

fn texts<'a>(lines: impl IntoIterator<Item = &'a Observation>) -> Vec<String> {
    lines.into_iter().filter_map(|line| line.detail("text")).map(str::to_owned).collect()
}

fn is_killed(trace: &Trace, id: u64) -> bool {
    let is_end = |line: &&Observation| line.what == "exit" && line.worker() == Some(id);
    let end = trace.seen_by(Observer::Primary).iter().find(is_end);
    end.is_some_and(|end| end.detail("signal") != Some("-"))
}

fn count(trace: &Trace, what: &str) -> usize {
    trace.lines().filter(|(_, line)| line.what == what).count()
}

#[track_caller]
fn agree(scenario: &Scenario, trace: &Trace) {
    let asked = Asked::in_run(scenario, trace);
    assert_eq!(asked.forks, count(trace, "fork"), "forks");
    assert_eq!(asked.looks, count(trace, "look"), "looks");
    assert_eq!(asked.envs, count(trace, "env"), "variables written down");
    let by_clients = trace.lines().filter(|(observer, _)| matches!(observer, Observer::Client(_)));
    let mut received = texts(by_clients.map(|(_, line)| line));
    received.sort();
    assert_eq!(asked.replies, received, "replies");
    for id in trace.observers.keys().copied().filter_map(worker) {
        let messages = |line: &&Observation| line.what == "message" && line.worker() == Some(id);
        let received = texts(trace.seen_by(Observer::Primary).iter().filter(messages));
        let unsent = |line: &&Observation| line.what == "tried" && line.detail("sent") == Some("false");
        let unsent = texts(trace.seen_by(Observer::Worker(id)).iter().filter(unsent));
        let mut asked_of_worker = asked.to_primary.get(&id).cloned().unwrap_or_default();
        asked_of_worker.retain(|text| !unsent.contains(text));
        // Messages of a worker may be lost if the worker is killed or outlives the primary.
        if scenario.primary_may_die() || is_killed(trace, id) {
            assert!(
                asked_of_worker.starts_with(&received),
                "messages of worker {id}: {received:?} of {asked_of_worker:?}"
            );
        } else {
            assert_eq!(asked_of_worker, received, "messages of worker {id}");
        }
        let received =
            texts(trace.seen_by(Observer::Worker(id)).iter().filter(|line| line.what == "message"));
        // Messages to a worker that has exited are lost.
        let sent = asked.to_workers.get(&id).cloned().unwrap_or_default();
        assert!(sent.starts_with(&received), "messages to worker {id}: {received:?} of {sent:?}");
    }
}

#[test]
fn interpreters_agree() {
    let scenarios = Scenario::all(Path::new(scenario::DIRECTORY)).expect("no error");
    let mut traces = 0;
    for runtime in fs::read_dir(fixture::DIRECTORY).expect("there are recordings") {
        let runtime = runtime.expect("a readable directory").path();
        let name = runtime.file_name().unwrap_or_default().to_string_lossy().replacen('-', " ", 1);
        for scenario in scenarios.iter().filter(|scenario| scenario.runs_on(&name)) {
            let fixture = Fixture::load(&runtime, &scenario.name).expect("no error");
            for recorded in &fixture.traces {
                println!("{} on {}:\n{}", scenario.name, fixture.runtime, recorded.trace);
                agree(scenario, &recorded.trace);
                traces += 1;
            }
        }
    }
    assert!(traces > 0, "nothing was recorded");
}
