//! A running service, for clients and endpoints.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cluster::{
    Event, HandleError, ReloadId, RequestedReload, RestartReasons, SlotId, SlotInfo, SlotState, Supervisor,
    SupervisorEvent, SupervisorHandle, WorkerId,
};
use serde::{Deserialize, Serialize};

use crate::feed::{Feed, Stream};
use crate::hint::Hints;
use crate::metrics::{Counts, Metrics};
use crate::options::Options;
use crate::output::Output;
use crate::protocol::Reply;
use crate::reloads::{ReloadMemory, Reloads};
use crate::statistics::{self, Answers};
use crate::status::{SlotStatus, Status};
use crate::subject::Subject;
use crate::units::Scale;
use crate::usage;

/// A running service. Clients and endpoints share the value.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) feed: Feed,
    name: String,
    program: String,
    started: Instant,
    supervisor: SupervisorHandle,
    addresses: Mutex<BTreeSet<String>>,
    metrics: Metrics,
    reasons: Mutex<RestartReasons>,
    /// `None`: no worker has the preload.
    statistics: Option<Answers>,
    hints: Hints,
    pub(crate) reloads: Reloads,
    /// Each command that the service carries out holds a reference.
    work: Arc<()>,
}

/// What a service remembers across an upgrade.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ServiceMemory {
    uptime: Duration,
    addresses: BTreeSet<String>,
    counts: Counts,
    #[serde(default)]
    reload: ReloadMemory,
}

impl ServiceMemory {
    /// What a new service remembers: the addresses that the service has bound.
    pub(crate) fn serving(bound: &[SocketAddr]) -> Self {
        let addresses = bound.iter().map(SocketAddr::to_string).collect();
        ServiceMemory { addresses, ..ServiceMemory::default() }
    }
}

impl Service {
    pub(crate) fn new(
        options: &Options,
        subject: Subject,
        memory: ServiceMemory,
        supervisor: SupervisorHandle,
        feed: Feed,
    ) -> Self {
        let hints = Hints::of(options, &subject, supervisor.clone(), feed.clone());
        let Subject { name, program, has_preload, .. } = subject;
        let started = Instant::now().checked_sub(memory.uptime).unwrap_or_else(Instant::now);
        Service {
            feed,
            name,
            program,
            started,
            supervisor,
            addresses: Mutex::new(memory.addresses),
            metrics: Metrics::after(memory.counts),
            statistics: has_preload.then(Answers::default),
            reasons: Mutex::default(),
            hints,
            reloads: Reloads::after(memory.reload),
            work: Arc::default(),
        }
    }

    /// What the service remembers, for a hand-over.
    pub(crate) fn memory(&self) -> ServiceMemory {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ServiceMemory {
            uptime: self.started.elapsed(),
            addresses,
            counts: self.metrics.counts(),
            reload: self.reloads.memory(),
        }
    }

    /// Begins the work for a command. Dropping the returned value ends the work.
    pub(crate) fn begin_work(&self) -> Arc<()> {
        self.work.clone()
    }

    /// Whether the service carries out a command.
    pub(crate) fn is_at_work(&self) -> bool {
        Arc::strong_count(&self.work) > 1
    }

    /// Counts and publishes an event, and starts to read the output of a new worker.
    pub(crate) fn observe(&self, supervisor: &mut Supervisor, event: &SupervisorEvent, output: &mut Output) {
        if let SupervisorEvent::Primary(event) = event {
            self.observe_primary(supervisor, event, output);
        }
        self.hints.observe(event, |worker| slot_of(supervisor, worker));
        self.reloads.observe(event, |worker| slot_of(supervisor, worker));
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.observe(event, |event| {
            self.metrics.observe(event);
            self.feed.publish_event(event);
        });
    }

    fn observe_primary(&self, supervisor: &mut Supervisor, event: &Event, output: &mut Output) {
        if let Event::Fork { worker } = event {
            let slot = slot_of(supervisor, *worker);
            self.feed.forked(*worker, slot);
            for (number, pipe) in supervisor.stdio(*worker) {
                let stream = if number == 2 { Stream::Stderr } else { Stream::Stdout };
                output.read(pipe, slot, worker.0, stream);
            }
        } else if let Event::Listening { address, .. } = event {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            if addresses.insert(address.to_string()) {
                tracing::info!("listening on {address}");
            }
        }
        if let Some(statistics) = &self.statistics {
            statistics.observe(event);
        }
    }

