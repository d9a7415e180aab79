//! What is wrong is said plainly, with what would be right; the code is 2.

use std::fs;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::stage::{Said, Stage, snapshot};

#[track_caller]
fn refused(stage: &Stage, name: &str, args: &[&str]) {
    let said = stage.run(args);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said}");
    snapshot(name, &said);
}

#[test]
fn what_is_not_known_is_answered_with_what_is() {
    let stage = Stage::new();
    for (name, args) in [
        ("unknown_scenario", &["show", "helo"][..]),
        ("unknown_glob", &["run", "--scenario", "code", "--scenario", "hi*"]),
        ("unknown_arm", &["run", "--arm", "bun"]),
        ("unknown_option", &["run", "--scenarois", "x"]),
        ("unknown_command", &["rum"]),
        ("no_number", &["run", "--runs", "many"]),
        ("no_runs", &["run", "--runs", "0"]),
        ("no_samples", &["run", "--samples", "0"]),
        ("no_worlds", &["run", "--worlds", "0"]),
        ("node_without_an_arm", &["run", "--arm", "sim", "--arm", "unix", "--node", "node"]),
        ("node_not_shown", &["show", "hello", "--node", "node"]),
        ("node_not_fuzzed", &["fuzz", "--arm", "unix", "--node", "node"]),
        ("no_runs_to_record", &["record", "--runs", "0"]),
        ("replay_other", &["replay", "sim:v0:hello"]),
        ("replay_cut", &["replay", "sim:v1:hello:3:-:12"]),
        ("replay_unknown", &["replay", "sim:v1:bye:0:-:0.0000000000000000."]),
    ] {
        refused(&stage, name, args);
    }
}

#[test]
fn a_mistake_in_a_file_is_found_on_its_line() {
    let stage = Stage::new();
    stage.edit("scenarios/hello.json", "\"reply\"", "\"replay\"");
    refused(&stage, "mistake_in_a_scenario", &["list"]);
    let stage = Stage::new();
    stage.write("exceptions.json", "[{ \"scenario\": \"*\" }]");
    refused(&stage, "mistake_in_the_exceptions", &["run"]);
}

#[test]
fn a_place_where_nothing_is_is_named() {
    let stage = Stage::new();
    refused(&stage, "no_scenarios", &["list", "--scenarios", "nowhere"]);
    refused(&stage, "no_recordings", &["run", "--recordings", "nowhere"]);
    refused(&stage, "no_exceptions", &["run", "--exceptions", "nowhere"]);
}

#[test]
fn of_nothing_nothing_is_claimed() {
    let stage = Stage::new();
    refused(&stage, "empty_scenarios", &["run", "--scenarios", "empty"]);
    refused(&stage, "empty_recordings", &["run", "--recordings", "empty"]);
}

#[test]
fn a_scenario_without_a_recording_says_how_to_make_it() {
    let stage = Stage::new();
    fs::remove_file(stage.path("recordings/node-v20.0.0/code.json")).expect("a file");
    let said = stage.run(&["run", "--arm", "sim", "--samples", "1"]);
    snapshot("unrecorded", &said);
}

#[test]
fn nothing_can_be_recorded_without_node() {
    refused(&Stage::new(), "record_without_node", &["record"]);
}

fn claimed(said: &Said, claim: &str) -> bool {
    said.err.contains(&format!("{claim} holds hello"))
}

#[test]
fn without_node_the_others_run_and_it_is_said() {
    let said = Stage::new().run(&[]);
    assert_eq!(said.code, Some(0), "{said}");
    assert!(said.out.contains("Not run: the arm node: no runtime `node`"), "{said}");
    for claim in ["N ⊆ C", "S ⊆ C", "N ⊆ S", "U ⊆ C", "U ⊆ S"] {
        assert!(claimed(&said, claim), "{claim}\n{said}");
    }
}

#[test]
fn without_the_node_that_was_asked_for_the_others_run_and_the_code_is_2() {
    let stage = Stage::new();
    for (arm, args) in [
        ("node", &["run", "--arm", "node", "--arm", "sim"][..]),
        ("rust-node", &["run", "--arm", "rust-node", "--arm", "sim"]),
        ("node-rust", &["run", "--arm", "node-rust", "--arm", "sim"]),
        ("node-rust", &["run", "--node", "/nowhere/node"]),
    ] {
        let said = stage.run(args);
        assert_eq!(said.code, Some(2), "{said}");
        assert!(claimed(&said, "S ⊆ C") && said.out.contains(&format!("Not run: the arm {arm}:")), "{said}");
    }
}

