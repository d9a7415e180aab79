//! Mixed clusters: each side starts the workers of the other side, and every scenario holds.
//!
//! Stubs named `node` test the command of the workers. The scenarios need Node itself.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use cluster_conformance::arm::mixed::{Mixed, Side};
use cluster_conformance::arm::node::Runtime;
use cluster_conformance::arm::unix::Unix;
use cluster_conformance::exceptions::{self, Exceptions};
use cluster_conformance::families::Families;
use cluster_conformance::fuzz::{self, Real, RunOutcome};
use cluster_conformance::observation::Observer;
use cluster_conformance::report::Report;
use cluster_conformance::scenario::{self, Scenario};
use cluster_conformance::suite::Suite;
use cluster_conformance::trace::Trace;
use cluster_conformance::verdict::Checker;
use serde_json::json;

use crate::executable;

const CONFORMANCE: &str = env!("CARGO_BIN_EXE_conformance");

/// Many times the number of worlds that any trace of the suite needs.
const WORLDS: usize = 1_000_000;

const SCENARIO: &str = r#"{
  "name": "s",
  "description": "A worker sends a word and exits.",
  "primary": [{ "on": "start", "do": [{ "fork": 1 }] }],
  "worker": [{ "on": "start", "do": [{ "send": "word" }, { "exit": 3 }] }],
  "contract": [{ "because": "The code arrives.", "seen": "primary: exit code=3", "times": 1 }]
}"#;

/// A directory with the scenario and a stub named `node`.
struct NodeStub {
    directory: tempfile::TempDir,
}

impl NodeStub {
    fn new(node: &str) -> Self {
        let stub = NodeStub { directory: tempfile::tempdir().expect("a temporary directory") };
        let script = format!("#!/bin/sh\n[ \"$1\" = --version ] && echo v20.0.0 && exit\n{node}\n");
        executable::write(&stub.path("node"), &script);
        fs::write(stub.path("s.json"), SCENARIO).expect("a new file");
        stub
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn run(&self, primary: Side) -> Trace {
        let scenario = Scenario::load(&self.path("s.json")).expect("the scenario above");
        let node = Runtime::find(&self.path("node")).expect("a version");
        let mixed = Mixed::new(primary, Unix::at(Path::new(CONFORMANCE)), node);
        mixed.run(&scenario).expect("no error")
    }
}

#[test]
fn our_primary_starts_node_workers() {
    let stub =
        NodeStub::new("echo \"worker $NODE_UNIQUE_ID: start script=${1##*/} scenario=${2##*/}\"; exit 4");
    let trace = stub.run(Side::Unix);
    let seen = trace.seen_by(Observer::Worker(1)).iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(seen, ["start script=recorder.cjs scenario=s.json"]);
    let exit = trace.seen_by(Observer::Primary).last().expect("a line of the primary");
    assert_eq!((exit.what.as_str(), exit.detail("code")), ("exit", Some("4")), "{trace}");
}

#[test]
fn node_primary_starts_our_workers() {
    let stub = NodeStub::new(
        "echo \"primary: start script=${1##*/} scenario=${2##*/} executable=${3##*/} role=$4 part=${5##*/} more=$6\"",
    );
    let trace = stub.run(Side::Node);
    let seen = trace.to_string();
    let expected =
        "start script=recorder.cjs scenario=s.json executable=conformance role=play part=s.json more=";
    assert_eq!(seen, format!("primary\n  {expected}\n"));
}

/// The installed Node, if its version is 20.
fn node_20() -> Option<Runtime> {
    Runtime::find(Path::new("node")).ok().filter(|node| node.name().starts_with("node v20."))
}

/// The number of forms tried in each family.
const FORMS_OF_A_FAMILY: usize = 6;

/// A scenario with a Node worker that calls `listen` in this form, and serves a client.
fn listening(form: &str, policy: &str, address: &str, directory: &Path) -> Scenario {
    let mut listen = json!({ "server": "web", "form": form });
    match address {
        "any" => {}
        "path" => listen["path"] = json!("web.sock"),
        host => listen["host"] = json!(host),
    }
    let connect = if address == "::1" { "connect_v6" } else { "connect" };
    let text = json!({
        "name": "form",
        "description": "A worker serves a client and exits.",
        "settings": { "policy": policy },
        "primary": [
            { "on": "start", "do": [{ "fork": 1 }] },
            { "on": "message text=served", "do": [{ "disconnect": "same" }] },
        ],
        "worker": [
            { "on": "start", "do": [{ "listen": listen }] },
            { "on": "connection", "do": [{ "reply": "hello" }, "end"] },
            { "on": "end", "do": [{ "send": "served" }] },
        ],
        "clients": [{ "steps": [{ "await": "primary: listening #1" }, { (connect): "web" }] }],
        "contract": [{ "because": "It serves.", "seen": "client 1: data text=hello", "times": 1 }],
    });
    let path = directory.join("form.json");
    fs::write(&path, text.to_string()).expect("a file");
    Scenario::load(&path).expect("a valid scenario")
}

/// The forms of a family open the same server under the Rust primary.
#[test]
fn forms_serve_under_our_primary() {
    let Some(node) = node_20() else {
        writeln!(io::stderr(), "NOT RUN: the call forms, because there is no `node` 20 in PATH")
            .expect("standard error is open");
        return;
    };
    let exceptions = Exceptions::load(Path::new(exceptions::FILE));
    let checker = fuzz::RunChecker {
        exceptions: exceptions.expect("no error"),
        defects: Vec::new(),
        budget: WORLDS.into(),
        record: None,
    };
    let directory = tempfile::tempdir().expect("a temporary directory");
    let real = Real::Mixed(Mixed::new(Side::Unix, Unix::at(Path::new(CONFORMANCE)), node));
    for (address, forms) in &Families::ours().listen {
        // `conformance forms` tries every form alone. Here, a few forms of each family serve a client in a
        // scenario.
        for form in forms.iter().step_by(forms.len().div_ceil(FORMS_OF_A_FAMILY)) {
            for policy in ["round_robin", "shared"] {
                let scenario = listening(form, policy, address, directory.path());
                assert_eq!(checker.check(&scenario, &real), RunOutcome::Fits, "{form}, {policy}");
            }
        }
    }
}

#[test]
fn mixed_claims_hold() {
    let Some(node) = node_20() else {
        // The test harness captures the output of the print macros.
        writeln!(io::stderr(), "NOT RUN: the mixed arms, because there is no `node` 20 in PATH")
            .expect("standard error is open");
        return;
    };
    let unix = Unix::at(Path::new(CONFORMANCE));
    let scenarios = Scenario::all(Path::new(scenario::DIRECTORY));
    let suite = Suite {
        scenarios: scenarios.expect("a valid scenario"),
        recordings: Vec::new(),
        sim: false,
        unix: None,
        node: None,
        foreign: Vec::new(),
        mixed: [Side::Unix, Side::Node].map(|side| Mixed::new(side, unix.clone(), node.clone())).into(),
        samples: 0,
        runs: 3,
    };
    let exceptions = Exceptions::load(Path::new(exceptions::FILE));
    let checker = Checker::new(exceptions.expect("no error"), WORLDS);
    let mut verdicts = Vec::new();
    suite.run(&checker, &AtomicBool::new(false), |verdict| verdicts.push(verdict));
    assert_eq!(verdicts.len(), suite.claims(), "every claim has a verdict");
    let report = Report::new(verdicts, Vec::new(), Vec::new(), Duration::ZERO);
    assert!(report.holds(), "\n{report}");
}
