//! The examples that serve HTTP, under load: during deaths, disconnects of workers, successful and failed
//! reloads, and signals to the whole process group. Requests are counted, not timed.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use super::load::{Load, Tally};
use super::{Example, TestResult, request};

const CLIENTS: usize = 16;

fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Waits for `count` lines with these words.
fn lines(example: &mut Example, count: usize, words: &str) -> TestResult {
    let mut found = 0;
    while found < count {
        found += usize::from(example.line()?.contains(words));
    }
    Ok(())
}

fn nothing_failed(tally: Tally) {
    assert_eq!(tally.failed(), 0, "{tally:?}");
    assert!(tally.answered > 0, "{tally:?}");
}

/// The process id in the answer of a worker.
fn process(port: u16) -> Result<Pid, Box<dyn std::error::Error>> {
    let answer = request(port)?;
    Ok(Pid::from_raw(answer.trim_end().rsplit(' ').next().ok_or("no number")?.parse()?))
}

#[test]
fn http_reload_loses_no_request() -> TestResult {
    let mut example = Example::start("http", &["127.0.0.1:0"])?;
    let load = Load::start(CLIENTS, &[example.served_by_all(1)?[0]]);
    for _ in 0..2 {
        load.wait_for(500);
        example.signal(Signal::SIGHUP)?;
        lines(&mut example, 1, " finished")?;
    }
    load.wait_for(500);
    nothing_failed(load.stop());
    example.terminate()?;
    example.rest().map(drop)
}

/// Each client loses at most one connection: the connection to the dead worker. No client is refused.
#[test]
fn http_death_costs_its_connections_alone() -> TestResult {
    let mut example = Example::start("http", &["127.0.0.1:0"])?;
    let port = example.served_by_all(1)?[0];
    let load = Load::start(CLIENTS, &[port]);
    for _ in 0..3 {
        load.wait_for(500);
        kill(process(port)?, Signal::SIGKILL)?;
        lines(&mut example, 1, "exited: signal: SIGKILL")?;
    }
    load.wait_for(500);
    let tally = load.stop();
    assert_eq!(tally.refused, 0, "{tally:?}");
    assert!(tally.failed() <= 3 * CLIENTS as u64, "{tally:?}");
    example.terminate()?;
    example.rest().map(drop)
}

#[test]
fn http_replaces_disconnecting_workers() -> TestResult {
    let mut example = Example::start_with("http", &["127.0.0.1:0"], &[("RECYCLE", "300")])?;
    let load = Load::start(CLIENTS, &[example.served_by_all(1)?[0]]);
    lines(&mut example, 2 * workers(), "exited: exit status: 0")?;
    load.wait_for(1);
    nothing_failed(load.stop());
    example.terminate()?;
    example.rest().map(drop)
}

/// A service manager sends the signal to the workers as well. Requests on open connections are answered.
#[test]
fn http_group_signal_breaks_no_request() -> TestResult {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut example = Example::start("http", &["127.0.0.1:0"])?;
        let load = Load::start(CLIENTS, &[example.served_by_all(1)?[0]]);
        load.wait_for(500);
        killpg(example.group()?, signal)?;
        example.rest()?;
        let tally = load.stop();
        assert_eq!(tally.broken, 0, "{tally:?}");
    }
    Ok(())
}

fn replace_by_pipe(path: &Path) -> TestResult {
    fs::remove_file(path)?;
    Ok(mkfifo(path, Mode::S_IRWXU)?)
}

fn replace_by_text(path: &Path, text: &str) -> TestResult {
    fs::remove_file(path)?;
    Ok(fs::write(path, text)?)
}

/// A new worker blocks forever, or dies. The present workers continue to serve, and the next reload succeeds.
#[test]
fn http_survives_failed_reloads() -> TestResult {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("text");
    fs::write(&file, "first\n")?;
    let variables = [("READY_SECONDS", "1"), ("TEXT", file.to_str().ok_or("a name in UTF-8")?)];
    let mut example = Example::start_with("http", &["127.0.0.1:0"], &variables)?;
    let port = example.served_by_all(1)?[0];
    let load = Load::start(CLIENTS, &[port]);
    replace_by_pipe(&file)?;
    example.signal(Signal::SIGHUP)?;
    lines(&mut example, 1, "was not ready after 1s")?;
    lines(&mut example, 1, " was abandoned")?;
    fs::remove_file(&file)?;
    example.signal(Signal::SIGHUP)?;
    lines(&mut example, 1, " was abandoned")?;
    assert!(request(port)?.ends_with("first\n"), "the old workers serve");
    fs::write(&file, "second\n")?;
    example.signal(Signal::SIGHUP)?;
    lines(&mut example, 1, " finished")?;
    for _ in 0..2 * workers() {
        assert!(request(port)?.ends_with("second\n"), "every worker is new");
    }
    nothing_failed(load.stop());
    example.terminate()?;
    example.rest().map(drop)
}

