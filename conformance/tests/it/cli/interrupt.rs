//! Ctrl-C in the middle of a run: no process and no file remains.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use super::fixture::CliFixture;

/// A stub of Node that runs until it is killed. At the start it writes its process id to a pipe.
fn endless_node(cli: &CliFixture) -> (PathBuf, String) {
    let pipe = cli.path("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a new pipe");
    let node = cli.node(&format!(
        "[ \"$1\" = --version ] && echo v20.9.9 && exit\necho $$ > {}\nwhile :; do /bin/sleep 60; done",
        pipe.display()
    ));
    (pipe, node.to_string_lossy().into_owned())
}

#[test]
fn interrupted_run_leaves_no_process() {
    let cli = CliFixture::new();
    let (pipe, node) = endless_node(&cli);
    let mut command = cli.command(&["run", "--arm", "node", "--scenario", "code", "--node", &node]);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let played = fs::read_to_string(&pipe).expect("a process id");
    kill(Pid::from_raw(command.id().cast_signed()), Signal::SIGINT).expect("a running process");
    let output = command.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted: "), "{output:?}");
    let played = Pid::from_raw(played.trim().parse().expect("a number"));
    assert!(kill(played, None).is_err(), "the node of the run still runs");
}

#[test]
fn interrupted_fuzz_prints_counts() {
    let cli = CliFixture::new();
    let mut command = cli.command(&["fuzz", "--runs", "1000000000", "--worlds", "1000", "--arm", "unix"]);
    let mut fuzz = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(fuzz.stderr.take().expect("a pipe")).lines();
    lines.next().expect("something was run").expect("UTF-8");
    kill(Pid::from_raw(fuzz.id().cast_signed()), Signal::SIGINT).expect("a running process");
    let rest: Vec<String> = lines.map(|line| line.expect("UTF-8")).collect();
    let mut tally = String::new();
    fuzz.stdout.take().expect("a pipe").read_to_string(&mut tally).expect("UTF-8");
    assert_eq!(fuzz.wait().expect("an end").code(), Some(130));
    assert!(rest.iter().any(|line| line.starts_with("ending: ")), "{rest:?}");
    assert!(
        tally.starts_with("unix: ") && !tally.contains("DIVERGE"),
        "an interrupted run is not counted: {tally}"
    );
}

/// The process has left its group, so the command continues to wait after the first signal.
#[test]
fn second_signal_ends_at_once() {
    let cli = CliFixture::new();
    let pipe = cli.path("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).expect("a new pipe");
    let node = cli.node(&format!(
        "[ \"$1\" = --version ] && echo v20.9.9 && exit\n/usr/bin/setsid /bin/sleep 60 &\necho $! > {}\nwait",
        pipe.display()
    ));
    fs::create_dir(cli.path("tmp")).expect("a new directory");
    let mut command =
        cli.command(&["run", "--arm", "node", "--scenario", "code", "--node", &node.to_string_lossy()]);
    let command = command.env("TMPDIR", cli.path("tmp")).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut command = command.spawn().expect("the program starts");
    let asked = fs::read_to_string(&pipe).expect("a process id");
    assert_eq!(
        fs::read_dir(cli.path("tmp")).expect("an existing path").count(),
        1,
        "the runs have one directory"
    );
    let mut lines = BufReader::new(command.stderr.take().expect("a pipe")).lines();
    let interrupt =
        || kill(Pid::from_raw(command.id().cast_signed()), Signal::SIGINT).expect("a running process");
    interrupt();
    assert!(lines.any(|line| line.is_ok_and(|line| line.starts_with("ending: "))));
    interrupt();
    assert_eq!(command.wait().expect("an end").code(), Some(130));
    assert_eq!(fs::read_dir(cli.path("tmp")).expect("an existing path").count(), 0);
    // The process was still running, so the command waited.
    kill(Pid::from_raw(asked.trim().parse().expect("a number")), Signal::SIGKILL).expect("permission");
}

/// Sends a signal to a command, after a line with this text on standard error. Waits for the exit.
fn end_by(signal: Signal, command: &mut Command, begun: &str) -> (Option<i32>, String) {
    let mut command =
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts");
    let mut lines = BufReader::new(command.stderr.take().expect("a pipe")).lines();
    let mut seen = String::new();
    while !seen.contains(begun) {
        let line = lines.next().expect(begun);
        seen += &(line.expect("UTF-8") + "\n");
    }
    kill(Pid::from_raw(command.id().cast_signed()), signal).expect("a running process");
    seen.extend(lines.map(|line| line.expect("UTF-8") + "\n"));
    (command.wait().expect("an end").code(), seen)
}

const SIGNALS: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

/// SIGTERM and ctrl-c end long commands in the same way.
#[test]
fn long_commands_end_at_a_signal() {
    let many = "1000000000";
    for signal in SIGNALS {
        let cli = CliFixture::new();
        let mut explore_all =
            cli.command(&["explore", "hello", "--exhaustive", "--faults", "all", "--worlds", many]);
        let mut fuzz = cli.command(&["fuzz", "--runs", many, "--worlds", "1000", "--arm", "unix"]);
        for (command, begun) in [(&mut explore_all, "every run of "), (&mut fuzz, "[")] {
            let (code, printed) = end_by(signal, command, begun);
            assert_eq!(code, Some(130), "{command:?} at {signal}: {printed}");
            assert!(printed.contains("ending: "), "{command:?} at {signal}: {printed}");
        }
    }
}

/// An interrupted recording ends, and Node with it.
#[test]
fn record_ends_at_a_signal() {
    for signal in SIGNALS {
        let cli = CliFixture::new();
        let (pipe, node) = endless_node(&cli);
        let mut command = cli.command(&["record", "--scenario", "code", "--node", &node]);
        let mut command =
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts");
        let played = fs::read_to_string(&pipe).expect("its number is text");
        kill(Pid::from_raw(command.id().cast_signed()), signal).expect("a running process");
        assert_eq!(command.wait().expect("an end").code(), Some(130), "{signal}");
        let played = Pid::from_raw(played.trim().parse().expect("a number"));
        assert!(kill(played, None).is_err(), "the node of the run still runs");
    }
}

/// The coverage page first runs all claims. A signal ends them.
#[test]
fn coverage_ends_at_a_signal() {
    for signal in SIGNALS {
        let mut coverage = Command::new(env!("CARGO_BIN_EXE_conformance"));
        coverage.arg("coverage").current_dir(env!("CARGO_MANIFEST_DIR"));
        let (code, printed) = end_by(signal, &mut coverage, "[");
        assert_eq!(code, Some(130), "{signal}: {printed}");
    }
}
