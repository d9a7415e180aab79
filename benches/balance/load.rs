//! The loads: clients with their arrival, address and requests, drawn from a fixed seed.

use core::net::Ipv4Addr;
use std::collections::VecDeque;

use fastrand::Rng;

/// The number of workers.
pub(crate) const WORKERS: u32 = 4;
/// The arrival of the first client, in microseconds. All workers listen earlier.
const FIRST: u64 = 1_000_000;
/// The mean number of requests of a lasting connection.
const REQUESTS: f64 = 20.0;
/// The number of client addresses.
const ADDRESSES: u32 = 1000;

/// The distribution of the work of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Uniform between half and one and a half of the mean.
    Uniform,
    /// A Pareto distribution with the exponent 1.5, at most 250 times the mean.
    Pareto,
}

/// A change in the middle of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The worker of the first slot is killed, and the supervisor starts a successor.
    Respawn,
    /// The supervisor scales from 4 to 5 workers.
    Scale,
}

/// A load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    /// The mean work of a request, in microseconds.
    pub(crate) mean: f64,
    /// The share of the time in which 4 workers of full speed have work.
    pub(crate) utilization: f64,
    pub(crate) lasting: bool,
    /// The mean pause between two requests of a lasting connection, in microseconds.
    pub(crate) pause: f64,
    /// Whether the worker of the first slot takes three times as long.
    pub(crate) slow: bool,
    /// The longest time for which a request occupies its worker without a pause, in microseconds.
    pub(crate) slice: u64,
    pub(crate) change: Option<Change>,
}

const SHORT: Case = Case {
    name: "uniform, short",
    work: Work::Uniform,
    mean: 4000.0,
    utilization: 0.7,
    lasting: false,
    pause: 50_000.0,
    slow: false,
    slice: 1000,
    change: None,
};
const LASTING: Case = Case { name: "uniform, keep-alive", lasting: true, ..SHORT };
const CHANGED: Case = Case { pause: 500_000.0, ..LASTING };

/// Every load, in the order of the tables.
pub(crate) const CASES: [Case; 10] = [
    Case { name: "free workers, short", mean: 100.0, utilization: 0.05, ..SHORT },
    SHORT,
    Case { name: "heavy-tailed, short", work: Work::Pareto, ..SHORT },
    Case { name: "heavy-tailed, short, blocking", work: Work::Pareto, slice: u64::MAX, ..SHORT },
    Case { name: "one slow worker, short", slow: true, utilization: 0.6, ..SHORT },
    LASTING,
    Case { name: "heavy-tailed, keep-alive", work: Work::Pareto, ..LASTING },
    Case { name: "one slow worker, keep-alive", slow: true, utilization: 0.6, ..LASTING },
    Case { name: "respawn, keep-alive", change: Some(Change::Respawn), ..CHANGED },
    Case { name: "scale, keep-alive", change: Some(Change::Scale), ..CHANGED },
];

impl Case {
    /// The factor of the time of each request in a slot.
    pub(crate) fn slowness(&self, slot: u32) -> u64 {
        if self.slow && slot == 0 { 3 } else { 1 }
    }
}

/// A request: a pause of the client, then work of a worker, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) pause: u64,
    pub(crate) work: u64,
}

/// A connection of a client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// The time of the arrival, in microseconds.
    pub(crate) at: u64,
    pub(crate) address: Ipv4Addr,
    /// The requests without an answer, never empty.
    pub(crate) requests: VecDeque<Request>,
}

/// The clients of a load, in the order of their arrival.
#[allow(clippy::cast_precision_loss, reason = "the seconds of a run are far below 2^52 microseconds")]
pub(crate) fn clients(case: &Case, seconds: u64) -> Vec<Client> {
    let mut rng = Rng::with_seed(1);
    let requests = if case.lasting { REQUESTS } else { 1.0 };
    let interval = case.mean * requests / (case.utilization * f64::from(WORKERS));
    let end = (FIRST + seconds * 1_000_000) as f64;
    let mut clients = Vec::new();
    let mut at = FIRST as f64 + exponential(&mut rng, interval);
    while at < end {
        clients.push(client(case, at, requests, &mut rng));
        at += exponential(&mut rng, interval);
    }
    clients
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "all times are positive and bounded"
)]
fn client(case: &Case, at: f64, mean_requests: f64, rng: &mut Rng) -> Client {
    let [_, high, middle, low] = (10_007 * rng.u32(0..ADDRESSES)).to_be_bytes();
    let mut requests = VecDeque::new();
    loop {
        let pause = if requests.is_empty() { 0.0 } else { exponential(rng, case.pause) };
        requests.push_back(Request { pause: pause as u64, work: work(case, rng).max(1.0) as u64 });
        if rng.f64() * mean_requests < 1.0 {
            return Client { at: at as u64, address: Ipv4Addr::new(127, high, middle, low), requests };
        }
    }
}

fn work(case: &Case, rng: &mut Rng) -> f64 {
    match case.work {
        Work::Uniform => case.mean * (0.5 + rng.f64()),
        Work::Pareto => (case.mean / 3.0 * (1.0 - rng.f64()).powf(-1.0 / 1.5)).min(250.0 * case.mean),
    }
}

fn exponential(rng: &mut Rng, mean: f64) -> f64 {
    -mean * (1.0 - rng.f64()).ln()
}
