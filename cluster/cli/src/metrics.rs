//! The figures of a service in the text format of Prometheus. Events are counted at once; every other figure
//! is read for a scrape. Each scrape renders a new registry, so no metric of a removed slot remains, and
//! there is no global state. Lines are sorted by name. An unknown figure is absent.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cluster::{ConnectionCounts, RestartReason, SlotState, SupervisorEvent};
use prometheus::core::{MetricVec, MetricVecBuilder};
use prometheus::{CounterVec, GaugeVec, Opts, Registry, TextEncoder};
use serde::{Deserialize, Serialize};

use crate::status::SlotStatus;

/// The counts of events.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counts>);

/// The counts of events. The counts survive a hand-over.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// The restarts by slot and reason.
    restarts: BTreeMap<u32, BTreeMap<String, u64>>,
    /// The reloads by result.
    reloads: BTreeMap<String, u64>,
    /// When the running reload started. `None` also for a reload during a hand-over: the duration is then
    /// unknown.
    #[serde(skip)]
    reload_started: Option<Instant>,
    last_reload: Option<Duration>,
    cut_workers: u64,
    cut_connections: u64,
    is_shutting_down: bool,
}

impl Metrics {
    /// Counts an event.
    pub(crate) fn observe(&self, event: &SupervisorEvent) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let SupervisorEvent::Restarting { slot, reason, .. } = event {
            counts.restart(slot.0, name(reason));
        } else if let SupervisorEvent::Hung { slot, .. } = event {
            counts.restart(slot.0, "hung");
        } else if let SupervisorEvent::ReloadStarted { .. } = event {
            counts.reload_started = Some(Instant::now());
        } else if let SupervisorEvent::ReloadFinished { .. } = event {
            counts.end_reload("finished");
        } else if let SupervisorEvent::ReloadAbandoned { .. } = event {
            counts.end_reload("abandoned");
        } else if let SupervisorEvent::Cut { connections, .. } = event {
            counts.cut_workers += 1;
            counts.cut_connections += connections.unwrap_or_default();
        } else if let SupervisorEvent::ShutdownStarted = event {
            counts.is_shutting_down = true;
        }
    }

    /// Continues the counts of the previous program.
    pub(crate) fn after(counts: Counts) -> Self {
        Metrics(Mutex::new(counts))
    }

    pub(crate) fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_shutting_down
    }

    /// The text of a scrape.
    ///
    /// # Errors
    /// Never: the names of the metrics are valid and differ.
    pub(crate) fn render(
        &self,
        slots: &[SlotStatus],
        connections: ConnectionCounts,
    ) -> prometheus::Result<String> {
        let scrape = Scrape::default();
        record_connections(&scrape, slots, connections)?;
        record_slots(&scrape, slots)?;
        record_node(&scrape, slots)?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).record(&scrape)?;
        TextEncoder::new().encode_to_string(&scrape.0.gather())
    }
}

/// The metrics of one scrape.
#[derive(Debug, Default)]
struct Scrape(Registry);

/// The values of a metric, each with labels. A metric without values is left out.
type Values<const LABELS: usize> = Vec<([String; LABELS], f64)>;

impl Scrape {
    fn counter<const LABELS: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; LABELS],
        values: Values<LABELS>,
    ) -> prometheus::Result<()> {
        let counters = CounterVec::new(Opts::new(name, help), &labels)?;
        self.add(counters, values, |counter, value| counter.inc_by(value))
    }

    fn gauge<const LABELS: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; LABELS],
        values: Values<LABELS>,
    ) -> prometheus::Result<()> {
        self.add(GaugeVec::new(Opts::new(name, help), &labels)?, values, |gauge, value| gauge.set(value))
    }

    fn add<B: MetricVecBuilder + 'static, const LABELS: usize>(
        &self,
        metrics: MetricVec<B>,
        values: Values<LABELS>,
        record: impl Fn(B::M, f64),
    ) -> prometheus::Result<()> {
        for (labels, value) in values {
            record(metrics.with_label_values(&labels), value);
        }
        self.0.register(Box::new(metrics))
    }
}

