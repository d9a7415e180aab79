//! Signals that a terminal or a service manager sends to every process: with a setting, only the primary
//! reacts.

use ::cluster::{Event, ExitStatus, Primary, Signal, SpawnOptions, WorkerId, WorkerInfo};
use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{self, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::node::is_absent;
use super::support::{TIMEOUT, TestResult, asynchronous, fork, message, primary, primary_of, rest, until};

const GROUP: [signal::Signal; 3] = [signal::Signal::SIGHUP, signal::Signal::SIGINT, signal::Signal::SIGTERM];

/// Signals that stop a process by default. A supervisor takes them as commands.
const STOPPING: [signal::Signal; 2] = [signal::Signal::SIGTTIN, signal::Signal::SIGTTOU];

/// Answers each message with the options in the environment, and with the signals that a child ignores.
const NODE: &str = "
    const ignored = () => require('child_process').execFileSync('grep', ['SigIgn', '/proc/self/status']);
    process.on('message', () => process.send([process.env.NODE_OPTIONS ?? null, String(ignored())]));
    process.send('ready');
";

pub(crate) fn trials() -> Vec<Trial> {
    let without_node = is_absent();
    vec![
        asynchronous("workers_ignore_group_signals", by_setting),
        asynchronous("workers_may_ignore_signals", by_worker),
        asynchronous("programs_ignore_group_signals", any_program),
        asynchronous("node_ignores_group_signals", node).with_ignored_flag(without_node),
        asynchronous("signals_end_workers_by_default", by_default),
        asynchronous("signals_end_node_by_default", node_by_default).with_ignored_flag(without_node),
    ]
}

fn ignoring() -> SpawnOptions {
    SpawnOptions::new().ignore_terminal_signals(true)
}

fn pid(primary: &Primary, worker: WorkerId) -> Result<Pid, Failed> {
    let pid =
        primary.worker(worker).and_then(WorkerInfo::pid).ok_or("a worker that was started has a number")?;
    Ok(Pid::from_raw(pid.try_into()?))
}

/// Sends the five signals and a message, and returns the answer. The kernel delivers the signals before the
/// process runs again.
async fn answer(primary: &mut Primary, worker: WorkerId) -> Result<Value, Failed> {
    for signal in GROUP.into_iter().chain(STOPPING) {
        kill(pid(primary, worker)?, signal)?;
    }
    primary.send(worker, json!("still there?"))?;
    message(primary).await
}

/// Asserts that the worker can be disconnected, as without signals.
async fn disconnected(primary: &mut Primary, worker: WorkerId) -> TestResult {
    primary.disconnect_all();
    let exit = Event::Exit { worker, status: ExitStatus::Code(0), exited_after_disconnect: true };
    assert!(rest(primary).await?.contains(&exit));
    Ok(())
}

/// Asserts that the mask has none of the three signals.
fn ignores_none(mask: &str) -> TestResult {
    let mask = ignored(mask)?;
    assert!(!(GROUP.iter().any(|signal| mask & bit(*signal) != 0)));
    Ok(())
}

/// The mask of a line `SigIgn:` in the status of a process.
fn ignored(line: &str) -> Result<u64, Failed> {
    Ok(u64::from_str_radix(line.trim_start_matches("SigIgn:").trim(), 16)?)
}

fn bit(signal: signal::Signal) -> u64 {
    1 << (signal as i32 - 1)
}

async fn by_setting() -> TestResult {
    let mut primary = primary()?;
    primary.setup(ignoring());
    // The signals arrive before the program runs, and are ignored from the first instruction on.
    let worker = fork(&mut primary, "echo");
    assert_eq!(answer(&mut primary, worker).await?, json!("still there?"));
    primary.kill(worker, Signal::SIGTERM);
    assert_eq!(answer(&mut primary, worker).await?, json!("still there?"));
    disconnected(&mut primary, worker).await
}

/// A child of the worker does not inherit the setting.
async fn by_worker() -> TestResult {
    for setup in [SpawnOptions::new(), ignoring()] {
        let mut primary = primary()?;
        primary.setup(setup);
        let worker = fork(&mut primary, "echo, ignoring signals");
        assert_eq!(message(&mut primary).await?, json!("ready"));
        let mask = answer(&mut primary, worker).await?;
        ignores_none(mask.as_str().ok_or("a text")?)?;
        disconnected(&mut primary, worker).await?;
    }
    Ok(())
}

async fn any_program() -> TestResult {
    let mut primary = primary_of("/bin/sh", &["-c", "read line; exit 3"])?;
    let stdio = vec![
        ::cluster::Stdio::Pipe,
        ::cluster::Stdio::Inherit,
        ::cluster::Stdio::Inherit,
        ::cluster::Stdio::Channel,
    ];
    primary.setup(ignoring().stdio(stdio));
    let worker = primary.fork()?;
    for signal in GROUP.into_iter().chain(STOPPING) {
        kill(pid(&primary, worker)?, signal)?;
    }
    drop(primary.stdio(worker));
    let exit = Event::Exit { worker, status: ExitStatus::Code(3), exited_after_disconnect: false };
    assert!(rest(&mut primary).await?.contains(&exit));
    Ok(())
}

/// The environment of a Node worker is unchanged, so its children are unaffected.
async fn node() -> TestResult {
    let script = super::node::script(NODE)?;
    let path = script.to_string_lossy().into_owned();
    for options in [None, Some(""), Some("--max-old-space-size=300"), Some("  --no-warnings ")] {
        let mut primary = primary_of("node", &[&path])?;
        primary.setup(ignoring());
        let env = options.map(|options| ("NODE_OPTIONS", options));
        let worker = primary.fork_with_env(env)?;
        assert_eq!(message(&mut primary).await?, json!("ready"));
        let reported = answer(&mut primary, worker).await?;
        let expected = options.filter(|options| !options.is_empty());
        assert_eq!(reported[0].clone(), json!(expected));
        ignores_none(reported[1].as_str().ok_or("a text")?)?;
        disconnected(&mut primary, worker).await?;
    }
    Ok(())
}

async fn by_default() -> TestResult {
    for signal in GROUP {
        let mut primary = primary()?;
        let worker = fork(&mut primary, "echo");
        until(&mut primary, |event| matches!(event, Event::Online { .. })).await?;
        if is_ignored(signal)? {
            kill(pid(&primary, worker)?, signal)?;
            primary.send(worker, json!("still there?"))?;
            assert_eq!(message(&mut primary).await?, json!("still there?"));
        } else {
            ended(&mut primary, worker, signal).await?;
        }
    }
    Ok(())
}

/// True if this process ignores the signal. The processes that it starts then ignore the signal, too: for
/// instance the tests under `nohup`.
fn is_ignored(signal: signal::Signal) -> Result<bool, Failed> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("SigIgn:")).ok_or("the kernel lists signals")?;
    Ok(ignored(line)? & bit(signal) != 0)
}

async fn node_by_default() -> TestResult {
    let script = super::node::script(NODE)?;
    for signal in GROUP {
        let mut primary = primary_of("node", &[&script.to_string_lossy()])?;
        let worker = primary.fork()?;
        assert_eq!(message(&mut primary).await?, json!("ready"));
        ended(&mut primary, worker, signal).await?;
    }
    Ok(())
}

async fn ended(primary: &mut Primary, worker: WorkerId, signal: signal::Signal) -> TestResult {
    kill(pid(primary, worker)?, signal)?;
    let exit = Event::Exit {
        worker,
        status: ExitStatus::Signal(Signal(signal as i32)),
        exited_after_disconnect: false,
    };
    assert!(tokio::time::timeout(TIMEOUT, rest(primary)).await??.contains(&exit));
    Ok(())
}
