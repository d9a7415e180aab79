//! An error names the mistake and the remedy, and the exit code is 2.

use std::fs;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::fixture::{CliFixture, CliOutput, snapshot};

#[track_caller]
fn refused(cli: &CliFixture, name: &str, args: &[&str]) {
    let printed = cli.run(args);
    assert_eq!((printed.code, printed.out.as_str()), (Some(2), ""), "{printed}");
    snapshot(name, &printed);
}

#[test]
fn errors_list_the_known_names() {
    let cli = CliFixture::new();
    for (name, args) in [
        ("unknown_scenario", &["show", "helo"][..]),
        ("unknown_name_to_run", &["run", "helo"]),
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
        refused(&cli, name, args);
    }
}

#[test]
fn errors_name_file_and_line() {
    let cli = CliFixture::new();
    cli.edit("scenarios/hello.json", "\"reply\"", "\"replay\"");
    refused(&cli, "mistake_in_a_scenario", &["list"]);
    let cli = CliFixture::new();
    cli.write("exceptions.json", "[{ \"scenario\": \"*\" }]");
    refused(&cli, "mistake_in_the_exceptions", &["run"]);
}

#[test]
fn errors_name_missing_paths() {
    let cli = CliFixture::new();
    refused(&cli, "no_scenarios", &["list", "--scenarios", "nowhere"]);
    refused(&cli, "no_recordings", &["run", "--recordings", "nowhere"]);
    refused(&cli, "no_exceptions", &["run", "--exceptions", "nowhere"]);
}

#[test]
fn empty_suites_are_rejected() {
    let cli = CliFixture::new();
    refused(&cli, "empty_scenarios", &["run", "--scenarios", "empty"]);
    refused(&cli, "empty_recordings", &["run", "--recordings", "empty"]);
}

#[test]
fn missing_recording_names_the_command() {
    let cli = CliFixture::new();
    fs::remove_file(cli.path("recordings/node-v20.0.0/code.txt")).expect("a file");
    let printed = cli.run(&["run", "--arm", "sim", "--samples", "1"]);
    snapshot("unrecorded", &printed);
}

#[test]
fn record_needs_node() {
    refused(&CliFixture::new(), "record_without_node", &["record"]);
}

fn claimed(printed: &CliOutput, claim: &str) -> bool {
    printed.err.contains(&format!("ok hello: {claim} ("))
}

#[test]
fn other_arms_run_without_node() {
    let printed = CliFixture::new().run(&[]);
    assert_eq!(printed.code, Some(0), "{printed}");
    assert!(printed.out.contains("Not run: node, rust-node, node-rust: no Node.js at `node`: "), "{printed}");
    for claim in [
        "recorded Node keeps the contract",
        "simulator keeps the contract",
        "recorded Node stays within the simulator",
        "this system keeps the contract",
        "this system stays within the simulator",
    ] {
        assert!(claimed(&printed, claim), "{claim}\n{printed}");
    }
}

#[test]
fn requested_node_is_required() {
    let cli = CliFixture::new();
    for (arm, args) in [
        ("node", &["run", "--arm", "node", "--arm", "sim"][..]),
        ("rust-node", &["run", "--arm", "rust-node", "--arm", "sim"]),
        ("node-rust", &["run", "--arm", "node-rust", "--arm", "sim"]),
        ("node-rust", &["run", "--node", "/nowhere/node"]),
    ] {
        let printed = cli.run(args);
        assert_eq!(printed.code, Some(2), "{printed}");
        assert!(
            claimed(&printed, "simulator keeps the contract")
                && printed.out.lines().any(|line| line.starts_with("Not run: ") && line.contains(arm)),
            "{printed}"
        );
    }
}

#[test]
fn other_major_version_is_not_run() {
    let cli = CliFixture::new();
    let node = cli.node("echo v18.20.4");
    let node = node.to_string_lossy();
    let printed = cli.run(&["run", "--arm", "node", "--node", &node]);
    assert_eq!(printed.code, Some(2), "{printed}");
    let why = "`node v18.20.4` has another major version than the recordings (node-v20.0.0)";
    assert!(printed.out.contains(why), "{printed}");
}

