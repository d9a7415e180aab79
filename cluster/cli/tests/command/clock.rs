//! Jumps of the wall clock, made by libfaketime. Only printed times jump.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::support::{SERVER, Service, command, get, text};

/// The library replaces `clock_gettime` in a process.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";

/// A jump of the clock in either direction changes neither the uptime nor ages, pauses, a reload or a
/// restart.
#[test]
fn clock_jumps_change_nothing() {
    if !Path::new(LIBRARY).exists() {
        return eprintln!("skipped: no libfaketime");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let clock = directory.path().join("clock");
    fs::write(&clock, "+0").expect("a file");
    fs::write(directory.path().join("app.js"), SERVER).expect("a file");
    let mut run = command(directory.path(), "run");
    run.args([
        "-n",
        "1",
        "--heartbeat",
        "1s",
        "--max-age",
        "1h",
        "env",
        "-u",
        "LD_PRELOAD",
        "node",
        "app.js",
    ]);
    run.env("LD_PRELOAD", LIBRARY).env("FAKETIME_TIMESTAMP_FILE", &clock);
    run.env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let service = Service::of_command(directory, run);
    let port = service.ready_port();
    for (jump, worker) in [("+400d", 2), ("-400d", 4)] {
        fs::write(&clock, jump).expect("a file");
        let pid = get(port).parse().expect("a process id");
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("a worker");
        let restart = service.line("slot 0 restarts");
        let ready = service.line(&format!("slot 0: worker {worker} is ready"));
        assert_eq!(restart[..4], ready[..4], "both lines follow the jump");
        text(&service.command("reload", &[]));
        let status: Value =
            serde_json::from_str(&text(&service.command("status", &["--json"]))).expect("JSON");
        let slot = &status["slots"][0];
        for age in [&status["uptime_ms"], &slot["usage"]["age_ms"]] {
            assert!(age.as_u64().is_some_and(|age| age < 600_000), "{status}");
        }
        assert_eq!((&slot["state"], &slot["worker"]), (&Value::from("ready"), &Value::from(worker + 1)));
    }
    let events = text(&service.command("events", &[]));
    let mut years: Vec<&str> = events.lines().map(|line| &line[..4]).collect();
    years.dedup();
    assert!(years.len() > 2, "the printed times follow the jumps: {years:?}");
}
