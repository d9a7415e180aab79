//! The lives of workers: fork, online, messages and exit; unsuitable programs; remotes.

use ::cluster::{
    Errno, Event, ExitStatus, Limits, Primary, RemoteError, SendError, Sent, Settings, Signal, SpawnOptions,
    WorkerError, WorkerId, WorkerInfo, WorkerState,
};
use libtest_mimic::Trial;
use nix::sys::signal::{Signal::SIGKILL, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;
use tokio::time::timeout;

use super::support::{
    Log, TestResult, asynchronous, children, drive, fork, message, primary, primary_of, rest, until,
};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("worker_lives_from_fork_to_exit", a_life),
        asynchronous("large_message_is_echoed", large_message),
        asynchronous("messages_arrive_before_the_exit", last_words),
        asynchronous("exiting_worker_has_code", exit_code),
        asynchronous("killed_worker_has_signal", killed),
        asynchronous("worker_may_kill_itself", kills_itself),
        asynchronous("kill_leaves_unread_messages", kills_itself_full),
        asynchronous("kill_leaves_unread_disconnect", kills_itself_disconnected),
        asynchronous("unknown_signal_is_an_error", no_signal),
        asynchronous("missing_program_is_an_error", missing_program),
        asynchronous("forbidden_program_is_an_error", forbidden_program),
        asynchronous("unsuitable_program_ends_its_worker", no_program),
        asynchronous("exit_ignores_grandchild_with_channel", grandchild),
        asynchronous("exit_ignores_unread_channel", grandchild_not_read),
        asynchronous("remote_commands_from_another_task", remote),
        asynchronous("process_without_channel_is_reported", lingers),
        asynchronous("log_shows_no_secrets_below_trace", secrets),
    ]
}

async fn a_life() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "echo");
    assert_eq!(primary.worker(worker).map(WorkerInfo::state), Some(WorkerState::None));
    let pid = primary.worker(worker).and_then(WorkerInfo::pid);
    assert_eq!(children().into_iter().next(), pid);
    let online = until(&mut primary, |event| matches!(event, Event::Online { .. })).await?;
    assert_eq!(online[1..].to_vec(), vec![Event::Fork { worker }, Event::Online { worker }]);
    assert_eq!(primary.send(worker, json!({ "hello": 1 })), Ok(Sent::Buffered));
    assert_eq!(message(&mut primary).await?, json!({ "hello": 1 }));
    primary.disconnect_all();
    assert_eq!(primary.workers().count(), 0);
    let ends = [
        Event::Disconnect { worker },
        Event::Exit { worker, status: ExitStatus::Code(0), exited_after_disconnect: true },
    ];
    let rest = rest(&mut primary).await?;
    assert_eq!(rest.iter().filter(|event| ends.contains(event)).count(), 2);
    assert!(rest.contains(&Event::AllDisconnected));
    assert_eq!(primary.send(worker, json!(1)), Err(SendError::Closed));
    Ok(())
}

async fn large_message() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "echo");
    let large = json!("ä".repeat(3 << 20));
    assert_eq!(primary.send(worker, &large), Ok(Sent::Congested));
    primary.send(worker, json!("next"))?;
    assert!(message(&mut primary).await? == large);
    assert_eq!(message(&mut primary).await?, json!("next"));
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn last_words() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "count to 100 and exit");
    let seen = rest(&mut primary).await?;
    let numbers = seen.iter().filter_map(|event| match event {
        Event::Message { message, .. } => message.to::<u64>().ok(),
        _ => None,
    });
    assert_eq!(numbers.collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    let ends = seen.iter().skip_while(|event| !matches!(event, Event::Disconnect { .. }));
    let status = ExitStatus::Code(7);
    assert_eq!(
        ends.cloned().collect::<Vec<_>>(),
        vec![Event::Disconnect { worker }, Event::Exit { worker, status, exited_after_disconnect: false }]
    );
    Ok(())
}

async fn exit_code() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "exit");
    let seen = rest(&mut primary).await?;
    assert_eq!(
        seen.last(),
        Some(&Event::Exit { worker, status: ExitStatus::Code(3), exited_after_disconnect: false })
    );
    Ok(())
}

async fn killed() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "echo");
    until(&mut primary, |event| matches!(event, Event::Online { .. })).await?;
    primary.kill(worker, Signal::SIGKILL);
    let exit =
        Event::Exit { worker, status: ExitStatus::Signal(Signal::SIGKILL), exited_after_disconnect: false };
    until(&mut primary, |event| *event == exit).await?;
    assert_eq!(primary.worker(worker).and_then(WorkerInfo::exited_after_disconnect), Some(false));
    assert_eq!(primary.worker(worker).map(WorkerInfo::is_dead), Some(true));
    assert_eq!(primary.next().await, None);
    assert!(primary.worker(worker).is_none());
    // A signal to a process that has exited is not an error.
    primary.kill(worker, Signal::SIGKILL);
    assert_eq!(primary.next().await, None);
    Ok(())
}

