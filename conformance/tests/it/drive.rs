//! The driver of real processes, with small shell scripts in the place of primaries.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use cluster_conformance::arm::drive::{self, Launch, Limits, RunError};
use cluster_conformance::scenario::Scenario;
use cluster_conformance::trace::Trace;

const SCENARIO: &str = r#"{
  "name": "s",
  "description": "Two clients find no server at the port of a worker.",
  "primary": [],
  "worker": [{ "on": "start", "do": [{ "listen": { "server": "web" } }] }],
  "clients": [{ "count": 2, "steps": [{ "connect": "web" }] }],
  "contract": [{ "because": "No server.", "seen": "client: refused", "times": 2 }]
}"#;

fn run(script: &str, limits: impl Into<Limits>) -> Result<Trace, RunError> {
    let args = ["-c", script].map(OsString::from).to_vec();
    let launch = Launch {
        program: "sh".into(),
        args,
        env: vec![("COLOR".to_owned(), "blue".to_owned())],
        files: Vec::new(),
    };
    let scenario = Scenario::parse(Path::new("s.json"), SCENARIO).expect("the scenario above");
    drive::run(&launch, &scenario, limits)
}

const ENOUGH: Duration = Duration::from_mins(1);

#[test]
fn run_ends_with_last_process() {
    // No process listens at port 1. A grandchild that outlives the primary writes the last line.
    let script = "echo primary: start; (sleep 0.1; echo worker 1: listening server=web port=1) & exit 0";
    let trace = run(script, ENOUGH).expect("an end");
    let expected = "primary\n  start\nworker 1\n  listening server=web port=p1\n\
                    client 1\n  refused server=web\nclient 2\n  refused server=web\n";
    assert_eq!(trace.to_string(), expected);
}

#[test]
fn launch_passes_the_environment() {
    let trace = run("echo primary: start color=$COLOR", ENOUGH).expect("an end");
    assert_eq!(trace.to_string(), "primary\n  start color=blue\n");
}

#[test]
fn hanging_run_is_killed() {
    let script = "echo primary: start; echo oh dear >&2; echo worker 1: pid pid=$$; sleep 600 & wait";
    let error = run(script, Duration::from_secs(5)).expect_err("it sleeps");
    let hang = if let RunError::Hang { seen, stderr, .. } = &error { Some((seen, stderr)) } else { None };
    let (seen, stderr) = hang.expect("a hanging run");
    assert_eq!(stderr, "oh dear\n");
    let pid = seen.lines().find_map(|(_, line)| line.detail("pid")).expect("a written line");
    assert!(!Path::new("/proc").join(pid).exists(), "process {pid} is left");
    assert!(
        error
            .to_string()
            .starts_with("the run did not end within 5 s; the trace until then:\nprimary\n  start\n")
    );
}

/// The daemon leaves the group and closes the standard output of the run.
#[test]
fn orphans_end_with_the_run() {
    let script = "setsid sh -c 'echo worker 1: pid pid=$$; exec sleep 600 >/dev/null' &";
    let trace = run(script, ENOUGH).expect("an end");
    let pid = trace.lines().find_map(|(_, line)| line.detail("pid")).expect("a written line");
    assert!(!Path::new("/proc").join(pid).exists(), "process {pid} is left");
}

#[test]
fn idle_run_ends_early() {
    let limits = Limits { deadline: ENOUGH, idle: Some(Duration::from_secs(1)) };
    let error = run("echo primary: start; echo TypeError: no such thing >&2; sleep 600", limits);
    let text = error.expect_err("it sleeps").to_string();
    let idle = "the run did not end: no process did anything for 1 s; TypeError: no such thing; the trace";
    assert!(text.starts_with(idle), "{text}");
}

#[test]
fn missing_function_is_named() {
    let script = "echo primary: start; echo cannot perform fork: x is not a function >&2; exit 1";
    let error = run(script, ENOUGH).expect_err("it lacks a function").to_string();
    assert_eq!(error, "the runtime cannot perform fork: x is not a function");
}

#[test]
fn malformed_line_fails_the_run() {
    let error = run("echo primary: start; echo hello; sleep 600", ENOUGH).expect_err("that is no line");
    assert_eq!(error.to_string(), "a process wrote `hello`: expected `OBSERVER: OBSERVATION`");
}

#[test]
fn silent_run_has_no_trace() {
    let error = run("echo no such scenario >&2; exit 1", ENOUGH).expect_err("nothing was written");
    assert_eq!(error.to_string(), "the processes ended without a line: no such scenario\n");
}

#[test]
fn missing_program_is_named() {
    let launch = Launch { program: "/no/such".into(), args: Vec::new(), env: Vec::new(), files: Vec::new() };
    let scenario = Scenario::parse(Path::new("s.json"), SCENARIO).expect("the scenario above");
    let error = drive::run(&launch, &scenario, ENOUGH).expect_err("it is not there").to_string();
    assert!(error.starts_with("`/no/such` cannot be started: "), "{error}");
}
