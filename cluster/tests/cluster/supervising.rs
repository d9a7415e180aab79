//! A supervisor over real processes: reload, scale, restart, shutdown and signals, by handles and from
//! outside.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpStream;
use std::time::Duration;

use ::cluster::{
    AbandonReason, Event, GiveUpReason, HandleError, RestartPolicy, RestartReason, RunError, Settings,
    SlotId, SlotInfo, SlotState, SpawnOptions, StartFailure, Supervisor, SupervisorEvent, SupervisorHandle,
    SupervisorSettings,
};
use libtest_mimic::{Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::programs::supervised::SUPERVISED;
use super::support::{Log, TIMEOUT, TestResult, asynchronous, connect};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("reload_replaces_every_worker", reload),
        asynchronous("failed_reload_keeps_old_workers", failed_reload),
        asynchronous("scale_adds_and_removes_slots", scale),
        asynchronous("killed_worker_keeps_slot", restart),
        asynchronous("killed_worker_logs_status", killed),
        asynchronous("shutdown_drains_and_hurries", shutdown),
        asynchronous("repeated_signal_is_one_request", repeated_signal),
        asynchronous("status_counts_acknowledged_connections", owned),
        asynchronous("supervisor_gives_up_without_workers", give_up),
        asynchronous("supervisor_gives_up_silent_program", never_listens),
        asynchronous("supervisor_ends_with_suspended_slots", suspended),
        asynchronous("signals_command_supervisor", signals),
        asynchronous("primary_events_keep_nodes_order", order_of_events),
    ]
}

/// A running supervisor with two workers. A worker writes the number of the slot to each connection.
pub(crate) struct Running {
    pub(crate) handle: SupervisorHandle,
    pub(crate) port: u16,
    end: JoinHandle<Result<(), RunError>>,
}

/// The settings for two workers with these arguments. The first argument selects a program of
/// `programs/supervised.rs`.
pub(crate) fn settings(arguments: &[&str]) -> SupervisorSettings {
    settings_of(2, arguments)
}

pub(crate) fn settings_of(workers: u32, arguments: &[&str]) -> SupervisorSettings {
    let spawn = SpawnOptions::new().args([SUPERVISED].into_iter().chain(arguments.iter().copied()));
    SupervisorSettings::new(workers).primary(Settings { spawn, ..Settings::default() })
}

/// Starts a supervisor, and waits until both workers are ready.
pub(crate) async fn start(settings: SupervisorSettings) -> Result<Running, Failed> {
    let mut supervisor = Supervisor::new(settings.lame_duck(Duration::from_millis(10)))?;
    let handle = supervisor.handle();
    let (mut ready, mut port) = (0, 0);
    while ready < 2 {
        match timeout(TIMEOUT, supervisor.next()).await?.ok_or("the end")? {
            SupervisorEvent::SlotReady { .. } => ready += 1,
            SupervisorEvent::Primary(Event::Listening { address, .. }) => port = u16::try_from(address.port)?,
            _ => {}
        }
    }
    Ok(Running { handle, port, end: tokio::spawn(supervisor.run()) })
}

impl Running {
    /// The text that a worker writes to a new connection.
    async fn answer(&self) -> Result<String, Failed> {
        let client: TcpStream = connect(self.port)?;
        Ok(tokio::task::spawn_blocking(move || io::read_to_string(client)).await??)
    }

    async fn status(&self) -> Result<Vec<SlotInfo>, Failed> {
        Ok(self.handle.status().await?)
    }

    pub(crate) async fn end(self) -> TestResult {
        self.handle.shutdown().await?;
        Ok(timeout(TIMEOUT, self.end).await???)
    }
}

async fn reload() -> TestResult {
    let running = start(settings(&["serve the slot"])).await?;
    let before = running.status().await?;
    timeout(TIMEOUT, running.handle.reload()).await??;
    let after = running.status().await?;
    for (old, new) in before.iter().zip(&after) {
        assert!(old.slot == new.slot && old.worker < new.worker, "{before:?}, {after:?}");
    }
    assert!(["0", "1"].contains(&&*running.answer().await?));
    running.end().await
}