/// The value of a metric without labels.
fn only(value: u64) -> Values<0> {
    vec![([], float(value))]
}

/// A value per slot, for slots with a known value.
fn by_slot(slots: &[SlotStatus], value: impl Fn(&SlotStatus) -> Option<f64>) -> Values<1> {
    slots.iter().filter_map(|slot| Some(([slot.info.slot.to_string()], value(slot)?))).collect()
}

impl Counts {
    fn restart(&mut self, slot: u32, reason: &str) {
        *self.restarts.entry(slot).or_default().entry(reason.to_owned()).or_default() += 1;
    }

    fn end_reload(&mut self, result: &str) {
        *self.reloads.entry(result.to_owned()).or_default() += 1;
        self.last_reload = self.reload_started.take().map(|start| start.elapsed());
    }

    fn record(&self, scrape: &Scrape) -> prometheus::Result<()> {
        let restarts = self.restarts.iter().flat_map(|(slot, reasons)| {
            reasons.iter().map(|(reason, count)| ([slot.to_string(), reason.clone()], float(*count)))
        });
        let labels = ["slot", "reason"];
        scrape.counter(
            "cluster_restarts_total",
            "Restarts by slot and reason.",
            labels,
            restarts.collect(),
        )?;
        let reloads = ["finished", "abandoned"].map(|result| {
            ([result.to_owned()], float(self.reloads.get(result).copied().unwrap_or_default()))
        });
        let help = "Reloads by result, including reloads of one slot.";
        scrape.counter("cluster_reloads_total", help, ["result"], reloads.into())?;
        let last = self.last_reload.map(|time| ([], time.as_secs_f64()));
        let help = "The duration of the last reload.";
        scrape.gauge("cluster_last_reload_duration_seconds", help, [], last.into_iter().collect())?;
        let help = "Workers that a deadline has ended before their requests.";
        scrape.counter("cluster_cut_workers_total", help, [], only(self.cut_workers))?;
        let help = "Connections cut by a deadline, as far as reported.";
        scrape.counter("cluster_cut_connections_total", help, [], only(self.cut_connections))
    }
}

/// The reason of a restart as a word.
fn name(reason: &RestartReason) -> &'static str {
    match reason {
        RestartReason::StartFailed(_) => "start-failed",
        RestartReason::Exited(_) => "exited",
        RestartReason::Disconnected => "disconnected",
        RestartReason::Stuck => "stuck",
        // The enum will grow.
        _ => "other",
    }
}

/// The connections of the primary. Records nothing if no connection passes through the primary: with a
/// foreign program, and under the shared policy.
fn record_connections(
    scrape: &Scrape,
    slots: &[SlotStatus],
    connections: ConnectionCounts,
) -> prometheus::Result<()> {
    let ConnectionCounts { accepted, queued, handed_off, owned, closed, requeued, .. } = connections;
    if accepted == 0 && slots.iter().all(|slot| slot.info.acknowledged_connections.is_none()) {
        return Ok(());
    }
    let counters = [
        ("cluster_connections_accepted_total", "Connections accepted by the primary.", accepted),
        ("cluster_connections_owned_total", "Connections handed off and acknowledged by a worker.", owned),
        (
            "cluster_connections_requeued_total",
            "Connections that returned to the queue after a handoff.",
            requeued,
        ),
        ("cluster_connections_lost_total", "Connections closed by the primary without a worker.", closed),
    ];
    for (name, help, count) in counters {
        scrape.counter(name, help, [], only(count))?;
    }
    scrape.gauge(
        "cluster_connections_queued",
        "Connections in the queue of the primary.",
        [],
        only(queued),
    )?;
    scrape.gauge(
        "cluster_connections_handed_off",
        "Connections handed off to a worker, but not acknowledged yet.",
        [],
        only(handed_off),
    )
}