async fn kills_itself() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "kill yourself");
    let exit = Event::Exit { worker, status: ExitStatus::Code(0), exited_after_disconnect: true };
    until(&mut primary, |event| *event == exit).await?;
    assert_eq!(primary.worker(worker).and_then(WorkerInfo::exited_after_disconnect), Some(true));
    Ok(())
}

/// Node: without a channel, a worker exits within `worker.kill()`.
async fn kills_itself_disconnected() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "kill yourself when disconnected");
    assert_eq!(message(&mut primary).await?, json!("ready"));
    primary.disconnect_all();
    let exit = Event::Exit { worker, status: ExitStatus::Code(0), exited_after_disconnect: true };
    until(&mut primary, |event| *event == exit).await.map(drop)
}

async fn kills_itself_full() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "take one message, then kill yourself");
    assert_eq!(message(&mut primary).await?, json!("ready"));
    // More than the inbox and the kernel hold together.
    let line = json!("x".repeat(1000));
    for _ in 0..4000 {
        primary.send(worker, &line)?;
    }
    primary.kill(worker, Signal::SIGUSR1);
    let exit = Event::Exit { worker, status: ExitStatus::Code(0), exited_after_disconnect: true };
    until(&mut primary, |event| *event == exit).await?;
    assert_eq!(primary.worker(worker).and_then(WorkerInfo::exited_after_disconnect), Some(true));
    Ok(())
}

async fn no_signal() -> TestResult {
    let mut primary = primary()?;
    let worker = fork(&mut primary, "echo");
    primary.kill(worker, Signal(4711));
    let seen = until(&mut primary, |event| matches!(event, Event::Error { .. })).await?;
    let error = WorkerError::Kill(Errno::EINVAL);
    assert_eq!(seen.last(), Some(&Event::Error { worker, error }));
    primary.disconnect_all();
    rest(&mut primary).await.map(drop)
}

async fn missing_program() -> TestResult {
    let mut primary = primary_of("/no/such/program", &[])?;
    let worker = primary.fork()?;
    let error = WorkerError::Spawn {
        program: Some("/no/such/program".into()),
        directory: None,
        errno: Errno::ENOENT,
    };
    let seen = rest(&mut primary).await?;
    assert_eq!(seen.get(1), Some(&Event::Error { worker, error }));
    assert_eq!(primary.workers().count(), 0);
    Ok(())
}

async fn forbidden_program() -> TestResult {
    let directory = std::env::temp_dir();
    let program = directory.to_str().ok_or("the path is not UTF-8")?;
    let mut primary = primary_of(program, &[])?;
    let worker = primary.fork()?;
    let error = WorkerError::Spawn { program: Some(program.into()), directory: None, errno: Errno::EACCES };
    assert_eq!(rest(&mut primary).await?.get(1), Some(&Event::Error { worker, error }));
    Ok(())
}

/// As with Node: the C library passes the file to the shell, where the file fails.
async fn no_program() -> TestResult {
    let file = tempfile::NamedTempFile::new()?.into_temp_path();
    fs::write(&file, [0x7f, 0, 0, 0])?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o700))?;
    let command = SpawnOptions::new().exec(&*file).silent(true);
    let mut primary = Primary::new(Settings { spawn: command, ..Settings::default() })?;
    let worker = primary.fork()?;
    let seen = rest(&mut primary).await?;
    let failed = |event: &Event| match event {
        Event::Exit { worker: who, status: ExitStatus::Code(code), .. } => *who == worker && *code != 0,
        Event::Error { worker: who, error: WorkerError::Spawn { errno, .. } } => {
            *who == worker && *errno == Errno::ENOEXEC
        }
        _ => false,
    };
    assert!(seen.iter().any(failed));
    Ok(())
}

async fn grandchild() -> TestResult {
    let mut primary = primary_of("/bin/sh", &["-c", "(read line <&3) & exit 5"])?;
    let worker = primary.fork()?;
    let exit = Event::Exit { worker, status: ExitStatus::Code(5), exited_after_disconnect: false };
    let seen = until(&mut primary, |event| *event == exit).await?;
    assert!(!seen.contains(&Event::Disconnect { worker }));
    assert_eq!(primary.worker(worker).map(|life| (life.is_dead(), life.is_connected())), Some((true, true)));
    // The grandchild reads the line and exits.
    primary.send(worker, json!("go"))?;
    assert_eq!(rest(&mut primary).await?, vec![Event::Disconnect { worker }]);
    Ok(())
}

