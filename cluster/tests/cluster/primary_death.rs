//! The death of a primary, as its workers observe it.

use std::thread;

use ::cluster::{Event, Primary, ProcessGroup, Settings, Signal, SpawnOptions};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::unistd::Pid;
use serde_json::json;
use tokio::runtime::Builder;

use super::leftovers::{gone, is_running};
use super::support::{TestResult, asynchronous, fork, message, primary, rest, trial, until};

pub(crate) fn trials() -> Vec<Trial> {
    let elsewhere = !cfg!(target_os = "linux");
    vec![
        asynchronous("workers_die_with_their_primary", death).with_ignored_flag(elsewhere),
        trial("workers_outlive_the_forking_thread", thread_ends).with_ignored_flag(elsewhere),
        asynchronous("invalid_death_signal_is_an_error", invalid),
    ]
}

/// A worker is killed while it is the primary of a program without a channel. With the setting, a signal then
/// ends the program; without the setting, the program continues.
async fn death() -> TestResult {
    for program in ["lead a program with a death signal", "lead a program"] {
        let mut primary = primary()?;
        let leader = fork(&mut primary, program);
        let child = message(&mut primary).await?.as_i64().ok_or("a number")?;
        let child = Pid::from_raw(i32::try_from(child)?);
        assert!(is_running(child));
        primary.kill(leader, Signal::SIGKILL);
        until(&mut primary, |event| matches!(event, Event::Exit { .. })).await?;
        if program == "lead a program" {
            assert!(is_running(child));
            kill(child, SIGKILL)?;
        }
        gone(child).await?;
        rest(&mut primary).await?;
    }
    Ok(())
}

/// The worker survives the end of the thread that has called `fork`. If this thread were the parent, the
/// kernel would send the signal at its end.
fn thread_ends() -> TestResult {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let handle = runtime.handle().clone();
    let forked = thread::spawn(move || {
        handle.block_on(async {
            let spawn = SpawnOptions::new().parent_death_signal(Signal::SIGKILL);
            let mut primary = Primary::new(Settings { spawn, ..Settings::default() }).ok()?;
            let worker = fork(&mut primary, "echo");
            Some((primary, worker))
        })
    });
    let (mut primary, worker) = forked.join().map_err(|_| "a panic")?.ok_or("no primary")?;
    runtime.block_on(async {
        primary.send(worker, json!("alive"))?;
        assert_eq!(message(&mut primary).await?, json!("alive"));
        primary.disconnect_all();
        rest(&mut primary).await.map(drop)
    })
}

async fn invalid() -> TestResult {
    let spawn = SpawnOptions::new().parent_death_signal(Signal(4711)).process_group(ProcessGroup::Own);
    let mut primary = Primary::new(Settings { spawn, ..Settings::default() })?;
    fork(&mut primary, "echo");
    assert!(rest(&mut primary).await?.iter().any(|event| matches!(event, Event::Error { .. })));
    Ok(())
}