#[test]
fn another_major_version_of_node_is_not_run() {
    let stage = Stage::new();
    let node = stage.node("echo v18.20.4");
    let node = node.to_string_lossy();
    let said = stage.run(&["run", "--arm", "node", "--node", &node]);
    assert_eq!(said.code, Some(2), "{said}");
    let why = "`node v18.20.4` is another major version than what was recorded (node-v20.0.0)";
    assert!(said.out.contains(why), "{said}");
}

#[test]
fn a_node_that_cannot_run_the_recorder_fails_its_claims() {
    let stage = Stage::new();
    let node = stage.node("[ \"$1\" = --version ] && echo v20.9.9 && exit\necho it is broken >&2");
    let node = node.to_string_lossy();
    let said = stage.run(&["run", "--arm", "node", "--scenario", "code", "--node", &node]);
    assert_eq!(said.code, Some(1), "{said}");
    assert!(
        said.out
            .contains("FAILS L ⊆ C code (node v20.9.9): the processes ended without a line: it is broken"),
        "{said}"
    );
}

#[test]
fn a_report_that_cannot_be_written_is_said_before_anything_is_run() {
    let said = Stage::new().run(&["run", "--arm", "sim", "--junit", "nowhere/report.xml"]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{said}");
    assert!(said.err.starts_with("error: nowhere/report.xml: No such file"), "{said}");
}

/// What was there before a run that does not come to its end is there after it, and nothing else.
#[test]
fn a_report_is_there_whole_or_not_at_all() {
    let stage = Stage::new();
    stage.write("reports/old.xml", "old");
    let node =
        stage.node("[ \"$1\" = --version ] && echo v20.9.9 && exit\nkill -INT $PPID\nexec /bin/sleep 60");
    let node = node.to_string_lossy();
    for report in ["reports/old.xml", "reports/new.xml"] {
        let said = stage.run(&["run", "--arm", "node", "--node", &node, "--junit", report]);
        assert_eq!(said.code, Some(130), "{said}");
    }
    let left: Vec<_> = fs::read_dir(stage.path("reports"))
        .expect("a directory")
        .map(|file| file.expect("a file").path())
        .collect();
    assert_eq!(left, [stage.path("reports/old.xml")]);
    assert_eq!(fs::read_to_string(&left[0]).expect("a file"), "old");
    stage.run(&["run", "--arm", "sim", "--samples", "1", "--junit", "reports/old.xml"]);
    assert!(fs::read_to_string(&left[0]).expect("a report").ends_with("</testsuites>\n"));
}

#[test]
fn a_report_that_cannot_be_written_to_the_end_takes_nothing_from_the_table() {
    let said = Stage::new().run(&["run", "--arm", "sim", "--junit", "/dev/full"]);
    assert_eq!(said.code, Some(2), "{said}");
    assert!(said.out.ends_with(": all hold.\n"), "{said}");
    assert!(said.err.contains("error: /dev/full: "), "{said}");
}

#[test]
fn a_report_goes_through_a_pipe() {
    let stage = Stage::new();
    let pipe = stage.path("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a new pipe");
    let reader = std::thread::spawn(move || fs::read_to_string(pipe).expect("it is text"));
    let said = stage.run(&["run", "--arm", "sim", "--samples", "1", "--junit", "pipe"]);
    assert_eq!(said.code, Some(0), "{said}");
    assert!(reader.join().expect("no panic").ends_with("</testsuites>\n"));
}

/// What is said of a `node` that answers in this way.
fn answered(script: &str) -> Said {
    let stage = Stage::new();
    let node = stage.node(script);
    stage.run(&["record", "--node", &node.to_string_lossy()])
}

#[test]
fn a_node_that_never_answers_or_never_stops_to_is_none() {
    for (script, why) in [
        ("while :; do /bin/sleep 60; done", "no answer to `--version` within 5 s; install it"),
        ("while :; do echo v20.9.9; done", "more than 4096 bytes of answer to `--version`; install it"),
        ("/bin/sleep 60 & echo v20.9.9", "no answer to `--version` within 5 s"),
        ("echo v20.9.9; exit 3", "`--version` fails: exit status: 3; install it"),
        ("echo v20/../../../9.9", "`--version` says `v20/../../../9.9`; install it"),
    ] {
        let said = answered(script);
        assert_eq!(said.code, Some(2), "{said}");
        assert!(said.err.contains(why), "{said}");
    }
}
