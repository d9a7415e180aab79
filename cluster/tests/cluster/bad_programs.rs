//! Programs that are not servers, under a supervisor. Each has a stated behaviour, an event and an end.

use std::time::Duration;

use ::cluster::{
    Event, ExitStatus, ProcessGroup, Settings, Signal, SpawnOptions, StartFailure, Supervisor,
    SupervisorEvent, SupervisorSettings, WorkerError,
};
use libtest_mimic::{Failed, Trial};
use tokio::time::timeout;

use super::support::{Log, TIMEOUT, TestResult, asynchronous};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        asynchronous("program_that_never_listens_is_late", never_listens),
        asynchronous("program_that_exits_fails", exits),
        asynchronous("program_that_forks_and_exits_fails", forks),
        asynchronous("program_without_channel_is_ended", closes_channel),
        asynchronous("removed_program_is_a_start_failure", removed),
        asynchronous("missing_program_is_reported_once", missing),
    ]
}

const LATE: Duration = Duration::from_millis(100);
const KILLED: ExitStatus = ExitStatus::Signal(Signal::SIGKILL);

/// Settings for one shell with this script. The times are short, and no restart follows a failure.
fn settings(script: &str) -> SupervisorSettings {
    let spawn = SpawnOptions::new().exec("/bin/sh").args(["-c", script]).process_group(ProcessGroup::Own);
    let short = Duration::from_millis(20);
    SupervisorSettings::new(1)
        .primary(Settings { spawn, ..Settings::default() })
        .ready_timeout(LATE)
        .term(short)
        .retained_channel_timeout(short)
        .intensity(0, Duration::from_mins(1))
}

/// What a supervisor reports about the only worker, up to the last report.
struct Report {
    failure: StartFailure,
    /// `None`: no process was started.
    status: Option<ExitStatus>,
    has_retained_channel: bool,
}

async fn report(settings: SupervisorSettings) -> Result<Report, Failed> {
    let mut supervisor = Supervisor::new(settings)?;
    let (mut failure, mut status, mut has_retained_channel, mut gave_up) = (None, None, false, false);
    while let Some(event) = timeout(TIMEOUT, supervisor.next()).await? {
        match event {
            SupervisorEvent::StartFailed { failure: found, .. } => failure = Some(found),
            SupervisorEvent::Primary(Event::Exit { status: found, .. }) => status = Some(found),
            SupervisorEvent::Primary(Event::Error { error: WorkerError::RetainedChannel, .. }) => {
                has_retained_channel = true;
            }
            SupervisorEvent::GaveUp { .. } => gave_up = true,
            SupervisorEvent::SlotSuspended { .. } => supervisor.shutdown(),
            _ => {}
        }
    }
    assert!(gave_up);
    Ok(Report { failure: failure.ok_or("no failure")?, status, has_retained_channel })
}

/// The program also ignores SIGTERM, so SIGKILL follows.
async fn never_listens() -> TestResult {
    let report = report(settings("trap '' TERM; sleep 1000; sleep 1000")).await?;
    assert_eq!(
        (report.failure, report.status, report.has_retained_channel),
        (StartFailure::Timeout(LATE), Some(KILLED), false)
    );
    Ok(())
}

/// An exit before readiness is a failure, even with code 0.
async fn exits() -> TestResult {
    let report = report(settings("exit 0")).await?;
    let code = ExitStatus::Code(0);
    assert_eq!(
        (report.failure, report.status, report.has_retained_channel),
        (StartFailure::Exited(code), Some(code), false)
    );
    Ok(())
}

/// The child of the program holds the channel.
async fn forks() -> TestResult {
    let report = report(settings("sleep 1000 & exit 0")).await?;
    let code = ExitStatus::Code(0);
    assert_eq!(
        (report.failure, report.status, report.has_retained_channel),
        (StartFailure::Exited(code), Some(code), true)
    );
    Ok(())
}

/// The program continues without the channel. The time between SIGTERM and SIGKILL passes twice.
async fn closes_channel() -> TestResult {
    let late = settings("exec 3>&-; sleep 1000; sleep 1000").ready_timeout(Duration::from_mins(1));
    let report = report(late).await?;
    assert_eq!(
        (report.failure, report.status, report.has_retained_channel),
        (StartFailure::Exited(KILLED), Some(KILLED), false)
    );
    Ok(())
}

/// The failure names the path. No process has started, so there is no exit.
async fn removed() -> TestResult {
    let report =
        report(settings("").map_primary(|primary| Settings {
            spawn: SpawnOptions::new().exec("/no/such/program"),
            ..primary
        }))
        .await?;
    let StartFailure::Spawn(error) = report.failure else {
        return Err(format!("{:?}", report.failure).into());
    };
    assert!(error.to_string().starts_with("cannot start `/no/such/program`: ENOENT"), "{error}");
    assert_eq!((report.status, report.has_retained_channel), (None, false));
    Ok(())
}

/// If the program is missing or not executable, `run` ends at the first try, with one line in the log and the
/// path in the error.
async fn missing() -> TestResult {
    let directory = tempfile::tempdir()?;
    let text = directory.path().join("text");
    std::fs::write(&text, "no program")?;
    for program in ["/no/such/program", text.to_str().ok_or("a name in UTF-8")?] {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone());
        let guard = tracing::subscriber::set_default(subscriber.finish());
        let spawn = SpawnOptions::new().exec(program);
        let settings = SupervisorSettings::new(3).primary(Settings { spawn, ..Settings::default() });
        let error = timeout(TIMEOUT, Supervisor::new(settings)?.run()).await?.err().ok_or("no error")?;
        drop(guard);
        assert_eq!(error.to_string(), "no worker is ready: another start would fail as well");
        let cause = std::error::Error::source(&error).ok_or("a cause")?.to_string();
        assert!(cause.contains(&format!("cannot start `{program}`: E")), "{cause}");
        let text = log.text()?;
        assert_eq!(text.matches(program).count(), 1, "{text}");
        assert!(!text.contains("suspended"), "{text}");
    }
    Ok(())
}
