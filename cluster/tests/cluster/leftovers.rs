//! Processes that a worker leaves behind: in the process group of the worker, or with the channel of the
//! worker open.

use std::time::Duration;

use ::cluster::{
    Event, ExitStatus, Primary, ProcessGroup, Settings, Signal, SpawnOptions, WorkerError, WorkerId,
    WorkerInfo,
};
use libtest_mimic::{Failed, Trial};
use nix::errno::Errno;
use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::unistd::{Pid, getpgid, getpgrp, getsid};
use tokio::time::{sleep, timeout};

use super::support::{TIMEOUT, TestResult, asynchronous, message, rest, until};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("worker_leads_its_group", groups),
        asynchronous("signals_reach_the_whole_group", signalled),
        asynchronous("group_ends_with_its_worker", ended),
        asynchronous("retained_channel_is_given_up", given_up),
        asynchronous("group_ends_with_given_up_channel", group_given_up),
        asynchronous("orphans_of_a_subreaper_are_reaped", reaped),
    ]
}

/// A shell that reports the process id of a child. The child holds the channel, and both run until a signal.
const WRAPPER: &str = "sleep 1000 & echo $! >&3; wait";
/// `WRAPPER`, but the shell exits.
const LEAVING: &str = "sleep 1000 & echo $! >&3; exit 5";
/// `LEAVING`, but the child does not hold the channel.
const DETACHED: &str = "sleep 1000 3>&- & echo $! >&3; exit 5";

fn shell(script: &str, group: ProcessGroup) -> Settings {
    let spawn = SpawnOptions::new().exec("/bin/sh").args(["-c", script]).process_group(group);
    Settings { spawn, ..Settings::default() }
}

fn limited(settings: Settings) -> Settings {
    Settings { retained_channel_timeout: Some(Duration::from_secs(10)), ..settings }
}

/// Starts a shell as a worker, and returns the process id of the child.
async fn start(settings: Settings) -> Result<(Primary, WorkerId, Pid), Failed> {
    let mut primary = Primary::new(settings)?;
    let worker = primary.fork()?;
    let child = message(&mut primary).await?.as_i64().ok_or("a number")?;
    Ok((primary, worker, Pid::from_raw(i32::try_from(child)?)))
}

fn pid(primary: &Primary, worker: WorkerId) -> Result<Pid, Failed> {
    let pid = primary.worker(worker).and_then(WorkerInfo::pid).ok_or("a process id")?;
    Ok(Pid::from_raw(i32::try_from(pid)?))
}

/// Waits for the end of a process that is not a child of this process: this process receives no event, but
/// the kernel ends a killed process soon.
pub(crate) async fn gone(process: Pid) -> TestResult {
    let ended = async {
        while is_running(process) {
            sleep(Duration::from_millis(1)).await;
        }
    };
    Ok(timeout(TIMEOUT, ended).await?)
}

