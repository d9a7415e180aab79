//! The errors of invalid scenarios: the file, the line and the expectation.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::verb::ScenarioVerb;
use super::{DIRECTORY, PrimaryAction, Scenario, Step, WorkerAction};
use crate::vocabulary;

const MANUAL: &str = include_str!("../../scenarios/README.md");

const GOOD: &str = r#"{
  "name": "good",
  "description": "One worker serves one client.",
  "primary": [
    { "on": "start", "do": [{ "fork": 1 }] },
    { "on": "message text=served", "do": [{ "disconnect": "same" }] }
  ],
  "worker": [
    { "on": "start", "do": [{ "listen": { "server": "web" } }] },
    { "on": "connection", "do": [{ "reply": "hello" }, "end"] },
    { "on": "end", "do": [{ "send": "served" }] }
  ],
  "clients": [
    { "steps": [{ "await": "primary: listening #1" }, { "connect": "web" }] }
  ],
  "contract": [
    { "because": "Greeted.", "seen": "client: data text=hello", "times": 1 },
    { "because": "In order.", "first": "primary: message", "then": "primary: exit" }
  ]
}"#;

#[test]
fn good_scenario_is_valid() {
    Scenario::parse(Path::new("dir/good.json"), GOOD).expect("the valid example");
}

#[test]
fn suite_scenarios_are_valid() {
    let all = Scenario::all(Path::new(DIRECTORY)).expect("a valid scenario");
    assert!(!all.is_empty());
}

#[test]
fn manual_example_is_valid() {
    let (_, rest) = MANUAL.split_once("```json\n").expect("the manual begins with an example");
    let (example, _) = rest.split_once("```").expect("the example ends");
    let scenario = Scenario::parse(Path::new("exit_code_and_respawn.json"), example);
    scenario.expect("a valid scenario");
}

#[test]
fn manual_explains_every_word() {
    for (word, details) in [vocabulary::PRIMARY, vocabulary::WORKER, vocabulary::CLIENT].into_iter().flatten()
    {
        let client = ["connected", "refused"].contains(word);
        assert!(client || MANUAL.contains(&format!("| `{word}` |")), "no row for `{word}`");
        for detail in *details {
            assert!(MANUAL.contains(&format!("`{detail}`")), "nothing about `{detail}`");
        }
    }
}

/// The rows of the manual for the verbs of one observer, from the declaration. Each example must be the
/// notation of its verb.
#[track_caller]
fn rows<Action: ScenarioVerb + DeserializeOwned>() -> String {
    let rows = Action::MANUAL.iter().enumerate().map(|(number, lines)| {
        let text = lines.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        let (example, effect) =
            text.strip_prefix('`').and_then(|text| text.split_once("`: ")).expect("an example");
        let action: Action = serde_json::from_str(example).expect(example);
        assert_eq!(action.number(), number, "{example}");
        format!("| `{example}` | {effect} |\n")
    });
    rows.collect()
}

/// The name of the verb in a row.
fn verb(row: &str) -> &str {
    row.split('"').nth(1).expect("a row has its verb in quotes")
}

#[test]
fn manual_has_the_declared_verbs() {
    let tables = [
        ("**Actions of a primary**\n\n| action | |\n|---|---|\n", rows::<PrimaryAction>()),
        ("**Actions of a worker**\n\n| action | |\n|---|---|\n", rows::<WorkerAction>()),
        ("\n| step | |\n|---|---|\n", rows::<Step>()),
    ];
    let mut manual = MANUAL.to_owned();
    for (head, rows) in &tables {
        let start = manual.find(head).expect(head) + head.len();
        let end = start + manual[start..].find("\n\n").expect("a table ends") + 1;
        manual.replace_range(start..end, rows);
    }
    if std::env::var_os("MANUAL").is_some_and(|value| value == "update") {
        std::fs::write(Path::new(DIRECTORY).join("README.md"), &manual).expect("the manual is writable");
    } else {
        let mut lines = MANUAL.lines().zip(manual.lines());
        let differing = lines.find(|(manual, declared)| manual != declared);
        assert_eq!(differing, None, "`MANUAL=update` writes the tables of the manual");
        assert_eq!(MANUAL.len(), manual.len(), "a row is missing; `MANUAL=update` writes the tables");
    }
}

/// The recorder implements each verb of primaries and of workers.
#[test]
fn recorder_has_the_declared_verbs() {
    let recorder = include_str!("../../recorder/recorder.cjs");
    let (_, programs) = recorder.split_once("// ---- the primary").expect("the program of the primary");
    let (primary, worker) = programs.split_once("// ---- a worker").expect("the program of a worker");
    for (program, rows) in [(primary, rows::<PrimaryAction>()), (worker, rows::<WorkerAction>())] {
        for verb in rows.lines().map(verb) {
            let has = [",", ":"].iter().any(|end| program.contains(&format!("\n    {verb}{end}")));
            assert!(has, "recorder.cjs lacks `{verb}`");
        }
    }
}

/// The error of the good scenario after `from` is replaced by `to`.
#[track_caller]
fn mistake(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the example has no `{from}`");
    let text = GOOD.replacen(from, to, 1);
    Scenario::parse(Path::new("dir/good.json"), &text).expect_err("this is a mistake").to_string()
}

