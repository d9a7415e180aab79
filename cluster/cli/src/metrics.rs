//! The figures of a service in the text format of Prometheus. Events are counted at once; everything else is read
//! at a scrape. Each scrape renders a new recorder: no metric of a removed slot remains, and there is no global state.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use cluster::{ConnectionCounts, RestartReason, SlotState, SupervisorEvent};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::status::SlotStatus;

/// The counts of events.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// By slot and reason.
    restarts: BTreeMap<(u32, &'static str), u64>,
    /// By result.
    reloads: BTreeMap<&'static str, u64>,
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
            *counts.restarts.entry((slot.0, name(reason))).or_default() += 1;
        } else if let SupervisorEvent::Hung { slot, .. } = event {
            *counts.restarts.entry((slot.0, "hung")).or_default() += 1;
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

    pub(crate) fn is_shutting_down(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_shutting_down
    }

    /// The text of a scrape.
    pub(crate) fn render(&self, slots: &[SlotStatus], connections: ConnectionCounts) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            record_connections(connections);
            record_slots(slots);
            self.0.lock().unwrap_or_else(PoisonError::into_inner).record();
        });
        recorder.handle().render()
    }
}

impl Counts {
    fn end_reload(&mut self, result: &'static str) {
        *self.reloads.entry(result).or_default() += 1;
        self.last_reload = self.reload_started.take().map(|start| start.elapsed());
    }

    fn record(&self) {
        describe_counter!("cluster_restarts_total", "Restarts by slot and reason.");
        for ((slot, reason), count) in &self.restarts {
            counter!("cluster_restarts_total", "slot" => slot.to_string(), "reason" => *reason)
                .absolute(*count);
        }
        describe_counter!("cluster_reloads_total", "Reloads by result, those of one slot included.");
        for result in ["finished", "abandoned"] {
            let count = self.reloads.get(result).copied().unwrap_or_default();
            counter!("cluster_reloads_total", "result" => result).absolute(count);
        }
        if let Some(time) = self.last_reload {
            describe_gauge!("cluster_last_reload_duration_seconds", "The duration of the last reload.");
            gauge!("cluster_last_reload_duration_seconds").set(time.as_secs_f64());
        }
        describe_counter!(
            "cluster_cut_workers_total",
            "Workers that a deadline has ended before their requests."
        );
        counter!("cluster_cut_workers_total").absolute(self.cut_workers);
        describe_counter!(
            "cluster_cut_connections_total",
            "Connections cut by a deadline, as far as reported."
        );
        counter!("cluster_cut_connections_total").absolute(self.cut_connections);
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

fn record_connections(connections: ConnectionCounts) {
    let ConnectionCounts { accepted, queued, handed_off, owned, closed, requeued, .. } = connections;
    describe_counter!("cluster_connections_accepted_total", "Connections accepted by the primary.");
    counter!("cluster_connections_accepted_total").absolute(accepted);
    describe_counter!(
        "cluster_connections_owned_total",
        "Connections handed off and acknowledged by a worker."
    );
    counter!("cluster_connections_owned_total").absolute(owned);
    describe_counter!("cluster_connections_requeued_total", "Hand-offs that ended in the queue again.");
    counter!("cluster_connections_requeued_total").absolute(requeued);
    describe_counter!(
        "cluster_connections_lost_total",
        "Connections closed by the primary without a worker."
    );
    counter!("cluster_connections_lost_total").absolute(closed);
    describe_gauge!("cluster_connections_queued", "Connections in the queue of the primary.");
    gauge!("cluster_connections_queued").set(float(queued));
    describe_gauge!("cluster_connections_handed_off", "Connections on the way to a worker.");
    gauge!("cluster_connections_handed_off").set(float(handed_off));
}

fn record_slots(slots: &[SlotStatus]) {
    describe_gauge!("cluster_slots", "The number of slots: the workers that should run.");
    gauge!("cluster_slots").set(float(slots.len() as u64));
    describe_gauge!("cluster_slot_ready", "1 if the worker of the slot is ready.");
    describe_counter!(
        "cluster_worker_connections_total",
        "Connections acknowledged by the worker of the slot."
    );
    describe_gauge!("cluster_worker_open_connections", "Open connections, as the worker has reported last.");
    describe_gauge!(
        "cluster_worker_resident_memory_bytes",
        "Resident memory of the worker and its children."
    );
    describe_counter!("cluster_worker_cpu_seconds_total", "Processor time of the worker and its children.");
    describe_gauge!(
        "cluster_worker_event_loop_delay_max_seconds",
        "The longest delay since the last scrape (Node.js)."
    );
    describe_gauge!(
        "cluster_worker_event_loop_utilization",
        "The busy share of the time since the last scrape (Node.js)."
    );
    describe_gauge!("cluster_worker_heap_used_bytes", "The used heap of the worker (Node.js).");
    for status in slots {
        let SlotStatus { info, usage, statistics } = status;
        let slot = info.slot.0.to_string();
        let is_ready = u8::from(info.state == SlotState::Ready);
        gauge!("cluster_slot_ready", "slot" => slot.clone()).set(is_ready);
        counter!("cluster_worker_connections_total", "slot" => slot.clone())
            .absolute(info.acknowledged_connections);
        if let Some(open) = status.open_connections() {
            gauge!("cluster_worker_open_connections", "slot" => slot.clone()).set(float(open));
        }
        if let Some(statistics) = statistics {
            gauge!("cluster_worker_event_loop_delay_max_seconds", "slot" => slot.clone())
                .set(statistics.delay_max / 1_000.0);
            gauge!("cluster_worker_event_loop_utilization", "slot" => slot.clone())
                .set(statistics.utilization);
            gauge!("cluster_worker_heap_used_bytes", "slot" => slot.clone()).set(float(statistics.heap_used));
        }
        if let Some(usage) = usage {
            gauge!("cluster_worker_resident_memory_bytes", "slot" => slot.clone())
                .set(float(usage.memory_bytes));
            // A counter has whole numbers.
            counter!("cluster_worker_cpu_seconds_total", "slot" => slot).absolute(usage.cpu_ms / 1_000);
        }
    }
}

/// Exact up to 2^53.
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
        let text = metrics.render(&[], ConnectionCounts::default());
        for line in [
            "cluster_restarts_total{slot=\"1\",reason=\"hung\"} 1",
            "cluster_restarts_total{slot=\"1\",reason=\"disconnected\"} 1",
            "cluster_reloads_total{result=\"finished\"} 0",
            "cluster_connections_lost_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in:\n{text}");
        }
        assert!(!metrics.is_shutting_down());
        metrics.observe(&SupervisorEvent::ShutdownStarted);
        assert!(metrics.is_shutting_down());
    }
}