/// The successor does not become ready. The reload fails with the reason, and the old workers continue to
/// serve.
async fn failed_reload() -> TestResult {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("broken");
    let settings = settings(&["serve unless broken", path.to_str().ok_or("a name in UTF-8")?]);
    let running = start(settings).await?;
    let before = running.status().await?;
    std::fs::write(&path, "")?;
    let error = timeout(TIMEOUT, running.handle.reload()).await?.err().ok_or("no error")?;
    let is_abandoned = matches!(error, HandleError::Abandoned(AbandonReason::StartFailed { .. }));
    assert!(
        is_abandoned && error.to_string().contains("exited before it was ready: exit status: 3"),
        "{error}"
    );
    assert_eq!(running.status().await?[1].worker, before[1].worker);
    assert!(["0", "1"].contains(&&*running.answer().await?));
    std::fs::remove_file(&path)?;
    timeout(TIMEOUT, running.handle.reload()).await??;
    running.end().await
}

async fn scale() -> TestResult {
    let running = start(settings(&["serve the slot"])).await?;
    timeout(TIMEOUT, running.handle.scale(4)).await??;
    assert_eq!(running.status().await?.len(), 4);
    timeout(TIMEOUT, running.handle.scale(1)).await??;
    let slots: Vec<SlotId> = running.status().await?.iter().map(|slot| slot.slot).collect();
    assert_eq!(slots, [SlotId(0)]);
    assert_eq!(running.answer().await?, "0");
    assert!(matches!(running.handle.scale(0).await, Err(HandleError::Settings(_))));
    timeout(TIMEOUT, running.handle.restart(SlotId(0))).await??;
    assert_eq!(running.handle.restart(SlotId(1)).await, Err(HandleError::NoSlot(SlotId(1))));
    running.end().await
}

/// A worker kills itself, and the replacement has the same slot.
async fn restart() -> TestResult {
    let mut supervisor = Supervisor::new(settings(&["serve the slot"]))?;
    let (mut ready, mut died) = (Vec::new(), None);
    while ready.len() < 3 {
        match timeout(TIMEOUT, supervisor.next()).await?.ok_or("the end")? {
            SupervisorEvent::SlotReady { slot, worker } => {
                ready.push((slot, worker));
                if ready.len() == 2 {
                    let (slot, worker) = ready[0];
                    died = Some(slot);
                    supervisor.send(worker, "die")?;
                }
            }
            SupervisorEvent::Restarting { slot, .. } => assert_eq!(Some(slot), died),
            _ => {}
        }
    }
    assert_eq!(Some(ready[2].0), died);
    supervisor.shutdown();
    while timeout(TIMEOUT, supervisor.next()).await?.is_some() {}
    Ok(())
}

/// The log has the status of a killed worker, although the replacement may start before the exit is reported.
async fn killed() -> TestResult {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let guard = tracing::subscriber::set_default(subscriber.finish());
    let mut supervisor = Supervisor::new(settings(&["serve the slot"]))?;
    let handle = supervisor.handle();
    let (ready, mut workers) = mpsc::unbounded_channel();
    let run = supervisor.run_with(move |_, event| {
        if let SupervisorEvent::SlotReady { worker, .. } = event {
            // Fails if the receiver has ended.
            let _ = ready.send(*worker);
        }
    });
    let kill_one = async {
        let first = workers.recv().await.ok_or("no worker")?;
        handle.send(first, "die").await?;
        for _ in 0..2 {
            workers.recv().await.ok_or("no further worker")?;
        }
        handle.shutdown().await?;
        Ok::<_, Failed>(())
    };
    let (end, killed) = timeout(TIMEOUT, async { tokio::join!(run, kill_one) }).await?;
    drop(guard);
    killed?;
    end?;
    let text = log.text()?;
    assert_eq!(text.matches("status=signal: SIGABRT").count(), 1, "{text}");
    Ok(())
}

/// An open connection delays the end of the drain. Two further requests to shut down kill the worker.
async fn shutdown() -> TestResult {
    let running = start(settings(&["hold connections"]).hurry_after(Duration::ZERO)).await?;
    let mut client = connect(running.port)?;
    let client =
        tokio::task::spawn_blocking(move || io::Read::read_exact(&mut client, &mut [0]).map(|()| client));
    let client = client.await??;
    let first = tokio::spawn({
        let handle = running.handle.clone();
        async move { handle.shutdown().await }
    });
    while running.handle.scale(3).await != Err(HandleError::ShuttingDown) {}
    assert_eq!(running.handle.reload().await, Err(HandleError::ShuttingDown));
    assert!(!first.is_finished());
    let hurried = (running.handle.clone(), running.handle.clone());
    let (second, third) = tokio::join!(hurried.0.shutdown(), hurried.1.shutdown());
    assert_eq!((second, third, first.await?), (Ok(()), Ok(()), Ok(())));
    drop(client);
    timeout(TIMEOUT, running.end).await???;
    assert_eq!(running.handle.status().await, Err(HandleError::Dropped));
    assert_eq!(running.handle.shutdown().await, Ok(()));
    Ok(())
}

