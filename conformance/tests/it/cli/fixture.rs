//! A directory with two small scenarios, their recordings and an empty `PATH`; and the command, run in this
//! directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cluster_conformance::arm::sim::Sim;
use cluster_conformance::fixture::{Fixture, Load};
use cluster_conformance::scenario::Scenario;
use tempfile::TempDir;

use crate::executable;

const CODE: &str = r#"{
  "name": "code",
  "description": "A worker exits with a code.",
  "primary": [{ "on": "start", "do": [{ "fork": 1 }] }],
  "worker": [{ "on": "start", "do": [{ "exit": 3 }] }],
  "contract": [{ "because": "The code arrives.", "seen": "primary: exit code=3", "times": 1 }]
}
"#;

const HELLO: &str = r#"{
  "name": "hello",
  "description": "A worker greets one client. This description of more than a hundred characters is too long for a line, and is wrapped in the list.",
  "primary": [
    { "on": "start", "do": [{ "fork": 1 }] },
    { "on": "message", "do": ["disconnect_all"] }
  ],
  "worker": [
    { "on": "start", "do": [{ "listen": { "server": "web" } }] },
    { "on": "connection", "do": [{ "reply": "hello" }, "end"] },
    { "on": "end", "do": [{ "send": "greeted" }] }
  ],
  "clients": [{ "steps": [{ "connect": "web" }] }],
  "contract": [{ "because": "The client is greeted.", "seen": "client 1: data text=hello", "times": 1 }]
}
"#;

/// The runtime of the recordings.
pub(crate) const RUNTIME: &str = "node v20.0.0";

pub(crate) struct CliFixture {
    directory: TempDir,
}

impl CliFixture {
    pub(crate) fn new() -> Self {
        let cli = CliFixture { directory: tempfile::tempdir().expect("a temporary directory") };
        fs::create_dir(cli.path("empty")).expect("a new directory");
        cli.write("exceptions.json", "[]");
        for (name, text) in [("code", CODE), ("hello", HELLO)] {
            cli.scenario(name, text);
            cli.record(name);
        }
        cli
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    pub(crate) fn scenario(&self, name: &str, text: &str) {
        self.write(&format!("scenarios/{name}.json"), text);
    }

    /// Changes a file.
    #[track_caller]
    pub(crate) fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).expect("a file");
        assert!(text.contains(from), "`{from}` is not in\n{text}");
        self.write(name, &text.replace(from, to));
    }

    /// Records a quiet run of the simulator in the place of a run of Node.
    pub(crate) fn record(&self, name: &str) {
        let path = self.path("scenarios").join(name).with_extension("json");
        let scenario = Scenario::load(&path).expect("a scenario of this file");
        let mut fixture = Fixture::new(name, RUNTIME);
        fixture.add(Load::Idle, Sim::new(&scenario).quiet().expect("no check fails").trace);
        fixture.save(&self.path("recordings").join(RUNTIME.replace(' ', "-"))).expect("a recording");
    }

    /// A script in the place of Node.
    pub(crate) fn node(&self, script: &str) -> PathBuf {
        let path = self.path("bin/node");
        fs::create_dir_all(self.path("bin")).expect("our own directory");
        executable::write(&path, &format!("#!/bin/sh\n{script}\n"));
        path
    }

    /// The command in this directory, with an empty `PATH`.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conformance"));
        command.args(args).env("PATH", self.path("empty")).current_dir(&self.directory);
        for (option, name) in [
            ("--scenarios", "scenarios"),
            ("--recordings", "recordings"),
            ("--exceptions", "exceptions.json"),
        ] {
            if !args.contains(&option) {
                command.arg(option).arg(self.path(name));
            }
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> CliOutput {
        CliOutput::from(
            &self.command(args).output().expect("the command can be started"),
            self.directory.path(),
        )
    }
}

/// The output of the command, without the parts that differ from run to run.
#[derive(Debug)]
pub(crate) struct CliOutput {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl CliOutput {
    fn from(output: &Output, directory: &Path) -> Self {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes).replace(&*directory.to_string_lossy(), "DIR");
            let text = text.replace(env!("CARGO_MANIFEST_DIR"), "CONFORMANCE");
            text.lines().map(|line| without_seconds(&without_replay(line)) + "\n").collect()
        };
        CliOutput { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }
}

/// Everything, for a snapshot.
impl std::fmt::Display for CliOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let code = self.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        write!(f, "exit code {code}\n--- standard output\n{}--- standard error\n{}", self.out, self.err)
    }
}

/// The line without a replay line, which changes with every change of the simulator.
fn without_replay(line: &str) -> String {
    let Some((head, tail)) = line.split_once("sim:v1:") else { return line.to_owned() };
    let end = tail.find(['\'', '"', ' ']).unwrap_or(tail.len());
    format!("{head}sim:v1:...{}", &tail[end..])
}

fn without_seconds(line: &str) -> String {
    let Some((head, tail)) = line.split_once(" in ") else { return line.to_owned() };
    match tail.split_once(" s: ") {
        Some((seconds, rest)) if seconds.parse::<f64>().is_ok() => format!("{head} in TIME s: {rest}"),
        _ => line.to_owned(),
    }
}

/// Compares with a snapshot. Lines of progress are left out, because they have no fixed order.
#[track_caller]
pub(crate) fn snapshot(name: &str, printed: &CliOutput) {
    insta::with_settings!({ snapshot_path => "../../../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        let printed = printed.to_string();
        let kept: Vec<_> = printed.lines().filter(|line| !line.starts_with('[')).collect();
        insta::assert_snapshot!(name, kept.join("\n"));
    });
}