/// Each of these mistakes leads to an error that begins with the given text.
#[track_caller]
fn all_found(mistakes: &[(&str, &str, &str)]) {
    for (from, to, expected) in mistakes {
        let seen = mistake(from, to);
        assert!(seen.starts_with(expected), "{seen}\n  instead of\n{expected}");
    }
}

#[test]
fn syntax_errors_name_their_line() {
    all_found(&[
        (
            "\"description\"",
            "\"descriptoin\"",
            "dir/good.json:3: unknown field `descriptoin`, expected one of `name`, `description`",
        ),
        (
            "{ \"fork\": 1 }",
            "{ \"forc\": 1 }",
            "dir/good.json:5: unknown variant `forc`, expected one of `fork`",
        ),
        (
            "{ \"fork\": 1 }",
            "{ \"fork\": \"x\" }",
            "dir/good.json:5: invalid type: string \"x\", expected a number up to 1000",
        ),
        (
            "{ \"fork\": 1 }",
            "{ \"fork\": 4000000000 }",
            "dir/good.json:5: invalid value: integer `4000000000`, expected a number up to 1000",
        ),
        (
            "\"steps\"",
            "\"count\": 1001, \"steps\"",
            "dir/good.json:14: invalid value: integer `1001`, expected a number up to 1000",
        ),
        (
            "\"same\"",
            "\"that\"",
            "dir/good.json:6: invalid value: string \"that\", expected the id of a worker, or \"same\"",
        ),
        (
            "\"reply\": \"hello\"",
            "\"reply\": \"hello you\"",
            "dir/good.json:10: `hello you`: expected one word",
        ),
        ("listening #1", "listening #0", "dir/good.json:14: `listening #0`: expected a number from 1"),
        (
            "primary: listening",
            "listening",
            "dir/good.json:14: `listening #1`: expected `OBSERVER: WORD key=value ...`",
        ),
        (", \"times\": 1", "", "dir/good.json:17: expected `because` with one of: `seen` and `times`"),
        (
            "\"times\": 1",
            "\"times\": -1",
            "dir/good.json:17: invalid type: integer `-1`, expected a number of times",
        ),
        (
            " { \"connect\": \"web\" }",
            "\n{ \"connect\": \"w b\" },\n\"end\"",
            "dir/good.json:15: `w b`: expected one word",
        ),
        ("]\n\u{7d}", "]", "dir/good.json:19: EOF"),
    ]);
}

#[test]
fn validation_errors_name_their_line() {
    all_found(&[
        (
            "\"web\" } }] }",
            "\"web\", \"form\": \"text\", \"exclusive\": true } }] }",
            "dir/good.json:9: `text` is no form of this action: expected one of `forms/families.json`",
        ),
        ("\"good\"", "\"bad\"", "dir/good.json:2: `bad`: expected the name of the file, `good`"),
        (
            "\"message text",
            "\"mesage text",
            "dir/good.json:6: a primary never observes `mesage`: expected one of `start`",
        ),
        (
            "message text=",
            "message txt=",
            "dir/good.json:6: `message` has no detail `txt`: expected one of `worker`, `text`",
        ),
        (
            "\"message text=served\"",
            "\"all_disconnected\"",
            "dir/good.json:6: `all_disconnected` is about no worker",
        ),
        (
            "\"end\", \"do\": [{ \"send\": \"served\" }]",
            "\"closed\", \"do\": [{ \"reply\": \"served\" }]",
            "dir/good.json:11: `closed` has no connection",
        ),
        (
            "{ \"connect\": \"web\" }",
            "{ \"connect\": \"wep\" }",
            "dir/good.json:14: no worker opens `wep`: expected one of `web`",
        ),
        (
            "{ \"connect\": \"web\" }",
            "\"end\"",
            "dir/good.json:14: a client without a connection cannot write or end",
        ),
        (
            "client: data",
            "client 2: data",
            "dir/good.json:17: `client 2: data text=hello`: expected one of the 1 clients",
        ),
        ("client: data", "me: data", "dir/good.json:17: `me: data text=hello`: `me` is for clients"),
        (
            "text=hello\"",
            "text=hello #1\"",
            "dir/good.json:17: `client: data text=hello #1`: a clause covers all such lines",
        ),
        (
            "\"then\": \"primary: exit\"",
            "\"then\": \"worker 1: end\"",
            "dir/good.json:18: lines of two observers have no order",
        ),
    ]);
}