/// Right after the first SIGTERM, a second SIGTERM and a SIGINT, as from `timeout(1)`, send no signal to a
/// worker: the open connection keeps the worker.
async fn repeated_signal() -> TestResult {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
    let guard = tracing::subscriber::set_default(subscriber.finish());
    let settings = settings(&["hold connections"]).lame_duck(Duration::from_millis(10));
    let mut supervisor = Supervisor::new(settings.hurry_after(Duration::from_hours(1)))?;
    let handle = supervisor.handle();
    let (listens, mut ports) = mpsc::unbounded_channel();
    let run = supervisor.run_with(move |_, event| {
        if let SupervisorEvent::Primary(Event::Listening { address, .. }) = event {
            // Fails if the receiver has ended.
            let _ = listens.send(address.port);
        }
    });
    let signals = async {
        ports.recv().await.ok_or("no worker")?;
        let mut client = connect(u16::try_from(ports.recv().await.ok_or("no second worker")?)?)?;
        let client =
            tokio::task::spawn_blocking(move || io::Read::read_exact(&mut client, &mut [0]).map(|()| client));
        let client = client.await??;
        for (signal, count) in [(Signal::SIGTERM, 1), (Signal::SIGTERM, 2), (Signal::SIGINT, 3)] {
            kill(Pid::this(), signal)?;
            while log.text()?.matches(": shut down").count() < count {
                handle.status().await?;
            }
        }
        let status = handle.status().await?;
        assert!(status.iter().all(|slot| slot.state != SlotState::Terminating), "{status:?}");
        // The worker with the open connection does not exit by itself. The other worker may have exited.
        for pid in status.iter().filter_map(|slot| slot.pid) {
            let _ = kill(Pid::from_raw(pid.try_into()?), Signal::SIGKILL);
        }
        drop(client);
        Ok::<_, Failed>(())
    };
    let (end, signalled) = timeout(TIMEOUT, async { tokio::join!(run, signals) }).await?;
    drop(guard);
    signalled?;
    Ok(end?)
}

/// The counts of the slots are the numbers of answered connections, by answering slot. The count of a
/// successor begins at zero.
async fn owned() -> TestResult {
    let running = start(settings(&["serve the slot"])).await?;
    let mut answers = Vec::new();
    for _ in 0..5 {
        answers.push(running.answer().await?);
    }
    let owned = |slot: SlotId| answers.iter().filter(|answer| **answer == slot.to_string()).count() as u64;
    // The client may read the answer before the primary reads the last acknowledgement.
    let mut status = running.status().await?;
    while status.iter().filter_map(|slot| slot.acknowledged_connections).sum::<u64>() < 5 {
        status = running.status().await?;
    }
    assert_eq!(running.handle.connections().await?.owned, 5);
    let json = serde_json::to_value(&status)?;
    assert_eq!(json[1]["state"], "ready");
    assert_eq!(serde_json::from_value::<Vec<SlotInfo>>(json)?, status);
    for slot in &status {
        assert!(slot.pid > Some(1), "{status:?}");
        assert_eq!(slot.acknowledged_connections, Some(owned(slot.slot)), "{status:?}, {answers:?}");
    }
    timeout(TIMEOUT, running.handle.reload()).await??;
    let status = running.status().await?;
    assert!(status.iter().all(|slot| slot.acknowledged_connections == Some(0)), "{status:?}");
    running.end().await
}

/// No worker can start: `run` fails, instead of keeping empty slots.
async fn give_up() -> TestResult {
    let settings = settings(&["exit"]).intensity(2, Duration::from_mins(1));
    let error = timeout(TIMEOUT, Supervisor::new(settings)?.run()).await?.err().ok_or("no error")?;
    assert!(matches!(error, RunError::GaveUp { reason: GiveUpReason::Restarts { .. }, .. }), "{error}");
    let cause = std::error::Error::source(&error).ok_or("a cause")?.to_string();
    assert_eq!(cause, "the worker exited before it was ready: exit status: 3");
    Ok(())
}