/// More bytes are sent than the queue holds, so the primary stops reading. The grandchild holds the channel.
async fn grandchild_not_read() -> TestResult {
    let script = "sleep 1000 & echo $! >&3; exit 5";
    let command = SpawnOptions::new().exec("/bin/sh").args(["-c", script]);
    let limits = Limits { unsent_bytes: 1000, ..Limits::default() };
    let mut primary = Primary::new(Settings { spawn: command, limits, ..Settings::default() })?;
    let worker = primary.fork()?;
    primary.send(worker, json!("x".repeat(1 << 20)))?;
    assert_eq!(primary.send(worker, json!(1)), Err(SendError::Full));
    let exit = Event::Exit { worker, status: ExitStatus::Code(5), exited_after_disconnect: false };
    let seen = until(&mut primary, |event| *event == exit).await?;
    let grandchild = seen.iter().find_map(|event| match event {
        Event::Message { message, .. } => message.to::<i64>().ok(),
        _ => None,
    });
    assert!(!seen.contains(&Event::Disconnect { worker }));
    kill(Pid::from_raw(i32::try_from(grandchild.ok_or("no message before the exit")?)?), SIGKILL)?;
    assert_eq!(rest(&mut primary).await?.last(), Some(&Event::Disconnect { worker }));
    Ok(())
}

async fn remote() -> TestResult {
    let mut primary = primary()?;
    let remote = primary.remote();
    let task = tokio::spawn(async move {
        let worker = remote.fork_with_env(vec![("PROGRAM".into(), "echo".into())]).await?;
        let sent = remote.send(worker, json!("to and fro")).await?;
        let workers = remote.workers().await?;
        let unknown = remote.send(WorkerId(99), json!(1)).await;
        Ok::<_, RemoteError>((worker, sent, workers, unknown, remote))
    });
    let is_message = |event: &Event| matches!(event, Event::Message { .. });
    let (answers, mut seen) = drive(&mut primary, task).await?;
    let (worker, sent, workers, unknown, remote) = answers?;
    if !seen.iter().any(is_message) {
        seen.extend(until(&mut primary, is_message).await?);
    }
    let message = Event::Message { worker, message: json!("to and fro").into(), handle: None };
    assert_eq!(seen.last(), Some(&message));
    assert_eq!((sent, workers), (Sent::Buffered, vec![worker]));
    assert_eq!(unknown, Err(RemoteError::Send(SendError::UnknownWorker)));
    let other = remote.clone();
    let task = tokio::spawn(async move { other.disconnect_worker(worker).await });
    until(&mut primary, |event| matches!(event, Event::Exit { .. })).await?;
    task.await??;
    drop(primary);
    assert_eq!(remote.fork().await, Err(RemoteError::PrimaryDropped));
    Ok(())
}

/// Up to the level `debug`, the log shows neither messages, short or long, nor values of variables, in any
/// form.
async fn secrets() -> TestResult {
    for (level, is_shown) in [(tracing::Level::DEBUG, false), (tracing::Level::TRACE, true)] {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_max_level(level).with_writer(move || writer.clone());
        let guard = tracing::subscriber::set_default(subscriber.finish());
        let mut primary = primary()?;
        let worker = primary.fork_with_env([("PROGRAM", "echo"), ("PASSWORD", "planted-variable")])?;
        let large = "planted-body ".repeat(100_000);
        for body in [json!({ "token": "planted-body" }), json!(large)] {
            primary.send(worker, &body)?;
            assert!(message(&mut primary).await? == body);
        }
        primary.disconnect_all();
        rest(&mut primary).await?;
        drop(guard);
        let log = log.text()?;
        for secret in ["planted-variable", "planted-body"] {
            let as_numbers = format!("{:?}", secret.as_bytes());
            let found = log.contains(secret) || log.contains(as_numbers.trim_matches(['[', ']']));
            assert_eq!((secret, found), (secret, is_shown));
        }
        // The log must still be enough to follow a run.
        assert!(log.contains("PASSWORD") && log.contains("Read") && log.contains("Write"));
    }
    Ok(())
}

/// A process that continues after the close of the channel is reported and can be replaced, whether the
/// channel was closed for a violation or not. After the close, the clock advances automatically.
async fn lingers() -> TestResult {
    for script in ["exec 3>&-; exec sleep 100", "echo nonsense >&3; exec sleep 100 3>&-"] {
        let mut primary = primary_of("/bin/sh", &["-c", script])?;
        let worker = primary.fork()?;
        until(&mut primary, |event| *event == Event::Disconnect { worker }).await?;
        tokio::time::pause();
        let reported = timeout(Duration::from_hours(1), primary.next()).await;
        tokio::time::resume();
        assert_eq!(primary.running_workers().collect::<Vec<_>>(), [worker]);
        primary.kill(worker, Signal::SIGKILL);
        let exit = Event::Exit {
            worker,
            status: ExitStatus::Signal(Signal::SIGKILL),
            exited_after_disconnect: false,
        };
        assert_eq!(rest(&mut primary).await?, vec![exit]);
        assert_eq!(reported?, Some(Event::Error { worker, error: WorkerError::Lingers }));
    }
    Ok(())
}