/// A new worker that hangs after the first of two addresses is not ready.
#[test]
fn http_successor_listens_everywhere_first() -> TestResult {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("text");
    fs::write(&file, "first\n")?;
    let variables = [("READY_SECONDS", "1"), ("TEXT", file.to_str().ok_or("a name in UTF-8")?)];
    let mut example = Example::start_with("http", &["127.0.0.1:0", "127.0.0.1:0"], &variables)?;
    let ports = example.served_by_all(2)?;
    let load = Load::start(CLIENTS / 2, &ports);
    replace_by_pipe(&file)?;
    example.signal(Signal::SIGHUP)?;
    lines(&mut example, 1, " was abandoned")?;
    load.wait_for(500);
    replace_by_text(&file, "second\n")?;
    example.signal(Signal::SIGHUP)?;
    lines(&mut example, 1, " finished")?;
    assert!(request(ports[1])?.ends_with("second\n"), "every worker is new");
    nothing_failed(load.stop());
    example.terminate()?;
    example.rest().map(drop)
}

/// Kills two workers under load. Each client loses at most one connection for each death. No client is
/// refused.
fn replaces_the_dead(
    mut example: Example,
    port: u16,
    victim: impl Fn(&Example) -> Result<Pid, Box<dyn std::error::Error>>,
) -> TestResult {
    lines(&mut example, workers() - 1, "serves")?;
    let load = Load::start(CLIENTS, &[port]);
    for _ in 0..2 {
        load.wait_for(500);
        kill(victim(&example)?, Signal::SIGKILL)?;
        lines(&mut example, 1, "serves")?;
    }
    load.wait_for(500);
    let tally = load.stop();
    assert_eq!(tally.refused, 0, "{tally:?}");
    assert!(tally.failed() <= 2 * CLIENTS as u64, "{tally:?}");
    killpg(example.group()?, Signal::SIGTERM)?;
    example.rest().map(drop)
}

/// The program of the README keeps the number of workers: a killed worker is replaced, and no client is
/// refused meanwhile.
#[test]
fn hello_replaces_dead_under_load() -> TestResult {
    let mut example = Example::start("hello", &["127.0.0.1:0"])?;
    let port = example.served()?;
    replaces_the_dead(example, port, |example| Ok(example.children()?[0]))
}

/// An unmodified Node.js server: dead workers are replaced, and requests in progress at SIGTERM are answered.
#[test]
fn node_replaces_the_dead_under_load() -> TestResult {
    if Command::new("node").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("there is no `node` here: the test with Node.js is ignored");
        return Ok(());
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/node.js");
    let script = script.to_str().ok_or("the checkout is named in UTF-8")?;
    // The kernel chooses a port, and all workers listen at this port.
    let mut example = Example::start("node", &[script, "0"])?;
    let port = example.served()?;
    replaces_the_dead(example, port, |_| process(port))
}

/// The first program of README.md is the example `hello`, apart from the head of the file.
#[test]
fn readme_prints_hello() -> TestResult {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("../README.md"))?;
    let example = fs::read_to_string(root.join("examples/hello.rs"))?;
    let program = &example[example.find("use axum").ok_or("the example uses axum")?..];
    assert!(
        readme.contains(&format!("```rust,no_run\n{program}```\n")),
        "copy examples/hello.rs into README.md"
    );
    Ok(())
}

/// The first program of README.md serves, and ends at SIGTERM together with its workers.
#[test]
fn hello_serves() -> TestResult {
    let mut example = Example::start("hello", &["127.0.0.1:0"])?;
    let port = example.served()?;
    assert!(request(port)?.ends_with("hello"));
    example.terminate()?;
    example.rest().map(drop)
}
