//! The results of one run: connections, open connections and waiting times for each slot.

use core::net::Ipv4Addr;
use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The open connections of each slot at one time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    /// The time in seconds.
    pub(crate) at: f64,
    pub(crate) open: BTreeMap<u32, u32>,
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Slot {
    connections: u32,
    waits: Vec<f64>,
}

/// The results of one run.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Outcome {
    slots: BTreeMap<u32, Slot>,
    pub(crate) samples: Vec<Sample>,
    /// The connections of a killed worker.
    pub(crate) cut: u64,
    /// The time of the change, in seconds.
    pub(crate) changed_at: Option<f64>,
    /// The last slot of each client address before the change.
    before: BTreeMap<Ipv4Addr, u32>,
    /// The first slot of each client address after the change.
    after: BTreeMap<Ipv4Addr, u32>,
}

/// The figures of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// The most connections of a slot, divided by the mean.
    pub(crate) connections: f64,
    /// The most open connections of a slot, divided by the mean. The mean of all samples.
    pub(crate) open: f64,
    /// The coefficient of variation of the open connections. The mean of all samples.
    pub(crate) variation: f64,
    /// The 50th, 99th and 99.9th percentile of the waiting times, in milliseconds.
    pub(crate) waits: [f64; 3],
}

impl Outcome {
    /// A worker has accepted a connection.
    pub(crate) fn connected(&mut self, slot: u32, address: Ipv4Addr) {
        self.slots.entry(slot).or_default().connections += 1;
        if self.changed_at.is_some() {
            self.after.entry(address).or_insert(slot);
        } else {
            self.before.insert(address, slot);
        }
    }

    /// A request was answered, after a wait in microseconds.
    #[allow(clippy::cast_precision_loss, reason = "the microseconds of a run are far below 2^52")]
    pub(crate) fn answered(&mut self, slot: u32, wait: u64) {
        self.slots.entry(slot).or_default().waits.push(wait as f64 / 1000.0);
    }

    /// The share of the client addresses with another slot after the change.
    pub(crate) fn moved(&self) -> f64 {
        let both = self.after.iter().filter_map(|(address, slot)| Some((self.before.get(address)?, slot)));
        mean(both.map(|(before, after)| f64::from(u8::from(before != after))))
    }

    pub(crate) fn figures(&self) -> Figures {
        let open = |sample: &Sample| -> Vec<f64> { sample.open.values().copied().map(f64::from).collect() };
        let samples: Vec<Vec<f64>> =
            self.samples.iter().map(open).filter(|open| open.iter().sum::<f64>() > 0.0).collect();
        let connections: Vec<f64> = self.slots.values().map(|slot| f64::from(slot.connections)).collect();
        let mut waits: Vec<f64> = self.slots.values().flat_map(|slot| slot.waits.iter().copied()).collect();
        Figures {
            connections: peak(&connections),
            open: mean(samples.iter().map(|open| peak(open))),
            variation: mean(samples.iter().map(|open| variation(open))),
            waits: percentiles(&mut waits),
        }
    }

    /// Every figure, also for each slot.
    pub(crate) fn json(&self) -> Value {
        let figures = self.figures();
        let slots = self.slots.iter().map(|(slot, state)| {
            let open = self.samples.iter().filter_map(|sample| sample.open.get(slot).copied().map(f64::from));
            let waits = percentiles(&mut state.waits.clone());
            json!({
                "slot": slot, "connections": state.connections, "requests": state.waits.len(),
                "mean_open": mean(open), "wait_ms": { "p50": waits[0], "p99": waits[1], "p99.9": waits[2] },
            })
        });
        let waits = figures.waits;
        json!({
            "connections_max_by_mean": figures.connections, "open_max_by_mean": figures.open,
            "open_variation": figures.variation, "moved": self.moved(), "cut": self.cut,
            "wait_ms": { "p50": waits[0], "p99": waits[1], "p99.9": waits[2] },
            "slots": slots.collect::<Vec<_>>(),
        })
    }
}

fn percentiles(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [500, 990, 999].map(|share| {
        let at = (values.len() * share).div_ceil(1000).saturating_sub(1);
        values.get(at).copied().unwrap_or(0.0)
    })
}

/// The mean; 0 without values.
pub(crate) fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = values.fold((0.0, 0.0), |(count, sum), value| (count + 1.0, sum + value));
    if count > 0.0 { sum / count } else { 0.0 }
}

/// The greatest value, divided by the mean.
fn peak(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max) / mean(values.iter().copied())
}

fn variation(values: &[f64]) -> f64 {
    let mean_value = mean(values.iter().copied());
    mean(values.iter().map(|value| (value - mean_value).powi(2))).sqrt() / mean_value
}
