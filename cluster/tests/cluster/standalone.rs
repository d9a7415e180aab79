//! A primary as a separate process: with the process id 1, killed, or with a replaced program; and with a
//! stopped worker.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use ::cluster::{Supervisor, SupervisorEvent};
use libtest_mimic::{Failed, Trial};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;

use super::leftovers::is_running;
use super::supervising::settings;
use super::support::{TIMEOUT, TestResult, asynchronous, children_of, connect, trial};

pub(crate) fn trials() -> Vec<Trial> {
    let without_namespaces = namespace().is_none();
    if without_namespaces {
        println!("skipped: this system permits no PID namespace (`unshare --pid`)");
    }
    vec![
        trial("supervisor_leads_pid_namespace", leads_namespace).with_ignored_flag(without_namespaces),
        trial("failed_init_has_exit_code", failed_init).with_ignored_flag(without_namespaces),
        trial("init_without_handler_ignores_signals", unhandled).with_ignored_flag(without_namespaces),
        trial("reload_starts_replaced_program", replaced),
        trial("killed_primary_frees_its_port", killed).with_ignored_flag(!cfg!(target_os = "linux")),
        trial("killed_primary_leaves_no_half_result", killed_with_task),
        asynchronous("stopped_worker_ends_by_deadlines", stopped),
    ]
}

/// The command that starts a program with the process id 1. `None`: the system permits no PID namespace.
fn namespace() -> Option<Command> {
    let variants: [&[&str]; 2] = [&[], &["--user", "--map-root-user"]];
    let command = |variant: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(variant).args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        command
    };
    let is_possible = |variant: &&&[&str]| {
        let mut command = command(variant);
        command.arg("true").stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    variants.iter().find(is_possible).map(|variant| command(variant))
}

/// A primary as a separate process. Dropping the value kills the process.
struct Standalone {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Standalone {
    /// Starts a primary of `programs/standalone.rs`, with workers of `programs/supervised.rs`.
    fn start(mut command: Command, program: &str, worker: &str) -> Result<Self, Failed> {
        command.env("STANDALONE", program).env("WORKER", worker);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let lines = BufReader::new(child.stdout.take().ok_or("no output")?);
        Ok(Standalone { child, lines })
    }

    /// Starts the primary as the process with the id 1.
    fn start_init(program: &str, worker: &str) -> Result<Self, Failed> {
        let mut command = namespace().ok_or("no namespace")?;
        command.arg(env::current_exe()?);
        Standalone::start(command, program, worker)
    }