#[test]
fn empty_clauses_name_their_line() {
    all_found(&[
        (
            "\"seen\": \"client: data text=hello\", \"times\": 1",
            "\"cycle\": \"client: data\", \"detail\": \"txt\", \"over\": 1",
            "dir/good.json:17: `data` has no detail `txt`: expected one of `text`",
        ),
        (
            "\"seen\": \"client: data text=hello\", \"times\": 1",
            "\"cycle\": \"client: data\", \"detail\": \"text\", \"over\": 0",
            "dir/good.json:17: expected `over` at least one value",
        ),
        (
            "\"times\": 1",
            "\"times\": []",
            "dir/good.json:17: expected in `times`, a number that is permitted",
        ),
        (
            "\"seen\": \"client: data text=hello\", \"times\": 1",
            "\"one_of\": [[]]",
            "dir/good.json:17: expected at least one list, and a clause in each",
        ),
        (
            "\"disconnect\": \"same\"",
            "\"disconnect\": 2",
            "dir/good.json:6: worker 2 is never forked: expected an id up to 1",
        ),
        (
            "\"then\": \"primary: exit\"",
            "\"then\": \"primary: exit worker=7\"",
            "dir/good.json:18: worker 7 is never forked: expected an id up to 1",
        ),
        (
            "primary: listening #1",
            "worker 2: listening #1",
            "dir/good.json:14: worker 2 is never forked: expected an id up to 1",
        ),
    ]);
}

#[test]
fn limits_of_processes_name_their_line() {
    for (from, to, expected) in [
        (
            "{ \"disconnect\": \"same\" }",
            "{ \"fork\": 1000 }",
            "dir/good.json:6: the rules up to `message text=served` fork 1001 workers: expected at most 1000",
        ),
        (
            "{ \"steps\"",
            "{ \"count\": 1000, \"steps\": [] }, { \"steps\"",
            "dir/good.json:13: there are 1001 clients in all: expected at most 1000",
        ),
    ] {
        assert_eq!(mistake(from, to), expected);
    }
}

#[test]
fn stdio_needs_exactly_one_channel() {
    for (stdio, channels) in [("", 0), ("\"ignore\", \"pipe\"", 0), ("\"ipc\", \"ipc\"", 2)] {
        let to = format!("{{ \"setup\": {{\n\"stdio\": [{stdio}] }} }}, {{ \"fork\": 1 }}");
        let expected = format!("dir/good.json:6: `stdio` has `ipc` {channels} times");
        let seen = mistake("{ \"fork\": 1 }", &to);
        assert!(seen.starts_with(&expected), "{seen}\n  instead of\n{expected}");
    }
}

#[test]
fn unclosed_server_names_its_line() {
    let fork = "{ \"fork\": 1 }";
    let open = format!("{fork},\n{{ \"open\": {{ \"server\": \"mine\" }} }}");
    let expected = "dir/good.json:6: `mine` is never closed, and the primary never ends: expected { \"close\": \"mine\" } in a rule";
    assert_eq!(mistake(fork, &open), expected);
    for ends in ["{ \"close\": \"mine\" }", "{ \"exit\": 0 }", "\"crash\""] {
        let text = GOOD.replacen(fork, &format!("{open}, {ends}"), 1);
        Scenario::parse(Path::new("dir/good.json"), &text).expect("a scenario that ends");
    }
}

#[test]
fn unreachable_actions_name_their_line() {
    let (reply, client) = ("[{ \"reply\": \"hello\" }, \"end\"]", "{ \"steps\"");
    all_found(&[
        (
            reply,
            "[{ \"block_until_path\": \"gate\" },\n\"end\"]",
            "dir/good.json:10: no action runs behind `block_until_path`: expected it as the last action on `connection`",
        ),
        (
            reply,
            "[\"leave_child_with_channel\", \"leave_child_with_channel\"]",
            "dir/good.json:10: a worker leaves one child, and `connection` can leave another",
        ),
        (
            "\"end\", \"do\": [{ \"send\": \"served\" }",
            "\"connection #1\", \"do\": [\"leave_child_with_channel\"] },\n{ \"on\": \"data text=x\", \"do\": [\"leave_child_with_channel\"",
            "dir/good.json:12: a worker leaves one child, and `data text=x` can leave another",
        ),
    ]);
    for (line, clients, known) in
        [("connection", 1, true), ("connection", 2, false), ("data #1", 2, true), ("data", 1, false)]
    {
        let text = GOOD.replacen("\"connection\"", &format!("\"{line}\""), 1).replacen(
            reply,
            "[\"leave_child_with_channel\"]",
            1,
        );
        let text = text.replacen(client, &format!("{{ \"count\": {clients}, \"steps\""), 1);
        assert_eq!(Scenario::parse(Path::new("dir/good.json"), &text).is_ok(), known, "{line} of {clients}");
    }
}

#[test]
fn missing_scenario_names_its_path() {
    let mistake = Scenario::load(Path::new("no/such.json")).expect_err("it is not there").to_string();
    assert!(mistake.starts_with("no/such.json: cannot be read: "), "{mistake}");
}

#[test]
fn unbounded_forks_are_not_counted() {
    let again =
        GOOD.replace("\"disconnect\": \"same\"", "\"fork\": 1").replace("client: data", "worker 9: data");
    Scenario::parse(Path::new("dir/good.json"), &again).expect("worker 9 is not excluded");
}

#[test]
fn pipe_is_no_scenario() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pipe = directory.path().join("pipe.json");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a new pipe");
    let mistake = Scenario::all(directory.path()).expect_err("it is no scenario").to_string();
    assert!(mistake.ends_with("pipe.json: cannot be read: not a regular file"), "{mistake}");
}