/// Whether a process runs. A zombie does not: where no process reaps orphans, an orphan remains as a zombie.
pub(crate) fn is_running(process: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/stat"));
    kill(process, None) != Err(Errno::ESRCH)
        && status.is_ok_and(|status| status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

async fn groups() -> TestResult {
    for group in [ProcessGroup::Inherited, ProcessGroup::Own, ProcessGroup::Session] {
        let (mut primary, worker, child) = start(shell(WRAPPER, group)).await?;
        let shell = pid(&primary, worker)?;
        let (leads_group, leads_session) = match group {
            ProcessGroup::Inherited => (false, false),
            ProcessGroup::Own => (true, false),
            ProcessGroup::Session => (true, true),
        };
        assert_eq!(getpgid(Some(shell))?, if leads_group { shell } else { getpgrp() });
        assert_eq!(getpgid(Some(child))?, getpgid(Some(shell))?);
        assert_eq!(getsid(Some(shell))?, if leads_session { shell } else { getsid(None)? });
        kill(child, SIGKILL)?;
        rest(&mut primary).await?;
    }
    Ok(())
}

/// Without the group, the signal would end the shell alone, and leave the child behind.
async fn signalled() -> TestResult {
    for group in [ProcessGroup::Own, ProcessGroup::Session] {
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            let (mut primary, worker, child) = start(shell(WRAPPER, group)).await?;
            primary.kill(worker, signal);
            let exit =
                Event::Exit { worker, status: ExitStatus::Signal(signal), exited_after_disconnect: false };
            let seen = rest(&mut primary).await?;
            assert!(seen.contains(&exit) && seen.contains(&Event::Disconnect { worker }));
            gone(child).await?;
        }
    }
    Ok(())
}

/// The rest of a group is killed after the exit of the worker. Without a group, the rest continues.
async fn ended() -> TestResult {
    for group in [ProcessGroup::Own, ProcessGroup::Inherited] {
        let (mut primary, worker, child) = start(shell(DETACHED, group)).await?;
        let exit = Event::Exit { worker, status: ExitStatus::Code(5), exited_after_disconnect: false };
        assert!(rest(&mut primary).await?.contains(&exit));
        if group == ProcessGroup::Inherited {
            assert!(is_running(child));
            kill(child, SIGKILL)?;
        }
        gone(child).await?;
    }
    Ok(())
}

/// Waits for the exit, and then for the events until the worker is forgotten. The clock advances
/// automatically.
async fn events_of_retained_channel(primary: &mut Primary, worker: WorkerId) -> TestResult {
    let exit = Event::Exit { worker, status: ExitStatus::Code(5), exited_after_disconnect: false };
    until(primary, |event| *event == exit).await?;
    tokio::time::pause();
    let error = timeout(Duration::from_hours(1), primary.next()).await;
    let disconnect = timeout(Duration::from_hours(1), primary.next()).await;
    tokio::time::resume();
    assert_eq!(error?, Some(Event::Error { worker, error: WorkerError::RetainedChannel }));
    assert_eq!(disconnect?, Some(Event::Disconnect { worker }));
    assert_eq!(primary.next().await, None);
    Ok(())
}

async fn given_up() -> TestResult {
    let (mut primary, worker, child) = start(limited(shell(LEAVING, ProcessGroup::Inherited))).await?;
    events_of_retained_channel(&mut primary, worker).await?;
    assert!(is_running(child));
    kill(child, SIGKILL)?;
    gone(child).await
}

async fn group_given_up() -> TestResult {
    let (mut primary, worker, child) = start(limited(shell(LEAVING, ProcessGroup::Own))).await?;
    events_of_retained_channel(&mut primary, worker).await?;
    gone(child).await
}

/// A subreaper, like the process with the id 1, becomes the parent of a child that an exited worker leaves.
/// The primary reaps this orphan, and takes the status of neither a worker nor a child of the program.
#[cfg(target_os = "linux")]
async fn reaped() -> TestResult {
    nix::sys::prctl::set_child_subreaper(true)?;
    let (mut primary, worker, child) = start(shell(DETACHED, ProcessGroup::Inherited)).await?;
    primary.reap_orphans()?;
    let exit = Event::Exit { worker, status: ExitStatus::Code(5), exited_after_disconnect: false };
    until(&mut primary, |event| *event == exit).await?;
    primary.setup(SpawnOptions::new().args(["-c", "exec sleep 1000"]));
    let living = primary.fork()?;
    kill(child, SIGKILL)?;
    let own = std::process::Command::new("sh").args(["-c", "exit 3"]).status()?;
    assert_eq!(own.code(), Some(3));
    let reaped = async {
        while kill(child, None) != Err(Errno::ESRCH) {
            let _ = timeout(Duration::from_millis(10), primary.next()).await;
        }
    };
    timeout(TIMEOUT, reaped).await?;
    nix::sys::prctl::set_child_subreaper(false)?;
    primary.kill(living, Signal::SIGKILL);
    rest(&mut primary).await?;
    Ok(())
}
