//! The same small work on this simulator and on others, in one run: `cargo run --release` in this folder.
//!
//! Messages: two processes write so many messages of 8 bytes to each other in turn, a window at a time. Here that is
//! `bare` (the kernel, the channel and the schedule alone) and `cluster` (primary and worker with their machines, JSON
//! and checks). Runs: everything from nothing to the end, with 10 messages.
//!
//! The contestants take turns, and what is printed are medians of many rounds: rates, and ratios within a round. Time is
//! the processor's, not the clock's on the wall: whoever takes longer would be interrupted more often.

mod cluster;
mod other;

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// How many rounds; each contestant has its turn in each.
const ROUNDS: usize = 11;

type Contestant = (&'static str, fn(u64));

const WORKS: [(&str, u64, &[Contestant]); 3] = [
    (
        "messages, one at a time",
        10_000,
        &[
            ("madsim", |n| other::madsim_messages(n, 1)),
            ("turmoil", |n| other::turmoil_messages(n, 1)),
            ("bare", |n| cluster::bare(n, 1)),
            ("cluster", |n| cluster::messages(n, 1)),
        ],
    ),
    (
        "messages, 64 at a time",
        12_800,
        &[
            ("madsim", |n| other::madsim_messages(n, 64)),
            ("turmoil", |n| other::turmoil_messages(n, 64)),
            ("bare", |n| cluster::bare(n, 64)),
            ("cluster", |n| cluster::messages(n, 64)),
        ],
    ),
    (
        "runs with 10 messages",
        500,
        &[
            ("madsim", |n| (0..n).for_each(|_| other::madsim_messages(10, 1))),
            ("turmoil", |n| (0..n).for_each(|_| other::turmoil_messages(10, 1))),
            ("cluster", |n| (0..n).for_each(cluster::run)),
        ],
    ),
];

fn main() {
    for (work, n, contestants) in WORKS {
        println!("{work}");
        let rounds: Vec<Vec<f64>> = (0..ROUNDS).map(|_| round(n, contestants)).collect();
        for (at, (name, _)) in contestants.iter().enumerate() {
            let rate = median(rounds.iter().map(|rates| rates[at]));
            let ratio = median(rounds.iter().map(|rates| rates[at] / rates[0]));
            println!("  {name:8} {rate:>12.0}/s {ratio:>8.2} of {}", contestants[0].0);
        }
    }
}

fn round(n: u64, contestants: &[Contestant]) -> Vec<f64> {
    let rate = |&(_, work): &Contestant| {
        let started = spent();
        work(n);
        n as f64 / (spent() - started).as_secs_f64()
    };
    contestants.iter().map(rate).collect()
}

/// What this process has had of the processors.
fn spent() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).expect("Linux has this clock").into()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