    /// The process id that the first process of the namespace has outside of the namespace.
    fn init(&self) -> Result<Pid, Failed> {
        let init = children(self.pid()?)?.pop().ok_or("no process")?;
        let status = fs::read_to_string(format!("/proc/{init}/status"))?;
        assert!(status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")), "{status}");
        Ok(init)
    }

    /// Waits for a line that contains `part`.
    fn line(&mut self, part: &str) -> Result<String, Failed> {
        let mut seen = String::new();
        loop {
            let start = seen.len();
            if self.lines.read_line(&mut seen)? == 0 {
                return Err(format!("no line with {part:?} in:\n{seen}").into());
            }
            if seen[start..].contains(part) {
                return Ok(seen.split_off(start));
            }
        }
    }

    /// Waits until both workers are ready, and returns the port.
    fn ready(&mut self) -> Result<u16, Failed> {
        let port = self.port()?;
        self.line("is ready")?;
        self.line("is ready")?;
        Ok(port)
    }

    fn port(&mut self) -> Result<u16, Failed> {
        let line = self.line("listens on")?;
        let (_, port) = line.trim().rsplit_once(':').ok_or("no port")?;
        Ok(port.parse()?)
    }

    fn pid(&self) -> Result<Pid, Failed> {
        pid(self.child.id())
    }

    /// Waits for the exit. Returns the status and the remaining lines.
    fn wait(&mut self) -> Result<(ExitStatus, String), Failed> {
        let status = self.child.wait()?;
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest)?;
        Ok((status, rest))
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        // Fails if the process has exited.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pid(number: u32) -> Result<Pid, Failed> {
    Ok(Pid::from_raw(i32::try_from(number)?))
}

fn children(process: Pid) -> Result<Vec<Pid>, Failed> {
    children_of(u32::try_from(process.as_raw())?).into_iter().map(pid).collect()
}

/// The answer of a worker to a client.
fn answer(port: u16) -> Result<String, Failed> {
    Ok(io::read_to_string(connect(port)?)?)
}

/// Waits for a state that the test learns from no event.
fn eventually(what: &str, is_so: impl Fn() -> Result<bool, Failed>) -> TestResult {
    let start = Instant::now();
    while !is_so()? {
        if start.elapsed() > TIMEOUT {
            return Err(format!("not in time: {what}").into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn gone(process: Pid) -> TestResult {
    eventually("the end of a process", || Ok(!is_running(process)))
}

/// The name of the program of a process.
fn name(process: Pid) -> String {
    fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim().to_owned()
}

/// Orphans are reaped, signals command the supervisor, and no process of the namespace remains after the
/// exit.
fn leads_namespace() -> TestResult {
    let mut init = Standalone::start_init("supervise", "serve with an orphan")?;
    let port = init.ready()?;
    let inner = init.init()?;
    answer(port)?;
    let orphan = children(inner)?.into_iter().find(|child| name(*child) == "sleep").ok_or("no orphan")?;
    kill(orphan, Signal::SIGKILL)?;
    eventually("the reap of an orphan", || Ok(kill(orphan, None) == Err(Errno::ESRCH)))?;
    kill(inner, Signal::SIGHUP)?;
    init.line("reload 1 finished")?;
    answer(port)?;
    let inside = children(inner)?;
    assert!(inside.len() >= 3, "{inside:?}");
    kill(inner, Signal::SIGTERM)?;
    let (status, rest) = init.wait()?;
    assert_eq!(status.code(), Some(0), "{rest}");
    assert!(rest.contains("the shutdown finished"), "{rest}");
    inside.into_iter().try_for_each(gone)
}

/// A supervisor without workers gives up. The namespace ends with the same exit code.
fn failed_init() -> TestResult {
    let mut init = Standalone::start_init("supervise", "exit")?;
    let (status, rest) = init.wait()?;
    assert_eq!(status.code(), Some(1), "{rest}");
    Ok(())
}

/// The kernel drops a signal to the process with the id 1 if the process has no handler. SIGKILL ends the
/// namespace.
fn unhandled() -> TestResult {
    let mut init = Standalone::start_init("lead", "")?;
    let port = init.port()?;
    let inner = init.init()?;
    kill(inner, Signal::SIGTERM)?;
    assert!(!answer(port)?.is_empty());
    let inside = children(inner)?;
    kill(inner, Signal::SIGKILL)?;
    init.wait()?;
    inside.into_iter().try_for_each(gone)
}

/// A reload starts the new program at the path. If there is no file, the reload is abandoned, the error has
/// the path, and the old workers serve.
fn replaced() -> TestResult {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let [program, next] = ["program", "next"].map(|name| directory.path().join(name));
    let own = env::current_exe()?;
    // A link to the file of this program acts as a program with a path of its own.
    fs::hard_link(&own, &program).or_else(|_| fs::copy(&own, &program).map(drop))?;
    let mut supervisor = Standalone::start(Command::new(&program), "supervise", "serve the name")?;
    let port = supervisor.ready()?;
    assert_eq!(answer(port)?, "first");

    write_script(&next, &format!("#!/bin/sh\nNAME=second exec '{}' \"$@\"\n", own.display()))?;
    fs::rename(&next, &program)?;
    kill(supervisor.pid()?, Signal::SIGHUP)?;
    supervisor.line("reload 1 finished")?;
    assert_eq!(answer(port)?, "second");

    fs::remove_file(&program)?;
    kill(supervisor.pid()?, Signal::SIGHUP)?;
    let line = supervisor.line("reload 2 was abandoned")?;
    assert!(line.contains(&format!("`{}`: ENOENT", program.display())), "{line}");
    assert_eq!(answer(port)?, "second");

    kill(supervisor.pid()?, Signal::SIGTERM)?;
    let (status, rest) = supervisor.wait()?;
    assert_eq!(status.code(), Some(0), "{rest}");
    Ok(())
}

fn write_script(path: &Path, text: &str) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

/// The port is free at once. The workers end, either by the signal at the death of the parent, or because the
/// channel is closed. The signal reaches only direct children: the child of a worker continues.
fn killed() -> TestResult {
    for program in ["supervise groups", "supervise"] {
        let mut supervisor =
            Standalone::start(Command::new(env::current_exe()?), program, "serve with an orphan")?;
        let port = supervisor.ready()?;
        // A worker answers only once, so the two answers are of two workers.
        let orphans = [answer(port)?, answer(port)?].map(|text| text.trim().parse().map(Pid::from_raw));
        let workers = children(supervisor.pid()?)?;
        assert_eq!(workers.len(), 2);
        kill(supervisor.pid()?, Signal::SIGKILL)?;
        supervisor.child.wait()?;
        drop(TcpListener::bind(("127.0.0.1", port))?);
        workers.into_iter().try_for_each(gone)?;
        for orphan in orphans {
            let orphan = orphan?;
            assert!(is_running(orphan));
            kill(orphan, Signal::SIGKILL)?;
            gone(orphan)?;
        }
    }
    Ok(())
}

/// The worker with the running task ends. The output contains only whole results.
fn killed_with_task() -> TestResult {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let mut command = Command::new(env::current_exe()?);
    command.env("PORT", listener.local_addr()?.port().to_string());
    let mut primary = Standalone::start(command, "run tasks", "serve blocking tasks")?;
    assert_eq!(primary.line("result")?, "result 4\n");
    let (mut task, _): (TcpStream, _) = listener.accept()?;
    let mut number = [0; 4];
    task.read_exact(&mut number)?;
    let worker = pid(u32::from_be_bytes(number))?;
    kill(primary.pid()?, Signal::SIGKILL)?;
    let (_, rest) = primary.wait()?;
    assert_eq!(rest, "");
    gone(worker)?;
    // The connection of the task has ended together with the worker.
    assert!(matches!(task.read(&mut number), Ok(0) | Err(_)));
    Ok(())
}

/// The old worker is stopped when the successor is ready. SIGTERM has no effect, and SIGKILL ends the worker
/// and completes the reload.
async fn stopped() -> TestResult {
    let short = Duration::from_millis(50);
    let mut supervisor =
        Supervisor::new(settings(&["serve the slot"]).lame_duck(short).drain(short).term(short))?;
    let (mut old, mut stopped, mut cut) = (BTreeMap::new(), None, None);
    loop {
        match timeout(TIMEOUT, supervisor.next()).await?.ok_or("the end")? {
            SupervisorEvent::SlotReady { slot, worker } if old.len() < 2 => {
                let info = supervisor.slots().into_iter().find(|info| info.slot == slot);
                old.insert(slot, (worker, pid(info.and_then(|info| info.pid).ok_or("a process id")?)?));
                if old.len() == 2 {
                    let handle = supervisor.handle();
                    tokio::spawn(async move { handle.reload().await });
                }
            }
            SupervisorEvent::SlotReady { slot, .. } if stopped.is_none() => {
                let (worker, process) = old[&slot];
                kill(process, Signal::SIGSTOP)?;
                stopped = Some(worker);
            }
            SupervisorEvent::Cut { worker, .. } => cut = Some(worker),
            SupervisorEvent::ReloadFinished { .. } => supervisor.shutdown(),
            SupervisorEvent::Finished { .. } => break,
            _ => {}
        }
    }
    assert!(cut.is_some() && cut == stopped, "{cut:?}, {stopped:?}");
    Ok(())
}
