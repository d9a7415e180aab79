//! SIGTERM and SIGINT end the commands that run random schedules.

use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::fixture::CliFixture;

/// More runs than any machine finishes.
const MANY: &str = "1000000000000";

/// Waits until the process handles SIGINT and SIGTERM. `SigCgt` is the set of handled signals, with a bit for
/// each.
fn wait_for_handlers(pid: u32) {
    let bits = [Signal::SIGINT, Signal::SIGTERM].map(|signal| 1_u64 << (signal as i32 - 1));
    loop {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
        let set = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("Linux lists it");
        let set = u64::from_str_radix(set.trim(), 16).expect("the set is hexadecimal");
        if bits.iter().all(|bit| set & bit != 0) {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Sends this signal to a running command. Returns the exit code and the standard error.
fn end_by(signal: Signal, command: &mut Command) -> (Option<i32>, String) {
    let command = command.stdout(Stdio::null()).stderr(Stdio::piped());
    let command = command.spawn().expect("the command starts");
    wait_for_handlers(command.id());
    kill(Pid::from_raw(command.id().cast_signed()), signal).expect("the command runs");
    let output = command.wait_with_output().expect("the command ends");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// `explore --seeds` and `run --samples` exit with 130 and print the number of finished runs.
#[test]
fn sampling_commands_end_at_a_signal() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let cli = CliFixture::new();
        let explore: &[&str] = &["explore", "hello", "--seeds", MANY];
        let run: &[&str] = &["run", "--arm", "sim", "--scenario", "hello", "--samples", MANY];
        for arguments in [explore, run] {
            let (code, printed) = end_by(signal, &mut cli.command(arguments));
            assert_eq!(code, Some(130), "{arguments:?} at {signal}: {printed}");
            assert!(printed.contains("interrupted: "), "{arguments:?} at {signal}: {printed}");
        }
    }
}
