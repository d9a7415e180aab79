//! The errors of invalid scenarios: the file, the line, and the expectation.

use std::path::Path;

use super::{DIRECTORY, Scenario};
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
fn the_good_one_is_good() {
    Scenario::parse(Path::new("dir/good.json"), GOOD).expect("it is the example");
}

#[test]
fn every_scenario_of_the_suite_is_well_formed() {
    let all = Scenario::all(Path::new(DIRECTORY)).unwrap_or_else(|mistake| unreachable!("{mistake}"));
    assert!(!all.is_empty());
}

#[test]
fn the_example_of_the_manual_is_well_formed() {
    let (_, rest) = MANUAL.split_once("```json\n").expect("the manual begins with an example");
    let (example, _) = rest.split_once("```").expect("the example ends");
    let scenario = Scenario::parse(Path::new("exit_code_and_respawn.json"), example);
    scenario.unwrap_or_else(|mistake| unreachable!("{mistake}"));
}

#[test]
fn the_manual_explains_every_word_and_every_detail() {
    for (word, details) in [vocabulary::PRIMARY, vocabulary::WORKER, vocabulary::CLIENT].into_iter().flatten()
    {
        let client = ["connected", "refused"].contains(word);
        assert!(client || MANUAL.contains(&format!("| `{word}` |")), "no row for `{word}`");
        for detail in *details {
            assert!(MANUAL.contains(&format!("`{detail}`")), "nothing about `{detail}`");
        }
    }
}

/// The error after replacing `from` by `to` in the good scenario.
#[track_caller]
fn mistake(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "the example has no `{from}`");
    let text = GOOD.replacen(from, to, 1);
    Scenario::parse(Path::new("dir/good.json"), &text).expect_err("this is a mistake").to_string()
}

/// Each of these mistakes is found, with an error that starts with this text.
#[track_caller]
fn all_found(mistakes: &[(&str, &str, &str)]) {
    for (from, to, expected) in mistakes {
        let seen = mistake(from, to);
        assert!(seen.starts_with(expected), "{seen}\n  instead of\n{expected}");
    }
}

#[test]
fn mistakes_of_form_are_found_on_their_line() {
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
            "dir/good.json:14: `listening #1`: expected `WHOSE: WORD key=value ...`",
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
fn mistakes_of_sense_are_found_on_their_line() {
    all_found(&[
        (
            "\"web\" } }] }",
            "\"web\", \"form\": \"text\", \"exclusive\": true } }] }",
            "dir/good.json:9: `text` means something else: expected a form of this action in `forms/families.json`",
        ),
        ("\"good\"", "\"bad\"", "dir/good.json:2: `bad`: expected the name of the file, `good`"),
        (
            "\"message text",
            "\"mesage text",
            "dir/good.json:6: `mesage` is nothing that a primary observes: expected one of `start`",
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
        ("{ \"connect\": \"web\" }", "\"end\"", "dir/good.json:14: a client can write or end nothing yet"),
        (
            "client: data",
            "client 2: data",
            "dir/good.json:17: `client 2: data text=hello`: expected one of the 1 clients",
        ),
        ("client: data", "me: data", "dir/good.json:17: `me: data text=hello`: `me` is for clients"),
        (
            "text=hello\"",
            "text=hello #1\"",
            "dir/good.json:17: `client: data text=hello #1`: a claim is about all such lines",
        ),
        (
            "\"then\": \"primary: exit\"",
            "\"then\": \"worker 1: end\"",
            "dir/good.json:18: only one observer's own order",
        ),
    ]);
}

#[test]
fn claims_about_what_nothing_has_are_found_on_their_line() {
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
            "dir/good.json:17: expected one list at least, and a claim in each",
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
fn more_workers_and_clients_than_a_machine_can_have_are_found_on_their_line() {
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
fn standard_descriptors_without_exactly_one_channel_are_found_on_their_line() {
    for (stdio, channels) in [("", 0), ("\"ignore\", \"pipe\"", 0), ("\"ipc\", \"ipc\"", 2)] {
        let to = format!("{{ \"setup\": {{\n\"stdio\": [{stdio}] }} }}, {{ \"fork\": 1 }}");
        let expected = format!("dir/good.json:6: `stdio` has `ipc` {channels} times");
        let seen = mistake("{ \"fork\": 1 }", &to);
        assert!(seen.starts_with(&expected), "{seen}\n  instead of\n{expected}");
    }
}

#[test]
fn a_server_of_its_own_that_keeps_the_primary_for_ever_is_found_on_its_line() {
    let fork = "{ \"fork\": 1 }";
    let open = format!("{fork},\n{{ \"open\": {{ \"server\": \"mine\" }} }}");
    let expected = "dir/good.json:6: `mine` is never closed, and the primary never ends: expected { \"close\": \"mine\" } in a rule";
    assert_eq!(mistake(fork, &open), expected);
    for ends in ["{ \"close\": \"mine\" }", "{ \"exit\": 0 }", "\"crash\""] {
        let text = GOOD.replacen(fork, &format!("{open}, {ends}"), 1);
        Scenario::parse(Path::new("dir/good.json"), &text).expect("it can end");
    }
}

#[test]
fn what_a_worker_would_never_do_is_found_on_its_line() {
    let (reply, client) = ("[{ \"reply\": \"hello\" }, \"end\"]", "{ \"steps\"");
    all_found(&[
        (
            reply,
            "[{ \"block_until_path\": \"gate\" },\n\"end\"]",
            "dir/good.json:10: behind `block_until_path` nothing is done: expected it as the last action on `connection`",
        ),
        (
            reply,
            "[\"leave_child_with_channel\", \"leave_child_with_channel\"]",
            "dir/good.json:10: a worker leaves one child, and on `connection` it may be another",
        ),
        (
            "\"end\", \"do\": [{ \"send\": \"served\" }",
            "\"connection #1\", \"do\": [\"leave_child_with_channel\"] },\n{ \"on\": \"data text=x\", \"do\": [\"leave_child_with_channel\"",
            "dir/good.json:12: a worker leaves one child, and on `data text=x` it may be another",
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
fn a_file_that_is_not_there_is_named() {
    let mistake = Scenario::load(Path::new("no/such.json")).expect_err("it is not there").to_string();
    assert!(mistake.starts_with("no/such.json: cannot be read: "), "{mistake}");
}

#[test]
fn workers_are_not_counted_where_a_rule_can_fork_again_and_again() {
    let again =
        GOOD.replace("\"disconnect\": \"same\"", "\"fork\": 1").replace("client: data", "worker 9: data");
    Scenario::parse(Path::new("dir/good.json"), &again).expect("worker 9 is not excluded");
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pipe = directory.path().join("pipe.json");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a new pipe");
    let mistake = Scenario::all(directory.path()).expect_err("it is no scenario").to_string();
    assert!(mistake.ends_with("pipe.json: cannot be read: it is no regular file"), "{mistake}");
}