/// A program never listens. When more starts have failed than the settings allow, `run` fails with the cause.
async fn never_listens() -> TestResult {
    let timeouts = settings(&["never listen"]).ready_timeout(Duration::from_millis(50)).failed_starts(2);
    // The program does not return after a disconnect either.
    let hurried = timeouts.term(Duration::from_millis(1)).lame_duck(Duration::ZERO).shutdown(Duration::ZERO);
    let settings = hurried.backoff(Duration::ZERO, Duration::ZERO);
    let error = timeout(TIMEOUT, Supervisor::new(settings)?.run()).await?.err().ok_or("no error")?;
    let RunError::GaveUp { reason, last, code, .. } = error else { return Err(format!("{error}").into()) };
    assert_eq!((reason, code), (GiveUpReason::FailedStarts { starts: 2 }, 1));
    assert_eq!(last, RestartReason::StartFailed(StartFailure::Timeout(Duration::from_millis(50))));
    Ok(())
}

/// `run` ends when no slot can get a worker again. The last slot is suspended because the supervisor has
/// given up, or by the restart policy.
async fn suspended() -> TestResult {
    let failing = settings(&["exit when ready"]).intensity(2, Duration::from_mins(1));
    let error = timeout(TIMEOUT, Supervisor::new(failing)?.run()).await?.err().ok_or("no error")?;
    assert!(matches!(error, RunError::GaveUp { .. }), "{error}");
    let ended = settings(&["exit when ready"]).restart(RestartPolicy::Never);
    Ok(timeout(TIMEOUT, Supervisor::new(ended)?.run()).await??)
}

async fn signals() -> TestResult {
    let running = start(settings(&["serve the slot"])).await?;
    // `run` handles signals from the first poll on, and this answer follows the first poll.
    let before = running.status().await?;
    kill(Pid::this(), Signal::SIGTTIN)?;
    while running.status().await?.len() < 3 {}
    kill(Pid::this(), Signal::SIGTTOU)?;
    while running.status().await?.len() > 2 {}
    kill(Pid::this(), Signal::SIGHUP)?;
    while running.status().await?.iter().zip(&before).any(|(new, old)| new.worker <= old.worker) {}
    kill(Pid::this(), Signal::SIGTERM)?;
    timeout(TIMEOUT, running.end).await???;
    Ok(())
}

/// A worker dies, a reload replaces both workers, and a shutdown ends them. Each worker has one `fork`,
/// `online` and `listening`, and then one `disconnect` and one `exit`, in either order. The ids ascend, and
/// `AllDisconnected` is last.
async fn order_of_events() -> TestResult {
    let settings = settings(&["serve the slot"]).lame_duck(Duration::from_millis(10));
    let mut supervisor = Supervisor::new(settings)?;
    let handle = supervisor.handle();
    let (mut ready, mut commands, mut events) = (0, None, Vec::new());
    while let Some(event) = timeout(TIMEOUT, supervisor.next()).await? {
        match event {
            SupervisorEvent::SlotReady { worker, .. } => {
                ready += 1;
                match ready {
                    2 => drop(supervisor.send(worker, "die")?),
                    3 => {
                        let handle = handle.clone();
                        commands = Some(tokio::spawn(async move {
                            handle.reload().await?;
                            handle.shutdown().await
                        }));
                    }
                    _ => {}
                }
            }
            SupervisorEvent::Primary(event) => events.push(event),
            _ => {}
        }
    }
    commands.ok_or("no third worker was ready")?.await??;
    let mut words: BTreeMap<_, Vec<&str>> = BTreeMap::new();
    let mut last = None;
    for event in &events {
        let word = match event {
            Event::Fork { worker } => {
                assert!(last < Some(*worker), "{events:?}");
                last = Some(*worker);
                "fork"
            }
            Event::Online { .. } => "online",
            Event::Listening { .. } => "listening",
            Event::Disconnect { .. } => "disconnect",
            Event::Exit { .. } => "exit",
            Event::Setup { .. } | Event::AllDisconnected => continue,
            other => return Err(format!("{other:?}").into()),
        };
        words.entry(event.worker().ok_or("an event without worker")?).or_default().push(word);
    }
    assert_eq!(words.len(), 5, "{events:?}");
    for words in words.values() {
        assert_eq!(words[..3], ["fork", "online", "listening"], "{events:?}");
        assert!(
            [["disconnect", "exit"], ["exit", "disconnect"]].contains(&[words[3], words[4]]),
            "{events:?}"
        );
        assert_eq!(words.len(), 5, "{events:?}");
    }
    assert!(matches!(events.last(), Some(Event::AllDisconnected)), "{events:?}");
    Ok(())
}