#[test]
fn broken_node_fails_its_claims() {
    let cli = CliFixture::new();
    let node = cli.node("[ \"$1\" = --version ] && echo v20.9.9 && exit\necho it is broken >&2");
    let node = node.to_string_lossy();
    let printed = cli.run(&["run", "--arm", "node", "--scenario", "code", "--node", &node]);
    assert_eq!(printed.code, Some(1), "{printed}");
    assert!(
        printed
            .out
            .contains("FAILS code: live Node keeps the contract (node v20.9.9): the processes ended without a line: it is broken"),
        "{printed}"
    );
}

#[test]
fn unwritable_report_fails_first() {
    let printed = CliFixture::new().run(&["run", "--arm", "sim", "--junit", "nowhere/report.xml"]);
    assert_eq!((printed.code, printed.out.as_str()), (Some(2), ""), "{printed}");
    assert!(printed.err.starts_with("error: nowhere/report.xml: No such file"), "{printed}");
}

/// An interrupted run leaves an old report unchanged, and leaves no new file.
#[test]
fn report_is_whole_or_absent() {
    let cli = CliFixture::new();
    cli.write("reports/old.xml", "old");
    let node =
        cli.node("[ \"$1\" = --version ] && echo v20.9.9 && exit\nkill -INT $PPID\nexec /bin/sleep 60");
    let node = node.to_string_lossy();
    for report in ["reports/old.xml", "reports/new.xml"] {
        let printed = cli.run(&["run", "--arm", "node", "--node", &node, "--junit", report]);
        assert_eq!(printed.code, Some(130), "{printed}");
    }
    let left: Vec<_> = fs::read_dir(cli.path("reports"))
        .expect("a directory")
        .map(|file| file.expect("a file").path())
        .collect();
    assert_eq!(left, [cli.path("reports/old.xml")]);
    assert_eq!(fs::read_to_string(&left[0]).expect("a file"), "old");
    cli.run(&["run", "--arm", "sim", "--samples", "1", "--junit", "reports/old.xml"]);
    assert!(fs::read_to_string(&left[0]).expect("a report").ends_with("</testsuites>\n"));
}

#[test]
fn full_disk_keeps_the_table() {
    let printed = CliFixture::new().run(&["run", "--arm", "sim", "--junit", "/dev/full"]);
    assert_eq!(printed.code, Some(2), "{printed}");
    assert!(printed.out.ends_with(": all hold.\n"), "{printed}");
    assert!(printed.err.contains("error: /dev/full: "), "{printed}");
}

#[test]
fn report_passes_through_a_pipe() {
    let cli = CliFixture::new();
    let pipe = cli.path("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a new pipe");
    let reader = std::thread::spawn(move || fs::read_to_string(pipe).expect("UTF-8"));
    let printed = cli.run(&["run", "--arm", "sim", "--samples", "1", "--junit", "pipe"]);
    assert_eq!(printed.code, Some(0), "{printed}");
    assert!(reader.join().expect("no panic").ends_with("</testsuites>\n"));
}

/// The error for a `node` that runs this script.
fn answered(script: &str) -> CliOutput {
    let cli = CliFixture::new();
    let node = cli.node(script);
    cli.run(&["record", "--node", &node.to_string_lossy()])
}

#[test]
fn silent_or_endless_node_is_rejected() {
    for (script, why) in [
        ("while :; do /bin/sleep 60; done", "no answer to `--version` within 5 s; install Node.js"),
        ("while :; do echo v20.9.9; done", "more than 4096 bytes of answer to `--version`; install Node.js"),
        ("/bin/sleep 60 & echo v20.9.9", "no answer to `--version` within 5 s"),
        ("echo v20.9.9; exit 3", "`--version` fails: exit status: 3; install Node.js"),
        ("echo v20/../../../9.9", "`--version` prints `v20/../../../9.9`; install Node.js"),
    ] {
        let printed = answered(script);
        assert_eq!(printed.code, Some(2), "{printed}");
        assert!(printed.err.contains(why), "{printed}");
    }
}
