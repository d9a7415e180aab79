//! Short sweeps on the real system. The whole sweep is the command without options.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::fs;
use std::process::Command;

/// Runs the command, and returns the printed text.
fn inject(options: &str) -> String {
    let (code, out) = run(options);
    assert_eq!(code, Some(0), "inject {options}\n{out}");
    out
}

/// Runs the command, and returns the exit code and the printed text.
fn run(options: &str) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inject"));
    let output = command.args(options.split_whitespace()).output().expect("the command can be started");
    let [out, err] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.code(), format!("{err}{out}"))
}

/// The number of injected positions in the last line.
fn positions(out: &str) -> usize {
    let last = out.lines().last().unwrap_or_default();
    last.split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .expect("the last line has the number")
}

/// On every cluster the first occurrence of every call fails once, and the process is killed and stopped
/// there.
#[test]
fn first_calls_break_no_claim() {
    let positions = positions(&inject("--quick"));
    assert!(positions > 1_000, "{positions} positions");
}

/// A worker closes the channel after a failed write of an acknowledgement, and another worker receives the
/// connection.
#[test]
fn failed_write_ends_the_channel() {
    let options = "--cluster tcp --victim worker --call sendmsg --failure EPIPE --failure ECONNRESET";
    assert!(positions(&inject(options)) > 10);
}

/// A listener of unknown kind is an error and not a datagram socket.
#[test]
fn unknown_kind_is_no_listener() {
    assert!(positions(&inject("--cluster tcp --victim primary --call getsockopt")) > 2);
}

/// A primary that stops at a call and continues loses no client and no reload, and replaces no worker.
#[test]
fn stopped_primary_loses_nothing() {
    let calls = "--call accept4 --call epoll_wait --call recvmsg --call sendmsg --call wait4";
    let out = inject(&format!("--cluster reload --victim primary --failure stop {calls}"));
    assert!(positions(&out) > 20, "{out}");
    let all = out.lines().find(|line| line.starts_with("| all ")).unwrap_or_default();
    let columns: Vec<&str> = all.split('|').map(str::trim).collect();
    assert_eq!(columns[4], columns[5], "positions, and unnoticed positions: {all}");
}

/// A path is removed if the bind fails after it was made.
#[test]
fn failed_bind_removes_the_path() {
    let options = "--cluster path --victim primary --call statx --call unlink --failure EACCES";
    assert!(positions(&inject(options)) > 2);
}

/// The simulator produces the traces of a killed worker, and no trace with a changed line.
#[test]
fn traces_are_simulated() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("runs");
    let path = file.display();
    inject(&format!("--cluster tcp --victim worker --call execve --failure kill --record {path}"));
    assert!(positions(&inject(&format!("members {path} --budget 100000"))) > 0);
    let recorded = fs::read_to_string(&file).expect("the records");
    fs::write(&file, recorded.replace("setup args=-", "setup args=x")).expect("a file");
    let (code, out) = run(&format!("members {path}"));
    assert_eq!(code, Some(1), "{out}");
}
