//! `cluster check`: starts one worker, reports where the worker listens, and stops.

use anyhow::bail;
use cluster::{Event, SupervisorEvent};

use crate::adapter::StopSignal;
use crate::args::RunArguments;
use crate::feed::Feed;
use crate::first_start::{Refused, stop_after_failed_bind};
use crate::hint::LATE;
use crate::options::{GiveUp, Restart};
use crate::output::Output;
use crate::plan::{Plan, Prepared};
use crate::processes;
use crate::report::{self, Coded};
use crate::service::{Service, ServiceMemory};
use crate::units::Workers;
use crate::{log, mistakes, settings};

/// Starts one worker, and stops the worker as soon as the worker is ready.
///
/// # Errors
/// The worker does not become ready, or has to be killed at the end.
pub(crate) async fn check(arguments: RunArguments) -> anyhow::Result<()> {
    let mut plan = Plan::of(&arguments)?;
    if arguments.dry_run {
        return Err(Coded::wrong_line(
            "`cluster check` has no `--dry-run`; write `cluster run --dry-run`".into(),
        ));
    }
    plan.clone().validate()?;
    plan.options.workers = Some(Workers::Count(1));
    plan.options.restart = Some(Restart::Never);
    plan.options.give_up = Some(GiveUp::Exit);
    let format = plan.options.log_format.unwrap_or_default();
    log::start(format);
    mistakes::warn(&arguments);
    let Prepared { settings, subject, addresses, resources } = plan.prepare(&[])?;
    let signal = subject.stop_signal;
    let mut supervisor = settings::supervisor(settings)?;
    let feed = Feed::default();
    let service =
        Service::new(&plan.options, subject, ServiceMemory::default(), supervisor.handle(), feed.clone());
    let mut output = Output::new(format, feed);
    let mut found = Found { signal, ..Found::default() };
    found.addresses.extend(addresses.iter().map(ToString::to_string));
    let watch = tokio::spawn(stop_after_failed_bind(supervisor.handle(), found.refused.clone()));
    let result = supervisor.run_with(|supervisor, event| {
        service.observe(supervisor, event, &mut output);
        if found.observe(event) {
            watch.abort();
            supervisor.shutdown();
        }
    });
    let result = result.await;
    watch.abort();
    output.finish().await;
    drop(resources);
    found.report(arguments.json)?;
    Ok(result?)
}

/// The results of the check so far.
#[derive(Debug, Default)]
struct Found {
    addresses: Vec<String>,
    failure: Option<String>,
    is_ready: bool,
    is_cut: bool,
    /// The failed bind because of which the check has ended.
    refused: Refused,
    /// The stop signal of a foreign program; `None` for other programs. `has_handler` is whether the program
    /// handles the signal; `None`: unknown.
    signal: Option<StopSignal>,
    has_handler: Option<bool>,
}

impl Found {
    /// Records an event. Returns whether the check is complete.
    fn observe(&mut self, event: &SupervisorEvent) -> bool {
        if let SupervisorEvent::Primary(Event::Listening { address, .. }) = event {
            self.addresses.push(address.to_string());
        } else if let SupervisorEvent::SlotReady { worker, .. } = event {
            self.is_ready = true;
            self.has_handler = self.signal.and_then(|signal| processes::handles(*worker, signal.0));
        } else if let SupervisorEvent::StartFailed { failure, .. } = event {
            self.failure = Some(failure.to_string());
        } else if let SupervisorEvent::Cut { .. } = event {
            self.is_cut = true;
        }
        matches!(event, SupervisorEvent::SlotReady { .. })
    }

    fn report(self, is_json: bool) -> anyhow::Result<()> {
        if let (Some(refused), false) = (self.refused.get(), self.is_ready) {
            bail!("{refused}; {LATE:?} later the worker was not ready");
        }
        if let Some(failure) = self.failure {
            bail!("the worker {failure}");
        }
        if !self.is_ready {
            bail!("the worker has exited before it was ready");
        }
        let place =
            if self.addresses.is_empty() { "no address".to_owned() } else { self.addresses.join(", ") };
        if is_json {
            report::line(serde_json::json!({ "ready": true, "addresses": self.addresses }))?;
        } else {
            report::line(format!("ready, and listening on {place}"))?;
        }
        if let (Some(signal), Some(false)) = (self.signal, self.has_handler) {
            bail!(
                "the program has no handler of {signal}, and dies of the signal at each reload, with its open requests: \
                 handle the signal by a graceful shutdown, or name another signal with `--stop-signal`"
            );
        }
        if self.is_cut {
            bail!("the worker did not exit by itself: `--drain` was over, or a signal was needed");
        }
        Ok(())
    }
}