fn record_slots(scrape: &Scrape, slots: &[SlotStatus]) -> prometheus::Result<()> {
    let help = "The number of slots: the workers that should run.";
    scrape.gauge("cluster_slots", help, [], only(slots.len() as u64))?;
    let is_ready = |slot: &SlotStatus| Some(float(u64::from(slot.info.state == SlotState::Ready)));
    let help = "1 if the worker of the slot is ready.";
    scrape.gauge("cluster_slot_ready", help, ["slot"], by_slot(slots, is_ready))?;
    let acknowledged = |slot: &SlotStatus| slot.info.acknowledged_connections.map(float);
    let help = "Connections acknowledged by the worker of the slot.";
    scrape.counter("cluster_worker_connections_total", help, ["slot"], by_slot(slots, acknowledged))?;
    let open = |slot: &SlotStatus| slot.open_connections().map(float);
    let help = "Open connections in the last report of the worker.";
    scrape.gauge("cluster_worker_open_connections", help, ["slot"], by_slot(slots, open))?;
    let memory = |slot: &SlotStatus| Some(float(slot.usage?.memory_bytes));
    let help = "Resident memory of the worker and its children.";
    scrape.gauge("cluster_worker_resident_memory_bytes", help, ["slot"], by_slot(slots, memory))?;
    let cpu = |slot: &SlotStatus| Some(float(slot.usage?.cpu_ms) / 1_000.0);
    let help = "Processor time of the worker and its children.";
    scrape.counter("cluster_worker_cpu_seconds_total", help, ["slot"], by_slot(slots, cpu))
}

/// The statistics from the preload.
fn record_node(scrape: &Scrape, slots: &[SlotStatus]) -> prometheus::Result<()> {
    let delay = |slot: &SlotStatus| Some(slot.statistics?.delay_max / 1_000.0);
    let help = "The longest delay of the event loop since the last scrape (Node.js).";
    scrape.gauge("cluster_worker_event_loop_delay_max_seconds", help, ["slot"], by_slot(slots, delay))?;
    let busy = |slot: &SlotStatus| Some(slot.statistics?.utilization);
    let help = "The share of time since the last scrape in which the event loop was busy (Node.js).";
    scrape.gauge("cluster_worker_event_loop_utilization", help, ["slot"], by_slot(slots, busy))?;
    let used = |slot: &SlotStatus| Some(float(slot.statistics?.heap_used));
    let help = "The used heap of the worker (Node.js).";
    scrape.gauge("cluster_worker_heap_used_bytes", help, ["slot"], by_slot(slots, used))
}

/// The conversion is exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "a metric is a float")]
fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use cluster::{SlotId, WorkerId};

    #[test]
    fn restarts_are_counted_by_reason() {
        let metrics = Metrics::default();
        let (slot, worker) = (SlotId(1), WorkerId(3));
        metrics.observe(&SupervisorEvent::Hung { slot, worker });
        metrics.observe(&SupervisorEvent::Restarting {
            slot,
            worker: Some(worker),
            reason: RestartReason::Disconnected,
            after: Duration::ZERO,
        });
        let text = metrics.render(&[], ConnectionCounts::default()).expect("valid names");
        for line in [
            "cluster_restarts_total{reason=\"hung\",slot=\"1\"} 1",
            "cluster_restarts_total{reason=\"disconnected\",slot=\"1\"} 1",
            "cluster_reloads_total{result=\"finished\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in:\n{text}");
        }
        assert!(!text.contains("cluster_connections"), "no connection passes the primary:\n{text}");
        let names = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
        assert!(names.is_sorted(), "the order is stable:\n{text}");
        assert!(!metrics.is_shutting_down());
        metrics.observe(&SupervisorEvent::ShutdownStarted);
        assert!(metrics.is_shutting_down());
    }
}