    /// Requests a reload, or the restart of a slot.
    ///
    /// # Errors
    /// The slot does not exist, or the service shuts down.
    pub(crate) async fn request_reload(&self, slot: Option<u32>) -> Result<RequestedReload, String> {
        let requested = match slot {
            None => self.supervisor.request_reload().await,
            Some(slot) => {
                self.check_slot(slot).await?;
                self.supervisor.request_restart(SlotId(slot)).await
            }
        };
        requested.map_err(|error| error.to_string())
    }

    /// Abandons the reload or restart in progress, and returns the number.
    ///
    /// # Errors
    /// No reload or restart is in progress, or the service has ended.
    pub(crate) async fn abandon_reload(&self) -> Result<ReloadId, String> {
        let abandoned = self.supervisor.abandon_reload().await.map_err(|error| error.to_string())?;
        abandoned.ok_or_else(|| "no reload is in progress".to_owned())
    }

    /// The present number of slots, and the number after a change.
    ///
    /// # Errors
    /// No slot would remain, or the service has ended.
    pub(crate) async fn scaling(&self, workers: Scale) -> Result<(u32, u32), String> {
        let slots = self.supervisor.status().await.map_err(|error| error.to_string())?;
        let now = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        let wanted = workers.applied_to(now);
        if wanted == 0 {
            return Err(format!(
                "a service needs at least one worker ({now} now); `cluster stop` ends the service"
            ));
        }
        Ok((now, wanted))
    }

    /// Changes the number of slots.
    pub(crate) async fn scale(&self, workers: u32) -> Reply {
        last_reply(self.supervisor.scale(workers).await)
    }

    /// Shuts the service down.
    pub(crate) async fn stop(&self) -> Reply {
        last_reply(self.supervisor.shutdown().await)
    }

    /// Checks that a slot exists.
    ///
    /// # Errors
    /// The slot does not exist; the text lists the slots.
    pub(crate) async fn check_slot(&self, slot: u32) -> Result<(), String> {
        let slots = self.supervisor.status().await.map_err(|error| error.to_string())?;
        if slots.iter().any(|found| found.slot.0 == slot) {
            return Ok(());
        }
        let numbers: Vec<_> = slots.iter().map(|slot| slot.slot.to_string()).collect();
        Err(format!("there is no slot {slot}; the slots are {}", numbers.join(", ")))
    }

    /// The figures, in the format of Prometheus.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        let slots = self.slots().await?;
        Ok(self.metrics.render(&slots, self.supervisor.connections().await?)?)
    }

    /// Whether a worker is ready, and no shutdown has started.
    pub(crate) async fn is_ready(&self) -> bool {
        let slots = self.supervisor.status().await.unwrap_or_default();
        !self.metrics.is_shutting_down() && slots.iter().any(|slot| slot.state == SlotState::Ready)
    }

    /// Reports the resident memory of each worker to the supervisor.
    pub(crate) async fn report_memory(&self) -> Result<(), HandleError> {
        for slot in self.supervisor.status().await? {
            if let (Some(worker), Some(usage)) = (slot.worker, slot.pid.and_then(usage::of)) {
                self.supervisor.report_memory(worker, usage.memory_bytes).await?;
            }
        }
        Ok(())
    }

    /// The slots, each with the known figures of the process. Asks the workers for statistics, and the next
    /// call returns the answers.
    async fn slots(&self) -> Result<Vec<SlotStatus>, HandleError> {
        let slots = self.supervisor.status().await?;
        let statistics =
            |slot: &SlotInfo| self.statistics.as_ref().and_then(|answers| answers.of(slot.worker));
        let found = slots.iter().map(|slot| SlotStatus::of(*slot, statistics(slot))).collect();
        if self.statistics.is_some() {
            statistics::ask(&self.supervisor, &slots).await;
        }
        Ok(found)
    }

    pub(crate) async fn status(&self) -> Reply {
        let slots = match self.slots().await {
            Ok(slots) => slots,
            Err(error) => return failed(&error),
        };
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        Reply::Status(Status {
            name: self.name.clone(),
            pid: std::process::id(),
            program: self.program.clone(),
            uptime_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            addresses: addresses.iter().cloned().collect(),
            reload: self.reloads.status(),
            slots,
        })
    }
}

fn last_reply(result: Result<(), HandleError>) -> Reply {
    result.map_or_else(|error| failed(&error), |()| Reply::Done)
}

fn failed(error: &HandleError) -> Reply {
    Reply::Failed { error: error.to_string() }
}

/// The slot of a forked worker.
fn slot_of(supervisor: &Supervisor, worker: WorkerId) -> u32 {
    let slots = supervisor.slots();
    let own = slots.iter().find(|slot| slot.worker == Some(worker) || slot.successor == Some(worker));
    own.map_or(0, |slot| slot.slot.0)
}
